"""T1: excite the qubit, wait, and see how fast its population relaxes.

Physics: P(t) = P_th + (P_0 - P_th) e^(-t/T1), with imperfect preparation and readout.

Label rule (criteria: SPEC 2.7, family 20; thresholds are the constants below, draws keep clear of them):
type                            outcome                status               decided by
t1_success                      Expected behavior      SUCCESS              window > 2 T1, step < T1/2
t1_failure_window_too_short     Suboptimal parameters  WINDOW_TOO_SHORT     window < 2 T1: baseline not reached
t1_failure_sampling_too_coarse  Suboptimal parameters  SAMPLING_TOO_COARSE  step > T1/2: two to four points on the decay
t1_failure_no_signal            Apparatus issue        NO_SIGNAL            flat population
A drawn fit is Reliable on success only: the other windows cannot fix T1 even if the curve passes the points.
`T1_us` is "Unreliable" then, and null without signal.
`targets`: window_over_t1, step_over_t1, t1_position (T1 over the swept window), noise, misfit, has_fit.
"""

from __future__ import annotations

import numpy as np

from riverone_hf.calibration.physics import (
    Exponential,
    chance,
    clip01,
    fit_exponential,
    log_uniform,
    number,
    pick,
    round_sig,
    shot_noise,
    slow_drift,
    uniform,
    unit_log,
)
from riverone_hf.calibration.scene import Panel, Style
from riverone_hf.calibration.trace import Curve, Trace, misfit, trace_panel
from riverone_hf.calibration.words import (
    APPARATUS,
    EXPECTED,
    SUBOPTIMAL,
    Words,
    assessment,
    draw_readout,
    qubit_name,
    with_unit,
)
from riverone_hf.questions.truth import UNRELIABLE, Truth

LABELS = {
    "t1_success": (EXPECTED, "SUCCESS"),
    "t1_failure_no_signal": (APPARATUS, "NO_SIGNAL"),
    "t1_failure_sampling_too_coarse": (SUBOPTIMAL, "SAMPLING_TOO_COARSE"),
    "t1_failure_window_too_short": (SUBOPTIMAL, "WINDOW_TOO_SHORT"),
}
TYPES = tuple(LABELS)

WINDOW_THRESHOLD = 2.0
"""Windows shorter than this many T1 are WINDOW_TOO_SHORT; draws leave out 1.2 to 3.3."""
STEP_THRESHOLD = 0.5
"""Steps longer than this many T1 are SAMPLING_TOO_COARSE; draws leave out 0.25 to 0.8."""

WORDS = {
    "success": Words(
        ("Exponential decay of the excited population to a baseline.", "Points decay exponentially and level off."),
        ("Clear exponential decay that reaches its baseline.", "Relaxation is well resolved over the window."),
        ("Decay reaches baseline and is densely sampled.", "Clear exponential decay, about {ratio} T1 long window."),
        (
            "The qubit relaxes exponentially with T1 near {t1} µs. Window and sampling suffice. "
            "Use T1 for coherence budgets and proceed to T2 measurements.",
        ),
    ),
    "failure_no_signal": Words(
        ("Flat, noisy points without decay.", "Constant population with scatter, no decay."),
        ("Population stays flat; no decay visible.", "No relaxation signal, only noise around a level."),
        ("Flat trace: check the pi pulse, qubit frequency and readout.", "No decay seen; qubit likely never excited."),
        (
            "No relaxation is seen: the qubit was never excited or decayed at once. T1 cannot be extracted. "
            "Check pi pulse and readout, then repeat.",
        ),
    ),
    "failure_sampling_too_coarse": Words(
        ("Few widely spaced points; decay within the first steps.", "Sparse points drop quickly to the baseline."),
        ("Time steps are too large to resolve the decay.", "Only a few points lie on the decay."),
        (
            "Decay happens within the first points; use shorter steps.",
            "Step is longer than the decay can bear; sample finer.",
        ),
        (
            "Population relaxes, but between few widely spaced points, so T1 is poorly constrained. "
            "Shorten the window or add points and repeat.",
        ),
    ),
    "failure_window_too_short": Words(
        ("Partial decay that has not reached a baseline.", "Population still falling at the end of the window."),
        ("Window ends before the decay reaches baseline.", "Only the start of the decay is measured."),
        (
            "Signal is still falling at the last delay; extend the window.",
            "Baseline not reached; longer delays are needed.",
        ),
        (
            "The qubit relaxes, but the window ends before the baseline, so T1 is an extrapolation. "
            "Extend the delay range to about five T1 and repeat.",
        ),
    ),
}


def simulate(
    experiment_type: str, rng: np.random.Generator, style: Style
) -> tuple[Truth, tuple[tuple[Panel, ...], ...]]:
    """One T1 plot: its truth and one image of one panel."""
    qubit = qubit_name(rng)
    kind = experiment_type.removeprefix("t1_")
    no_signal = kind == "failure_no_signal"
    in_ns = chance(rng, 0.15)
    unit, to_us = ("ns", 1e-3) if in_ns else ("µs", 1.0)
    t1 = log_uniform(rng, 800.0, 9000.0) if in_ns else log_uniform(rng, 4.0, 250.0)
    ratio, points = draw_severity(rng, kind)
    window = round_sig(ratio * t1, 2)
    ratio = window / t1
    x = np.linspace(0.0, window, points)
    contrast = uniform(rng, 0.65, 1.0)
    thermal = uniform(rng, 0.0, 1.0 - contrast)
    noise = log_uniform(rng, 0.006, 0.05)
    if no_signal:
        noise = log_uniform(rng, 0.005, 0.12)
        level = pick(rng, (uniform(rng, 0.0, 0.15), uniform(rng, 0.3, 0.7), uniform(rng, 0.85, 1.0)))
        population = level + noise * rng.normal(size=points)
    else:
        noise *= contrast
        population = shot_noise(rng, thermal + contrast * np.exp(-x / t1), noise)
        population = population + slow_drift(rng, points, contrast * pick(rng, (0.0, 0.0, 0.01)))
    readout = draw_readout(rng, qubit, ("population", "population", "z", "signal"))
    name = pick(
        rng, ("Delay Time", "Delay", "Time", "Wait time", "Delay time", "Waiting time", "Relaxation time delay", "tau")
    )
    trace = Trace(
        x, readout(population), abs(readout.gain) * noise, with_unit(rng, name, unit), readout.label, readout, no_signal
    )
    quality, curve = draw_fit(rng, kind, trace, 1 / t1)
    reported = t1
    if quality == "good" and isinstance(curve, Exponential):
        # What the lab reports, and a reader reads in the legend, is the fit of these points.
        reported = 1 / curve.rate
    t1_us = round_sig(reported * to_us)
    words = WORDS[kind].draw(rng, t1=number(t1_us), ratio=number(ratio, 2))
    title, fit_label, text = draw_texts(rng, curve, qubit, unit)
    panel, truth = trace_panel(
        rng, trace, curve, title=title, features=words.pop("main_features"), fit_label=fit_label, text=text
    )
    reliability, q4_reason = assessment(rng, quality)
    outcome, status = LABELS[experiment_type]
    value = t1_us if status == "SUCCESS" else None if no_signal else UNRELIABLE
    step = ratio / (points - 1)
    return Truth(
        "t1",
        experiment_type,
        outcome,
        reliability,
        status,
        {"T1_us": value, "decay_visible": not no_signal},
        (truth,),
        q4_reason=q4_reason,
        suggested_range=None if status == "SUCCESS" else suggest(no_signal, window, t1, unit),
        targets={
            "window_over_t1": 0.0 if no_signal else unit_log(ratio, 0.1, 40.0),
            "step_over_t1": 0.0 if no_signal else unit_log(step, 0.005, 5.0),
            "t1_position": 0.0 if no_signal else clip01(t1 / window),
            "noise": 1.0 if no_signal else clip01(noise / contrast * 10),
            "misfit": misfit(curve, trace),
            "has_fit": float(curve is not None),
        },
        **words,
    ), ((panel,),)


def draw_severity(rng: np.random.Generator, kind: str) -> tuple[float, int]:
    """(window in units of T1, number of points) of a scenario."""
    if kind == "failure_window_too_short":
        return log_uniform(rng, 0.15, 1.2), int(log_uniform(rng, 20, 120))
    if kind == "failure_sampling_too_coarse":
        step, points = log_uniform(rng, 0.8, 2.5), int(rng.integers(6, 22))
        return step * (points - 1), points
    ratio = uniform(rng, 3.3, 8.0)
    return ratio, int(max(ratio / 0.25 + 2, log_uniform(rng, 25, 140)))


def draw_fit(rng: np.random.Generator, kind: str, trace: Trace, rate: float) -> tuple[str, Curve | None]:
    """(quality, curve or None): the lab's exponential fit of the drawn points."""
    if chance(rng, 0.25 if kind == "failure_no_signal" else 0.1):
        return "none", None
    if kind == "failure_no_signal":
        if chance(rng, 0.5):
            level = float(trace.y.mean())
            return "unsupported", lambda t: np.full_like(t, level)
        return "unsupported", fit_exponential(trace.x, trace.y, log_uniform(rng, 1.0, 12.0) / trace.x[-1], steps=2)
    fit = fit_exponential(trace.x, trace.y, rate)
    return ("good" if kind == "success" else "unsupported"), fit


def draw_texts(
    rng: np.random.Generator, curve: Curve | None, qubit: str, unit: str
) -> tuple[str, str | None, str | None]:
    """(title, legend label, text box); the number shown is the fit's own, sensible or not."""
    title = pick(
        rng,
        (
            "T1 Relaxation Measurement",
            "T1 measurement",
            "T1",
            f"{qubit} T1",
            f"Energy relaxation, {qubit}",
            f"T1 relaxation {qubit}",
            "Relaxation",
            "",
        ),
    )
    if not isinstance(curve, Exponential) or curve.rate <= 0 or chance(rng, 0.3):
        return title, None, None
    value = 1 / curve.rate
    error = number(value * log_uniform(rng, 0.005, 0.08), 2)
    where = float(rng.random())
    if where < 0.2:
        return f"{qubit} T1 = ({number(value)} ± {error}) {unit}", None, None
    if where < 0.35:
        return title, None, f"Fit\nT1: {number(value)}±{error} {unit}"
    return title, pick(rng, ("Fit: T1 = {} {}", "T1 = {} {}", "Fit (T1={} {})")).format(number(value), unit), None


def suggest(no_signal: bool, window: float, t1: float, unit: str) -> str:
    """Delays up to five T1, or twice the window where T1 is unknown."""
    return f"(0, {number(2 * window if no_signal else 5 * t1, 2)}) [{unit}]"
