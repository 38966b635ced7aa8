"""Ramsey frequency calibration: how far is the drive from the qubit, read from the fringes of a detuned Ramsey scan?

Physics and drawing: those of `ramsey_t2star` (two images: Fourier magnitude of the drawn points, and the points). Here
the number of fringes in the window decides: too few leave the frequency open, too many cannot be sampled.

Label rule (criteria: SPEC 2.7, families 15-16; thresholds are the constants below, draws keep clear of them):
type                                 outcome                status        decided by
ramsey_success_freq_cal              Expected behavior      SUCCESS       3.5 to 18 periods under one decay, resolved
ramsey_failure_freq_cal_beating      Anomalous behavior     BEATING       two lines, first node inside T2*
ramsey_failure_freq_cal_too_few_osc  Suboptimal parameters  TOO_FEW_OSC   < 2 periods in the window
ramsey_failure_freq_cal_too_many_osc Suboptimal parameters  TOO_MANY_OSC  > 25 periods in the window, < 4 points in each
A drawn fit is Reliable on success only; T2* and detuning are numbers there and "Unreliable" elsewhere.
`fringes_visible` counts drawn periods while the envelope exceeds 10 %.
`targets`: as in `ramsey_t2star`.
"""

from __future__ import annotations

from dataclasses import replace

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
    uniform,
    unit_log,
)
from riverone_hf.calibration.ramsey_freq_words import WORDS
from riverone_hf.calibration.ramsey_t2star import (
    Scenario,
    count_fringes,
    draw_spectrum,
    draw_time_domain,
    signal,
)
from riverone_hf.calibration.ramsey_t2star import draw_scenario as draw_t2star_scenario
from riverone_hf.calibration.scene import Panel, Style
from riverone_hf.calibration.trace import Curve, Trace, misfit
from riverone_hf.calibration.words import (
    ANOMALOUS,
    EXPECTED,
    SUBOPTIMAL,
    assessment,
    draw_readout,
    qubit_name,
    with_unit,
)
from riverone_hf.questions.truth import UNRELIABLE, Truth

LABELS = {
    "ramsey_success_freq_cal": (EXPECTED, "SUCCESS"),
    "ramsey_failure_freq_cal_beating": (ANOMALOUS, "BEATING"),
    "ramsey_failure_freq_cal_too_few_osc": (SUBOPTIMAL, "TOO_FEW_OSC"),
    "ramsey_failure_freq_cal_too_many_osc": (SUBOPTIMAL, "TOO_MANY_OSC"),
}
TYPES = tuple(LABELS)

FEW_THRESHOLD = 2.0
"""Fewer periods than this in the window are TOO_FEW_OSC; draws leave out 1.4 to 3.5."""
MANY_THRESHOLD = 25.0
"""More periods than this in the window are TOO_MANY_OSC; draws leave out 18 to 28 (beating: any)."""
DENSITY_THRESHOLD = 4.0
"""So many fringes are hidden when they have fewer points than this each; draws leave out 3.5 to 6."""


def draw_scenario(rng: np.random.Generator, kind: str) -> Scenario:
    """A scenario of this kind, clear of the thresholds."""
    if kind == "failure_freq_cal_beating":
        scene = draw_t2star_scenario(rng, "failure_t2star_beating")
        # Here the spectrum must show both lines: at least three bins apart, and hardly broadened.
        return replace(scene, beat=max(scene.beat, uniform(rng, 3.0, 3.6)), t2=max(scene.t2, 0.7))
    power = pick(rng, (1, 1, 2))
    if kind == "failure_freq_cal_too_few_osc":
        return Scenario(uniform(rng, 0.35, 1.4), 1 / uniform(rng, 0.3, 1.6), int(log_uniform(rng, 30, 200)), power)
    if kind == "failure_freq_cal_too_many_osc":
        frequency = log_uniform(rng, 28.0, 80.0)
        points = int(frequency * uniform(rng, 2.3, 3.5)) + 1
        return Scenario(frequency, 1 / uniform(rng, 0.5, 2.2), points, power)
    frequency = log_uniform(rng, 3.5, 18.0)
    points = int(min(300, max(uniform(rng, 50, 90), uniform(rng, 6.5, 16.0) * frequency)))
    # The slower of decay and fringes must still show three periods.
    ratio = min(uniform(rng, 1.1, 2.8 if power == 1 else 2.2), 0.8 * frequency)
    return Scenario(frequency, 1 / ratio, points, power)


def simulate(
    experiment_type: str, rng: np.random.Generator, style: Style
) -> tuple[Truth, tuple[tuple[Panel, ...], ...]]:
    """One Ramsey plot: its truth and two images of one panel, spectrum and time domain."""
    qubit = qubit_name(rng)
    kind = experiment_type.removeprefix("ramsey_")
    scene = draw_scenario(rng, kind)
    unit, to_us = ("ns", 1e-3) if chance(rng, 0.15) else ("µs", 1.0)
    window = round_sig(log_uniform(rng, 600.0, 9000.0) if unit == "ns" else log_uniform(rng, 2.0, 80.0), 2)
    u = np.linspace(0, 1, scene.points)
    contrast = uniform(rng, 0.7, 1.0)
    noise = contrast * log_uniform(rng, 0.008, 0.05)
    readout = draw_readout(rng, qubit, ("population", "population", "z", "signal"))
    y = readout(shot_noise(rng, 0.5 + contrast * 0.5 * signal(rng, scene, u), noise))
    name = pick(rng, ("Evolution Time", "Delay", "Delay time", "Free evolution time", "Time", "Ramsey delay"))
    trace = Trace(u * window, y, abs(readout.gain) * noise, with_unit(rng, name, unit), readout.label, readout)
    quality, curve = draw_fit(rng, kind, scene, trace)
    t2, frequency = scene.t2, scene.frequency
    if quality == "good" and isinstance(curve, Oscillation):
        # What the lab reports, and a reader reads in the legend, is the fit of these points.
        t2, frequency = 1 / (curve.rate * window), abs(curve.frequency) * window
    t2_us, detuning = round_sig(t2 * window * to_us), round_sig(frequency / (window * to_us))
    fringes = count_fringes(scene.frequency, scene)
    words = WORDS[kind].draw(rng, f=number(detuning), fringes=fringes)
    panel, told = draw_time_domain(rng, trace, curve, scene, words.pop("main_features"), qubit, unit)
    time_image = replace(panel, title=draw_title(rng, qubit)), told
    fft_image, peak = draw_spectrum(rng, trace, curve, window * to_us, qubit)
    images = (fft_image, time_image) if chance(rng, 0.85) else (time_image, fft_image)
    reliability, q4_reason = assessment(rng, quality)
    outcome, status = LABELS[experiment_type]
    success = status == "SUCCESS"
    return Truth(
        "ramsey_freq_cal",
        experiment_type,
        outcome,
        reliability,
        status,
        {
            "T2_star_us": t2_us if success else UNRELIABLE,
            "detuning_MHz": detuning if success else UNRELIABLE,
            "fringes_visible": fringes,
        },
        tuple(truth for _, truth in images),
        q4_reason=q4_reason,
        suggested_range=suggest(status, scene, window, unit),
        targets={
            "window_over_t2": unit_log(1 / scene.t2, 0.05, 10.0),
            "points_per_period": unit_log(scene.points / scene.frequency, 1.0, 100.0),
            "fringes": clip01(fringes / 40),
            "peak_position": peak,
            "t2_position": clip01(scene.t2) if success else 0.0,
            "noise": clip01(noise / contrast * 10),
            "misfit": misfit(curve, trace),
            "has_fit": float(curve is not None),
        },
        **words,
    ), tuple((panel,) for panel, _ in images)


def draw_fit(rng: np.random.Generator, kind: str, scene: Scenario, trace: Trace) -> tuple[str, Curve | None]:
    """(quality, curve or None): the lab's single-frequency damped-sine fit of the drawn points."""
    if chance(rng, 0.1):
        return "none", None
    x, y = trace.x, trace.y
    window = float(x[-1])
    frequency, rate = scene.frequency / window, 1 / (scene.t2 * window)
    if kind == "failure_freq_cal_too_many_osc" and chance(rng, 0.45):
        # The routine starts far below the true frequency and stays there.
        slow = uniform(rng, 2.0, 12.0) / window
        return "wrong", fit_oscillation(x, y, slow, rate, free_frequency=False, power=scene.power)
    if kind == "failure_freq_cal_too_few_osc":
        return "unsupported", fit_oscillation(x, y, frequency, rate, free_decay=chance(rng, 0.5), power=scene.power)
    fit = fit_oscillation(x, y, frequency, rate, free_decay=True, power=scene.power, steps=8)
    return {"success_freq_cal": "good", "failure_freq_cal_beating": "wrong"}.get(kind, "unsupported"), fit


def draw_title(rng: np.random.Generator, qubit: str) -> str:
    """A title as measurement software writes it, or none."""
    return pick(
        rng,
        (
            "Ramsey Fringes - Time Domain",
            "Ramsey fringes",
            f"Ramsey {qubit}",
            f"{qubit} Ramsey frequency calibration",
            "Ramsey Frequency Calibration",
            "Ramsey Experiment",
            f"{qubit} detuning scan",
            "",
        ),
    )


def suggest(status: str, scene: Scenario, window: float, unit: str) -> str | None:
    """A window of about six to eight fringes; beating, which no other window mends, and success have none."""
    if status not in ("TOO_FEW_OSC", "TOO_MANY_OSC"):
        return None
    factor = (6.0 if status == "TOO_FEW_OSC" else 8.0) / scene.frequency
    return f"(0, {number(window * factor, 2)}) [{unit}]"
