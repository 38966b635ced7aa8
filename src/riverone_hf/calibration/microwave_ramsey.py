"""Microwave Ramsey on trapped atoms: two pi/2 pulses, swept detuning; how far is the microwave from resonance?

Physics: two pulses of Rabi frequency W and length pi / (2 W), T apart, at detuning D from the clock transition, with
W' = sqrt(W^2 + D^2), transfer (Ramsey 1950) P = 4 (W/W')^2 s^2 (cos(D T/2) c - (D/W') sin(D T/2) s)^2, where
s, c = sin, cos(W' tau / 2). Near resonance the fringes have full contrast; about 2 W away they still peak at one but
no longer reach zero. Retention is 1 - P or, with a second pulse of opposite phase, P, times survival. Labs often fit
only position and period of a full-contrast cosine.

Label rule (criteria: SPEC 2.7, family 5; thresholds are the constants below, draws keep clear of them), of the drawn
fringes:
type                                   outcome              status        decided by
microwave_ramsey_success               Expected behavior    SUCCESS       contrast > 0.72
microwave_ramsey_failure_low_contrast  Anomalous behavior   LOW_CONTRAST  contrast < 0.72 and maximum < 0.8
microwave_ramsey_failure_detuned       Anomalous behavior   DETUNED       minima > 0.2 and maximum > 0.8
A drawn fit is Reliable when it follows the points: on success, and with low contrast where contrast is fitted too.
The detuning is read from the title, or the text box where titles are off, whether sensible or not, and null without.
`targets`: contrast, retention_min, fringes (over 8), period (in the window), misfit, has_fit.
"""

from __future__ import annotations

import math

import numpy as np

from riverone_hf.calibration.physics import (
    Oscillation,
    chance,
    clip01,
    fit_oscillation,
    levenberg,
    log_uniform,
    number,
    padded_limits,
    pick,
    rms,
    round_sig,
    uniform,
)
from riverone_hf.calibration.scene import Panel, Series, Style
from riverone_hf.calibration.trace import panel_truth
from riverone_hf.calibration.words import ANOMALOUS, EXPECTED, Words, assessment
from riverone_hf.questions.truth import Truth

LABELS = {
    "microwave_ramsey_success": (EXPECTED, "SUCCESS"),
    "microwave_ramsey_failure_detuned": (ANOMALOUS, "DETUNED"),
    "microwave_ramsey_failure_low_contrast": (ANOMALOUS, "LOW_CONTRAST"),
}
TYPES = tuple(LABELS)

CONTRAST_THRESHOLD = 0.72
"""Contrast above which fringes count as full; draws leave out 0.62 to 0.8."""
MINIMUM_THRESHOLD = 0.2
"""Minima above which they stay clear of zero; draws leave out 0.14 to 0.3."""
MAXIMUM_THRESHOLD = 0.8
"""Peaks above which retention counts as high; draws leave out 0.72 to 0.86."""

WORDS = {
    "success": Words(
        ("Full-contrast fringes against detuning, fit follows.", "Sinusoidal fringes between about {low} and {high}."),
        ("Clear fringes with contrast near {contrast}; fit follows.", "Full-contrast sinusoidal fringes."),
        (
            "Contrast near {contrast}; detuning follows from the fit.",
            "High contrast fringes, well described by the fit.",
        ),
        (
            "Fringes with contrast near {contrast} show well calibrated pulses and coherent atoms. The points suffice "
            "to find the centre. Correct the microwave frequency by the fitted detuning.",
        ),
    ),
    "failure_detuned": Words(
        ("Fringes peak near {high} but minima stay near {low}.", "High peaks, minima far above zero."),
        ("Minima stay near {low}: microwave far from resonance.", "Peaks are high but minima never approach zero."),
        ("Minima stay near {low}; microwave is detuned, retune it.", "Raised minima show a detuned microwave."),
        (
            "Peaks near {high} with minima near {low} show a microwave detuned by about the Rabi frequency. "
            "The fitted centre is not the resonance. Scan the frequency widely, retune and repeat.",
        ),
    ),
    "failure_low_contrast": Words(
        ("Weak fringes with contrast near {contrast}.", "Shallow oscillation between {low} and {high}."),
        ("Fringes have little contrast, near {contrast}.", "Low contrast and low peak retention."),
        (
            "Contrast only {contrast}; check pulses, coherence and loading.",
            "Shallow fringes; recalibrate the pi/2 pulses.",
        ),
        (
            "Contrast near {contrast} points to wrong pulse areas, dephasing or atom loss. The data barely fix "
            "the centre. Recalibrate the pi/2 pulses and check survival, then repeat.",
        ),
    ),
}
ACTIONS = {
    "failure_detuned": (
        "Scan the microwave frequency widely, move it to resonance and repeat.",
        "Retune the microwave towards the transition, then verify the Rabi frequency.",
    ),
    "failure_low_contrast": (
        "Recalibrate the pi/2 pulses and check microwave power and state preparation.",
        "Check microwave power, atom survival and field noise, then repeat.",
    ),
}


def transfer(detuning: np.ndarray, rabi: float, wait: float) -> np.ndarray:
    """Transition probability of two pi/2 pulses at `detuning` (n,) and `rabi` in Hz, `wait` in seconds apart."""
    total = np.sqrt(rabi**2 + detuning**2)
    half = math.pi / 4 * total / rabi
    phase = math.pi * detuning * wait
    s = np.sin(half)
    return 4 * (rabi / total * s * (np.cos(phase) * np.cos(half) - detuning / total * np.sin(phase) * s)) ** 2


def simulate(
    experiment_type: str, rng: np.random.Generator, style: Style
) -> tuple[Truth, tuple[tuple[Panel, ...], ...]]:
    """One microwave Ramsey plot: its truth and one image of one panel."""
    kind = experiment_type.removeprefix("microwave_ramsey_")
    half_span = pick(rng, (10e3, 10e3, 5e3, 2e3, 1e3, 20e3, 50e3, round_sig(log_uniform(rng, 500, 5e4), 2)))
    fringes = uniform(rng, 1.3, 5.0)
    points = int(max(4.6 * fringes, pick(rng, (13, 15, 15, 16, 21, 25, 31, 41))))
    period = 2 * half_span / fringes
    u = np.linspace(-0.5, 0.5, points)
    x = 2 * half_span * u
    dense = np.linspace(-half_span, half_span, 200)
    resonance, rabi = uniform(rng, -0.45, 0.45) * period, 2 * half_span * log_uniform(rng, 3.0, 12.0)
    low, high, offset = draw_levels(rng, kind)
    opposite = chance(rng, 0.35)
    # The pulses' own length adds to the fringes' spacing; the wait makes the period what was drawn.
    wait = 1 / period - 1 / (math.pi * rabi)

    def retention(at: np.ndarray) -> np.ndarray:
        share = transfer(at - resonance + offset * rabi, rabi, max(wait, 0.2 / period))
        return low + (high - low) * (share if opposite and kind != "failure_detuned" else 1 - share)

    clean = retention(x)
    shots = int(log_uniform(rng, 40, 400))
    y = rng.binomial(shots, np.clip(clean, 0, 1)) / shots
    share = (y * shots + 1) / (shots + 2)
    sigma = np.sqrt(share * (1 - share) / shots)
    fit_only_centre = chance(rng, 0.5 if kind == "success" else 0.8) or kind == "failure_detuned"
    if kind == "success" and high - low < 0.88:
        fit_only_centre = False  # between 0 and 1 it would miss the points
    free = fit_oscillation(x, y, 1 / period, steps=8)
    curve = full_contrast(x, y, free) if fit_only_centre else free
    drawn = not chance(rng, 0.06)
    follows = kind == "success" or not fit_only_centre
    quality = "none" if not drawn else "good" if follows else "wrong"
    centre, error = centre_of(curve, x, sigma, rms(y - curve(x)), opposite)
    in_khz = half_span >= 5e3 and chance(rng, 0.12)
    text, shown, shown_error = draw_text(rng, centre, error, in_khz)
    told = drawn and bool(text)
    visible = retention(dense)
    least, most = float(visible.min()), float(visible.max())
    series = [Series(x / (1e3 if in_khz else 1.0), y, "points", "data", sigma if chance(rng, 0.92) else None, None)]
    if drawn:
        series.append(Series(dense / (1e3 if in_khz else 1.0), curve(dense), "line", "fit", None, None))
    edges = [np.maximum(y - sigma, 0), np.minimum(y + sigma, 1), *([series[1].y] if drawn else [])]
    bare = chance(rng, 0.6) and not in_khz
    unit = "kHz" if in_khz else "Hz"
    xlabel = pick(rng, ("Detuning ({})", "Microwave detuning ({})", "δ ({})", "Frequency offset ({})")).format(unit)
    ylabel = pick(rng, ("Retention", "Atom retention", "Survival probability", "Retention probability"))
    title = text if told else pick(rng, ("", "Ramsey", "Microwave Ramsey"))
    panel = Panel(
        padded_limits(series[0].x),
        (-0.05, 1.05) if chance(rng, 0.4) else padded_limits(*edges),
        "" if bare else xlabel,
        "" if bare else ylabel,
        title if style.show_title else "",
        tuple(series),
        text=text if told and not style.show_title else None,
    )
    outcome, status = LABELS[experiment_type]
    reliability, q4_reason = assessment(rng, quality)
    words = WORDS[kind].draw(rng, low=number(least, 2), high=number(most, 2), contrast=number(most - least, 2))
    features = words.pop("main_features")
    spread = rms(y - y.mean())
    return Truth(
        "microwave_ramsey",
        experiment_type,
        outcome,
        reliability,
        status,
        {
            "detuning_Hz": shown if told else None,
            "detuning_Hz_unc": shown_error if told else None,
            "contrast": round(most - least, 2),
            "retention_min": round(least, 2),
        },
        (panel_truth(panel, "scatter", features),),
        q4_reason=q4_reason,
        suggested_range=None if status == "SUCCESS" else pick(rng, ACTIONS[kind]),
        targets={
            "contrast": clip01(most - least),
            "retention_min": clip01(least),
            "fringes": clip01(fringes / 8),
            "period": clip01(1 / fringes),
            "misfit": clip01(rms(y - curve(x)) / spread) if drawn and spread > 0 else 1.0,
            "has_fit": float(drawn),
        },
        **words,
    ), ((panel,),)


def draw_levels(rng: np.random.Generator, kind: str) -> tuple[float, float, float]:
    """(retention at transfer one, at transfer zero, static detuning in Rabi frequencies)."""
    if kind == "success":
        low = uniform(rng, 0.0, 0.1)
        return low, uniform(rng, low + 0.82, 1.0), uniform(rng, -0.2, 0.2)
    if kind == "failure_detuned":
        return uniform(rng, 0.0, 0.06), uniform(rng, 0.9, 1.0), pick(rng, (-1.0, 1.0)) * uniform(rng, 1.97, 2.4)
    # Dephasing and wrong pulse areas shrink the fringes, atom loss lowers them.
    contrast = uniform(rng, 0.12, 0.6)
    low = uniform(rng, 0.0, 0.72 - contrast)
    return low, low + contrast, uniform(rng, -0.3, 0.3)


def full_contrast(x: np.ndarray, y: np.ndarray, free: Oscillation) -> Oscillation:
    """Least-squares cosine between 0 and 1 through x, y (n,): phase and frequency only, started at a free fit."""
    scale = float(np.ptp(x))
    u = x / scale

    def model(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        angle = 2 * math.pi * p[0] * u + p[1]
        slope = -0.5 * np.sin(angle)
        return 0.5 + 0.5 * np.cos(angle), np.stack([2 * math.pi * u * slope, slope], axis=1)

    p = levenberg(model, np.array([free.frequency * scale, math.atan2(-free.b, free.a)]), y)
    return Oscillation(float(p[0]) / scale, 0.0, 0.5 * math.cos(p[1]), -0.5 * math.sin(p[1]), 0.5)


def centre_of(
    curve: Oscillation, x: np.ndarray, sigma: np.ndarray, residual: float, at_maximum: bool
) -> tuple[float, float]:
    """(fringe centre nearest zero, its standard error): a maximum or a minimum of the curve, in units of x."""
    phase = math.atan2(curve.b, curve.a) + (0.0 if at_maximum else math.pi)
    period = 1 / curve.frequency
    centre = phase / (2 * math.pi) * period
    centre -= round(centre / period) * period
    slope = np.gradient(curve(x), x)
    noise = max(residual, rms(sigma))
    return centre, noise / math.sqrt(float(slope @ slope) + 1e-30)


def draw_text(rng: np.random.Generator, centre: float, error: float, in_khz: bool) -> tuple[str, float, float]:
    """(text with the detuning, detuning, its uncertainty as shown, both in Hz)."""
    sign = pick(rng, (1.0, 1.0, -1.0))
    if in_khz:
        value, spread = round(sign * centre / 1e3, 3), max(0.001, round(error / 1e3, 3))
        text = pick(rng, ("{} +/- {}", "{} +/- {} kHz", "Detuning: {} +/- {} kHz")).format(value, spread)
        return text, round(1e3 * value, 1), round(1e3 * spread, 1)
    value, spread = round(sign * centre, 1), max(0.1, round(error, 1))
    form = pick(rng, ("{} +/- {}",) * 4 + ("{} +/- {} Hz", "Detuning: {} +/- {} Hz", "detuning = {} ± {} Hz"))
    return form.format(value, spread), value, spread
