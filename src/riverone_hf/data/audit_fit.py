"""Can the numbers be read off the plot at all? Our own least-squares fits of the plotted points against the truth.

The fits start from the points alone and know nothing of the simulator's draw; only plots with status SUCCESS are
asked, since no number can be demanded of the others.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..calibration.physics import Oscillation, fit_exponential, fit_lorentzian, fit_oscillation, rms
from ..calibration.scene import Panel
from ..questions import get_family
from .plan import Row

Values = dict[str, float]
SMALL = 1e-12


def recoverability(rows: Sequence[Row]) -> dict[str, Any]:
    """`family.field` -> {n, within, median_error, skipped}: share of values that the fit finds within full tolerance.

    Errors are relative for relative tolerances, absolute otherwise. `skipped` plots show no unit or no time trace.
    """
    errors: dict[str, list[float]] = defaultdict(list)
    skipped: dict[str, int] = defaultdict(int)
    tolerances: dict[str, float] = {}
    for row in rows:
        truth = row.truth
        fit = FITS.get(truth.family)
        if fit is None or truth.status != "SUCCESS":
            continue
        found = fit(row)
        for field in get_family(truth.family).fields:
            want, key = truth.parameters[field.name], f"{truth.family}.{field.name}"
            if field.name not in FITTED[truth.family] or isinstance(want, bool) or not isinstance(want, int | float):
                continue
            tolerances[key] = field.tolerances()[0]
            if field.name not in found:
                skipped[key] += 1
                continue
            scale = max(abs(want), SMALL) if field.kind == "pct" else 1.0
            errors[key].append(abs(found[field.name] - want) / scale)
    return {
        key: {
            "n": len(errors[key]),
            "within": float(np.mean([error <= tolerance for error in errors[key]])) if errors[key] else None,
            "tolerance": tolerance,
            "median_error": float(np.median(errors[key])) if errors[key] else None,
            "skipped": skipped[key],
        }
        for key, tolerance in sorted(tolerances.items())
    }


def _time_panel(row: Row) -> Panel | None:
    """The panel of points with a fit; a lone spectrum has none."""
    for figure, panel in zip(row.figures, row.truth.panels, strict=True):
        if panel.plot_type == "scatter" or not row.truth.family.startswith("ramsey"):
            return figure.panels[0]
    return None


def _unit(label: str, units: dict[str, float]) -> float | None:
    """The factor of the unit that ends an axis label, or None when there is no known one."""
    words = re.findall(r"[A-Za-zµμ]+", label)
    return units.get(words[-1]) if words else None


_TO_US = {"ns": 1e-3, "us": 1.0, "µs": 1.0, "μs": 1.0, "ms": 1e3}
_TO_GHZ = {"GHz": 1.0, "MHz": 1e-3, "kHz": 1e-6, "Hz": 1e-9}


def _points(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    series = panel.series[0]
    return np.asarray(series.x, float), np.asarray(series.y, float)


def _fit_t1(row: Row) -> Values:
    panel = row.figures[0].panels[0]
    to_us = _unit(panel.xlabel, _TO_US)
    if to_us is None:
        return {}
    x, y = _points(panel)
    fits = [fit_exponential(x, y, rate / x[-1], steps=20) for rate in (0.5, 2.0, 5.0, 12.0)]
    best = min(fits, key=lambda fit: rms(y - fit(x)))
    return {"T1_us": to_us / best.rate} if best.rate > 0 else {}


def best_oscillation(x: np.ndarray, y: np.ndarray, powers: Sequence[int] = (1,)) -> Oscillation:
    """The damped sine nearest to points x, y (n,), started at the peak of their spectrum and at slow waves."""
    u = (x - x[0]) / (x[-1] - x[0])
    spectrum = np.abs(np.fft.rfft(y - y.mean(), 8 * y.size))
    peak = float(spectrum.argmax()) / 8 * (y.size - 1) / y.size
    starts = [peak, *(slow for slow in (0.6, 0.9, 1.2, 1.6, 2.2) if peak < 2.5)]
    fits = [
        fit_oscillation(u, y, start, rate, free_decay=True, power=power, steps=25)
        for start in starts
        for rate in (0.1, 2.0)
        for power in powers
    ]
    return min(fits, key=lambda fit: rms(y - fit(u)))


def _fit_rabi(row: Row) -> Values:
    return {"periods_visible": abs(best_oscillation(*_points(row.figures[0].panels[0])).frequency)}


def _fit_ramsey(row: Row) -> Values:
    panel = _time_panel(row)
    to_us = _unit(panel.xlabel, _TO_US) if panel else None
    if panel is None or to_us is None:
        return {}
    x, y = _points(panel)
    window = float(x[-1] - x[0]) * to_us
    fit = best_oscillation(x, y, (1, 2))
    values = {"detuning_MHz": abs(fit.frequency) / window}
    return values | ({"T2_star_us": window / fit.rate} if fit.rate > 0 else {})


def _fit_spectroscopy(row: Row) -> Values:
    panel = row.figures[0].panels[0]
    to_ghz = _unit(panel.xlabel, _TO_GHZ)
    if to_ghz is None:
        return {}
    x, y = _points(panel)
    centre = float(x[np.abs(y - np.median(y)).argmax()])
    fits = [fit_lorentzian(x, y, centre, share * float(x[-1] - x[0]), steps=20) for share in (0.01, 0.04, 0.15)]
    best = min(fits, key=lambda fit: rms(y - fit(x)))
    return {"resonance_freq_GHz": best.centre * to_ghz}


FITS: dict[str, Callable[[Row], Values]] = {
    "t1": _fit_t1,
    "rabi": _fit_rabi,
    "rabi_hw": _fit_rabi,
    "ramsey_t2star": _fit_ramsey,
    "ramsey_freq_cal": _fit_ramsey,
    "qubit_spectroscopy": _fit_spectroscopy,
}
FITTED = {
    "t1": ("T1_us",),
    "rabi": ("periods_visible",),
    "rabi_hw": ("periods_visible",),
    "ramsey_t2star": ("T2_star_us", "detuning_MHz"),
    "ramsey_freq_cal": ("detuning_MHz",),
    "qubit_spectroscopy": ("resonance_freq_GHz",),
}
"""Which fields each fit recovers."""
