"""Can the numbers be read off the plot at all? Our own least-squares fits of the plotted points against the truth.

The fits start from the points alone and know nothing of the simulator's draw; only plots with status SUCCESS are
asked, since no number can be demanded of the others.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..calibration.physics import Oscillation, fit_exponential, fit_lorentzian, fit_oscillation, rms
from ..calibration.scene import Panel
from ..questions import get_family
from ..questions.family import Field
from ..questions.truth import SitesTruth, Truth
from .audit_fit_maps import MAP_FITS
from .audit_fit_traces import TRACE_FITS
from .audit_points import TO_GHZ, TO_US, Values, points_of, unit_of
from .plan import Row

CLEAN = ("SUCCESS", "STABLE", "EVENT", "NO_EVENT")
"""Statuses whose plots hold their numbers."""
NEAR_ZERO = 0.01
"""A relative tolerance says nothing of a zero: found values below this agree with it, as in the score."""


def recoverability(rows: Sequence[Row]) -> dict[str, Any]:
    """`family.field` -> {n, within, median_error, skipped}: share of values that the fit finds within full tolerance.

    Errors are relative for relative tolerances, absolute otherwise; that of a list is its worst entry, or infinite when
    the fit finds more or fewer. `skipped` plots do not show what the fit needs: a unit, a label, a time trace.
    """
    errors: dict[str, list[float]] = defaultdict(list)
    skipped: dict[str, int] = defaultdict(int)
    tolerances: dict[str, float] = {}
    for row in rows:
        truth = row.truth
        fit = FITS.get(truth.family)
        if fit is None or truth.status not in CLEAN:
            continue
        found = fit(row)
        for field in get_family(truth.family).fields:
            want, key = wanted(truth, field.name), f"{truth.family}.{field.name}"
            if field.name not in FITTED[truth.family] or want is None:
                continue
            tolerances[key] = field.tolerances()[0]
            if field.name not in found:
                skipped[key] += 1
                continue
            errors[key].append(_error(found[field.name], want, field))
    return {
        key: {
            "n": len(errors[key]),
            "within": float(np.mean([error <= tolerance for error in errors[key]])) if errors[key] else None,
            "tolerance": tolerance,
            "median_error": _median(errors[key]),
            "skipped": skipped[key],
        }
        for key, tolerance in sorted(tolerances.items())
    }


def wanted(truth: Truth, name: str) -> list[float] | None:
    """The true number or numbers (one per site where there are several), None where there is none."""
    values = [site[name] for site in truth.sites] if isinstance(truth, SitesTruth) else truth.parameters[name]
    flat = values if isinstance(values, list) else [values]
    numbers = [float(v) for v in flat if isinstance(v, int | float) and not isinstance(v, bool)]
    return numbers if len(numbers) == len(flat) else None


def _error(found: float | list[float], want: list[float], field: Field) -> float:
    got = found if isinstance(found, list) else [found]
    if len(got) != len(want):
        return math.inf
    relative = field.kind in ("pct", "array_float_match")
    zero = NEAR_ZERO / max(field.tolerances()[0], 1e-12)
    scales = [(abs(w) or zero) if relative else 1.0 for w in want]
    if field.kind in ("int_count", "array_int_match"):
        got = [float(round(value)) for value in got]
    return max((abs(a - b) / scale for a, b, scale in zip(got, want, scales, strict=True)), default=0.0)


def _median(errors: list[float]) -> float | None:
    """The median, None without a finite one (JSON has no infinity)."""
    middle = float(np.median(errors)) if errors else math.inf
    return middle if math.isfinite(middle) else None


def _time_panel(row: Row) -> Panel | None:
    """The panel of points with a fit; a lone spectrum has none."""
    for figure, panel in zip(row.figures, row.truth.panels, strict=True):
        if panel.plot_type == "scatter" or not row.truth.family.startswith("ramsey"):
            return figure.panels[0]
    return None


def _fit_t1(row: Row) -> Values:
    panel = row.figures[0].panels[0]
    to_us = unit_of(panel.xlabel, TO_US)
    if to_us is None:
        return {}
    x, y = points_of(panel)
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
    return {"periods_visible": abs(best_oscillation(*points_of(row.figures[0].panels[0])).frequency)}


def _fit_ramsey(row: Row) -> Values:
    panel = _time_panel(row)
    to_us = unit_of(panel.xlabel, TO_US) if panel else None
    if panel is None or to_us is None:
        return {}
    x, y = points_of(panel)
    window = float(x[-1] - x[0]) * to_us
    fit = best_oscillation(x, y, (1, 2))
    values: Values = {"detuning_MHz": abs(fit.frequency) / window}
    return values | ({"T2_star_us": window / fit.rate} if fit.rate > 0 else {})


def _fit_spectroscopy(row: Row) -> Values:
    panel = row.figures[0].panels[0]
    to_ghz = unit_of(panel.xlabel, TO_GHZ)
    if to_ghz is None:
        return {}
    x, y = points_of(panel)
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
    **TRACE_FITS,
    **MAP_FITS,
}
FITTED = {
    "t1": ("T1_us",),
    "rabi": ("periods_visible",),
    "rabi_hw": ("periods_visible",),
    "ramsey_t2star": ("T2_star_us", "detuning_MHz"),
    "ramsey_freq_cal": ("detuning_MHz",),
    "qubit_spectroscopy": ("resonance_freq_GHz",),
    "drag": ("optimal_alpha_inv",),
    "pingpong": ("error_per_gate",),
    "t1_fluctuations": ("mean_t1_us",),
    "pinchoff": ("cut_off_index", "transition_index", "saturation_index"),
    "cz_benchmarking": ("retention_per_cz", "cycle_polarization", "max_circuit_depth"),
    "microwave_ramsey": ("detuning_Hz", "contrast", "retention_min"),
    "rydberg_ramsey": ("frequency_MHz", "T2_us", "frequency_noise_kHz"),
    "rydberg_spectroscopy": ("f0_kHz", "t_ns", "f_Rabi_MHz"),
    "gmm": ("cluster0_center", "cluster1_center"),
    "res_spec": ("resonance_freq_GHz", "contrast"),
    "qubit_spectroscopy_power_frequency": ("f01_MHz",),
    "qubit_flux_spectroscopy": ("resonance_freq_GHz",),
    "coupler_flux": ("crossing_voltages_V", "left_fig_branch_freqs_GHz", "right_fig_branch_freqs_GHz"),
    "ramsey_charge_tomography": ("jump_count", "jump_positions", "jump_sizes_mV"),
    "mot_loading": ("center_x", "center_y"),
}
"""Which fields each fit recovers. Uncertainties, chi squared and site numbers are printed, not fitted."""
WITHOUT_NUMBERS = ("tweezer_array",)
"""Families that ask for words and yes or no only."""
