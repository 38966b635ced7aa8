"""The fixed-target study: targets are what they say, fits are honest, an interrupted run goes on."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import torch

from riverone_hf.qgp import LoRAConfig, RowColumnConfig
from riverone_hf.qgp.generator import draw
from riverone_hf.qgp.study import CHANGE, TARGETS, fit, make_target, study_methods

WEIGHT = draw((16, 16), 3, 0.25)


@pytest.mark.parametrize("name", TARGETS)
def test_targets_change_the_weight_by_the_same_amount(name):
    target = make_target(name, WEIGHT, seed=1)
    assert float((target - WEIGHT).norm() / WEIGHT.norm()) == pytest.approx(CHANGE, rel=1e-4)
    assert torch.equal(target, make_target(name, WEIGHT, seed=1))
    if name != "elementwise":
        assert not torch.equal(target, make_target(name, WEIGHT, seed=2))


def test_methods_say_whether_they_match():
    found = study_methods((16, 16))
    assert found["circuit"].matched and found["circuit"].trained == found["circuit"].budget == 49
    for match in found.values():
        if match.config.method != "qgp" or not match.config.row_col:
            assert match.matched == (abs(match.trained - 49) <= 0.05 * 49)
    assert not found["circuit + row_col"].matched


def test_a_method_reaches_its_own_targets_and_not_others():
    target = make_target("low rank", WEIGHT, seed=1)
    own = fit(LoRAConfig(rank=2), WEIGHT, target, steps=80, seed=0)
    other = fit(RowColumnConfig(), WEIGHT, target, steps=80, seed=0)
    assert own.explained > 95 > 50 > other.explained
    assert own.seconds > 0


def test_unknown_target():
    with pytest.raises(ValueError, match="unknown target"):
        make_target("something", WEIGHT, seed=0)


def test_interrupted_study_goes_on(tmp_path, monkeypatch):
    script = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "qgp_fixed_target.py"))
    scope = script["run"].__globals__
    monkeypatch.setitem(scope, "TARGETS", ("low rank", "sparse"))
    out = tmp_path / "qgp.json"
    calls = []

    def stops(*arguments):
        calls.append(arguments)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return fit(*arguments)

    monkeypatch.setitem(scope, "fit", stops)
    with pytest.raises(KeyboardInterrupt):
        script["run"](out, 8, 2, 1)
    kept = json.loads(out.read_text())["rows"]
    assert len(kept) == 6
    results = script["run"](out, 8, 2, 1)
    assert results["rows"][:6] == kept and len(calls) == len(results["rows"]) + 1
    assert {row["target"] for row in results["rows"]} == {"low rank", "sparse"}
    assert json.loads(out.read_text()) == results and "| circuit |" in script["table"](results)
