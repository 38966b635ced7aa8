"""Live generators in training: the regularizer counts in the loss, checkpoints in between stay live."""

from __future__ import annotations

import copy

import pytest
import torch

from riverone_hf.errors import FrozenResumeError, TrainingError
from riverone_hf.qgp import QGPConfig, attach, regularizer, trained_parameters
from riverone_hf.train.regularizer import check_resumable, live, norm_regularizer


@pytest.fixture
def generated(tiny):
    config = QGPConfig(modules=("*qkv.0.q_proj",), register="tiled", tile_wires=4, n_layers=1)
    return attach(copy.deepcopy(tiny[0]), config)


def test_it_is_the_weighted_norm_and_has_gradients(generated):
    with torch.no_grad():
        for parameter in trained_parameters(generated):
            parameter.add_(0.1)
    losses = norm_regularizer(generated, 0.5)
    value = losses["regularizer"](generated)
    assert value.item() == pytest.approx(0.5 * regularizer(generated).item()) and value.item() > 0
    value.backward()
    assert all(parameter.grad is not None for parameter in trained_parameters(generated))


def test_a_model_without_generators_is_refused(tiny):
    with pytest.raises(TrainingError, match="no live generators"):
        norm_regularizer(tiny[0], 0.5)


def test_checkpoints_are_live_inside_and_frozen_outside(generated, tmp_path):
    with live(generated):
        generated.save_pretrained(tmp_path / "live")
    generated.save_pretrained(tmp_path / "frozen")
    check_resumable(tmp_path / "live")
    with pytest.raises(FrozenResumeError):
        check_resumable(tmp_path / "frozen")
    check_resumable(tmp_path)  # no model of ours: the warm-up's heads
