"""Rabi on hardware: sweep the amplitude of a fixed pulse over one to three periods and fit a steady sine.

Physics: that of `rabi`, seen through a real set-up: some contrast lost towards strong drive, correlated wander of the
readout, and populations a little outside [0, 1] after readout correction. The lab's model is a sine of constant
amplitude. A detuned drive gives P = W^2/(W^2+D^2) sin^2(sqrt(W^2+D^2) t/2) with W proportional to the amplitude: low
contrast that grows along the sweep, first lobes that are flatter than any sine.

Label rule (criteria: SPEC 2.7, family 13; thresholds are those of `rabi`, draws keep clear of them):
type                                         outcome                status            decided by
rabi_hw_success                              Expected behavior      SUCCESS           >= 1 period, the fit follows
rabi_hw_failure_incorrect_fit                Suboptimal parameters  FIT_POOR          >= 1 period, the fit misses it
rabi_hw_failure_insufficient_amplitude_range Suboptimal parameters  RANGE_TOO_NARROW  < 1 period in the window
rabi_hw_failure_off_resonant_drive           Anomalous behavior     OFF_RESONANCE     growing, distorted: D > 0.4 W
Q4 is Reliable when the drawn curve tracks points that hold a whole period of a steady sine. `periods_visible` is the
window over the fitted period where the fit is good.
`targets`: periods, end_amplitude, points_per_period, noise, misfit, has_fit.
"""

from __future__ import annotations

import math

import numpy as np

from riverone_hf.calibration.physics import (
    Oscillation,
    chance,
    clip01,
    fit_oscillation,
    log_uniform,
    number,
    pick,
    round_sig,
    shot_noise,
    slow_drift,
    uniform,
    unit_log,
)
from riverone_hf.calibration.rabi import (
    FIT_POOR,
    NOISY_THRESHOLD,
    draw_sweep,
    generalized_rabi,
    spoil,
    suggest,
)
from riverone_hf.calibration.rabi_words import WORDS
from riverone_hf.calibration.scene import Panel, Style
from riverone_hf.calibration.trace import Curve, Trace, misfit, trace_panel
from riverone_hf.calibration.words import (
    ANOMALOUS,
    EXPECTED,
    SUBOPTIMAL,
    Words,
    assessment,
    draw_readout,
    qubit_name,
    with_unit,
)
from riverone_hf.questions.truth import Truth

LABELS = {
    "rabi_hw_success": (EXPECTED, "SUCCESS"),
    "rabi_hw_failure_incorrect_fit": FIT_POOR,
    "rabi_hw_failure_insufficient_amplitude_range": (SUBOPTIMAL, "RANGE_TOO_NARROW"),
    "rabi_hw_failure_off_resonant_drive": (ANOMALOUS, "OFF_RESONANCE"),
}
TYPES = tuple(LABELS)

DETUNING_THRESHOLD = 0.4
"""Detuning over the largest Rabi frequency above this is OFF_RESONANCE; draws leave out 0 to 0.55."""
MISFIT_THRESHOLD = 0.45
"""A drawn fit whose rms distance exceeds this share of the signal's rms is FIT_POOR; draws leave out 0.4 to 0.55."""

OFF_RESONANCE_WORDS = Words(
    ("Distorted oscillation, low contrast growing with amplitude.", "Weak response that grows along the sweep."),
    ("Low, growing contrast: drive frequency is off resonance.", "Distorted oscillations point to a detuned drive."),
    (
        "Contrast grows with amplitude and stays distorted; correct the frequency.",
        "No steady sine describes the response; the drive is detuned.",
    ),
    (
        "The qubit responds, but the detuned drive keeps the contrast low and distorts the oscillation, so no pi pulse "
        "follows. Repeat spectroscopy, correct the drive frequency and rerun.",
    ),
)
SCENARIO_WORDS = {
    "SUCCESS": WORDS["success"],
    "FIT_POOR": WORDS["fit_poor"],
    "RANGE_TOO_NARROW": WORDS["failure_too_slow"],
    "OFF_RESONANCE": OFF_RESONANCE_WORDS,
}


def simulate(
    experiment_type: str, rng: np.random.Generator, style: Style
) -> tuple[Truth, tuple[tuple[Panel, ...], ...]]:
    """One hardware Rabi plot: its truth and one image of one panel."""
    qubit = qubit_name(rng)
    outcome, status = LABELS[experiment_type]
    detuned = status == "OFF_RESONANCE"
    xlabel, unit, window = draw_axis(rng, qubit)
    points = int(pick(rng, (51, 51, 41, 101, 26, log_uniform(rng, 24, 121))))
    u = np.linspace(0, 1, points)
    shape, periods, end = draw_shape(rng, status)
    contrast = uniform(rng, 0.72, 1.0)
    rest = uniform(rng, 0.0, 1.0 - contrast)
    clean = shape(u)
    size = contrast * float(np.ptp(clean))
    loud = status == "SUCCESS" and chance(rng, 0.1)
    noise = (uniform(rng, 0.11, 0.16) if loud else log_uniform(rng, 0.012, 0.06)) * size
    population = shot_noise(rng, rest + contrast * clean, noise)
    # Readout wanders over a few neighbouring points, besides drifting over the whole sweep.
    wander = np.convolve(rng.normal(size=points), np.full(5, 0.45), "same") * size * pick(rng, (0.0, 0.01, 0.02))
    population = population + wander + slow_drift(rng, points, size * pick(rng, (0.0, 0.02, 0.05)))
    readout = draw_readout(rng, qubit, ("population", "population", "z", "signal"))
    ylabel = readout.label
    if readout.bounded and readout.gain > 0 and chance(rng, 0.5):
        ylabel = f"{qubit} excited state probability{pick(rng, (chr(10), ' '))}[]"
    trace = Trace(u * window, readout(population), abs(readout.gain) * noise, xlabel, ylabel, readout)
    quality, curve = draw_fit(rng, status, trace, periods / window)
    if quality == "good" and isinstance(curve, Oscillation):
        # What the lab reports, and a reader reads in the text box, is the fit of these points.
        periods = curve.frequency * window
    visible = round(periods, 1 if periods >= 1 else 2)
    words = SCENARIO_WORDS[status].draw(rng, periods=number(visible))
    text, fit_label = fit_texts(rng, curve, trace, qubit, 0.9 if style.text_outside else 0.35)
    panel, told = trace_panel(
        rng,
        trace,
        curve,
        title=draw_title(rng, qubit, xlabel, ylabel),
        features=words.pop("main_features"),
        fit_label=fit_label,
        text=text,
    )
    reliability, q4_reason = assessment(rng, quality)
    signal_quality = "distorted" if detuned else "clean" if noise / size < NOISY_THRESHOLD else "noisy"
    return Truth(
        "rabi_hw",
        experiment_type,
        outcome,
        reliability,
        status,
        {
            "periods_visible": visible,
            "amplitude_decay": "growing" if detuned else "stable",
            "signal_quality": signal_quality,
        },
        (told,),
        q4_reason=q4_reason,
        # A corrected frequency keeps the sweep, as a better fit does.
        suggested_range=suggest("FIT_POOR" if detuned else status, window, periods, end, unit),
        targets={
            "periods": unit_log(periods, 0.1, 100.0),
            "end_amplitude": end,
            "points_per_period": unit_log(points / periods, 1.0, 300.0),
            "noise": clip01(noise / size * 5),
            "misfit": misfit(curve, trace),
            "has_fit": float(curve is not None),
        },
        **words,
    ), ((panel,),)


def draw_shape(rng: np.random.Generator, status: str) -> tuple[Curve, float, float]:
    """(population against relative amplitude u, periods in the window, last over first contrast)."""
    if status == "OFF_RESONANCE":
        turns = uniform(rng, 2.0, 4.5)
        detuning = turns * uniform(rng, 0.55, 1.1)
        # At least one whole period must be seen, or the range would be the complaint.
        turns, detuning = (
            value * max(1.0, 1.4 / (math.hypot(turns, detuning) - detuning)) for value in (turns, detuning)
        )
        return generalized_rabi(turns, detuning), math.hypot(turns, detuning) - detuning, 1.0
    if status == "RANGE_TOO_NARROW":
        periods = uniform(rng, 0.2, 0.75)
    else:
        periods = uniform(rng, 1.15, 2.2) if chance(rng, 0.75) else uniform(rng, 2.2, 3.5)
    end = uniform(rng, 0.72, 1.0) if chance(rng, 0.7) else 1.0
    return Oscillation(periods, -math.log(end), -0.5, 0.0, 0.5), periods, end


def draw_fit(rng: np.random.Generator, status: str, trace: Trace, frequency: float) -> tuple[str, Curve | None]:
    """(quality, curve or None): the lab's sine of constant amplitude, fitted to the drawn points or gone astray."""
    x, y = trace.x, trace.y
    window = float(x[-1])
    if status == "FIT_POOR":
        return "wrong", draw_wrong(rng, trace, fit_oscillation(x, y, frequency))
    if chance(rng, 0.08):
        return "none", None
    if status == "OFF_RESONANCE":
        start = frequency * uniform(rng, 0.7, 1.2)
        return "wrong", fit_oscillation(x, y, start, steps=pick(rng, (1, 3)))
    if status == "RANGE_TOO_NARROW":
        free = frequency * window > 0.35 and chance(rng, 0.6)
        return "unsupported", fit_oscillation(x, y, frequency, free_frequency=free, steps=3)
    return "good", fit_oscillation(x, y, frequency, steps=8)


def draw_wrong(rng: np.random.Generator, trace: Trace, good: Oscillation) -> Oscillation:
    """A curve that evidently misses the points: spoiled, or stuck at a start value of the wrong period."""
    window = float(trace.x[-1])
    for _ in range(4):
        if chance(rng, 0.6):
            wrong = spoil(rng, good, window)
        else:
            factor = pick(rng, (uniform(rng, 1.6, 3.0), uniform(rng, 0.25, 0.6)))
            wrong = fit_oscillation(trace.x, trace.y, good.frequency * factor, free_frequency=False)
        if misfit(wrong, trace) > MISFIT_THRESHOLD + 0.1:
            return wrong
    return Oscillation(good.frequency, 0.0, 0.2 * good.a, 0.2 * good.b, good.c)


def draw_axis(rng: np.random.Generator, qubit: str) -> tuple[str, str, float]:
    """(x label, unit, largest amplitude)."""
    if chance(rng, 0.5):
        window = pick(rng, (0.25, 0.1, 0.2, 0.3, 0.4, 0.5, 0.8, 1.0, round_sig(log_uniform(rng, 0.04, 1.0), 2)))
        gap = pick(rng, ("\n", " "))
        label = pick(
            rng,
            (
                "PRX({}) pi pulse i channel{}amplitude []",
                "PRX({}) pi pulse amplitude{}[]",
                "{} drive pulse{}amplitude []",
                "{} drive amplitude{}(a.u.)",
            ),
        )
        return label.format(qubit, gap), "", window
    name, unit, window = draw_sweep(rng, True)
    return with_unit(rng, name.format(qubit=qubit), unit), unit, window


def fit_texts(
    rng: np.random.Generator, curve: Curve | None, trace: Trace, qubit: str, share: float
) -> tuple[str | None, str | None]:
    """(text box in this share of the plots, legend label), with the fit's own numbers and standard errors."""
    if not isinstance(curve, Oscillation) or curve.frequency <= 0:
        return None, None
    period, amplitude = 1 / curve.frequency, math.hypot(curve.a, curve.b)
    luck = float(rng.random())
    if luck < share:
        errors = standard_errors(curve, trace)
        head = pick(rng, ("Fit to {}_excited_state_probability:", "Fit to {} population:", "Fit {}:", "Fit")).format(
            qubit
        )
        names = pick(rng, (("offset", "period", "pop_amplitude"), ("offset", "period", "amplitude"), ("c", "T", "A")))
        values = zip(names, (curve.c, period, amplitude), errors, strict=True)
        return "\n".join([head, *(f"{name}: {plus_minus(value, error)}" for name, value, error in values)]), None
    if luck < share + 0.2:
        return None, pick(rng, ("Fit: period = {}", "Fit (T = {})", "fit, pi amplitude {}")).format(number(period))
    return None, None


def standard_errors(curve: Oscillation, trace: Trace) -> tuple[float, float, float]:
    """Standard errors of offset, period and amplitude from the fit's covariance s^2 (J^T J)^-1."""
    x, y = trace.x, trace.y
    phase = 2 * math.pi * curve.frequency * x
    cos, sin = np.cos(phase), np.sin(phase)
    slope = x * (curve.b * cos - curve.a * sin)
    # Scaled columns: amplitudes and frequencies may differ by orders of magnitude.
    jacobian = np.stack([np.ones_like(x), slope, cos, sin], axis=1)
    scale = np.maximum(np.abs(jacobian).max(axis=0), 1e-300)
    gram = (jacobian / scale).T @ (jacobian / scale)
    residual = y - curve(x)
    variance = float(residual @ residual) / max(1, x.size - 4)
    inverse = np.linalg.inv(gram + 1e-9 * np.eye(4))
    errors = np.sqrt(variance * np.diag(inverse)) / scale
    period = float(errors[1]) / (2 * math.pi * curve.frequency**2)
    return float(errors[0]), period, float(max(errors[2], errors[3]))


def plus_minus(value: float, error: float) -> str:
    """`value±error` with two digits of the error, as fit reports print it."""
    if not 0 < error < 1e6:
        return number(value)
    digits = max(0, min(6, 1 - math.floor(math.log10(error))))
    return f"{value:.{digits}f}±{error:.{digits}f}"


def draw_title(rng: np.random.Generator, qubit: str, xlabel: str, ylabel: str) -> str:
    """A title as measurement software writes it: often "y label vs x label"."""
    x, y = (label.replace("\n", " ").split(" [")[0].split(" (")[0] for label in (xlabel, ylabel))
    if x and chance(rng, 0.45):
        return f"{y} vs {x}"
    return pick(
        rng, (f"{qubit} Rabi", f"Rabi {qubit}", "Amplitude Rabi", "Power Rabi", f"{qubit} pi pulse calibration", "")
    )
