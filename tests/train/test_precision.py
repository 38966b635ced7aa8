"""bfloat16 autocast is only used where the processor computes in it."""

from __future__ import annotations

import warnings

import pytest
import torch

from riverone_hf.build.recipe import load_recipe
from riverone_hf.build.training import training_arguments
from riverone_hf.train.precision import bf16_here


@pytest.fixture
def cpu(monkeypatch):
    """A machine without a GPU whose CPU has these instructions."""

    def of(**capabilities: object) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)

    return of


def test_a_cpu_without_bfloat16_trains_in_float32(cpu):
    cpu(architecture="x86_64", avx2=True, avx512_bf16=False, amx_bf16=False)
    with pytest.warns(UserWarning, match="no bfloat16 instructions: training in float32"):
        assert bf16_here(True) is False


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16", "bf16", "sve_bf16"])
def test_a_cpu_with_bfloat16_does_as_asked(cpu, name):
    cpu(architecture="any", **{name: True})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bf16_here(True) is True and bf16_here(False) is False


def test_a_wish_for_float32_is_not_remarked_on(cpu):
    cpu(architecture="x86_64", avx512_bf16=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bf16_here(False) is False


def test_a_recipe_with_bf16_trains_in_float32_there(cpu, tmp_path):
    cpu(architecture="x86_64", avx512_bf16=False)
    spec = load_recipe("nano").warmup
    assert spec.bf16
    with pytest.warns(UserWarning, match="float32 instead"):
        assert training_arguments(spec, 0, tmp_path)["bf16"] is False
