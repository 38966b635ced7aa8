"""Pinch-off traces obey their label rule, and the indices follow from the drawn points."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from riverone_hf.calibration import pinchoff
from riverone_hf.calibration.scene import Panel, Style
from riverone_hf.questions.answers import write_answers
from riverone_hf.questions.families import FAMILIES
from riverone_hf.questions.truth import Truth

SEEDS = 40
STEPPED = [name for name in pinchoff.TYPES if name != "pinchoff_failure_noisy_no_transition"]


def simulated(experiment_type: str, seed: int) -> tuple[Truth, Panel]:
    truth, images = pinchoff.simulate(experiment_type, np.random.default_rng([91, seed]), Style())
    assert len(images) == len(images[0]) == 1
    return truth, images[0][0]


def numbers(truth: Truth) -> dict[str, Any]:
    return dict(truth.parameters)


@pytest.mark.parametrize("experiment_type", pinchoff.TYPES)
def test_plots_are_legal_finite_and_deterministic(experiment_type: str) -> None:
    keys = set()
    for seed in range(SEEDS):
        truth, panel = simulated(experiment_type, seed)
        assert write_answers(truth) == write_answers(simulated(experiment_type, seed)[0])
        assert truth.reliability == "No fit" and len(truth.panels) == 1
        assert (truth.suggested_range is None) == (truth.status == "SUCCESS")
        assert all(0 <= value <= 1 for value in truth.targets.values()), truth.targets
        keys.add(tuple(truth.targets))
        series = panel.series[0]
        for values, (low, high) in ((series.x, panel.xlim), (series.y, panel.ylim)):
            assert np.isfinite(values).all()
            assert low <= values.min() and values.max() <= high
    assert len(keys) == 1


def test_types_are_those_of_the_family() -> None:
    assert set(pinchoff.TYPES) == set(FAMILIES["pinchoff"].types)


def test_indices_of_a_known_step() -> None:
    # g(19) = 0.987, g(20) = 0.731, g(21) = 0.088, g(22) = 0.003: plateaus up to 19 and from 22.
    fraction = pinchoff.step_fraction(np.arange(41.0), 20.3, 0.3)
    assert pinchoff.indices(fraction) == (18, 20, 23)
    assert pinchoff.indices(fraction[:22]) == (18, None, None)


@pytest.mark.parametrize("experiment_type", STEPPED)
def test_labels_follow_from_the_drawn_points(experiment_type: str) -> None:
    lowest, highest = pinchoff.FLOOR_THRESHOLDS
    for seed in range(SEEDS):
        truth, panel = simulated(experiment_type, seed)
        y, found = panel.series[0].y, numbers(truth)
        if truth.status == "INCOMPLETE":
            assert found["cut_off_index"] is None and found["transition_index"] is None
            top = np.mean(y[: found["saturation_index"] + 1])
            assert y[-1] / top > pinchoff.LEFT_THRESHOLD, seed
            assert y[-1] < 0.85 * top, seed
            continue
        assert 0 < found["saturation_index"] < found["transition_index"] < found["cut_off_index"] < y.size - 1
        floor = np.mean(y[found["cut_off_index"] :])
        step = y[found["saturation_index"]] - floor
        assert (lowest < floor / step < highest) == (truth.status == "SUCCESS"), (seed, floor / step)
        assert (floor < 0) == (truth.status == "NEGATIVE_OFFSET") or truth.status == "SUCCESS"


def test_midpoint_and_floor_are_recovered_by_a_fit() -> None:
    curve_fit = pytest.importorskip("scipy.optimize").curve_fit
    checked = 0
    for seed in range(SEEDS):
        truth, panel = simulated("pinchoff_success", seed)
        x, y, found = panel.series[0].x, panel.series[0].y, numbers(truth)
        if truth.targets["noise"] > 0.3 or truth.targets["plateau_slope"] > 0:
            continue

        def logistic(t, middle, width, step, floor):
            return floor + step / (1 + np.exp(np.clip((t - middle) / width, -60, 60)))

        start = [found["transition_index"] + 0.5, 0.8, np.ptp(y), y[-1]]
        best, _ = curve_fit(logistic, x, y, p0=start, maxfev=20000)
        assert abs(best[0] - found["transition_index"] - 0.5) < 0.5 + 0.02 * x.size / 2, seed
        assert abs(best[3] / best[2] - (2 * truth.targets["floor"] - 1)) < 0.02, seed
        checked += 1
    assert checked > 5


def test_traces_without_transition_have_no_step() -> None:
    for seed in range(SEEDS):
        truth, panel = simulated("pinchoff_failure_noisy_no_transition", seed)
        y = panel.series[0].y
        assert set(numbers(truth).values()) == {None}
        half = y.size // 2
        assert abs(np.median(y[:half]) - np.median(y[half:])) < 1.5 * y.std(), seed
        assert np.abs(np.diff(y)).mean() > 0.5 * y.std(), seed
