"""Ramsey frequency calibration: labels follow the number of fringes; success numbers are those of the points."""

from __future__ import annotations

import numpy as np
import pytest

from riverone_hf.calibration import ramsey_freq_cal as family
from riverone_hf.calibration.plot import Plot
from riverone_hf.calibration.scene import Series
from trace_family import check_legal, draw_plots, numbers


def time_trace(plot: Plot) -> Series:
    """The data of the image that is not the spectrum: a spectrum has half as many points."""
    return max((figure.panels[0].series[0] for figure in plot.figures), key=lambda series: series.x.size)


def peak_periods(plot: Plot) -> float:
    """Periods in the window of the strongest Fourier line of the drawn points, zero-padded for resolution."""
    y = time_trace(plot).y
    spectrum = np.abs(np.fft.rfft((y - y.mean()) * np.hanning(y.size), 8 * y.size))
    return float(np.argmax(spectrum)) / 8 * (y.size - 1) / y.size


@pytest.mark.parametrize("name", family.TYPES)
def test_plots_are_legal(name: str) -> None:
    check_legal("ramsey_freq_cal", name)


@pytest.mark.parametrize("name", family.TYPES)
def test_labels_follow_their_rule(name: str) -> None:
    for plot in draw_plots("ramsey_freq_cal", name):
        status, periods = plot.truth.status, peak_periods(plot)
        density = time_trace(plot).y.size / periods
        assert (plot.truth.reliability == "Reliable") <= (status == "SUCCESS")
        if status == "TOO_FEW_OSC":
            assert periods < family.FEW_THRESHOLD + 0.3, plot.seed
            assert numbers(plot)["fringes_visible"] <= 1
        elif status == "TOO_MANY_OSC":
            assert periods > family.MANY_THRESHOLD and density < family.DENSITY_THRESHOLD, plot.seed
        else:
            assert density > family.DENSITY_THRESHOLD, plot.seed
            if status == "SUCCESS":
                assert family.FEW_THRESHOLD < periods < family.MANY_THRESHOLD, plot.seed
                # Fringes that have decayed do not count.
                assert 0.55 * periods - 1 < numbers(plot)["fringes_visible"] < 1.1 * periods + 1, plot.seed


def test_only_beating_spectra_hold_two_lines() -> None:
    for name in ("ramsey_success_freq_cal", "ramsey_failure_freq_cal_beating"):
        for plot in draw_plots("ramsey_freq_cal", name):
            y = time_trace(plot).y
            spectrum = np.abs(np.fft.rfft(y - y.mean()))[1:]
            inner = (spectrum[1:-1] > spectrum[:-2]) & (spectrum[1:-1] > spectrum[2:])
            strong = int(np.count_nonzero(inner & (spectrum[1:-1] > 0.4 * spectrum.max())))
            assert (strong >= 2) == (plot.truth.status == "BEATING"), plot.seed


def test_success_numbers_are_recovered_from_the_points() -> None:
    curve_fit = pytest.importorskip("scipy.optimize").curve_fit
    checked = 0
    for plot in draw_plots("ramsey_freq_cal", "ramsey_success_freq_cal", 60):
        if plot.truth.reliability != "Reliable" or plot.truth.targets["noise"] > 0.25:
            continue
        data, values = time_trace(plot), numbers(plot)
        x = data.x * (1e-3 if data.x[-1] > 300 else 1.0)
        errors = []
        for power in (1, 2):

            def model(t, f, t2, a, b, c, power=power):
                wave = a * np.cos(2 * np.pi * f * t) + b * np.sin(2 * np.pi * f * t)
                return c + np.exp(-(np.abs(t / t2) ** power)) * wave

            start = [values["detuning_MHz"], values["T2_star_us"], np.ptp(data.y) / 2, 0.0, data.y.mean()]
            (f, t2, *_), _ = curve_fit(model, x, data.y, p0=start, maxfev=20000)
            errors.append(max(abs(f / values["detuning_MHz"] - 1), abs(abs(t2) / values["T2_star_us"] - 1)))
        assert min(errors) < 0.02, (plot.seed, errors)
        checked += 1
    assert checked > 20
