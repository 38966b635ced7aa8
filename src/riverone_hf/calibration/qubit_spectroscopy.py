"""Qubit spectroscopy: sweep the drive frequency and look for the line where the qubit responds.

Physics: a Lorentzian, power broadened to FWHM = w0 sqrt(1 + s) with depth s / (1 + s), as a peak or a dip of the
readout signal; further lines come from other transitions, other qubits or parasitic modes.

Label rule (criteria: SPEC 2.7, family 10; thresholds are the constants below, draws keep clear of them):
type                                  outcome             status          decided by
qubit_spectroscopy_success            Expected behavior   SUCCESS         one line higher than 4 noise deviations
qubit_spectroscopy_failure_multiple_peaks  Anomalous behavior  MULTIPLE_PEAKS  a second line of over 0.35 of its height
qubit_spectroscopy_failure_no_peaks   Apparatus issue     NO_SIGNAL       no line stands out of the noise
A drawn fit is Reliable on success only; a single line through several averages them. `resonance_freq_GHz` is then
"Unreliable"; without lines the type of resonance is null.
`targets`: position, lines, width, height, misfit, has_fit.
"""

from __future__ import annotations

import math

import numpy as np

from riverone_hf.calibration.physics import (
    Lorentzian,
    chance,
    clip01,
    decade_below,
    fit_lorentzian,
    log_uniform,
    number,
    pick,
    round_to_step,
    slow_drift,
    uniform,
    unit_log,
)
from riverone_hf.calibration.scene import Marker, Panel, Style
from riverone_hf.calibration.trace import Curve, Trace, misfit, trace_panel
from riverone_hf.calibration.words import (
    ANOMALOUS,
    APPARATUS,
    EXPECTED,
    SIGNAL_LABELS,
    Words,
    assessment,
    qubit_name,
    with_unit,
)
from riverone_hf.questions.truth import UNRELIABLE, Truth

LABELS = {
    "qubit_spectroscopy_success": (EXPECTED, "SUCCESS"),
    "qubit_spectroscopy_failure_multiple_peaks": (ANOMALOUS, "MULTIPLE_PEAKS"),
    "qubit_spectroscopy_failure_no_peaks": (APPARATUS, "NO_SIGNAL"),
}
TYPES = tuple(LABELS)

HEIGHT_THRESHOLD = 4.0
"""A line is visible when it is this many noise deviations high; drawn lines have at least 6, and 5 points across."""
SECOND_LINE_THRESHOLD = 0.35
"""A further line counts when it has this much of the main line's height; drawn ones have at least 0.45."""

WORDS = {
    "success": Words(
        ("Single Lorentzian {shape} near {freq} GHz.", "One clear {shape} over a flat background."),
        ("One clear spectral {shape} near {freq} GHz.", "Single well-resolved resonance line."),
        ("Single {shape} near {freq} GHz stands well above noise.", "One isolated line; frequency can be extracted."),
        (
            "A single {shape} near {freq} GHz marks the qubit transition. Range and resolution suffice. "
            "Set the drive frequency there and run Rabi, then Ramsey.",
        ),
    ),
    "failure_multiple_peaks": Words(
        ("{lines} spectral lines of similar strength.", "Several {shape}s; no single dominant line."),
        ("{lines} lines visible; the qubit transition is ambiguous.", "Multiple resonances instead of a single line."),
        (
            "{lines} lines appear; lower drive power and identify them.",
            "Several spectral lines, ambiguous identification.",
        ),
        (
            "Several lines are excited, so the qubit transition is ambiguous, perhaps from too much drive power. "
            "Lower the power and rescan around each line.",
        ),
    ),
    "failure_no_peaks": Words(
        ("Noisy flat trace without any resonance.", "Scattered points, no peak or dip."),
        ("No peak or dip stands out of the noise.", "No resonance visible in the scanned range."),
        ("No line visible; scan a wider range or raise power.", "Flat noisy spectrum; check drive and readout."),
        (
            "No qubit response is seen in this range, so no frequency can be extracted. "
            "Check drive and readout, then scan a wider range with more power.",
        ),
    ),
}


def simulate(
    experiment_type: str, rng: np.random.Generator, style: Style
) -> tuple[Truth, tuple[tuple[Panel, ...], ...]]:
    """One spectroscopy plot: its truth and one image of one panel."""
    qubit = qubit_name(rng)
    kind = experiment_type.removeprefix("qubit_spectroscopy_")
    unit, per_ghz = ("GHz", 1.0) if chance(rng, 0.75) else ("MHz", 1e3)
    span = log_uniform(rng, 0.006, 1.2)
    start = uniform(rng, 3.4, 7.5)
    points = int(log_uniform(rng, 51, 241))
    u = np.linspace(0, 1, points)
    centres, widths, heights = draw_lines(rng, kind, points)
    clean = np.zeros(points)
    for centre, width, height in zip(centres, widths, heights, strict=True):
        clean = clean + Lorentzian(centre, width, height, 0.0)(u)
    noise = 1.0 if kind == "failure_no_peaks" else log_uniform(rng, 0.01, 0.14) * min(1.0, min(heights) * 1.1)
    scatter = noise * (rng.normal(size=points) if chance(rng, 0.85) else rng.standard_t(4, size=points) / 1.4)
    wander = slow_drift(rng, points, noise * pick(rng, (0.0, 0.0, 0.3 if kind == "failure_no_peaks" else 1.0)))
    sign = pick(rng, (1.0, -1.0))
    gain, level, ylabel = draw_scale(rng, qubit)
    name = pick(rng, ("Frequency", "Drive frequency", "Qubit frequency", "Qubit drive frequency", "Probe Frequency"))
    frequency = (start + span * u) * per_ghz
    trace = Trace(
        frequency, level + gain * sign * (clean + scatter + wander), gain * noise, with_unit(rng, name, unit), ylabel
    )
    quality, curve = draw_fit(rng, kind, trace, u, centres, widths)
    step = decade_below(span)
    if quality == "good" and isinstance(curve, Lorentzian):
        # What the lab reports, and a reader reads in the title, is the fit of these points.
        centres = [(curve.centre / per_ghz - start) / span]
    at = [round_to_step(start + span * c, step / 10) for c in centres]
    shape = "peak" if sign > 0 else "dip"
    words = WORDS[kind].draw(rng, shape=shape, freq=number(at[0], 6) if at else "", lines=len(at))
    title, markers, fit_label = draw_texts(rng, curve, qubit, unit, trace)
    panel, truth = trace_panel(
        rng,
        trace,
        curve,
        title=title,
        features=words.pop("main_features"),
        fit_label=fit_label,
        markers=markers,
        curve_points=220,
    )
    reliability, q4_reason = assessment(rng, quality)
    outcome, status = LABELS[experiment_type]
    found = bool(centres)
    return Truth(
        "qubit_spectroscopy",
        experiment_type,
        outcome,
        reliability,
        status,
        {
            "num_resonances": len(centres),
            "resonance_freq_GHz": at[0] if status == "SUCCESS" else UNRELIABLE,
            "resonance_type": shape if found else None,
        },
        (truth,),
        q4_reason=q4_reason,
        suggested_range=None if status == "SUCCESS" else suggest(start, span, at),
        targets={
            "position": centres[0] if found else 0.0,
            "lines": len(centres) / 5,
            "width": unit_log(widths[0], 0.01, 1.0) if found else 0.0,
            "height": clip01(math.log10(max(heights) / noise) / 2) if found else 0.0,
            "misfit": misfit(curve, trace),
            "has_fit": float(curve is not None),
        },
        **words,
    ), ((panel,),)


def draw_lines(rng: np.random.Generator, kind: str, points: int) -> tuple[list[float], list[float], list[float]]:
    """(centres, FWHMs in fractions of the window, heights with maximum about 1) of the lines, the main one first.

    Saturation s broadens a line by sqrt(1 + s) (power broadening) while it approaches full height.
    """
    if kind == "failure_no_peaks":
        return [], [], []
    narrowest = 5.0 / points
    if kind == "success":
        saturation = log_uniform(rng, 0.1, 10.0)
        width = log_uniform(rng, 0.015, 0.07) * math.sqrt(1 + saturation)
        return [uniform(rng, 0.18, 0.82)], [max(narrowest, min(0.28, width))], [1.0]
    lines = pick(rng, (2, 2, 3, 3, 4))
    slots = (np.arange(lines) + 0.5 + rng.uniform(-0.2, 0.2, lines)) / lines
    crowded = chance(rng, 0.45)
    fill = uniform(rng, 0.35, 0.6) if crowded and points > 24 * lines else 1.0
    widths = [max(narrowest, fill * uniform(rng, 0.3 if crowded else 0.08, 0.4) / lines) for _ in range(lines)]
    slots = uniform(rng, 0.0, 1.0 - fill) + fill * slots
    heights = [1.0, *(uniform(rng, 0.45, 1.0) for _ in range(lines - 1))]
    order = rng.permutation(lines)
    return [float(0.06 + 0.88 * slots[i]) for i in order], widths, heights


def draw_scale(rng: np.random.Generator, qubit: str) -> tuple[float, float, str]:
    """(gain, level, label) of the y axis for a line of height 1."""
    if chance(rng, 0.35):
        label = pick(rng, ("{}_contrast", "{} contrast", "Contrast", "{} excited state probability []")).format(qubit)
        if "prob" in label:
            return uniform(rng, 0.2, 0.45), 0.5, label
        return log_uniform(rng, 0.002, 0.5), 0.0, label
    if chance(rng, 0.25):
        return uniform(rng, 0.5, 3.0), uniform(rng, -2.0, 2.0), with_unit(rng, "Phase", "rad")
    name, unit = pick(rng, SIGNAL_LABELS)
    gain = log_uniform(rng, 0.02, 40.0)
    return gain, gain * uniform(rng, -4.0, 6.0), with_unit(rng, name, unit)


def draw_fit(
    rng: np.random.Generator, kind: str, trace: Trace, u: np.ndarray, centres: list[float], widths: list[float]
) -> tuple[str, Curve | None]:
    """(quality, curve or None): a single-Lorentzian fit of the drawn points, whatever they hold."""
    x, y = trace.x, trace.y
    span = float(x[-1] - x[0])
    if chance(rng, 0.3 if kind == "failure_no_peaks" else 0.1):
        return "none", None
    if kind == "success":
        return "good", fit_lorentzian(x, y, float(x[0]) + span * centres[0], span * widths[0])
    if kind == "failure_multiple_peaks":
        if chance(rng, 0.75):
            middle, spread = float(np.mean(centres)), float(np.ptp(centres))
            return "wrong", fit_lorentzian(x, y, float(x[0]) + span * middle, span * max(spread, 0.2))
        return "wrong", fit_lorentzian(x, y, float(x[0]) + span * centres[0], span * widths[0])
    if chance(rng, 0.4):
        level = float(y.mean())
        return "unsupported", lambda t: np.full_like(t, level)
    guess = fit_lorentzian(x, y, float(x[0]) + span * uniform(rng, 0.1, 0.9), span * uniform(rng, 0.05, 0.5), steps=3)
    return "unsupported", guess


def draw_texts(
    rng: np.random.Generator, curve: Curve | None, qubit: str, unit: str, trace: Trace
) -> tuple[str, tuple[Marker, ...], str | None]:
    """(title, marker at the fitted frequency, legend label)."""
    plain = pick(
        rng, (f"{qubit} spectroscopy", "Qubit spectroscopy", "Qubit Spectroscopy", "Two-tone spectroscopy", qubit, "")
    )
    if not isinstance(curve, Lorentzian) or not trace.x[0] < curve.centre < trace.x[-1]:
        return plain, (), None
    digits = 4 if unit == "GHz" else 1
    value = f"{curve.centre:.{digits}f}"
    error = number(curve.fwhm * log_uniform(rng, 0.005, 0.05), 2)
    title = f"{qubit} frequency = ({value} ± {error}) {unit}" if chance(rng, 0.45) else plain
    label = f"f = {value} {unit}" if chance(rng, 0.3) else None
    markers = (Marker(curve.centre, "v", pick(rng, ("guide", "fit")), label),) if chance(rng, 0.5) else ()
    return title, markers, (f"Fit: f0 = {value} {unit}" if chance(rng, 0.25) else None)


def suggest(start: float, span: float, at: list[float]) -> str:
    """A wider range without lines; with several, the surroundings of the strongest one."""
    if at:
        low, high = at[0] - span / 8, at[0] + span / 8
    else:
        low, high = start - span, start + 2 * span
    return f"({number(low, 5)}, {number(high, 5)}) [GHz]"
