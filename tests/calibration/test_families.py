"""Every type of every family draws, obeys its docstring's label rule, and its numbers follow from the drawn points."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from riverone_hf.calibration import draw
from riverone_hf.calibration.physics import Exponential, decade_below, fit_exponential
from riverone_hf.calibration.plot import Plot, family_module
from riverone_hf.calibration.scene import Panel, Series
from riverone_hf.errors import QuestionError
from riverone_hf.questions.enums import ASSESSMENTS, OUTCOMES, PLOT_TYPES
from riverone_hf.questions.families import FAMILIES
from riverone_hf.questions.truth import UNRELIABLE

SEEDS = 50
FIRST_FAMILIES = ("rabi", "ramsey_t2star", "t1", "qubit_spectroscopy", "gmm", "drag")
ALL_TYPES = [(family, name) for family in FIRST_FAMILIES for name in family_module(family).TYPES]


def plots(family: str, experiment_type: str, seeds: int = SEEDS) -> list[Plot]:
    return [draw(family, seed, experiment_type) for seed in range(seeds)]


def numbers(plot: Plot) -> dict[str, Any]:
    """The Q5 values, untyped."""
    return dict(plot.truth.parameters)


def time_panel(plot: Plot) -> Panel:
    """The panel with the trace: for Ramsey the one that is not the spectrum (the spectrum never holds points)."""
    panels = [panel for figure in plot.figures for panel in figure.panels]
    if len(panels) == 2:
        spectral = ("Frequency", "Detuning")
        named = [p for p in panels if not p.xlabel.startswith(spectral) and "FFT" not in p.ylabel + p.title]
        return min(named or panels, key=lambda p: -p.series[0].x.size)
    return panels[0]


def data_of(plot: Plot, role: str = "data") -> Series:
    return next(s for s in time_panel(plot).series if s.role == role)


@pytest.mark.parametrize(("family", "experiment_type"), ALL_TYPES)
def test_every_type_draws_legal_plots(family: str, experiment_type: str) -> None:
    spec = FAMILIES[family]
    assert experiment_type in spec.types
    for plot in plots(family, experiment_type):
        truth = plot.truth
        assert truth.family == family and truth.experiment_type == experiment_type
        assert truth.outcome in OUTCOMES and truth.reliability in ASSESSMENTS
        assert truth.status in spec.statuses
        assert list(truth.parameters) == [field.name for field in spec.fields]
        assert len(truth.panels) == len(plot.figures) == spec.n_images
        assert (truth.suggested_range is None) == (truth.status in ("SUCCESS", "BEATING"))
        for text, limit in (
            (truth.q2_reason, 12),
            (truth.q4_reason, 12),
            (truth.q6_notes, 15),
            (truth.significance, 40),
            *((panel.main_features, 10) for panel in truth.panels),
        ):
            assert 2 <= len(text.split()) <= limit, text
            assert "{" not in text
        assert all(0 <= value <= 1 for value in truth.targets.values()), truth.targets


@pytest.mark.parametrize(("family", "experiment_type"), ALL_TYPES)
def test_parameters_fit_their_fields(family: str, experiment_type: str) -> None:
    for plot in plots(family, experiment_type):
        for field in FAMILIES[family].fields:
            value = numbers(plot)[field.name]
            if value is None or value == UNRELIABLE:
                assert plot.truth.status != "SUCCESS"
            elif field.kind == "bool":
                assert isinstance(value, bool)
            elif field.kind == "enum":
                assert value in field.choices
            elif field.kind == "int_count":
                assert isinstance(value, int)
            elif field.kind == "coord_list":
                assert isinstance(value, list) and len(value) == 2
            else:
                assert isinstance(value, float) and math.isfinite(value)


@pytest.mark.parametrize(("family", "experiment_type"), ALL_TYPES)
def test_points_are_finite_and_inside_the_axes(family: str, experiment_type: str) -> None:
    for plot in plots(family, experiment_type):
        for figure, told in zip(plot.figures, plot.truth.panels, strict=True):
            assert told.plot_type in PLOT_TYPES
            panel = figure.panels[0]
            assert (told.x_axis.label, told.y_axis.label) == (panel.xlabel, panel.ylabel)
            assert told.x_axis.range[0] < told.x_axis.range[1] and told.y_axis.range[0] < told.y_axis.range[1]
            drawn = {series.kind for series in panel.series if series.role in ("data", "data2")}
            assert told.plot_type == ("line" if drawn == {"line"} else "scatter")
            for panel in figure.panels:
                for series in panel.series:
                    assert np.isfinite(series.x).all() and np.isfinite(series.y).all()
                    if series.role in ("data", "data2") and series.x.size:
                        for values, (low, high) in ((series.x, panel.xlim), (series.y, panel.ylim)):
                            slack = 1e-9 * (high - low)
                            assert values.min() >= low - slack and values.max() <= high + slack


@pytest.mark.parametrize("family", FIRST_FAMILIES)
def test_target_keys_are_stable(family: str) -> None:
    keys = {tuple(draw(family, seed).truth.targets) for seed in range(40)}
    assert len(keys) == 1


@pytest.mark.parametrize("family", FIRST_FAMILIES)
def test_draw_is_deterministic_and_types_are_all_reached(family: str) -> None:
    first, again, other = draw(family, 7), draw(family, 7), draw(family, 8)
    assert first.truth == again.truth
    assert np.array_equal(data_of(first).y, data_of(again).y)
    assert not np.array_equal(data_of(first).y, data_of(other).y)
    assert {draw(family, seed).truth.experiment_type for seed in range(120)} == set(family_module(family).TYPES)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(QuestionError, match="no simulator"):
        draw("tea_leaves", 0)
    with pytest.raises(QuestionError, match="has no type"):
        draw("t1", 0, "rabi_success")


@pytest.mark.parametrize(("family", "experiment_type"), ALL_TYPES)
def test_fit_presence_agrees_with_q4(family: str, experiment_type: str) -> None:
    for plot in plots(family, experiment_type):
        panel = time_panel(plot)
        drawn = bool(panel.circles) if family == "gmm" else any(s.role in ("fit", "fit2") for s in panel.series)
        assert drawn == (plot.truth.reliability != "No fit")


def residual_ratio(plot: Plot) -> float:
    data, fit = data_of(plot), data_of(plot, "fit")
    y = np.interp(data.x, fit.x, fit.y)
    return float(np.sqrt(np.mean((data.y - y) ** 2)) / data.y.std())


@pytest.mark.parametrize("family", ["rabi", "t1", "qubit_spectroscopy", "ramsey_t2star"])
def test_reliable_fits_track_the_points_and_wrong_ones_do_not(family: str) -> None:
    for seed in range(400):
        plot = draw(family, seed)
        if plot.truth.reliability == "Reliable":
            # Narrow lines leave most points as pure noise, so their ratio is larger.
            assert residual_ratio(plot) < (0.85 if family == "qubit_spectroscopy" else 0.6), (
                seed,
                plot.truth.experiment_type,
            )
        if plot.truth.status == "FIT_POOR":
            assert plot.truth.reliability == "Unreliable"
            assert residual_ratio(plot) > 0.4, seed


def fit_check(x: np.ndarray, y: np.ndarray, model: Callable[..., np.ndarray], start: list[float]) -> np.ndarray:
    """An independent least-squares fit of drawn points."""
    curve_fit = pytest.importorskip("scipy.optimize").curve_fit
    return np.asarray(curve_fit(model, x, y, p0=start, maxfev=20000)[0])


def clean(family: str, experiment_type: str, seeds: int) -> list[Plot]:
    """Success plots with little noise and a drawn fit."""
    found = [draw(family, seed, experiment_type) for seed in range(seeds)]
    return [p for p in found if p.truth.reliability == "Reliable" and p.truth.targets.get("noise", 0.0) < 0.25]


def test_t1_is_recovered_from_the_points() -> None:
    checked = clean("t1", "t1_success", 60)
    assert len(checked) > 20
    for plot in checked:
        data = data_of(plot)
        span = data.y[0] - data.y[-1]
        rate, _, _ = fit_check(
            data.x, data.y, lambda t, r, a, c: c + a * np.exp(-r * t), [5 / data.x[-1], span, data.y[-1]]
        )
        ratio = 1 / rate / numbers(plot)["T1_us"]
        in_ns = ratio > 30
        assert abs(ratio / (1e3 if in_ns else 1.0) - 1) < 0.02, plot.seed


def test_rabi_periods_are_recovered_from_the_points() -> None:
    checked = clean("rabi", "rabi_success", 60)
    assert len(checked) > 15
    for plot in checked:
        data, periods = data_of(plot), numbers(plot)["periods_visible"]
        u = (data.x - data.x[0]) / (data.x[-1] - data.x[0])
        centre, size = data.y.mean(), np.ptp(data.y) / 2

        def model(t, f, rate, a, b, c):
            return c + np.exp(-rate * t) * (a * np.cos(2 * np.pi * f * t) + b * np.sin(2 * np.pi * f * t))

        best = fit_check(u, data.y, model, [periods, 0.1, size, 0.1 * size, centre])
        # The truth is rounded to 0.1.
        assert abs(best[0] - periods) < 0.02 * periods + 0.05, plot.seed


def test_ramsey_numbers_are_recovered_from_the_points() -> None:
    checked = clean("ramsey_t2star", "ramsey_success_t2star", 60)
    assert len(checked) > 15
    for plot in checked:
        data, truth = data_of(plot), numbers(plot)
        in_ns = data.x[-1] > 300
        x = data.x * (1e-3 if in_ns else 1.0)
        best = math.inf
        for power in (1, 2):

            def model(t, f, t2, a, b, c, power=power):
                wave = a * np.cos(2 * np.pi * f * t) + b * np.sin(2 * np.pi * f * t)
                return c + np.exp(-((np.abs(t / t2)) ** power)) * wave

            size = np.ptp(data.y) / 2
            start = [truth["detuning_MHz"], truth["T2_star_us"], size, 0.0, data.y.mean()]
            f, t2, *_ = fit_check(x, data.y, model, start)
            error = max(abs(f / truth["detuning_MHz"] - 1), abs(abs(t2) / truth["T2_star_us"] - 1))
            best = min(best, error)
        assert best < 0.02, plot.seed


def test_resonance_is_recovered_from_the_points() -> None:
    checked = [
        p for p in plots("qubit_spectroscopy", "qubit_spectroscopy_success") if p.truth.reliability == "Reliable"
    ]
    assert len(checked) > 25
    for plot in checked:
        data = data_of(plot)
        to_ghz = 1e-3 if data.x[0] > 100 else 1.0
        x = data.x * to_ghz
        span = x[-1] - x[0]
        sign = 1 if numbers(plot)["resonance_type"] == "peak" else -1
        freq = numbers(plot)["resonance_freq_GHz"]
        best = fit_check(
            (x - x[0]) / span,
            data.y,
            lambda t, x0, w, a, c: c + a / (1 + (2 * (t - x0) / w) ** 2),
            [(freq - x[0]) / span, 0.08, sign * np.ptp(data.y), float(np.median(data.y))],
        )
        assert abs(x[0] + best[0] * span - freq) < 0.02 * span, plot.seed
        assert math.copysign(1, best[2]) == sign


def test_drag_optimum_is_where_the_points_cross() -> None:
    for name in ("drag_success", "drag_failure_position_first_quarter", "drag_failure_position_far_offset"):
        for plot in plots("drag", name):
            first, second = data_of(plot), data_of(plot, "data2")
            a, b = np.polyfit(first.x, first.y, 1), np.polyfit(second.x, second.y, 1)
            crossing = (b[1] - a[1]) / (a[0] - b[0])
            low, high = first.x[0], first.x[-1]
            assert a[0] * b[0] < 0
            assert numbers(plot)["intersection_clear"] == (low < crossing < high)
            if name != "drag_failure_position_far_offset":
                told = numbers(plot)["optimal_alpha_inv"]
                assert abs(crossing - told) < 0.08 * (high - low), plot.seed
                if plot.truth.reliability == "Reliable":
                    # Printed in steps of the axis: half of one is allowed on top.
                    assert abs(crossing - told) < 0.02 * abs(told) + 0.5 * decade_below(high - low), plot.seed
                centred = 0.25 <= (crossing - low) / (high - low) <= 0.75
                assert centred == (plot.truth.status == "SUCCESS"), plot.seed


def test_t1_windows_obey_their_rule() -> None:
    module = family_module("t1")
    for name in ("t1_success", "t1_failure_window_too_short", "t1_failure_sampling_too_coarse"):
        for plot in plots("t1", name):
            data = data_of(plot)
            t1 = plot.truth.targets["t1_position"] * data.x[-1]
            step = data.x[1] - data.x[0]
            if name == "t1_failure_window_too_short":
                assert plot.truth.targets["t1_position"] > 1 / module.WINDOW_THRESHOLD
                fit = fit_exponential(data.x, data.y, 1 / data.x[-1])
                assert isinstance(fit, Exponential)
                if plot.truth.targets["noise"] < 0.2:
                    left = (fit(data.x[-1:])[0] - fit.c) / fit.a
                    assert left > math.exp(-module.WINDOW_THRESHOLD), plot.seed
            else:
                assert data.x[-1] > module.WINDOW_THRESHOLD * t1
                coarse = step > module.STEP_THRESHOLD * t1
                assert coarse == (name == "t1_failure_sampling_too_coarse"), plot.seed


def test_rabi_severities_obey_their_rule() -> None:
    module = family_module("rabi")
    for name in module.TYPES:
        for plot in plots("rabi", name):
            data, periods = data_of(plot), numbers(plot)["periods_visible"]
            if name == "rabi_failure_random_signal":
                continue
            density = data.x.size / periods
            assert (density < module.UNDERSAMPLED_THRESHOLD) == (plot.truth.status == "UNDERSAMPLED")
            assert (periods < module.PERIODS_THRESHOLD) == (plot.truth.status == "RANGE_TOO_NARROW")
            if name == "rabi_failure_damped_oscillations":
                per_period = max(4, int(density))
                start, end = np.ptp(data.y[:per_period]), np.ptp(data.y[-per_period:])
                assert end < 0.62 * start, plot.seed
                assert numbers(plot)["amplitude_decay"] == "decaying"


def test_growing_rabi_amplitudes_grow() -> None:
    grown = [p for p in plots("rabi", "rabi_success_off_resonance", 80) if numbers(p)["amplitude_decay"] == "growing"]
    assert len(grown) > 5
    for plot in grown:
        y = data_of(plot).y
        assert np.ptp(y[: y.size // 5]) < np.ptp(y[-y.size // 2 :])


def test_ramsey_severities_obey_their_rule() -> None:
    module = family_module("ramsey_t2star")
    for name in module.TYPES:
        for plot in plots("ramsey_t2star", name):
            data, targets = data_of(plot), plot.truth.targets
            # The Nyquist edge has two points per period, so a peak at fraction p of it has 2 / p.
            if plot.truth.status in ("SUCCESS", "WINDOW_TOO_SHORT"):
                assert 2 / targets["peak_position"] > module.DENSITY_THRESHOLD, plot.seed
            if plot.truth.status == "SAMPLING_TOO_COARSE":
                assert 2 / targets["peak_position"] < module.DENSITY_THRESHOLD, plot.seed
            if plot.truth.status == "NO_DETUNING":
                assert numbers(plot)["fringes_visible"] == 0
            if plot.truth.status in ("SUCCESS", "WINDOW_TOO_SHORT"):
                third = data.y.size // 3
                left = np.ptp(data.y[-third:]) / np.ptp(data.y[:third])
                assert (left > 0.5) == (plot.truth.status == "WINDOW_TOO_SHORT"), (plot.seed, left)


def test_gmm_panels_swap_only_when_the_qubit_is_excited() -> None:
    for name in family_module("gmm").TYPES:
        for plot in plots("gmm", name):
            difference = plot.truth.targets["difference"]
            if name == "gmm_success":
                assert difference > 0.5
            elif name != "gmm_failure_high_power":
                assert difference < 0.25, (name, plot.seed)


def test_gmm_spot_sizes_tell_the_failures_apart() -> None:
    for name, low, high in (("gmm_failure_no_res_response", 0, 0.05), ("gmm_failure_no_signal", 0.1, 1)):
        for plot in plots("gmm", name):
            panel = plot.figures[0].panels[0]
            x = np.concatenate([series.x for series in panel.series])
            y = np.concatenate([series.y for series in panel.series])
            size = max(x.std() / (panel.xlim[1] - panel.xlim[0]), y.std() / (panel.ylim[1] - panel.ylim[0]))
            assert low < size < high, (name, plot.seed)


def test_spectroscopy_lines_stand_out() -> None:
    for name in family_module("qubit_spectroscopy").TYPES:
        for plot in plots("qubit_spectroscopy", name):
            y = data_of(plot).y
            noise = np.median(np.abs(np.diff(y))) / 0.95
            height = np.max(np.abs(y - np.median(y))) / noise
            lines = numbers(plot)["num_resonances"]
            if lines == 1:
                assert height > family_module("qubit_spectroscopy").HEIGHT_THRESHOLD, plot.seed
            if lines == 0:
                smooth = np.convolve(y - np.median(y), np.full(5, 0.2), "valid")
                assert np.max(np.abs(smooth)) / noise < 3, plot.seed
