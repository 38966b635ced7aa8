"""The coupler maps: legal truths, fits that follow or miss as labelled, and crossings that the drawn map shows."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from riverone_hf.calibration import coupler_flux as family
from riverone_hf.calibration.scene import Panel
from riverone_hf.calibration.style import draw_style
from riverone_hf.questions.answers import write_answers
from riverone_hf.questions.truth import UNRELIABLE, Truth

SEEDS = 40


@functools.cache
def plot(experiment_type: str, seed: int) -> tuple[Truth, tuple[Panel, ...]]:
    rng = np.random.default_rng([family.TYPES.index(experiment_type), seed])
    truth, images = family.simulate(experiment_type, rng, draw_style(rng, "coupler_flux"))
    assert len(images) == 1
    return truth, images[0]


def line_of(panel: Panel) -> np.ndarray:
    return next(s.y for s in panel.series if s.role in ("fit", "fit2"))


def columns_of(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """(frequency of the brightest pixel of each column, its height over the column's median)."""
    assert panel.heatmap is not None
    values = panel.heatmap.values
    edges = np.linspace(*panel.ylim, values.shape[0] + 1)
    return (edges[:-1] + edges[1:])[np.argmax(values, axis=0)] / 2, values.max(axis=0) - np.median(values, axis=0)


@pytest.mark.parametrize("experiment_type", family.TYPES)
def test_plots_are_legal_and_inside_the_axes(experiment_type: str) -> None:
    for seed in range(SEEDS):
        truth, panels = plot(experiment_type, seed)
        write_answers(truth)
        assert len(panels) == 2 and len(truth.panels) == 1 and truth.panels[0].plot_type == "heatmap"
        assert (truth.suggested_range is None) == (truth.status == "SUCCESS")
        assert (truth.reliability == "Reliable") == (truth.status == "SUCCESS")
        assert all(0 <= value <= 1 for value in truth.targets.values()), truth.targets
        for panel in panels:
            assert panel.heatmap is not None and np.isfinite(panel.heatmap.values).all()
            for series in panel.series:
                assert np.isfinite(series.x).all() and np.isfinite(series.y).all()
                assert panel.xlim[0] <= series.x.min() and series.x.max() <= panel.xlim[1]
                if series.kind == "points":
                    assert panel.ylim[0] <= series.y.min() and series.y.max() <= panel.ylim[1]


def test_simulation_is_deterministic() -> None:
    first = plot(family.TYPES[0], 3)
    plot.cache_clear()
    again = plot(family.TYPES[0], 3)
    assert first[0] == again[0]
    assert all(np.array_equal(a.heatmap.values, b.heatmap.values) for a, b in zip(first[1], again[1], strict=True))  # type: ignore[union-attr]


def test_fits_follow_the_bright_pixels_exactly_when_reliable() -> None:
    for name in family.TYPES:
        for seed in range(SEEDS):
            truth, panels = plot(name, seed)
            if truth.targets["contrast"] < 0.5:
                continue  # the brightest pixel of a noisy column is not always the line
            misses = []
            for panel in panels:
                bright, height = columns_of(panel)
                clear = height > 0.7
                gap = np.abs(line_of(panel) - bright)[clear] / (panel.ylim[1] - panel.ylim[0])
                misses.append(float(np.sqrt(np.mean(np.minimum(gap, family.LIMIT) ** 2))))
            assert (max(misses) > family.MISS_THRESHOLD) == (truth.status == "FIT_POOR"), (name, seed, misses)


def test_crossings_and_plateaus_are_where_the_map_shows_them() -> None:
    for seed in range(SEEDS):
        truth, panels = plot("coupler_flux_success", seed)
        at = truth.parameters["crossing_voltages_V"]
        assert isinstance(at, list) and 2 <= len(at) <= 4 and at == sorted(at)
        for panel, key in zip(panels, ("left_fig_branch_freqs_GHz", "right_fig_branch_freqs_GHz"), strict=True):
            plateaus = truth.parameters[key]
            assert isinstance(plateaus, list) and len(plateaus) == len(at) + 1
            assert all(panel.ylim[0] < f < panel.ylim[1] for f in plateaus)
            # Arcs alternate: the branch above the coupler lies higher than its neighbours.
            steps = np.sign(np.diff(plateaus))
            assert (steps[1:] == -steps[:-1]).all() and steps.all(), (seed, plateaus)
            # The fitted line jumps across the bare frequency at every crossing.
            x = next(s.x for s in panel.series if s.role in ("fit", "fit2"))
            jumps = x[1:][np.abs(np.diff(line_of(panel))) > 0.25 * (panel.ylim[1] - panel.ylim[0])]
            for crossing in at:
                assert np.abs(jumps - crossing).min() < 0.08 * np.ptp(x), (seed, crossing)


def test_fitted_plateaus_agree_with_an_independent_fit_of_the_points() -> None:
    curve_fit = pytest.importorskip("scipy.optimize").curve_fit
    checked = 0
    for seed in range(SEEDS):
        truth, panels = plot("coupler_flux_success", seed)
        plateaus, at = truth.parameters["left_fig_branch_freqs_GHz"], truth.parameters["crossing_voltages_V"]
        points = [s for s in panels[0].series if s.role == "data"]
        if not points or truth.targets["contrast"] < 0.45:
            continue
        assert isinstance(plateaus, list) and isinstance(at, list)
        x, y = points[0].x, points[0].y
        middle, width = (at[0] + at[1]) / 2, at[1] - at[0]
        inner = np.abs(x - middle) < 0.25 * width
        if inner.sum() < 5:
            continue
        best, _ = curve_fit(lambda v, f, c, k: f + k * (v - c) ** 2, x[inner], y[inner], p0=[plateaus[1], middle, 0.0])
        assert abs(best[0] / plateaus[1] - 1) < 0.001, seed
        height = panels[0].ylim[1] - panels[0].ylim[0]
        assert abs(best[0] - plateaus[1]) < 0.05 * height, seed
        checked += 1
    assert checked > 10


def test_failures_give_no_numbers() -> None:
    truth, _ = plot("coupler_flux_failure_bad_fit", 0)
    assert set(truth.parameters.values()) == {UNRELIABLE}
