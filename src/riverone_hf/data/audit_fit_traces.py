"""Which numbers do traces of points give? Least-squares fits of drag, ping-pong, T1 records, pinch-off and atoms."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np

from ..calibration import cz_benchmarking, pinchoff, rydberg_spectroscopy
from ..calibration.physics import fit_oscillation, levenberg, rms
from ..calibration.scene import Panel
from .audit_points import TO_US, Values, best_columns, best_shape, points_of, series_of, unit_of
from .plan import Row


def fit_drag(row: Row) -> Values:
    """The crossing of the straight lines through both sequences."""
    panel = row.figures[0].panels[0]
    lines = [np.polyfit(s.x, s.y, 1) for s in panel.series if s.role in ("data", "data2")]
    if len(lines) != 2 or lines[0][0] == lines[1][0]:
        return {}
    return {"optimal_alpha_inv": float((lines[1][1] - lines[0][1]) / (lines[0][0] - lines[1][0]))}


def fit_pingpong(row: Row) -> Values:
    """The slope of <Z> per pulse; an axis that shows negative values is one of <Z>, any other one of population."""
    panel = row.figures[0].panels[0]
    x, y = points_of(panel)
    slope = abs(float(np.polyfit(x, y, 1)[0]))
    return {"error_per_gate": slope if panel.ylim[0] < -0.3 else 2 * slope}


def fit_t1_record(row: Row) -> Values:
    """The mean of the record."""
    panel = row.figures[0].panels[0]
    to_us = unit_of(panel.ylabel, TO_US)
    return {} if to_us is None else {"mean_t1_us": to_us * float(points_of(panel)[1].mean())}


def fit_pinchoff(row: Row) -> Values:
    """The logistic step nearest to the points, flat or leaning; the family's rule turns it into indices."""
    x, y = points_of(row.figures[0].panels[0])
    grid = np.array(
        list(product(np.arange(2.0, x[-1], 0.1), np.geomspace(0.2, 0.05 * x.size + 0.2, 14), (0.0, 0.08, 0.16, 0.24)))
    )
    middle, width, lean = (column[:, None] for column in grid.T)
    fractions = pinchoff.step_fraction(x[None, :], middle, width)
    best = best_shape(fractions * (1 + lean / middle * np.maximum(middle - x, 0.0)), y)[0]
    found = dict(
        zip(("saturation_index", "transition_index", "cut_off_index"), pinchoff.indices(fractions[best]), strict=True)
    )
    return {name: float(index) for name, index in found.items() if index is not None}


def fit_cz(row: Row) -> Values:
    """Decay per gate of the mean retention and polarization, the latter towards its asymptote."""
    found: Values = {}
    for figure in row.figures:
        panel = figure.panels[0]
        means = series_of(panel, "data2")
        data = series_of(panel, "data")
        if not means or not data:
            continue
        found["max_circuit_depth"] = float(max(s.x.max() for s in data))
        name = decay_name(panel)
        if name is None:
            continue
        floor = cz_benchmarking.ASYMPTOTE if name == "cycle_polarization" else 0.0
        x, y = np.asarray(means[0].x, float), np.asarray(means[0].y, float) - floor
        weight = np.ones_like(x) if means[0].yerr is None else 1 / np.maximum(means[0].yerr, 1e-6)
        low, high = 0.2, 1.05
        for _ in range(4):
            rates = np.linspace(low, high, 400)
            best = rates[best_columns((weight * rates[:, None] ** x)[..., None], weight * y)[0]]
            step = (high - low) / 100
            low, high = best - step, best + step
        found[name] = float(best)
    return found


def decay_name(panel: Panel) -> str | None:
    """Which of the two decays a panel shows, as its words tell."""
    words = f"{panel.ylabel} {panel.title} {panel.text or ''}".lower()
    if "retention" in words or "retain" in words or "survival" in words:
        return "retention_per_cz"
    return "cycle_polarization" if "polari" in words or "success" in words or "fidelity" in words else None


def fit_microwave(row: Row) -> Values:
    """Extremes of a sine through the fringes.

    The printed detuning is a maximum or a minimum, with either sign, by the lab's convention, which the points do not
    tell: of these four the one nearest to the printed value is taken.
    """
    x, y = points_of(row.figures[0].panels[0])
    u = (x - x[0]) / (x[-1] - x[0])
    starts = np.arange(0.5, 6.0, 0.1)
    turns = 2 * math.pi * starts[:, None] * u
    order = best_columns(np.stack([np.cos(turns), np.sin(turns), np.ones_like(turns)], axis=2), y)
    fits = [fit_oscillation(u, y, float(starts[k]), steps=15) for k in order[:3]]
    fit = min(fits, key=lambda one: rms(y - one(u)))
    curve = fit(np.linspace(0, 1, 400))
    least, most = max(0.0, float(curve.min())), min(1.0, float(curve.max()))
    found: Values = {"contrast": most - least, "retention_min": least}
    printed = row.truth.parameters["detuning_Hz"]
    if isinstance(printed, int | float) and fit.frequency:
        to_hz = 1e3 if "kHz" in row.figures[0].panels[0].xlabel else 1.0
        period = float(x[-1] - x[0]) / abs(fit.frequency) * to_hz
        top = math.atan2(fit.b, fit.a) / (2 * math.pi * fit.frequency) * float(x[-1] - x[0]) * to_hz + x[0] * to_hz
        centres = [turn - round(turn / period) * period for turn in (top, top + period / 2)]
        found["detuning_Hz"] = min((s * c for s in (1, -1) for c in centres), key=lambda c: abs(c - printed))
    return found


def fit_rydberg_ramsey(row: Row) -> Values:
    """A Gaussian-damped sine through all windows, its frequency searched over everything that they can tell apart."""
    panel = row.figures[0].panels[0]
    to_us = unit_of(panel.xlabel, TO_US)
    if to_us is None:
        return {}
    data = series_of(panel, "data")[0]
    order = np.argsort(data.x)
    x, y = np.asarray(data.x, float)[order] * to_us, np.asarray(data.y, float)[order]
    length, step = float(x[-1] - x[0]), float(np.median(np.diff(x)))
    grid = np.array(list(product(np.arange(1 / length, 0.5 / step, 0.15 / length), (0.5 / length, 1.2 / length))))
    turns = 2 * math.pi * grid[:, :1] * x
    decay = np.exp(-((grid[:, 1:] * x) ** 2))
    order = best_columns(np.stack([decay * np.cos(turns), decay * np.sin(turns), np.ones_like(turns)], axis=2), y)
    fits = [
        fit_oscillation(x, y, float(grid[k, 0]), float(grid[k, 1]), free_decay=True, power=2, steps=25)
        for k in order[:6]
    ]
    fit = min(fits, key=lambda one: rms(y - one(x)))
    found: Values = {"frequency_MHz": abs(fit.frequency)}
    if fit.rate:
        t2 = 1 / abs(fit.rate)
        found |= {"T2_us": t2, "frequency_noise_kHz": math.sqrt(2) / (2 * math.pi * t2) * 1e3}
    return found


def fit_rydberg_line(row: Row) -> Values:
    """Centre, pulse length and Rabi frequency of every site's line shape (`rydberg_spectroscopy.survival`)."""
    lines = [_line(panel) for panel in row.figures[0].panels]
    return {
        "f0_kHz": [float(p[0]) * 1e3 for p in lines],
        "t_ns": [abs(float(p[1])) * 1e3 for p in lines],
        "f_Rabi_MHz": [abs(float(p[2])) for p in lines],
    }


def _line(panel: Panel) -> np.ndarray:
    x, y = points_of(panel)
    x = x / 1e6 if np.abs(x).max() > 1e3 else x
    half = float(x[-1])
    fits = []
    for cycles in np.arange(0.5, 6.0, 0.25):
        # A pulse of so many cycles at the line's centre.
        grid = np.array(list(product(np.linspace(-0.16, 0.16, 5) * half, np.geomspace(0.05, 3.0, 24) * half)))
        shapes = np.stack([rydberg_spectroscopy.survival((f0, cycles / rabi, rabi, 0.0, 1.0), x) for f0, rabi in grid])
        best = best_shape(shapes, y)[0]
        scale, offset = np.polyfit(shapes[best], y, 1)
        f0, rabi = grid[best]
        start = np.array([f0, cycles / rabi, rabi, offset, scale])
        fits.append((rms(y - rydberg_spectroscopy.survival(start, x)), start))
    fits.sort(key=lambda fit: fit[0])
    refined = [levenberg(lambda p: rydberg_spectroscopy.slopes(p, x), start, y, 25) for _, start in fits[:8]]
    return min(refined, key=lambda p: rms(y - rydberg_spectroscopy.survival(p, x)))


TRACE_FITS: dict[str, Callable[[Row], Values]] = {
    "drag": fit_drag,
    "pingpong": fit_pingpong,
    "t1_fluctuations": fit_t1_record,
    "pinchoff": fit_pinchoff,
    "cz_benchmarking": fit_cz,
    "microwave_ramsey": fit_microwave,
    "rydberg_ramsey": fit_rydberg_ramsey,
    "rydberg_spectroscopy": fit_rydberg_line,
}
