"""Microwave Ramsey: legal truths, the two-pulse formula, labels from the drawn fringes, fitted detunings."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest

from riverone_hf.calibration import microwave_ramsey as family
from riverone_hf.calibration.scene import Panel, Series
from riverone_hf.calibration.style import draw_style
from riverone_hf.questions.answers import write_answers
from riverone_hf.questions.truth import Truth

SEEDS = 40


@functools.cache
def plot(experiment_type: str, seed: int) -> tuple[Truth, Panel]:
    rng = np.random.default_rng([family.TYPES.index(experiment_type), seed])
    truth, images = family.simulate(experiment_type, rng, draw_style(rng, "microwave_ramsey"))
    ((panel,),) = images
    return truth, panel


def numbers(truth: Truth) -> dict[str, float]:
    return dict(truth.parameters)  # type: ignore[arg-type]


def fit_of(panel: Panel) -> Series | None:
    return next((s for s in panel.series if s.role == "fit"), None)


@pytest.mark.parametrize("experiment_type", family.TYPES)
def test_plots_are_legal_and_inside_the_axes(experiment_type: str) -> None:
    for seed in range(SEEDS):
        truth, panel = plot(experiment_type, seed)
        write_answers(truth)
        assert truth.panels[0].plot_type == "scatter"
        assert (truth.suggested_range is None) == (truth.status == "SUCCESS")
        assert (truth.reliability == "No fit") == (fit_of(panel) is None)
        assert all(0 <= value <= 1 for value in truth.targets.values()), truth.targets
        for series in panel.series:
            assert np.isfinite(series.x).all() and np.isfinite(series.y).all()
            for values, (low, high) in ((series.x, panel.xlim), (series.y, panel.ylim)):
                if series.role == "data" or values is series.x:
                    assert low <= values.min() and values.max() <= high


def test_simulation_is_deterministic() -> None:
    first = plot(family.TYPES[1], 5)
    plot.cache_clear()
    again = plot(family.TYPES[1], 5)
    assert first[0] == again[0] and np.array_equal(first[1].series[0].y, again[1].series[0].y)


def test_two_pulse_formula_in_its_limits() -> None:
    near = family.transfer(np.array([0.0]), 1e4, 1e-3)
    assert near[0] == pytest.approx(1.0)
    half_fringe = family.transfer(np.array([0.5e3]), 1e7, 1e-3)
    assert half_fringe[0] == pytest.approx(0.0, abs=1e-3)
    # About two Rabi frequencies away the fringes still reach zero transfer but no longer one.
    far = family.transfer(np.linspace(2.05e4, 2.25e4, 2000), 1e4, 1e-2)
    assert far.min() < 0.01 and 0.4 < far.max() < 0.7


def test_statuses_follow_from_the_fringes() -> None:
    for name in family.TYPES:
        for seed in range(SEEDS):
            truth, panel = plot(name, seed)
            y = panel.series[0].y
            contrast, low = numbers(truth)["contrast"], numbers(truth)["retention_min"]
            # Coarse points miss the extrema a little, shot noise oversteps them.
            assert abs((np.sort(y)[-2:].mean() - np.sort(y)[:2].mean()) - contrast) < 0.25, seed
            if truth.status == "SUCCESS":
                assert contrast > family.CONTRAST_THRESHOLD and low < family.MINIMUM_THRESHOLD
            else:
                assert contrast < family.CONTRAST_THRESHOLD
                high = contrast + low > family.MAXIMUM_THRESHOLD
                assert high == (truth.status == "DETUNED")
                assert low > family.MINIMUM_THRESHOLD or truth.status == "LOW_CONTRAST"


def test_reliable_fits_track_the_points_and_the_others_miss_them() -> None:
    for name in family.TYPES:
        for seed in range(SEEDS):
            truth, panel = plot(name, seed)
            fit, data = fit_of(panel), panel.series[0]
            if fit is None:
                continue
            miss = float(np.sqrt(np.mean((np.interp(data.x, fit.x, fit.y) - data.y) ** 2)))
            if truth.reliability == "Reliable":
                assert miss < 0.11, (name, seed, miss)
            else:
                assert miss > 0.11, (name, seed, miss)


def test_detuning_is_written_and_is_where_the_fringe_is() -> None:
    curve_fit = pytest.importorskip("scipy.optimize").curve_fit
    checked = 0
    for seed in range(SEEDS):
        truth, panel = plot("microwave_ramsey_success", seed)
        detuning = numbers(truth)["detuning_Hz"]
        if detuning is None:
            continue
        words = re.search(r"(-?[\d.]+) (?:\+/-|±) ([\d.]+)", panel.title or panel.text or "")
        assert words is not None
        in_khz = "kHz" in panel.xlabel
        to_hz = 1e3 if in_khz else 1.0
        assert float(words[1]) * to_hz == pytest.approx(detuning)
        assert float(words[2]) * to_hz == pytest.approx(numbers(truth)["detuning_Hz_unc"])
        fit, data = fit_of(panel), panel.series[0]
        assert fit is not None
        turns = np.flatnonzero(np.diff(np.sign(np.diff(fit.y))))
        period = 1 / truth.targets["fringes"] / 8 * 2 * data.x[-1]

        def model(v, p, c, a, b):
            return b + a * np.cos(2 * np.pi * (v - c) / p)

        start = float(fit.x[turns[0] + 1])
        sign = np.sign(fit.y[turns[0] + 1] - 0.5)
        best, _ = curve_fit(model, data.x, data.y, p0=[period, start, 0.45 * sign, 0.5])
        centre = detuning / to_hz
        # A maximum or a minimum lies at plus or minus the detuning (sign conventions differ between labs).
        away = min(abs(((side * centre - best[1]) / (best[0] / 2) + 0.5) % 1 - 0.5) for side in (1, -1)) / 2
        assert away < 0.03, (seed, away)
        assert abs(best[0] / period - 1) < 0.05, seed
        checked += 1
    assert checked > 30
