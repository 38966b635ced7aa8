"""Resonator scans obey their label rule, and frequency and contrast follow from the drawn magnitude."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from riverone_hf.calibration import res_spec
from riverone_hf.calibration.scene import Panel, Style
from riverone_hf.questions.answers import write_answers
from riverone_hf.questions.families import FAMILIES
from riverone_hf.questions.truth import Truth

SEEDS = 40


def simulated(experiment_type: str, seed: int) -> tuple[Truth, list[Panel]]:
    truth, images = res_spec.simulate(experiment_type, np.random.default_rng([90, seed]), Style())
    return truth, [image[0] for image in images]


def numbers(truth: Truth) -> dict[str, Any]:
    return dict(truth.parameters)


def linear(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """Frequency in GHz and magnitude on a linear scale of a drawn magnitude panel."""
    series = panel.series[0]
    x = series.x / (1e3 if series.x[0] > 100 else 1.0)
    y = np.asarray(series.y)
    return x, 10 ** (y / 20) if "dB" in panel.ylabel or y.min() < 0 else y


@pytest.mark.parametrize("experiment_type", res_spec.TYPES)
def test_plots_are_legal_finite_and_deterministic(experiment_type: str) -> None:
    keys = set()
    for seed in range(SEEDS):
        truth, panels = simulated(experiment_type, seed)
        assert write_answers(truth) == write_answers(simulated(experiment_type, seed)[0])
        assert len(panels) == len(truth.panels) == FAMILIES["res_spec"].n_images
        assert truth.reliability == "No fit"
        assert (truth.suggested_range is None) == (truth.status == "SUCCESS")
        assert all(0 <= value <= 1 for value in truth.targets.values()), truth.targets
        keys.add(tuple(truth.targets))
        for panel, told in zip(panels, truth.panels, strict=True):
            assert told.plot_type == ("scatter" if panel.series[0].kind == "points" else "line")
            for values, (low, high) in ((panel.series[0].x, panel.xlim), (panel.series[0].y, panel.ylim)):
                assert np.isfinite(values).all()
                assert low - 1e-9 * (high - low) <= values.min() <= values.max() <= high + 1e-9 * (high - low)
    assert len(keys) == 1


def test_types_and_labels_are_those_of_the_family() -> None:
    assert set(res_spec.TYPES) == set(FAMILIES["res_spec"].types)
    for name, (_, status) in res_spec.LABELS.items():
        assert (status == "SUCCESS") == ("success" in name)


@pytest.mark.parametrize("experiment_type", [name for name in res_spec.TYPES if "success" in name])
def test_reported_features_stand_out_of_the_drawn_magnitude(experiment_type: str) -> None:
    for seed in range(SEEDS):
        truth, panels = simulated(experiment_type, seed)
        x, y = linear(panels[0])
        found, contrasts = numbers(truth)["resonance_freq_GHz"], numbers(truth)["contrast"]
        assert len(found) == len(contrasts) == (2 if "2qubit" in experiment_type else 1)
        assert found == sorted(found)
        noise = np.median(np.abs(np.diff(y))) / 0.95
        for frequency in found:
            near = np.abs(x - frequency) < 0.03 * (x[-1] - x[0])
            assert np.max(np.abs(y[near] - np.median(y))) / noise > res_spec.HEIGHT_THRESHOLD, seed


def test_zoomed_resonance_and_contrast_are_recovered_by_a_fit() -> None:
    curve_fit = pytest.importorskip("scipy.optimize").curve_fit
    checked = close = 0
    for seed in range(120):
        truth, panels = simulated("res_spec_success_zoomed_resonator", seed)
        x, y = linear(panels[0])
        u = (x - x[0]) / (x[-1] - x[0])
        # A missing label leaves open whether the axis is in dB.
        if (
            not panels[0].ylabel
            or truth.targets["height"] < 0.7
            or y[np.argmax(np.abs(y - np.median(y)))] > np.median(y)
        ):
            continue

        def notch(t, position, width, depth, phi, level, slope):
            line = depth * np.exp(1j * phi) / (1 + 2j * (t - position) / width)
            return level * (1 + slope * (t - 0.5)) * np.abs(1 - line)

        start = [u[y.argmin()], 0.1, 1 - y.min() / np.median(y), 0.0, np.median(y), 0.0]
        best, _ = curve_fit(notch, u, y, p0=start, maxfev=20000)
        grid = np.linspace(0, 1, 4001)
        # The reader's frequency is the minimum of the drawn dip, which an asymmetric line shifts.
        lowest = x[0] + grid[notch(grid, *best).argmin()] * (x[-1] - x[0])
        assert abs(lowest - numbers(truth)["resonance_freq_GHz"][0]) < 0.02 * (x[-1] - x[0]), seed
        contrast = 1 - notch(grid, *best).min() / best[4]
        told = numbers(truth)["contrast"][0]
        assert abs(contrast - told) < 0.06, seed
        close += abs(contrast - told) < 0.02 * told + 0.005
        checked += 1
    assert checked > 15
    # Within 2 % and half a printed digit, but for the noise of the scattered lowest points.
    assert close > 0.75 * checked


@pytest.mark.parametrize("experiment_type", [name for name in res_spec.TYPES if "failure" in name])
def test_empty_scans_hold_nothing_like_a_resonance(experiment_type: str) -> None:
    for seed in range(SEEDS):
        truth, panels = simulated(experiment_type, seed)
        _, y = linear(panels[0])
        assert numbers(truth) == {"resonance_freq_GHz": None, "contrast": None}
        noise = np.median(np.abs(np.diff(y))) / 0.95
        smooth = np.convolve(y - np.median(y), np.full(7, 1 / 7), "valid")
        assert np.max(np.abs(smooth)) / noise < 3, seed
        assert np.median(y) - y.min() < res_spec.HEIGHT_THRESHOLD * noise, seed
