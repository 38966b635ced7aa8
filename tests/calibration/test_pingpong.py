"""Ping-pong: labels follow the accumulated angle; the error per gate is the slope of <Z> through the drawn points."""

from __future__ import annotations

import numpy as np
import pytest

from riverone_hf.calibration import pingpong
from riverone_hf.calibration.plot import Plot
from trace_family import check_legal, draw_plots, numbers, trace_of


def points_in_z(plot: Plot) -> tuple[np.ndarray, np.ndarray]:
    """Pulse numbers and <Z> of the drawn points."""
    data = trace_of(plot)
    assert data is not None
    return data.x, data.y if is_z(plot) else 1 - 2 * data.y


def is_z(plot: Plot) -> bool:
    label = plot.truth.panels[0].y_axis.label.lower()
    return "z" in label


@pytest.mark.parametrize("name", pingpong.TYPES)
def test_plots_are_legal(name: str) -> None:
    check_legal("pingpong", name)


@pytest.mark.parametrize("name", pingpong.TYPES)
def test_labels_follow_what_the_points_show(name: str) -> None:
    for plot in draw_plots("pingpong", name):
        x, z = points_in_z(plot)
        slope, offset = np.polyfit(x, z, 1)
        rise, status = abs(slope) * x[-1], plot.truth.status
        accumulation = numbers(plot)["accumulation_type"]
        if status == "NO_EXCITATION":
            assert z.mean() > 0.75 and rise < 0.15, plot.seed
        elif status == "LARGE_ERROR":
            assert z.min() < -0.2 and z.max() > 0.2, plot.seed
            assert np.std(z - slope * x - offset) > 0.4 * np.std(z), plot.seed
            assert accumulation == "oscillatory"
        else:
            assert abs(offset) < 0.2, plot.seed
            assert (rise > pingpong.DRIFT_THRESHOLD) == (status == "MODERATE_ERROR"), (plot.seed, rise)
            assert (accumulation == "linear") >= (status == "MODERATE_ERROR")


def test_full_range_axes_show_the_level() -> None:
    """A flat trace on an autoscaled axis could not be told from a drifting one."""
    for name in ("pingpong_success_well_calibrated", "pingpong_failure_no_excitation"):
        for plot in draw_plots("pingpong", name):
            low, high = plot.figures[0].panels[0].ylim
            assert high - low > (1.9 if is_z(plot) else 0.95), plot.seed


def test_error_per_gate_is_recovered_from_the_points() -> None:
    curve_fit = pytest.importorskip("scipy.optimize").curve_fit
    checked = 0
    for name in ("pingpong_success_well_calibrated", "pingpong_failure_moderate_error"):
        for plot in draw_plots("pingpong", name):
            values = numbers(plot)
            if values["accumulation_type"] != "linear":
                assert values["error_per_gate"] == 0.0
                continue
            x, z = points_in_z(plot)
            (slope, _), _ = curve_fit(lambda n, a, b: a * n + b, x, z)
            # Two digits: the rounding itself is up to 5 %.
            assert abs(abs(slope) - values["error_per_gate"]) < 0.02 * abs(slope) + 0.051 * values["error_per_gate"]
            if name == "pingpong_failure_moderate_error":
                # The slope is the rotation error while the sine is nearly straight.
                angle = np.arcsin(np.clip(z, -1, 1))
                assert abs(slope) / abs(np.polyfit(x, angle, 1)[0]) > 0.7, plot.seed
            checked += 1
    assert checked > 50
