"""Rabi: drive a qubit for a swept time or with a swept amplitude, and watch its population oscillate.

Physics: P(t) = W^2/(W^2+D^2) * (1 - e^(-t/tau) cos(sqrt(W^2+D^2) t)) / 2 with Rabi frequency W and detuning D; in an
amplitude sweep W is proportional to the amplitude at fixed length, so a detuned drive also gains contrast.

Label rule (criteria: SPEC 2.7, family 12; thresholds are the constants below, draws keep clear of them):
type                            outcome                status             decided by
rabi_success, ..._off_resonance,
rabi_successful_limited_range   Expected behavior      SUCCESS            >= 1 period, envelope keeps > 50 %
the same, fit evidently wrong   Suboptimal parameters  FIT_POOR           curve misses the points (rabi_success only)
rabi_failure_too_slow           Suboptimal parameters  RANGE_TOO_NARROW   < 1 period in the window
rabi_failure_too_fast           Suboptimal parameters  UNDERSAMPLED       < 4 points per period, or aliased
rabi_failure_damped_...         Anomalous behavior     DAMPED             envelope loses > 50 % in the window
rabi_failure_random_signal      Apparatus issue        NO_SIGNAL          noise only
Q4 is Reliable when the drawn curve tracks points that hold a whole, well-sampled period.
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
    solve_linear,
    uniform,
    unit_log,
)
from riverone_hf.calibration.rabi_words import WORDS
from riverone_hf.calibration.scene import Panel, Style
from riverone_hf.calibration.trace import Curve, Trace, misfit, trace_panel
from riverone_hf.calibration.words import (
    ANOMALOUS,
    APPARATUS,
    EXPECTED,
    SUBOPTIMAL,
    assessment,
    draw_readout,
    qubit_name,
    with_unit,
)
from riverone_hf.questions.truth import Truth

LABELS = {
    "rabi_success": (EXPECTED, "SUCCESS"),
    "rabi_success_off_resonance": (EXPECTED, "SUCCESS"),
    "rabi_successful_limited_range": (EXPECTED, "SUCCESS"),
    "rabi_failure_damped_oscillations": (ANOMALOUS, "DAMPED"),
    "rabi_failure_random_signal": (APPARATUS, "NO_SIGNAL"),
    "rabi_failure_too_fast": (SUBOPTIMAL, "UNDERSAMPLED"),
    "rabi_failure_too_slow": (SUBOPTIMAL, "RANGE_TOO_NARROW"),
}
TYPES = tuple(LABELS)
FIT_POOR = (SUBOPTIMAL, "FIT_POOR")

PERIODS_THRESHOLD = 1.0
"""Fewer periods than this are RANGE_TOO_NARROW; draws leave out 0.75 to 1.1."""
DAMPED_THRESHOLD = 0.5
"""Final over initial envelope below this is DAMPED; draws leave out 0.33 to 0.72."""
UNDERSAMPLED_THRESHOLD = 4.0
"""Fewer points per period than this are UNDERSAMPLED; draws leave out 3 to 7."""
NOISY_THRESHOLD = 0.09
"""Point noise over peak-to-peak contrast above this reads as "noisy"; draws leave out 0.06 to 0.11."""


def simulate(
    experiment_type: str, rng: np.random.Generator, style: Style
) -> tuple[Truth, tuple[tuple[Panel, ...], ...]]:
    """One Rabi plot: its truth and one image of one panel."""
    qubit = qubit_name(rng)
    kind = experiment_type.removeprefix("rabi_")
    amplitude_sweep = chance(rng, 0.3 if kind == "success_off_resonance" else 0.5)
    name, unit, window = draw_sweep(rng, amplitude_sweep)
    symmetric = amplitude_sweep and kind == "success" and chance(rng, 0.12)
    periods, points, end = draw_severity(rng, kind)
    noise = uniform(rng, 0.11, 0.16) if kind == "success" and chance(rng, 0.1) else log_uniform(rng, 0.008, 0.06)
    u = np.linspace(0, 1, points)
    growing = kind == "success_off_resonance" and amplitude_sweep
    contrast = uniform(rng, 0.7, 1.0)
    rest = uniform(rng, 0.0, 1.0 - contrast)
    shape: Curve
    if kind == "failure_random_signal":
        contrast, rest = 1.0, 0.0
        population = noise_only(rng, u)
        noise = 0.0
    else:
        if growing:
            periods, detuning = max(periods, 4.0), uniform(rng, 1.0, 1.6)
            shape = generalized_rabi(periods, detuning)
            periods = math.hypot(periods, detuning) - detuning
        else:
            if kind == "success_off_resonance":
                contrast *= uniform(rng, 0.4, 0.85)
            shape = Oscillation(periods, -math.log(end), -0.5, 0.0, 0.5)
            if symmetric:
                shape = Oscillation(periods, 0.0, *cos_sin_about_centre(periods), 0.5)
        noise *= contrast
        population = shot_noise(rng, rest + contrast * shape(u), noise)
        population = population + slow_drift(rng, points, contrast * pick(rng, (0.0, 0.0, 0.02, 0.05)))
    readout = draw_readout(rng, qubit)
    x = (2 * u - 1) * window if symmetric else u * window
    trace = Trace(
        x,
        readout(population),
        abs(readout.gain) * max(noise, 1e-3),
        with_unit(rng, name.format(qubit=qubit), unit),
        readout.label,
        readout,
        kind == "failure_random_signal",
    )
    span = float(x[-1] - x[0])
    quality, curve, period = draw_fit(rng, kind, trace, periods / span, end, shape if growing else None)
    outcome, status = LABELS[experiment_type]
    if kind == "success" and quality == "wrong":
        outcome, status = FIT_POOR
    key = "fit_poor" if status == "FIT_POOR" else kind
    visible = 0.0 if kind == "failure_random_signal" else round(periods, 1 if periods >= 1 else 2)
    words = WORDS[key].draw(rng, periods=number(visible))
    text, fit_label = fit_texts(rng, curve, period, unit)
    panel, truth = trace_panel(
        rng,
        trace,
        curve,
        title=draw_title(rng, qubit, amplitude_sweep),
        features=words.pop("main_features"),
        fit_label=fit_label,
        text=text,
        curve_points=160 if periods < 14 else min(900, int(periods * 12)),
    )
    reliability, q4_reason = assessment(rng, quality)
    signal_quality = "clean" if noise / contrast < NOISY_THRESHOLD else "noisy"
    if kind == "failure_random_signal":
        signal_quality = "noisy"
    elif kind == "failure_too_fast":
        signal_quality = "distorted"
    decay = "growing" if growing else "decaying" if end < DAMPED_THRESHOLD else "stable"
    no_signal = kind == "failure_random_signal"
    return Truth(
        "rabi",
        experiment_type,
        outcome,
        reliability,
        status,
        {"periods_visible": visible, "amplitude_decay": decay, "signal_quality": signal_quality},
        (truth,),
        q4_reason=q4_reason,
        suggested_range=suggest(status, window, periods, end, unit),
        targets={
            "periods": 0.0 if no_signal else unit_log(periods, 0.1, 100.0),
            "end_amplitude": 0.0 if no_signal else end,
            "points_per_period": 0.0 if no_signal else unit_log(points / periods, 1.0, 300.0),
            "noise": 1.0 if no_signal else clip01(noise / contrast * 5),
            "misfit": misfit(curve, trace),
            "has_fit": float(curve is not None),
        },
        **words,
    ), ((panel,),)


def draw_severity(rng: np.random.Generator, kind: str) -> tuple[float, int, float]:
    """(periods in the window, number of points, final over initial envelope) of a scenario."""
    periods, density, end = log_uniform(rng, 1.6, 11.0), log_uniform(rng, 10.0, 40.0), uniform(rng, 0.75, 1.0)
    if kind == "success_off_resonance":
        periods = log_uniform(rng, 2.5, 9.0)
    elif kind == "successful_limited_range":
        periods, end = uniform(rng, 1.1, 1.6), 1.0
    elif kind == "failure_damped_oscillations":
        periods, end = log_uniform(rng, 2.5, 12.0), log_uniform(rng, 0.02, 0.33)
    elif kind == "failure_too_slow":
        periods, end = uniform(rng, 0.2, 0.75), 1.0
    elif kind == "failure_too_fast":
        # Close to a whole number of half periods per point the aliased points would form a clean slow wave.
        density = uniform(rng, 2.15, 3.0) if chance(rng, 0.5) else uniform(rng, 1.25, 1.85)
        periods = log_uniform(rng, 14.0, 70.0)
        return periods, max(24, int(periods * density)), uniform(rng, 0.75, 1.0)
    return periods, int(min(360, max(uniform(rng, 24, 61), periods * density))), end


def draw_sweep(rng: np.random.Generator, amplitude_sweep: bool) -> tuple[str, str, float]:
    """(axis name, unit, largest value) of the swept quantity."""
    if amplitude_sweep:
        name = pick(
            rng,
            (
                "Drive amplitude",
                "Pulse amplitude",
                "Amplitude",
                "Drive Amplitude",
                "Rabi amplitude",
                "DAC amplitude",
                "PRX({qubit}) pulse amplitude",
                "Gain",
            ),
        )
        unit, high = pick(rng, (("a.u.", 1.0), ("", 1.0), ("V", 1.5), ("mV", 800.0), ("arb. units", 1.0)))
        return name, unit, round_sig(log_uniform(rng, high / 15, high), 2)
    name = pick(rng, ("Time", "Pulse duration", "Drive time", "Pulse length", "Pulse Width", "Rabi time", "Duration"))
    unit, low, high = pick(rng, (("µs", 0.2, 10.0), ("ns", 60.0, 3000.0)))
    return name, unit, round_sig(log_uniform(rng, low, high), 2)


def cos_sin_about_centre(periods: float) -> tuple[float, float]:
    """Cosine and sine coefficients over u in [0, 1] of -cos(2 pi periods (u - 1/2)) / 2."""
    phase = math.pi * periods
    return -0.5 * math.cos(phase), -0.5 * math.sin(phase)


def generalized_rabi(periods: float, detuning: float) -> Curve:
    """Population against relative amplitude u of a pulse `periods` long at u = 1, detuned by `detuning` turns."""

    def population(u: np.ndarray) -> np.ndarray:
        drive = periods * u
        turns = np.sqrt(drive * drive + detuning * detuning)
        return (drive / turns) ** 2 * np.sin(math.pi * turns) ** 2

    return population


def noise_only(rng: np.random.Generator, u: np.ndarray) -> np.ndarray:
    """A population trace without oscillation: readout noise about some level, at times with a slow drift."""
    level = uniform(rng, 0.1, 0.9)
    size = min(log_uniform(rng, 0.01, 0.2), 0.4 * min(level, 1 - level))
    noise = rng.normal(size=u.size)
    return np.clip(level + size * noise + slow_drift(rng, u.size, size * pick(rng, (0.0, 0.3))), 0, 1)


def draw_fit(
    rng: np.random.Generator, kind: str, trace: Trace, frequency: float, end: float, exact: Curve | None
) -> tuple[str, Curve | None, float]:
    """(quality, curve or None, fitted period in axis units): what the lab's fit routine made of the points."""
    x, y = trace.x, trace.y
    span = float(x[-1] - x[0])
    luck = float(rng.random())
    if kind == "failure_too_fast" and (x.size < 60 or x.size < 2.1 * frequency * span):
        # Without the fast curve such sparse points could not be told from noise.
        return "unsupported", fit_oscillation(x, y, frequency), 1 / frequency
    if luck < 0.1:
        return "none", None, 0.0
    if exact is not None:
        u = (x - x[0]) / span
        c, a = solve_linear(np.stack([np.ones_like(u), exact(u)], axis=1), y)
        return "good", lambda t: c + a * exact((t - x[0]) / span), 1 / frequency
    if kind == "failure_random_signal":
        if luck < 0.3:
            level = float(y.mean())
            return "unsupported", lambda t: np.full_like(t, level), 0.0
        wave = fit_oscillation(x, y, log_uniform(rng, 0.4, 12.0) / span, steps=3)
        return "unsupported", wave, 1 / abs(wave.frequency)
    if kind == "failure_too_fast":
        if luck < 0.55:
            return "unsupported", fit_oscillation(x, y, frequency), 1 / frequency
        slow = fit_oscillation(x, y, uniform(rng, 1.0, 6.0) / span, free_frequency=False)
        return "wrong", slow, 1 / slow.frequency
    if kind == "failure_too_slow":
        return "unsupported", fit_oscillation(x, y, frequency, free_frequency=chance(rng, 0.6)), 1 / frequency
    if kind == "failure_damped_oscillations":
        if luck < 0.5:
            damped = fit_oscillation(x, y, frequency, -math.log(end) / span, free_decay=True)
            return "good", damped, 1 / damped.frequency
        steady = fit_oscillation(x, y, frequency, free_frequency=False)
        return "wrong", steady, 1 / frequency
    good = fit_oscillation(x, y, frequency, -math.log(end) / span, free_decay=end < 0.95)
    if kind == "success" and luck > 0.75:
        return "wrong", spoil(rng, good, span), 1 / good.frequency
    return "good", good, 1 / good.frequency


def spoil(rng: np.random.Generator, good: Oscillation, span: float) -> Oscillation:
    """A curve that evidently misses: wrong frequency (a slip of 0.5 to 1.2 turns), phase, or amplitude."""
    way = int(rng.integers(3))
    f, a, b = good.frequency, good.a, good.b
    if way == 0:
        f += pick(rng, (-1.0, 1.0)) * uniform(rng, 0.5, min(1.2, 0.7 * f * span)) / span
    elif way == 1:
        turn = 2 * math.pi * uniform(rng, 0.2, 0.8)
        a, b = a * math.cos(turn) - b * math.sin(turn), a * math.sin(turn) + b * math.cos(turn)
    else:
        factor = uniform(rng, 0.05, 0.4)
        a, b = a * factor, b * factor
    return Oscillation(f, good.rate, a, b, good.c)


def fit_texts(rng: np.random.Generator, curve: Curve | None, period: float, unit: str) -> tuple[str | None, str | None]:
    """(text box, legend label) with the fit's own numbers, in some plots."""
    if curve is None or period <= 0:
        return None, None
    value = f"{number(period)} {unit}".strip()
    luck = float(rng.random())
    if luck < 0.15:
        error = number(period * log_uniform(rng, 0.002, 0.03), 2)
        return f"Fit\nperiod: {number(period)}±{error}\npi: {number(period / 2)}", None
    return None, (
        pick(rng, ("Fit: T = {}", "Fit (period {})", "fit: period = {}")).format(value) if luck < 0.3 else None
    )


def draw_title(rng: np.random.Generator, qubit: str, amplitude_sweep: bool) -> str:
    """A title as measurement software writes it, or none."""
    return pick(
        rng,
        (
            "Power Rabi" if amplitude_sweep else "Time Rabi",
            "Amplitude Rabi" if amplitude_sweep else "Time Rabi",
            f"Rabi oscillations {qubit}",
            f"{qubit} Rabi",
            "Rabi Oscillation",
            f"Rabi experiment, {qubit}",
            "",
        ),
    )


def suggest(status: str, window: float, periods: float, end: float, unit: str) -> str | None:
    """The next sweep, from the physics: two to five periods, sampled within the coherence."""
    if status == "SUCCESS":
        return None
    factor = {
        "RANGE_TOO_NARROW": 2.5 / periods,
        "UNDERSAMPLED": 5 / periods,
        "DAMPED": max(1.5 / periods, math.log(1.6) / -math.log(end) if end < 1 else 1.0),
        "NO_SIGNAL": 2.0,
        "FIT_POOR": 1.0,
    }[status]
    return f"(0, {number(window * factor, 2)}) [{unit or 'a.u.'}]"
