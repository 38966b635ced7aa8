"""Ramsey T2*: two pi/2 pulses a variable delay apart; fringes at the detuning decay with the dephasing time.

Physics: P(t) = 1/2 + A e^-(t/T2*)^n cos(2 pi f t + phi) with n = 1 (white noise) or 2 (slow noise); two frequencies
(charge parity, a coupled defect) beat; samples further apart than half a period alias. The row has two images: the
magnitude of the discrete Fourier transform of the drawn points, and the points themselves.

Label rule (criteria: SPEC 2.7, families 15-16; thresholds are the constants below, draws keep clear of them):
type                                      outcome                status               decided by
ramsey_success_t2star                     Expected behavior      SUCCESS              decays, resolved, one frequency
ramsey_failure_t2star_beating             Anomalous behavior     BEATING              two lines, first node inside T2*
ramsey_failure_t2star_sampling_too_coarse Suboptimal parameters  SAMPLING_TOO_COARSE  < 4 points per drawn period
ramsey_failure_t2star_window_too_short    Suboptimal parameters  WINDOW_TOO_SHORT     window < T2*
ramsey_failure_t2star_zero_detuning       Suboptimal parameters  NO_DETUNING          no fringe at all
A drawn fit is Reliable on success only. `detuning_MHz` stays a number where fringes are resolved (window too short);
beating (which no other window mends: no range) and aliasing make it "Unreliable"; with zero detuning both numbers are
null. `fringes_visible` counts drawn periods while the envelope exceeds 10 %.
`targets`: window_over_t2, points_per_period, fringes, peak_position (in the FFT window), t2_position, noise, misfit,
has_fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from riverone_hf.calibration.physics import (
    Oscillation,
    chance,
    clip01,
    fit_exponential,
    fit_oscillation,
    log_uniform,
    number,
    padded_limits,
    pick,
    round_sig,
    shot_noise,
    uniform,
    unit_log,
)
from riverone_hf.calibration.ramsey_words import WORDS
from riverone_hf.calibration.scene import Marker, Panel, Series, Style
from riverone_hf.calibration.trace import Curve, Trace, misfit, panel_truth, trace_panel
from riverone_hf.calibration.words import (
    ANOMALOUS,
    EXPECTED,
    SUBOPTIMAL,
    assessment,
    draw_readout,
    qubit_name,
    with_unit,
)
from riverone_hf.questions.truth import UNRELIABLE, PanelTruth, Truth

LABELS = {
    "ramsey_success_t2star": (EXPECTED, "SUCCESS"),
    "ramsey_failure_t2star_beating": (ANOMALOUS, "BEATING"),
    "ramsey_failure_t2star_sampling_too_coarse": (SUBOPTIMAL, "SAMPLING_TOO_COARSE"),
    "ramsey_failure_t2star_window_too_short": (SUBOPTIMAL, "WINDOW_TOO_SHORT"),
    "ramsey_failure_t2star_zero_detuning": (SUBOPTIMAL, "NO_DETUNING"),
}
TYPES = tuple(LABELS)

WINDOW_THRESHOLD = 1.0
"""Windows shorter than this many T2* are WINDOW_TOO_SHORT; draws leave out 0.6 to 2.2 (beating: any from 0.6)."""
DENSITY_THRESHOLD = 4.0
"""Fewer points than this per drawn (possibly aliased) period are SAMPLING_TOO_COARSE; draws leave out 3.4 to 6."""
VISIBLE_ENVELOPE = 0.1
"""A fringe is counted while the envelope is above this."""


@dataclass(frozen=True)
class Scenario:
    """The drawn physics; times in units of the window, frequencies in periods per window."""

    frequency: float
    t2: float
    points: int
    power: int
    beat: float = 0.0
    """Distance of the second frequency; 0 without beating."""
    alias: float = 0.0
    """Frequency that the samples seem to have, when undersampled."""


def draw_scenario(rng: np.random.Generator, kind: str) -> Scenario:
    """A scenario of this kind, clear of the thresholds."""
    power = pick(rng, (1, 1, 2))
    density = uniform(rng, 6.0, 14.0)
    if kind == "failure_t2star_window_too_short":
        frequency = uniform(rng, 3.0, 12.0)
        return Scenario(frequency, 1 / log_uniform(rng, 0.1, 0.6), max(40, int(density * frequency)), power)
    if kind == "failure_t2star_sampling_too_coarse":
        points = int(rng.integers(18, 64))
        nyquist = (points - 1) / 2
        alias = uniform(rng, 0.6, 0.95) * nyquist
        frequency = pick(rng, (alias, 2 * nyquist - alias, 2 * nyquist + alias))
        return Scenario(frequency, 1 / uniform(rng, 1.2, 3.0), points, power, alias=alias)
    if kind == "failure_t2star_beating":
        beat = uniform(rng, 2.2, 5.5)
        frequency = uniform(rng, max(8.0, 1.8 * beat), 24.0)
        return Scenario(frequency, uniform(rng, 0.55, 1.6), min(300, int(density * (frequency + beat))), power, beat)
    if kind == "failure_t2star_zero_detuning":
        flat = chance(rng, 0.45)
        return Scenario(0.0, 1e3 if flat else 1 / uniform(rng, 1.5, 6.0), int(log_uniform(rng, 40, 180)), 1)
    ratio = uniform(rng, 2.2, 4.0) if power == 1 else uniform(rng, 2.0, 3.0)
    frequency = log_uniform(rng, 1.7, 9.0) * ratio
    return Scenario(frequency, 1 / ratio, int(min(320, max(50, density * frequency))), power)


def simulate(
    experiment_type: str, rng: np.random.Generator, style: Style
) -> tuple[Truth, tuple[tuple[Panel, ...], ...]]:
    """One Ramsey plot: its truth and two images of one panel, spectrum and time domain."""
    qubit = qubit_name(rng)
    kind = experiment_type.removeprefix("ramsey_")
    scene = draw_scenario(rng, kind)
    unit, to_us = ("ns", 1e-3) if chance(rng, 0.15) else ("µs", 1.0)
    window = round_sig(log_uniform(rng, 800.0, 9000.0) if unit == "ns" else log_uniform(rng, 3.0, 150.0), 2)
    u = np.linspace(0, 1, scene.points)
    contrast = uniform(rng, 0.7, 1.0)
    noise = contrast * log_uniform(rng, 0.008, 0.05)
    population = 0.5 + contrast * 0.5 * signal(rng, scene, u)
    if kind == "failure_t2star_zero_detuning" and scene.t2 > 100:
        population = np.full_like(u, pick(rng, (uniform(rng, 0.02, 0.15), 0.5, uniform(rng, 0.8, 0.98))))
    readout = draw_readout(rng, qubit, ("population", "population", "z", "signal"))
    name = pick(
        rng, ("Evolution Time", "Delay", "Delay time", "Free evolution time", "Time", "Ramsey delay", "Wait time")
    )
    y = readout(shot_noise(rng, population, noise))
    xlabel = with_unit(rng, name, unit)
    flat = scene.t2 > 100
    trace = Trace(u * window, y, abs(readout.gain) * noise, xlabel, readout.label, readout, flat)
    quality, curve = draw_fit(rng, kind, scene, trace)
    t2, frequency = scene.t2, scene.frequency
    if quality == "good" and isinstance(curve, Oscillation):
        # What the lab reports, and a reader reads in the legend, is the fit of these points.
        t2, frequency = 1 / (curve.rate * window), abs(curve.frequency) * window
    t2_us, detuning = round_sig(t2 * window * to_us), round_sig(frequency / (window * to_us))
    seen = scene.alias or scene.frequency
    if isinstance(curve, Oscillation) and scene.alias:
        seen = abs(curve.frequency) * window
    fringes = count_fringes(seen, scene)
    words = WORDS[kind].draw(rng, t2=number(t2_us), f=number(detuning), fringes=fringes)
    time_image = draw_time_domain(rng, trace, curve, scene, words.pop("main_features"), qubit, unit)
    fft_image, peak = draw_spectrum(rng, trace, curve, window * to_us, qubit)
    images = (fft_image, time_image) if chance(rng, 0.85) else (time_image, fft_image)
    reliability, q4_reason = assessment(rng, quality)
    outcome, status = LABELS[experiment_type]
    resolved = status in ("SUCCESS", "WINDOW_TOO_SHORT")
    none = status == "NO_DETUNING"
    return Truth(
        "ramsey_t2star",
        experiment_type,
        outcome,
        reliability,
        status,
        {
            "T2_star_us": t2_us if status == "SUCCESS" else None if none else UNRELIABLE,
            "detuning_MHz": detuning if resolved else None if none else UNRELIABLE,
            "fringes_visible": fringes,
        },
        tuple(truth for _, truth in images),
        q4_reason=q4_reason,
        suggested_range=None if status in ("SUCCESS", "BEATING") else suggest(status, scene, window, unit),
        targets={
            "window_over_t2": unit_log(1 / scene.t2, 0.05, 10.0),
            "points_per_period": 0.0 if none else unit_log(scene.points / (scene.alias or scene.frequency), 1.0, 100.0),
            "fringes": clip01(fringes / 40),
            "peak_position": peak,
            "t2_position": clip01(scene.t2) if status == "SUCCESS" else 0.0,
            "noise": clip01(noise / contrast * 10),
            "misfit": misfit(curve, trace),
            "has_fit": float(curve is not None),
        },
        **words,
    ), tuple((panel,) for panel, _ in images)


def signal(rng: np.random.Generator, scene: Scenario, u: np.ndarray) -> np.ndarray:
    """Noiseless fringes in [-1, 1] over the window u in [0, 1]."""
    envelope = np.exp(-((u / scene.t2) ** scene.power))
    phase = uniform(rng, -0.3, 0.3) + pick(rng, (0.0, 0.0, math.pi))
    if scene.frequency == 0:
        return envelope * math.copysign(1.0, math.cos(phase))
    wave = np.cos(2 * math.pi * scene.frequency * u + phase)
    if scene.beat:
        weight = uniform(rng, 0.65, 1.0)
        other = scene.frequency - scene.beat * pick(rng, (1.0, 1.0, -1.0))
        wave = (wave + weight * np.cos(2 * math.pi * other * u + phase)) / (1 + weight)
    return envelope * wave


def count_fringes(frequency: float, scene: Scenario) -> int:
    """Whole periods of the drawn `frequency` within the window and above the visible envelope."""
    visible = scene.t2 * math.log(1 / VISIBLE_ENVELOPE) ** (1 / scene.power)
    return round(frequency * min(1.0, visible))


def draw_fit(rng: np.random.Generator, kind: str, scene: Scenario, trace: Trace) -> tuple[str, Curve | None]:
    """(quality, curve or None): the lab's single-frequency damped-sine fit of the drawn points."""
    if chance(rng, 0.1):
        return "none", None
    x, y = trace.x, trace.y
    window = float(x[-1])
    rate = 1 / (scene.t2 * window)
    if kind == "failure_t2star_zero_detuning":
        if scene.t2 < 100 and chance(rng, 0.5):
            return "unsupported", fit_exponential(x, y, rate)
        return "unsupported", fit_oscillation(x, y, uniform(rng, 0.5, 4.0) / window, 1 / window, steps=2)
    if kind == "failure_t2star_sampling_too_coarse":
        frequency = scene.alias if chance(rng, 0.35) else scene.frequency
        return "unsupported", fit_oscillation(x, y, frequency / window, rate, free_decay=True, power=scene.power)
    fit = fit_oscillation(x, y, scene.frequency / window, rate, free_decay=True, power=scene.power)
    quality = {"failure_t2star_beating": "wrong", "failure_t2star_window_too_short": "unsupported"}.get(kind, "good")
    return quality, fit


def draw_time_domain(
    rng: np.random.Generator, trace: Trace, curve: Curve | None, scene: Scenario, features: str, qubit: str, unit: str
) -> tuple[Panel, PanelTruth]:
    """Points, fit and, in some plots, the fitted envelope; the legend tells the fit's own numbers."""
    fit_label, text, envelope = None, None, None
    if isinstance(curve, Oscillation):
        fit = curve
        if fit.rate > 0 and scene.frequency and chance(rng, 0.4):
            envelope = (lambda t: fit.c + fit.envelope(t), lambda t: fit.c - fit.envelope(t))
        to_mhz = 1e3 if unit == "ns" else 1.0
        t2 = f"{number(1 / fit.rate)} {unit}" if fit.rate > 0 else "inf"
        words = f"f = {abs(fit.frequency) * to_mhz:.3f} MHz, T2* = {t2}"
        where = float(rng.random())
        if where < 0.6:
            fit_label = f"Fit: {words}"
        elif where < 0.72:
            text = words.replace(", ", "\n")
    title = pick(
        rng,
        (
            "Ramsey Fringes - Time Domain",
            "Ramsey fringes",
            f"Ramsey {qubit}",
            f"{qubit} T2* Ramsey",
            "T2* measurement",
            "Ramsey Experiment",
            "",
        ),
    )
    points = 200 if scene.frequency < 16 else min(700, int(12 * scene.frequency))
    return trace_panel(
        rng,
        trace,
        curve,
        title=title,
        features=features,
        fit_label=fit_label,
        text=text,
        curve_points=points,
        envelope=envelope,
    )


def draw_spectrum(
    rng: np.random.Generator, trace: Trace, curve: Curve | None, window_us: float, qubit: str
) -> tuple[tuple[Panel, PanelTruth], float]:
    """((panel, truth) of the Fourier magnitude of the drawn points, position of its peak in the frequency window)."""
    points = trace.y.size
    magnitude = np.abs(np.fft.rfft(trace.y - trace.y.mean()))
    if chance(rng, 0.3):
        magnitude = magnitude * (2 / points)
    frequency = np.arange(magnitude.size) * ((points - 1) / points / window_us)
    if chance(rng, 0.5):
        frequency, magnitude = frequency[1:], magnitude[1:]
    in_khz = frequency[-1] < 0.6 and chance(rng, 0.7)
    shown = frequency * 1e3 if in_khz else frequency
    markers: tuple[Marker, ...] = ()
    if isinstance(curve, Oscillation) and chance(rng, 0.85):
        fitted = abs(curve.frequency) * float(trace.x[-1]) / window_us
        if fitted <= frequency[-1]:
            markers = (Marker(fitted * (1e3 if in_khz else 1.0), "v", "fit", f"Fitted: {fitted:.3f} MHz"),)
    name = pick(rng, ("FFT Magnitude", "FFT amplitude", "|FFT|", "Amplitude (a.u.)", "Spectral magnitude"))
    label = pick(rng, ("FFT Magnitude", "FFT", None))
    panel = Panel(
        (0.0 if chance(rng, 0.8) else float(shown[0]), float(shown[-1])),
        padded_limits(magnitude),
        with_unit(rng, pick(rng, ("Frequency", "Frequency", "Detuning")), "kHz" if in_khz else "MHz"),
        name,
        pick(rng, ("Ramsey Frequency Spectrum", "FFT", f"Ramsey spectrum {qubit}", "Fourier transform", "")),
        (Series(shown, magnitude, "line", "data", None, label),),
        markers,
    )
    best = int(np.argmax(magnitude))
    features = f"Fourier spectrum with highest peak near {number(float(shown[best]), 2)} {'kHz' if in_khz else 'MHz'}."
    return (panel, panel_truth(panel, "line", features)), float(frequency[best] / frequency[-1])


def suggest(status: str, scene: Scenario, window: float, unit: str) -> str:
    """Delays that mend the failure: three to four T2*, or as many as the points can sample."""
    if status == "SAMPLING_TOO_COARSE":
        factor = scene.points / (8 * scene.frequency)
    elif status == "WINDOW_TOO_SHORT":
        factor = 4 * scene.t2
    else:
        factor = 1.0
    return f"(0, {number(window * factor, 2)}) [{unit}]"
