"""Resonator spectroscopy: sweep the probe frequency and record magnitude and phase of the transmitted signal.

Physics: a notch resonator, S21 = a e^(-2 pi i f tau) [1 - D e^(i phi) / (1 + 2 i (f - f_r) / w)] with D = Q_l / |Q_c|
(Probst et al., Rev. Sci. Instrum. 86, 024706, 2015), or a peak in transmission, S21 = leak + D / (1 + 2 i (f - f_r)/w);
w is the FWHM, tau the cable delay, and a slow ripple stands for reflections on the line.

Label rule (criteria: SPEC 2.7, family 17; "no signal" is Anomalous there; thresholds below, draws keep clear of them):
type                                 outcome             status     decided by
success_2qubit_wide_scan_resonator   Expected behavior   SUCCESS    two features over 5 noise deviations
success_wide_scan_resonator          Expected behavior   SUCCESS    one such feature, narrow in a wide band
success_zoomed_resonator             Expected behavior   SUCCESS    one such feature with a resolved line shape
failure_wide_scan_no_signal          Anomalous behavior  NO_SIGNAL  only background and noise (or no transmission)
failure_zoomed_no_signal             Anomalous behavior  NO_SIGNAL  the same in a narrow band
No fit is drawn in this family (SPEC 2.2), so Q4 is always "No fit". `contrast` is 1 - minimum / baseline of the drawn
dip (1 - baseline / maximum of a peak); both fields are lists, low frequency first, and null without a resonance.
`targets`: lines, position, second_position, contrast, width, height.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from riverone_hf.calibration.physics import (
    chance,
    clip01,
    decade_below,
    log_uniform,
    number,
    padded_limits,
    pick,
    round_to_step,
    uniform,
    unit_log,
)
from riverone_hf.calibration.res_spec_words import PHASE_FEATURES, WORDS
from riverone_hf.calibration.scene import Marker, Panel, Series, Style
from riverone_hf.calibration.trace import panel_truth
from riverone_hf.calibration.words import ANOMALOUS, EXPECTED, assessment, qubit_name, with_unit
from riverone_hf.questions.truth import PanelTruth, Truth

LABELS = {
    "res_spec_failure_wide_scan_no_signal": (ANOMALOUS, "NO_SIGNAL"),
    "res_spec_failure_zoomed_no_signal": (ANOMALOUS, "NO_SIGNAL"),
    "res_spec_success_2qubit_wide_scan_resonator": (EXPECTED, "SUCCESS"),
    "res_spec_success_wide_scan_resonator": (EXPECTED, "SUCCESS"),
    "res_spec_success_zoomed_resonator": (EXPECTED, "SUCCESS"),
}
TYPES = tuple(LABELS)

HEIGHT_THRESHOLD = 5.0
"""A resonance is visible when it is this many noise deviations deep; drawn ones have at least 8."""
LARGEST_NOISE = 3.2
"""Without a resonance no point of a live line lies further than this many deviations from its background: a wide
scan shows a resonance in one or two points, and an outlier would look like one."""


@dataclass(frozen=True)
class Line:
    """One resonance; `position` and `fwhm` in fractions of the window, `depth` of the off-resonance magnitude."""

    position: float
    fwhm: float
    depth: float
    asymmetry: float


def simulate(
    experiment_type: str, rng: np.random.Generator, style: Style
) -> tuple[Truth, tuple[tuple[Panel, ...], ...]]:
    """One resonator scan: its truth and two images, magnitude and phase, of one panel each."""
    kind = experiment_type.removeprefix("res_spec_")
    zoomed, found = "zoomed" in kind, kind.startswith("success")
    start, span = draw_band(rng, zoomed)
    points = int(log_uniform(rng, 81, 401) if zoomed else log_uniform(rng, 151, 601))
    u = np.linspace(0, 1, points)
    peak = chance(rng, 0.15)
    lines = draw_lines(rng, kind, points, peak) if found else []
    dead = not found and chance(rng, 0.35)
    background = draw_background(rng, u, min(line.depth for line in lines) if lines else 0.1)
    clean = np.zeros(points, complex) if dead else background * response(u, lines, peak)
    smallest = min((line.depth for line in lines), default=1.0)
    noise = smallest * log_uniform(rng, 0.004, 0.12) if found else log_uniform(rng, 0.002, 0.2)
    scatter = noise * (rng.normal(size=points) + 1j * rng.normal(size=points))
    if not dead and not found:
        scatter = noise * np.clip(scatter.real / noise, -LARGEST_NOISE, LARGEST_NOISE) + 1j * scatter.imag
    delay = np.exp(1j * draw_delay(rng, u, zoomed))
    # The scatter turns with the delay, so that its real part stays the magnitude's noise.
    signal = (clean + scatter) * delay
    unit, per_ghz = pick(rng, (("MHz", 1e3), ("MHz", 1e3), ("GHz", 1.0)))
    frequency = (start + span * u) * per_ghz
    step = decade_below(span) / 10
    read = [read_line(u, np.abs(clean), line, peak) for line in lines]
    at = [round_to_step(start + span * position, step) for position, _ in read]
    texts = [number(value, 3 - math.floor(math.log10(step))) for value in at] + ["", ""]
    shape = "peak" if peak else "dip"
    words = WORDS[kind].draw(rng, shape=shape, first=texts[0], second=texts[1])
    phase_words = pick(rng, PHASE_FEATURES["lines" if found else "random" if dead else "slope"])
    features = (words.pop("main_features"), phase_words)
    panels, truths = draw_panels(rng, frequency, unit, signal, found, at, features)
    outcome, status = LABELS[experiment_type]
    reliability, q4_reason = assessment(rng, "none")
    positions = [position for position, _ in read] + [0.0, 0.0]
    return Truth(
        "res_spec",
        experiment_type,
        outcome,
        reliability,
        status,
        {
            "resonance_freq_GHz": at if found else None,
            "contrast": [round(contrast, 2) for _, contrast in read] if found else None,
        },
        truths,
        q4_reason=q4_reason,
        suggested_range=None if found else suggest(start, span),
        targets={
            "lines": len(lines) / 2,
            "position": positions[0],
            "second_position": positions[1],
            "contrast": clip01(max((contrast for _, contrast in read), default=0.0)),
            "width": unit_log(lines[0].fwhm, 0.002, 0.5) if lines else 0.0,
            "height": unit_log(smallest / noise, 1.0, 300.0) if lines else 0.0,
        },
        q2_reason=words["q2_reason"],
        q6_notes=words["q6_notes"],
        significance=words["significance"],
    ), tuple((panel,) for panel in panels)


def draw_band(rng: np.random.Generator, zoomed: bool) -> tuple[float, float]:
    """(lowest frequency, span) in GHz: a window around one line, or a band of up to 2 GHz with round ends."""
    middle = uniform(rng, 4.6, 9.2)
    if zoomed:
        span = log_uniform(rng, 0.003, 0.06)
        return round(middle - span / 2, 4), round(span, 4)
    span = round_to_step(log_uniform(rng, 0.15, 2.0), 0.01)
    return round_to_step(middle - span / 2, 0.1 if span > 0.4 else 0.01), span


def draw_lines(rng: np.random.Generator, kind: str, points: int, peak: bool) -> list[Line]:
    """The resonances of a successful scan, low frequency first."""

    def depth() -> float:
        return uniform(rng, 0.6, 0.97) if peak else uniform(rng, 0.3, 0.95)

    if kind == "success_zoomed_resonator":
        asymmetry = 0.0 if peak else float(np.clip(rng.normal(0, 0.25), -0.6, 0.6))
        return [Line(uniform(rng, 0.25, 0.75), log_uniform(rng, 0.05, 0.25), depth(), asymmetry)]
    widths = [max(2.5 / points, log_uniform(rng, 0.005, 0.03)) for _ in range(2)]
    if kind == "success_wide_scan_resonator":
        return [Line(uniform(rng, 0.1, 0.9), widths[0], depth(), 0.0)]
    gap = uniform(rng, 0.12, 0.6)
    first = uniform(rng, 0.08, 0.92 - gap)
    larger = depth()
    return [Line(first, widths[0], larger, 0.0), Line(first + gap, widths[1], larger * uniform(rng, 0.7, 1.0), 0.0)]


def response(u: np.ndarray, lines: list[Line], peak: bool) -> np.ndarray:
    """Complex transmission (n,) of the resonators alone, 1 off resonance (peaks: 1 on resonance of a whole one)."""
    signal = np.full(u.shape, 0.06 if peak and lines else 1.0, complex)
    for line in lines:
        resonance = line.depth / (1 + 2j * (u - line.position) / line.fwhm)
        signal = signal + resonance if peak else signal * (1 - np.exp(1j * line.asymmetry) * resonance)
    return signal


def draw_background(rng: np.random.Generator, u: np.ndarray, smallest: float) -> np.ndarray:
    """Transmission of the line (n,), about 1: a slope and a standing wave well below the smallest resonance."""
    size = smallest * pick(rng, (0.0, 0.01, 0.05, 0.15))
    waves = uniform(rng, 0.3, 2.5)
    return 1 + size * (rng.normal() * 0.5 * (u - 0.5) + 0.5 * np.sin(2 * math.pi * (waves * u + rng.random())))


def draw_delay(rng: np.random.Generator, u: np.ndarray, zoomed: bool) -> np.ndarray:
    """Phase (n,) in rad of cable delay and reference plane."""
    turns = uniform(rng, -0.3, 0.3) if zoomed else -log_uniform(rng, 0.2, 8.0)
    return 2 * math.pi * (turns * u + pick(rng, (0.0, float(rng.random()))))


def read_line(u: np.ndarray, magnitude: np.ndarray, line: Line, peak: bool) -> tuple[float, float]:
    """(position, contrast) that a reader finds: the extreme of the sampled line, relative to the baseline beside it."""
    near = np.abs(u - line.position) < max(line.fwhm, 1.5 / u.size)
    index = int(np.flatnonzero(near)[0])
    part = magnitude[near]
    index += int(part.argmax() if peak else part.argmin())
    baseline = float(np.median(magnitude[np.abs(u - line.position) > min(3 * line.fwhm, 0.2)]))
    extreme = float(magnitude[index])
    return float(u[index]), 1 - (baseline / extreme if peak else extreme / baseline)


def draw_panels(
    rng: np.random.Generator,
    frequency: np.ndarray,
    unit: str,
    signal: np.ndarray,
    found: bool,
    at: list[float],
    features: tuple[str, str],
) -> tuple[tuple[Panel, Panel], tuple[PanelTruth, PanelTruth]]:
    """The magnitude and the phase panel with what Q1 says of them; both have the same x axis."""
    magnitude, y_name, y_unit = draw_magnitude(rng, np.abs(signal))
    phase = np.angle(signal)
    if chance(rng, 0.6):
        phase = np.unwrap(phase)
        phase = phase - phase.max() * chance(rng, 0.5)
    phase_unit = pick(rng, ("deg", "deg", "rad", ""))
    phase = phase if phase_unit == "rad" else np.degrees(phase)
    kind = pick(rng, ("line",) * 7 + ("points", "points+line"))
    name = pick(rng, ("Frequency", "Frequency", "Probe frequency", "Readout frequency", "RO frequency", "f"))
    xlabel = with_unit(rng, name, unit)
    ylabels = (with_unit(rng, y_name, y_unit), with_unit(rng, "Phase", phase_unit))
    titles = draw_titles(rng, frequency, unit, at)
    margin = pick(rng, (0.0, 0.0, 0.0, 0.05)) * float(frequency[-1] - frequency[0])
    xlim = (float(frequency[0]) - margin, float(frequency[-1]) + margin)
    markers: tuple[Marker, ...] = ()
    if chance(rng, 0.08):
        places = [value * (1e3 if unit == "MHz" else 1.0) for value in at]
        markers = tuple(Marker(f, "v", "guide") for f in places or [float(frequency[int(magnitude.argmin())])])
    label = pick(rng, ("Data", "S21", None, None, None, None))
    panels, truths = [], []
    for y, ylabel, title, text in zip((magnitude, phase), ylabels, titles, features, strict=True):
        low, high = padded_limits(y)
        if y is magnitude and chance(rng, 0.12) and low > 0 and (not found or low < 0.7 * high):
            low = 0.0
        series = Series(frequency, y, kind, "data", None, label)  # type: ignore[arg-type]
        panels.append(Panel(xlim, (low, high), xlabel, ylabel, title, (series,), markers=markers))
        truths.append(panel_truth(panels[-1], "scatter" if kind == "points" else "line", text))
    return (panels[0], panels[1]), (truths[0], truths[1])


def draw_magnitude(rng: np.random.Generator, magnitude: np.ndarray) -> tuple[np.ndarray, str, str]:
    """(values in the drawn unit, axis name, unit)."""
    gain = log_uniform(rng, 0.003, 40.0)
    name, unit = pick(
        rng,
        (
            ("Magnitude", ""),
            ("Magnitude", "a.u."),
            ("|S21|", "a.u."),
            ("Amplitude", "mV"),
            ("Readout amplitude", "V"),
            ("|S21|", "dB"),
            ("Transmission", "arb. units"),
        ),
    )
    if unit == "dB":
        return 20 * np.log10(np.maximum(gain * magnitude, 1e-12)), name, unit
    return gain * magnitude, name, unit


def draw_titles(rng: np.random.Generator, frequency: np.ndarray, unit: str, at: list[float]) -> tuple[str, str]:
    """Titles of the two images; some name a frequency, on failures that of a software's guess."""
    qubit = qubit_name(rng)
    if chance(rng, 0.12):
        guess = frequency[0] + (frequency[-1] - frequency[0]) * float(rng.random())
        value = at[0] * (1e3 if unit == "MHz" else 1.0) if at else guess
        text = f"{qubit} resonator at {value:.{1 if unit == 'MHz' else 4}f} {unit}"
        return text, text
    name = pick(
        rng, ("Resonator spectroscopy", "Resonator spectroscopy", "Resonator Spectroscopy", f"{qubit} resonator")
    )
    return pick(
        rng,
        (
            (f"{name} magnitude", f"{name} phase"),
            (f"{name} magnitude", f"{name} phase"),
            (f"{name}: Magnitude", f"{name}: Phase"),
            (name, name),
            ("Magnitude", "Phase"),
            ("", ""),
        ),
    )


def suggest(start: float, span: float) -> str:
    """A band three times as wide around the empty one."""
    digits = 4 if span > 0.1 else 5
    return f"({number(start - span, digits)}, {number(start + 2 * span, digits)}) [GHz]"
