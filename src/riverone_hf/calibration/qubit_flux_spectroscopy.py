"""Qubit spectroscopy against flux: map the qubit line over bias and frequency and fit the transmon dispersion.

Physics: the line of an asymmetric transmon, f = (f_max + E_C)(cos^2 + d^2 sin^2)^(1/4) - E_C (`flux_maps.Arc`), as a
Lorentzian of varying contrast over noise and column offsets; a peak finder reads one point per column of the drawn
map, and the dispersion is fitted to these points without outliers.

Label rule (criteria: SPEC 2.7, family 9; thresholds are the constants below, draws keep clear of them). `miss` is the
rms distance between fitted curve and line, `drop` the line's range, both in heights of the window:
type                                       outcome                status            decided by
qubit_flux_spectroscopy_success            Expected behavior      SUCCESS           drop > 0.2 and miss < 0.05
qubit_flux_spectroscopy_failure_bad_fit    Suboptimal parameters  FIT_POOR          miss up to 0.23, or > 25 % outliers
qubit_flux_spectroscopy_failure_fit_failed Suboptimal parameters  FIT_FAILED        no curve, or miss > 0.23
qubit_flux_spectroscopy_failure_no_data    Suboptimal parameters  RANGE_TOO_NARROW  a line in under half of the columns
qubit_flux_spectroscopy_failure_no_data    Apparatus issue        NO_SIGNAL         columns missing, no line
qubit_flux_spectroscopy_failure_no_response  Apparatus issue      NO_SIGNAL         noise only
qubit_flux_spectroscopy_failure_not_tunable  Anomalous behavior   NOT_TUNABLE       a line with drop < 0.05
A drawn fit is Reliable on success only. `resonance_freq_GHz` is the arc's maximum on success, the flat line's
frequency when not tunable, else "Unreliable".
`targets`: sweet_x, sweet_y (in the window), drop, contrast, outliers, misfit, has_fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from riverone_hf.calibration.flux_maps import CHARGING, Arc, fit_arc, lines, map_limits, miss, pick_peaks
from riverone_hf.calibration.physics import (
    chance,
    clip01,
    decade_below,
    log_uniform,
    number,
    pick,
    reader_range,
    rms,
    round_sig,
    round_to_step,
    uniform,
    unit_log,
)
from riverone_hf.calibration.qubit_flux_words import WORDS
from riverone_hf.calibration.scene import Heatmap, Panel, Series, Style
from riverone_hf.calibration.trace import panel_truth
from riverone_hf.calibration.words import ANOMALOUS, APPARATUS, EXPECTED, SUBOPTIMAL, assessment, qubit_name, with_unit
from riverone_hf.questions.truth import UNRELIABLE, Truth

LABELS = {
    "success": (EXPECTED, "SUCCESS"),
    "shifted": (SUBOPTIMAL, "FIT_POOR"),
    "branch": (SUBOPTIMAL, "FIT_POOR"),
    "failure_fit_failed": (SUBOPTIMAL, "FIT_FAILED"),
    "partial": (SUBOPTIMAL, "RANGE_TOO_NARROW"),
    "failure_no_data": (APPARATUS, "NO_SIGNAL"),
    "failure_no_response": (APPARATUS, "NO_SIGNAL"),
    "failure_not_tunable": (ANOMALOUS, "NOT_TUNABLE"),
}
"""Scenario -> (outcome, status); `shifted` and `branch` are bad fits, `partial` is one kind of missing data."""
_NAMES = ("success", *(f"failure_{n}" for n in ("bad_fit", "fit_failed", "no_data", "no_response", "not_tunable")))
TYPES = tuple(f"qubit_flux_spectroscopy_{name}" for name in _NAMES)

MISS_THRESHOLDS = (0.05, 0.23)
"""Rms distance of curve and line at which a fit becomes poor, then failed; draws leave out 0.025-0.08, 0.19-0.28."""
DROP_THRESHOLDS = (0.05, 0.2)
"""Below the first the line is flat, above the second it is an arc; draws have below 0.03 or above 0.3."""
EMPTY = ("failure_no_data", "failure_no_response")


@dataclass(frozen=True)
class Scan:
    """The swept window and what is in it."""

    x: np.ndarray
    frequency: np.ndarray
    arc: Arc
    line: np.ndarray
    width: float
    noise: float

    @property
    def height(self) -> float:
        """Height of the frequency window in GHz."""
        return float(self.frequency[-1] - self.frequency[0])


def simulate(
    experiment_type: str, rng: np.random.Generator, style: Style
) -> tuple[Truth, tuple[tuple[Panel, ...], ...]]:
    """One flux map: its truth and one image of one panel."""
    kind = experiment_type.removeprefix("qubit_flux_spectroscopy_")
    if kind == "failure_bad_fit":
        kind = pick(rng, ("shifted", "branch", "branch"))
    if kind == "failure_no_data" and chance(rng, 0.4):
        kind = "partial"
    name, unit = pick(rng, (("Flux bias", "V"),) * 4 + (("Bias voltage", "V"), ("Coil current", "mA"), ("Φ/Φ0", "")))
    scan = draw_scan(rng, kind, unit)
    values, second = draw_map(rng, kind, scan)
    points, errors = pick_peaks(values, scan.frequency, max(1, round(0.6 * scan.width / scan.height * values.shape[0])))
    # A lab rejects what lies far from a first fit, then fits again.
    far = second | (np.abs(points - scan.line) > tolerance(scan))
    errors = np.where(far, errors * rng.uniform(1.0, 5.0, errors.size), errors)
    if kind in EMPTY:
        far = rng.random(points.size) < pick(rng, (0.0, 0.5, 1.0))
    quality, curve = draw_fit(rng, kind, scan, points, far)
    grid = np.linspace(scan.x[0], scan.x[-1], 110)
    misfit = 1.0
    if curve is not None and kind not in EMPTY:
        misfit = rms((curve(scan.x) - scan.line)[~second]) / scan.height
    step = decade_below(scan.height) / 10
    top = curve.top - CHARGING if kind == "success" and curve is not None else float(np.median(scan.line))
    freq, at = round_to_step(top, step), round_sig(scan.arc.centre, 2)
    words = WORDS[kind].draw(rng, freq=number(freq, 5), at=number(at, 2), unit=unit or "flux quanta")
    show_points = kind in ("success", "branch") or chance(rng, 0.3 if kind in EMPTY or kind == "partial" else 0.85)
    series: list[Series] = []
    in_mhz = chance(rng, 0.12)
    to_unit = 1e3 if in_mhz else 1.0
    if curve is not None:
        label = pick(rng, ("dispersion model fit", "dispersion model fit", "Fit", "Transmon fit", "fit", None))
        spread = (0.01 + 0.05 * ((grid - grid.mean()) / np.ptp(grid)) ** 2) * scan.height * to_unit
        band = spread if chance(rng, 0.3) else None
        series.append(Series(grid, curve(grid) * to_unit, "line", "fit", None, label, band))
    if show_points:
        bars = chance(rng, 0.7)
        names = pick(rng, (("qubit frequency", "outlier"),) * 2 + (("f01", "rejected"), ("Peaks", None), (None, None)))
        for chosen, role, text in ((~far, "data", names[0]), (far, "guide", names[1])):
            if chosen.any():
                yerr = errors[chosen] * to_unit if bars else None
                part = Series(scan.x[chosen], points[chosen] * to_unit, "points", role, yerr, text)  # type: ignore[arg-type]
                series.append(part)
    bar = pick(rng, (None, None, None, "S21 (a.u.)", "Signal (mV)", "Magnitude", "P(|1>)", ""))
    limits = map_limits(scan.frequency)
    panel = Panel(
        map_limits(scan.x),
        (limits[0] * to_unit, limits[1] * to_unit),
        with_unit(rng, name, unit),
        with_unit(
            rng,
            pick(rng, ("Qubit frequency", "Frequency", "Drive frequency", "Qubit frequency")),
            "MHz" if in_mhz else "GHz",
        ),
        draw_title(rng, curve, unit),
        tuple(series),
        heatmap=Heatmap(-values if chance(rng, 0.08) else values, bar),
    )
    outcome, status = LABELS[kind]
    reliability, q4_reason = assessment(rng, quality)
    known = status in ("SUCCESS", "NOT_TUNABLE")
    features = words.pop("main_features")
    return Truth(
        "qubit_flux_spectroscopy",
        experiment_type,
        outcome,
        reliability,
        status,
        {
            "num_resonances": 0 if kind in EMPTY else 2 if kind == "branch" else 1,
            "resonance_freq_GHz": freq if known else UNRELIABLE,
        },
        (panel_truth(panel, "heatmap", features),),
        q4_reason=q4_reason,
        suggested_range=suggest(status, scan, unit),
        targets={
            "sweet_x": 0.0 if kind in EMPTY else clip01((scan.arc.centre - scan.x[0]) / (scan.x[-1] - scan.x[0])),
            "sweet_y": 0.0 if kind in EMPTY else clip01((scan.arc.top - CHARGING - scan.frequency[0]) / scan.height),
            "drop": 0.0 if kind in EMPTY else clip01(float(np.ptp(scan.line)) / scan.height),
            "contrast": 0.0 if kind in EMPTY else unit_log(1 / scan.noise, 1.0, 30.0),
            "outliers": float(far.mean()) if show_points else 0.0,
            "misfit": clip01(4 * misfit),
            "has_fit": float(curve is not None),
        },
        **words,
    ), ((panel,),)


def draw_scan(rng: np.random.Generator, kind: str, unit: str) -> Scan:
    """A window around a transmon arc, or, for `partial`, one that cuts only a piece of its flank."""
    columns, rows = int(log_uniform(rng, 14, 55)), int(log_uniform(rng, 45, 120))
    height = log_uniform(rng, 0.08, 1.1)
    top = uniform(rng, 3.9, 6.6) + CHARGING
    period = 1.0 if not unit else log_uniform(rng, 0.4, 6.0)
    arc = Arc(top, 0.0 if not unit else period * uniform(rng, -0.25, 0.25), period, uniform(rng, 0.0, 0.5))
    if kind == "failure_not_tunable":
        # The flux line is dead or the junction single: the same sweep moves the line by a few per cent of the window.
        drop, above = uniform(rng, 0.0, 0.03), uniform(rng, 0.25, 0.75)
    elif kind == "partial":
        drop, above = uniform(rng, 2.2, 3.5), -uniform(rng, 0.5, 1.2)
        height = min(height, 0.3)
    else:
        drop, above = uniform(rng, 0.32, 0.85), uniform(rng, 0.05, 0.14)
    reach = arc.angle_of(top - CHARGING - drop * height) / math.pi * period
    if kind == "failure_not_tunable":
        reach = period * uniform(rng, 0.2, 0.5)
        # 1 - d^2 that makes the line fall by `drop` within the sweep, from `Arc`.
        keep = (1 - (1 - drop * height / top) ** 4) / math.sin(math.pi * reach / period) ** 2
        arc = replace(arc, asymmetry=math.sqrt(max(0.0, 1 - keep)))
    other = reach * uniform(rng, 0.4, 1.0)
    if kind == "partial":
        # The window's top lies below the sweet spot; only columns far out on one flank reach into it.
        inner = arc.angle_of(top - CHARGING + above * height) / math.pi * period
        other = -inner + (reach - inner) * uniform(rng, 1.3, 3.0)
    sides = (-other, reach) if chance(rng, 0.5) else (-reach, other)
    x = np.linspace(arc.centre + sides[0], arc.centre + sides[1], columns)
    high = top - CHARGING + above * height
    if kind == "failure_not_tunable":
        above, high = 0.0, top - CHARGING + above * height
    frequency = np.linspace(high - height, high, rows)
    width = height * max(2.2 / rows, log_uniform(rng, 0.025, 0.1))
    noise = log_uniform(rng, 0.06, 0.25)
    if kind == "failure_fit_failed":
        noise = log_uniform(rng, 0.1, 0.28)
    return Scan(x, frequency, arc, arc(x), width, noise)


def draw_map(rng: np.random.Generator, kind: str, scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    """(values (rows, columns), mask (columns,) of the columns whose highest peak is on a second branch)."""
    shape = (scan.frequency.size, scan.x.size)
    contrast = 1.0 - uniform(rng, 0.0, 0.35) * rng.random(shape[1])
    second = np.zeros(shape[1], dtype=bool)
    # Averaging and readout contrast differ between biases, so some columns are noisier.
    uneven = np.exp(pick(rng, (0.0, 0.0, 0.3, 0.5)) * rng.standard_normal(shape[1]))
    values = scan.noise * uneven.clip(max=1.6) * rng.standard_normal(shape)
    if kind not in EMPTY:
        if kind == "branch":
            second[:] = rng.random(shape[1]) < uniform(rng, 0.1, 0.3)
            at = int(rng.integers(shape[1]))
            second[at : at + int(shape[1] * uniform(rng, 0.35, 0.5))] = True
            second[: max(0, at + int(0.4 * shape[1]) - shape[1])] = True
            kept = [0, shape[1] - 1, shape[1] // 3]
            second[kept] = False
            # Enough of them to be seen: the rule says more than a quarter.
            free = np.setdiff1d(np.flatnonzero(~second), kept)
            missing = int(np.ceil(0.3 * shape[1])) - int(second.sum())
            if missing > 0:
                second[rng.choice(free, size=min(missing, free.size), replace=False)] = True
            lower = scan.line - scan.height * (uniform(rng, 0.15, 0.35) + 0.04 * rng.standard_normal(shape[1]))
            lower = np.maximum(lower, scan.frequency[0] + 0.03 * scan.height)
            values += np.where(second, contrast, 0.25) * lines(scan.frequency, lower, 1.5 * scan.width)
            contrast = np.where(second, 0.45 * contrast, contrast)
        values += contrast * lines(scan.frequency, scan.line, scan.width)
    stripes = pick(rng, (0.0, 0.03, 0.15)) if kind not in EMPTY else pick(rng, (0.0, 0.5, 1.5)) * scan.noise
    values += stripes * rng.standard_normal(shape[1])
    if kind == "failure_no_data":
        # The sweep stopped early, or some columns were never recorded.
        if chance(rng, 0.7):
            values[:, int(shape[1] * uniform(rng, 0.0, 0.7)) :] = values.min() if chance(rng, 0.5) else values.mean()
        else:
            values[:, rng.random(shape[1]) < uniform(rng, 0.3, 0.8)] = values.min()
    return values, second


def tolerance(scan: Scan) -> float:
    """Distance from the fit in GHz beyond which a point is an outlier."""
    return max(0.05 * scan.height, 0.8 * scan.width)


def draw_fit(
    rng: np.random.Generator, kind: str, scan: Scan, points: np.ndarray, far: np.ndarray
) -> tuple[str, Arc | None]:
    """(quality, curve or None): the dispersion fitted to the points that count, or what a fit gone wrong leaves."""
    height, arc, x = scan.height, scan.arc, scan.x
    if kind in EMPTY or kind == "partial":
        if chance(rng, 0.75):
            return "none", None
        level = uniform(rng, float(scan.frequency[0]), float(scan.frequency[-1])) + CHARGING
        return "unsupported", Arc(level, float(x.mean()), float(np.ptp(x)) * uniform(rng, 4.0, 9.0), 0.3)
    use = ~far if np.count_nonzero(~far) >= 5 else np.ones_like(far)
    fitted = fit_arc(x[use], points[use] if kind != "failure_fit_failed" else scan.line[use], arc)
    if kind in ("success", "branch"):
        return ("good" if kind == "success" else "wrong"), fitted
    if kind == "failure_not_tunable":
        if chance(rng, 0.35):
            return "none", None
        return "unsupported", fitted
    failed = kind == "failure_fit_failed"
    if failed and chance(rng, 0.5):
        return "none", None
    low, high = (0.28, 0.6) if failed else (0.08, 0.19)
    wanted = uniform(rng, low, high) * height
    mode, sign = pick(rng, ("centre", "top", "period", "period")), pick(rng, (1.0, -1.0))
    wrong = miss(arc, x, wanted, mode, -1.0 if failed and mode == "top" else sign)
    if not 0.95 * low * height < rms(wrong(x) - scan.line) < 1.05 * high * height:
        wrong = replace(arc, top=arc.top - wanted)
    return "wrong", wrong


def draw_title(rng: np.random.Generator, curve: Arc | None, unit: str) -> str:
    """A title; sometimes with the fit's sweet spot, sensible or not."""
    qubit = qubit_name(rng)
    if curve is not None and chance(rng, 0.2):
        at = f"{curve.centre:.3f} {unit or 'Φ0'}"
        return f"{qubit}: f_max = {curve.top - CHARGING:.4f} GHz at {at}"
    return pick(rng, (qubit, qubit, qubit, f"{qubit} flux spectroscopy", "Qubit flux spectroscopy", "Flux sweep", ""))


def suggest(status: str, scan: Scan, unit: str) -> str | None:
    """The biases of the arc for another fit, a wider sweep, or a wider frequency window."""
    if status == "SUCCESS":
        return None
    if status in ("NO_SIGNAL", "RANGE_TOO_NARROW"):
        low, high = reader_range((float(scan.frequency[0]) - scan.height, float(scan.frequency[-1]) + 2 * scan.height))
        return f"({number(low, 4)}, {number(high, 4)}) [GHz]"
    span = float(np.ptp(scan.x)) * (1.5 if status == "NOT_TUNABLE" else 0.4)
    middle = float(scan.x.mean()) if status == "NOT_TUNABLE" else scan.arc.centre
    return f"({number(middle - span, 2)}, {number(middle + span, 2)}) [{unit or 'flux quanta'}]"
