"""Hardware Rabi: labels follow periods, fit and detuning; the reported period is that of the drawn points."""

from __future__ import annotations

import numpy as np
import pytest

from riverone_hf.calibration import rabi_hw
from riverone_hf.calibration.rabi import NOISY_THRESHOLD, PERIODS_THRESHOLD
from riverone_hf.calibration.scene import Series
from trace_family import check_legal, draw_plots, numbers, trace_of


def curve_and_points(plot) -> tuple[Series, Series | None]:
    data = trace_of(plot)
    assert data is not None
    return data, trace_of(plot, "fit")


@pytest.mark.parametrize("name", rabi_hw.TYPES)
def test_plots_are_legal(name: str) -> None:
    check_legal("rabi_hw", name)


@pytest.mark.parametrize("name", rabi_hw.TYPES)
def test_labels_follow_their_rule(name: str) -> None:
    for plot in draw_plots("rabi_hw", name):
        truth, values = plot.truth, numbers(plot)
        assert (values["periods_visible"] < PERIODS_THRESHOLD) == (truth.status == "RANGE_TOO_NARROW"), plot.seed
        assert (truth.reliability == "Reliable") <= (truth.status == "SUCCESS")
        assert (values["amplitude_decay"] == "growing") == (truth.status == "OFF_RESONANCE")
        if truth.reliability == "Reliable":
            assert truth.targets["misfit"] < rabi_hw.MISFIT_THRESHOLD - 0.05, plot.seed
        if truth.status in ("FIT_POOR", "OFF_RESONANCE") and truth.targets["has_fit"]:
            assert truth.targets["misfit"] > rabi_hw.MISFIT_THRESHOLD + 0.05, plot.seed
        if values["signal_quality"] != "distorted":
            noisy = truth.targets["noise"] > 5 * NOISY_THRESHOLD
            assert noisy == (values["signal_quality"] == "noisy")


def test_detuned_contrast_grows_and_stays_low_at_first() -> None:
    for plot in draw_plots("rabi_hw", "rabi_hw_failure_off_resonant_drive"):
        y = curve_and_points(plot)[0].y
        quarter = y.size // 4
        assert np.ptp(y[:quarter]) < 0.75 * np.ptp(y[-2 * quarter :]), plot.seed


def test_success_period_is_recovered_from_the_points() -> None:
    curve_fit = pytest.importorskip("scipy.optimize").curve_fit
    checked = 0
    for plot in draw_plots("rabi_hw", "rabi_hw_success"):
        if plot.truth.reliability != "Reliable":
            continue
        data, fit = curve_and_points(plot)
        assert fit is not None
        u = data.x / data.x[-1]
        periods, size = numbers(plot)["periods_visible"], np.ptp(data.y) / 2

        def model(t, f, a, b, c):
            return c + a * np.cos(2 * np.pi * f * t) + b * np.sin(2 * np.pi * f * t)

        best, _ = curve_fit(model, u, data.y, p0=[periods, -size, 0.1 * size, data.y.mean()])
        # The truth is rounded to 0.1.
        assert abs(best[0] - periods) < 0.02 * periods + 0.05, plot.seed
        assert np.allclose(np.interp(fit.x / data.x[-1], u, model(u, *best)), fit.y, atol=0.25 * size), plot.seed
        checked += 1
    assert checked > 30


def test_text_box_reports_the_drawn_curve() -> None:
    found = 0
    for plot in draw_plots("rabi_hw", "rabi_hw_success", 120):
        text = plot.figures[0].panels[0].text
        if text is None:
            continue
        data, fit = curve_and_points(plot)
        assert fit is not None
        period, error = (float(v) for v in text.split("\n")[2].split(": ")[1].split("±"))
        assert abs(data.x[-1] / period - numbers(plot)["periods_visible"]) < 0.08
        assert 0 < error < 0.1 * period
        found += 1
    assert found > 20
