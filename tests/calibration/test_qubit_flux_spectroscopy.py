"""The flux maps: legal truths, labels that follow from arc, fit and outliers, and a sweet spot that the points show."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from riverone_hf.calibration import qubit_flux_spectroscopy as family
from riverone_hf.calibration.flux_maps import Arc, fit_arc
from riverone_hf.calibration.scene import Panel, Series
from riverone_hf.calibration.style import draw_style
from riverone_hf.questions.answers import write_answers
from riverone_hf.questions.truth import UNRELIABLE, Truth

SEEDS = 40
PREFIX = "qubit_flux_spectroscopy_"


@functools.cache
def plot(experiment_type: str, seed: int) -> tuple[Truth, Panel]:
    rng = np.random.default_rng([family.TYPES.index(experiment_type), seed])
    truth, images = family.simulate(experiment_type, rng, draw_style(rng, "qubit_flux_spectroscopy"))
    ((panel,),) = images
    return truth, panel


def series_of(panel: Panel, role: str) -> Series | None:
    return next((s for s in panel.series if s.role == role), None)


def ghz(panel: Panel) -> float:
    return 1e-3 if panel.ylim[1] > 100 else 1.0


@pytest.mark.parametrize("experiment_type", family.TYPES)
def test_plots_are_legal_and_inside_the_axes(experiment_type: str) -> None:
    for seed in range(SEEDS):
        truth, panel = plot(experiment_type, seed)
        write_answers(truth)
        assert truth.panels[0].plot_type == "heatmap"
        assert (truth.suggested_range is None) == (truth.status == "SUCCESS")
        assert (truth.reliability == "Reliable") == (truth.status == "SUCCESS")
        assert (truth.reliability == "No fit") == (series_of(panel, "fit") is None)
        assert all(0 <= value <= 1 for value in truth.targets.values()), truth.targets
        assert panel.heatmap is not None and np.isfinite(panel.heatmap.values).all()
        for series in panel.series:
            assert np.isfinite(series.x).all() and np.isfinite(series.y).all()
            assert panel.xlim[0] <= series.x.min() and series.x.max() <= panel.xlim[1]
            if series.kind == "points":
                assert panel.ylim[0] <= series.y.min() and series.y.max() <= panel.ylim[1]


def test_simulation_is_deterministic_and_reaches_every_status() -> None:
    first = plot(family.TYPES[1], 5)
    plot.cache_clear()
    again = plot(family.TYPES[1], 5)
    assert first[0] == again[0]
    statuses = {plot(name, seed)[0].status for name in family.TYPES for seed in range(SEEDS)}
    assert statuses == {status for _, status in family.LABELS.values()}


def test_statuses_follow_from_fit_and_outliers() -> None:
    for name in family.TYPES[:3]:
        for seed in range(SEEDS):
            truth, panel = plot(name, seed)
            fit, points, outliers = (series_of(panel, role) for role in ("fit", "data", "guide"))
            if fit is None or points is None:
                assert truth.status != "SUCCESS"
                continue
            share = outliers.x.size / (outliers.x.size + points.x.size) if outliers is not None else 0.0
            gap = (np.interp(points.x, fit.x, fit.y) - points.y) / (panel.ylim[1] - panel.ylim[0])
            miss = float(np.sqrt(np.mean(gap**2)))
            low, high = family.MISS_THRESHOLDS
            if truth.status == "SUCCESS":
                assert miss < low and share < 0.25, (seed, miss, share)
            elif truth.status == "FIT_FAILED":
                assert miss > high, (seed, miss)
            else:
                assert (low < miss < high) or share > 0.25, (seed, miss, share)


def test_flat_lines_are_not_tunable_and_arcs_are() -> None:
    for name in ("success", "failure_not_tunable"):
        for seed in range(SEEDS):
            truth, _ = plot(PREFIX + name, seed)
            low, high = family.DROP_THRESHOLDS
            drop = truth.targets["drop"]
            assert drop < low if truth.status == "NOT_TUNABLE" else drop > high, (seed, drop)


def test_lines_stand_out_only_where_the_truth_says_so() -> None:
    for name in family.TYPES:
        for seed in range(SEEDS):
            truth, panel = plot(name, seed)
            if name.endswith("no_data") or truth.parameters["num_resonances"] == 2:
                continue  # a line in a few columns only, or two branches that take turns
            assert panel.heatmap is not None
            values = panel.heatmap.values
            smooth = values[:-2] + 2 * values[1:-1] + values[2:]
            # A line's pixels are the rare extreme ones, at nearby rows in neighbouring columns.
            rest = smooth - smooth.mean(axis=0)
            side = np.sign((rest**3).sum())
            top = np.argmax(side * smooth, axis=0) / smooth.shape[0]
            jump = float(np.median(np.abs(np.diff(top))))
            visible = truth.parameters["num_resonances"] != 0
            assert (jump < 0.12) == visible, (name, seed, jump)


def test_sweet_spot_is_recovered_from_the_points() -> None:
    curve_fit = pytest.importorskip("scipy.optimize").curve_fit
    checked = 0
    for seed in range(SEEDS):
        truth, panel = plot(PREFIX + "success", seed)
        points, frequency = series_of(panel, "data"), truth.parameters["resonance_freq_GHz"]
        assert points is not None and isinstance(frequency, float)
        x, y = points.x, points.y * ghz(panel)
        span, middle = float(np.ptp(x)), float(x[np.argmax(y)])

        def model(v, f, c, k, q, middle=middle, span=span):
            u = (v - c - middle) / span
            return f - k * u**2 - q * u**4

        best, _ = curve_fit(model, x, y, p0=[frequency, 0.0, float(np.ptp(y)), 0.0], maxfev=5000)
        # A quartic is not quite the arc; the audit's fit is held to the 0.1 % of the field.
        assert abs(best[0] / frequency - 1) < 0.002, seed
        assert abs(best[0] - frequency) < 0.04 * (panel.ylim[1] - panel.ylim[0]) * ghz(panel), seed
        checked += 1
    assert checked == SEEDS


def test_fit_arc_recovers_an_arc() -> None:
    arc = Arc(5.2, 0.1, 2.0, 0.3)
    x = np.linspace(-0.4, 0.6, 25)
    found = fit_arc(x, arc(x), Arc(5.3, 0.0, 2.3, 0.3), steps=20)
    assert abs(found.top - 5.2) < 1e-4 and abs(found.centre - 0.1) < 1e-3 and abs(found.period - 2.0) < 1e-2


def test_failures_hide_the_frequency_unless_the_line_is_flat() -> None:
    for name in family.TYPES:
        truth, _ = plot(name, 0)
        known = truth.parameters["resonance_freq_GHz"] != UNRELIABLE
        assert known == (truth.status in ("SUCCESS", "NOT_TUNABLE"))
