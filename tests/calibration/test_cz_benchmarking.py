"""CZ benchmarking: legal truths, titles that hold the Q5 numbers, and decays that the drawn points show."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest

from riverone_hf.calibration import cz_benchmarking as family
from riverone_hf.calibration.scene import Panel, Series
from riverone_hf.calibration.style import draw_style
from riverone_hf.questions.answers import write_answers
from riverone_hf.questions.truth import Truth

SEEDS = 40


@functools.cache
def plot(experiment_type: str, seed: int) -> tuple[Truth, tuple[Panel, Panel]]:
    rng = np.random.default_rng([family.TYPES.index(experiment_type), seed])
    truth, images = family.simulate(experiment_type, rng, draw_style(rng, "cz_benchmarking"))
    (first,), (second,) = images
    return truth, (first, second)


def series_of(panel: Panel, role: str) -> Series:
    return next(s for s in panel.series if s.role == role)


def numbers(truth: Truth) -> dict[str, float]:
    return dict(truth.parameters)  # type: ignore[arg-type]


@pytest.mark.parametrize("experiment_type", family.TYPES)
def test_plots_are_legal_and_inside_the_axes(experiment_type: str) -> None:
    for seed in range(SEEDS):
        truth, panels = plot(experiment_type, seed)
        write_answers(truth)
        assert len(truth.panels) == 2 and {p.plot_type for p in truth.panels} == {"scatter"}
        assert (truth.suggested_range is None) == (truth.status == "SUCCESS")
        assert truth.reliability != "No fit"
        assert all(0 <= value <= 1 for value in truth.targets.values()), truth.targets
        for panel in panels:
            for series in panel.series:
                assert np.isfinite(series.x).all() and np.isfinite(series.y).all()
                assert panel.xlim[0] <= series.x.min() and series.x.max() <= panel.xlim[1]
                assert panel.ylim[0] <= series.y.min() and series.y.max() <= panel.ylim[1]


def test_simulation_is_deterministic() -> None:
    first = plot(family.TYPES[1], 5)
    plot.cache_clear()
    again = plot(family.TYPES[1], 5)
    assert first[0] == again[0]
    assert np.array_equal(first[1][1].series[0].y, again[1][1].series[0].y)


def test_the_words_on_the_plot_hold_the_numbers() -> None:
    for name in family.TYPES:
        for seed in range(SEEDS):
            truth, panels = plot(name, seed)
            told = numbers(truth)
            keys = ("retention_per_cz", "cycle_polarization")
            for panel, key, chi in zip(panels, keys, ("retention", "polarization"), strict=True):
                words = (panel.title or panel.text or "").replace("\n", " ")
                sites = re.search(r"Sites \((\d+), (\d+)\)", words)
                assert sites is not None and [int(g) for g in sites.groups()] == truth.parameters["site_indices"]
                value = re.search(r"(\d\.\d{4})\s?(?:\((\d+)\)|± (\d\.\d{4}))", words)
                assert value is not None, words
                assert float(value[1]) == told[key]
                error = float(value[2]) * 1e-4 if value[2] else float(value[3])
                assert error == pytest.approx(told[key + "_unc"])
                found = re.search(r"chi squared:? ([\d.]+)", words)
                assert (float(found[1]) if found else None) == told["chi_squared_" + chi]
                assert series_of(panel, "data").x.max() == told["max_circuit_depth"]


def left(panel: Panel, asymptote: float) -> tuple[float, float, float]:
    """(share left at the deepest, at the first depth with gates, spread of single circuits beyond their errors)."""
    data, mean = series_of(panel, "data"), series_of(panel, "data2")
    y = mean.y - asymptote
    assert data.yerr is not None
    deep = data.x == data.x.max()
    spread = float(data.y[deep].std() / data.yerr[deep].mean())
    return float(y[-1] / y[0]), float(y[1] / y[0]), spread


def test_statuses_follow_from_the_points() -> None:
    for name in family.TYPES:
        for seed in range(SEEDS):
            truth, (kept, succeeded) = plot(name, seed)
            flat = left(kept, 0.0)[0]
            end, first, spread = left(succeeded, family.ASYMPTOTE)
            if truth.status == "SUCCESS":
                assert end > family.POLARIZATION_THRESHOLD - 0.05 and flat > 0.72, (seed, end, flat)
            elif truth.status == "NO_GATE":
                assert flat > family.FLAT_THRESHOLD - 0.02 and first < 0.6, (seed, flat, first)
            else:
                assert end < family.POLARIZATION_THRESHOLD and flat < family.FLAT_THRESHOLD + 0.01, (seed, end, flat)
                assert spread < 3, seed


def test_rates_are_recovered_from_the_points() -> None:
    curve_fit = pytest.importorskip("scipy.optimize").curve_fit
    for name in ("cz_benchmarking_success", "cz_benchmarking_failure_miscalibrated"):
        for seed in range(SEEDS):
            truth, panels = plot(name, seed)
            if truth.reliability != "Reliable":
                continue
            for panel, key, asymptote in zip(
                panels, ("retention_per_cz", "cycle_polarization"), (0.0, family.ASYMPTOTE), strict=True
            ):
                mean = series_of(panel, "data2")

                def model(n, a, r, asymptote=asymptote):
                    return asymptote + a * r**n

                best, _ = curve_fit(model, mean.x, mean.y, p0=[0.7, numbers(truth)[key]], sigma=mean.yerr)
                assert abs(best[1] / numbers(truth)[key] - 1) < 0.02, (seed, key)


def test_lost_polarization_is_not_reliable() -> None:
    for name in family.TYPES:
        for seed in range(SEEDS):
            truth, (_, succeeded) = plot(name, seed)
            first = left(succeeded, family.ASYMPTOTE)[1]
            if truth.status != "NO_GATE":
                assert (first > family.LOST) == (truth.reliability == "Reliable") or abs(first - family.LOST) < 0.06, (
                    seed
                )
