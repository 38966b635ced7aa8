"""Qubit spectroscopy against power: magnitude and phase of the readout over drive frequency and drive amplitude.

Physics: a driven transition has saturation s = (A / A_sat)^2, excited share s / (2 (1 + s)) on resonance and FWHM
w0 sqrt(1 + s); the two-photon line f02/2 lies half the anharmonicity below f01 with s proportional to A^4; a strong
drive shifts the lines by an amount proportional to A^2 (AC Stark). The readout S = S_g (1 + D P) turns the excited
share P into a change of magnitude and phase.

Label rule (criteria: SPEC 2.7, family 11; thresholds are the constants below, draws keep clear of them). `width` is the
FWHM of f01 at the lowest amplitude, in fractions of the frequency window:
type                                    outcome                status        decided by
success_f01_low_amp_sharp               Expected behavior      SUCCESS       width < 0.12, and at the top as well
success_f01_only_full_range             Expected behavior      SUCCESS       width < 0.12, line broadens upwards
success_f01_f02half_full_range          Expected behavior      SUCCESS       the same with f02/2 at high amplitude
failure_f01_only_amp_too_high           Suboptimal parameters  AMP_TOO_HIGH  width >= 0.12: saturated everywhere
failure_f01_f02half_amp_too_high        Suboptimal parameters  AMP_TOO_HIGH  the same with f02/2
failure_no_signal                       Apparatus issue        NO_SIGNAL     no line
No fit is drawn in this family (SPEC 2.2), so Q4 is always "No fit". `f01_MHz` is "Unreliable" for a saturated line and
null without one.
`targets`: position, second_position, width, top_width, height, lines.
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
    pick,
    round_sig,
    round_to_step,
    slow_drift,
    uniform,
    unit_log,
)
from riverone_hf.calibration.qubit_spectroscopy_power_frequency_words import PHASE_FEATURES, WORDS
from riverone_hf.calibration.scene import Heatmap, Panel, Style
from riverone_hf.calibration.trace import panel_truth
from riverone_hf.calibration.words import APPARATUS, EXPECTED, SUBOPTIMAL, assessment, qubit_name, with_unit
from riverone_hf.questions.truth import UNRELIABLE, Truth

_FAMILY = "qubit_spectroscopy_power_frequency"
_TOO_HIGH = (SUBOPTIMAL, "AMP_TOO_HIGH")
LABELS = {
    f"{_FAMILY}_failure_f01_f02half_amp_too_high": _TOO_HIGH,
    f"{_FAMILY}_failure_f01_only_amp_too_high": _TOO_HIGH,
    f"{_FAMILY}_failure_no_signal": (APPARATUS, "NO_SIGNAL"),
    f"{_FAMILY}_success_f01_f02half_full_range": (EXPECTED, "SUCCESS"),
    f"{_FAMILY}_success_f01_low_amp_sharp": (EXPECTED, "SUCCESS"),
    f"{_FAMILY}_success_f01_only_full_range": (EXPECTED, "SUCCESS"),
}
TYPES = tuple(LABELS)

WIDTH_THRESHOLD = 0.12
"""A line this wide (in windows) at the lowest amplitude is saturated; draws leave out 0.08 to 0.2."""
HALF_ANHARMONICITY = (95.0, 170.0)
"""Distance of f02/2 below f01 in MHz: transmons have anharmonicities of 190 to 340 MHz."""
TOP_WIDTH = 0.07
"""The low-amplitude type stays narrower than this (in windows) at its highest amplitude."""


@dataclass(frozen=True)
class Scan:
    """Physics of one map. Frequencies in fractions of the window, amplitudes in fractions of the highest one."""

    lowest: float
    f01: float
    gap: float
    """Distance of f02/2 below f01; 0 without a visible one."""
    width: float
    saturation: float
    """s of f01 at the highest amplitude."""
    two_photon: float
    """s of f02/2 at the highest amplitude."""
    shift: float
    """AC Stark shift at the highest amplitude."""
    fading: float
    """How much the contrast is lost towards the highest amplitude, as higher levels mix in."""

    def fwhm(self, amplitude: float) -> float:
        """Power-broadened FWHM of f01 at a relative amplitude."""
        return self.width * math.sqrt(1 + self.saturation * amplitude**2)

    def excitation(self, u: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
        """Response (rows, columns), 1 for a saturated f01, over frequency u (columns,) and amplitude (rows,)."""
        drive = amplitude[:, None] ** 2
        centre = self.f01 + self.shift * drive
        response = lorentzian(u[None, :] - centre, self.width, self.saturation * drive)
        if self.two_photon:
            response = response + lorentzian(u[None, :] - centre + self.gap, self.width, self.two_photon * drive**2)
        return response * (1 - self.fading * drive)


def lorentzian(detuning: np.ndarray, width: float, saturation: np.ndarray) -> np.ndarray:
    """Steady-state excitation (1 = saturated) of a two-level system with unsaturated FWHM `width`."""
    return saturation / (1 + saturation + (2 * detuning / width) ** 2)


def simulate(
    experiment_type: str, rng: np.random.Generator, style: Style
) -> tuple[Truth, tuple[tuple[Panel, ...], ...]]:
    """One power-frequency map: its truth and two images, magnitude and phase, of one panel each."""
    kind = experiment_type.removeprefix(f"{_FAMILY}_")
    outcome, status = LABELS[experiment_type]
    found = status != "NO_SIGNAL"
    rows, columns = int(log_uniform(rng, 10, 41)), int(log_uniform(rng, 47, 161))
    scan, span = draw_scan(rng, kind, columns)
    start = round_to_step(uniform(rng, 3600, 6400), 1.0)
    in_power = chance(rng, 0.18)
    u = np.linspace(0, 1, columns)
    lowest = max(scan.lowest, 0.01) if in_power else scan.lowest
    amplitude = np.geomspace(lowest, 1, rows) if in_power else np.linspace(lowest, 1, rows)
    response = scan.excitation(u, amplitude) if found else np.zeros((rows, columns))
    height = log_uniform(rng, 7.0, 30.0) if status == "SUCCESS" else log_uniform(rng, 6.0, 22.0)
    magnitude, phase = read_out(rng, response, height)
    f01 = round_to_step(start + span * scan.f01, decade_below(span) / 10)
    f02 = round_to_step(start + span * (scan.f01 - scan.gap), decade_below(span))
    words = WORDS[kind].draw(rng, f01=number(f01, 6), f02=number(f02, 4))
    regime = "none" if not found else "high" if status == "AMP_TOO_HIGH" else "optimal"
    phase_key = "none" if not found else "high" if regime == "high" else "low" if "low_amp" in kind else "full"
    phase_words = pick(rng, PHASE_FEATURES[phase_key]).format(f01=number(f01, 6))
    top, unit = draw_amplitudes(rng, in_power)
    levels = top + 20 * np.log10(amplitude) if in_power else top * amplitude
    panels = draw_panels(rng, start + span * u, levels, unit, magnitude, phase)
    reliability, q4_reason = assessment(rng, "none")
    two = "f02half" in kind
    features = (words.pop("main_features"), phase_words)
    return Truth(
        _FAMILY,
        experiment_type,
        outcome,
        reliability,
        status,
        {
            "f01_MHz": f01 if status == "SUCCESS" else UNRELIABLE if found else None,
            "transitions_visible": "f01_f02half" if two else "f01_only" if found else "none",
            "power_regime": regime,
            "measurement_usable": status == "SUCCESS",
        },
        tuple(panel_truth(panel, "heatmap", text) for panel, text in zip(panels, features, strict=True)),
        q4_reason=q4_reason,
        suggested_range=suggest(status, start, span, levels, unit),
        targets={
            "position": scan.f01 if found else 0.0,
            "second_position": scan.f01 - scan.gap if two else 0.0,
            "width": unit_log(scan.fwhm(scan.lowest), 0.005, 1.0) if found else 0.0,
            "top_width": unit_log(scan.fwhm(1.0), 0.005, 2.0) if found else 0.0,
            "height": clip01(height / 30) if found else 0.0,
            "lines": (found + two) / 2,
        },
        q2_reason=words["q2_reason"],
        q6_notes=words["q6_notes"],
        significance=words["significance"],
    ), tuple((panel,) for panel in panels)


def draw_scan(rng: np.random.Generator, kind: str, columns: int) -> tuple[Scan, float]:
    """(physics, frequency span in MHz) of a scenario."""
    half = uniform(rng, *HALF_ANHARMONICITY)
    width = max(1.3 / columns, log_uniform(rng, 0.012, 0.03))
    if "f02half" in kind:
        gap = uniform(rng, 0.32, 0.5)
        f01, span = uniform(rng, gap + 0.16, 0.86), half / gap
    else:
        gap, f01 = 0.0, uniform(rng, 0.2, 0.8)
        # A strong drive would show f02/2, so it must lie below the window.
        highest = 400.0 if "low_amp" in kind or "no_signal" in kind else 0.85 * half / f01
        span = log_uniform(rng, min(50.0, highest / 2), highest)
    if kind == "success_f01_low_amp_sharp":
        width = min(width, TOP_WIDTH / 2.5)
        saturation = min(log_uniform(rng, 1.5, 6.0), (TOP_WIDTH / width) ** 2 - 1)
        return Scan(uniform(rng, 0.2, 0.4), f01, gap, width, saturation, 0.0, 0.0, 0.0), span
    if kind.endswith("full_range"):
        saturation = min(log_uniform(rng, 10.0, 80.0), (0.22 / width) ** 2 - 1)
        two_photon = log_uniform(rng, 2.0, 12.0) if gap else 0.0
        shift = uniform(rng, -0.5, 0.5) * width
        return Scan(
            pick(rng, (0.0, uniform(rng, 0.01, 0.12))), f01, gap, width, saturation, two_photon, shift, 0.0
        ), span
    if kind == "failure_no_signal":
        return Scan(pick(rng, (0.0, uniform(rng, 0.01, 0.5))), 0.5, 0.0, width, 0.0, 0.0, 0.0, 0.0), span
    lowest = uniform(rng, 0.55, 0.75) if gap else uniform(rng, 0.35, 0.65)
    broad = uniform(rng, 0.2, 0.27) if gap else log_uniform(rng, 0.2, 0.45)
    saturation = ((broad / width) ** 2 - 1) / lowest**2
    second = uniform(rng, 0.12, 0.18)
    two_photon = ((second / width) ** 2 - 1) / lowest**4 if gap else 0.0
    shift = uniform(rng, 0.05, 0.14) * pick(rng, (-1.0, 1.0))
    return Scan(lowest, f01, gap, width, saturation, two_photon, shift, uniform(rng, 0.0, 0.6)), round_sig(span, 3)


def read_out(rng: np.random.Generator, response: np.ndarray, height: float) -> tuple[np.ndarray, np.ndarray]:
    """(magnitude, phase in rad) of S = 1 + D * response + noise; `height` is the strongest response over the noise.

    D has a sizeable real and imaginary part, so that the line shows in both images.
    """
    size = log_uniform(rng, 0.05, 0.6)
    turn = math.radians(uniform(rng, 28, 62)) + pick(rng, (0.0, 0.5, 1.0, 1.5)) * math.pi
    noise = size * max(float(response.max()), 0.3) / height
    signal = 1 + size * complex(math.cos(turn), math.sin(turn)) * response
    shape = response.shape
    signal = signal + noise * (rng.normal(size=shape) + 1j * rng.normal(size=shape))
    if chance(rng, 0.3):
        signal = signal * (1 + 0.5 * noise * rng.normal(size=(shape[0], 1)))
    if chance(rng, 0.3):
        signal = signal * (1 + slow_drift(rng, shape[1], 0.7 * noise)[None, :])
    return np.abs(signal), np.angle(signal)


def draw_amplitudes(rng: np.random.Generator, in_power: bool) -> tuple[float, str]:
    """(highest amplitude or power, unit)."""
    if in_power:
        return float(rng.integers(-40, 3)), "dBm"
    unit = pick(rng, ("a.u.", "a.u.", "a.u.", "V", ""))
    return round_sig(log_uniform(rng, 0.01, 1.0), 2), unit


def draw_panels(
    rng: np.random.Generator,
    frequency: np.ndarray,
    levels: np.ndarray,
    unit: str,
    magnitude: np.ndarray,
    phase: np.ndarray,
) -> tuple[Panel, Panel]:
    """The magnitude and the phase map over the same axes; frequency is in MHz or drawn in GHz."""
    f_unit, scale = ("GHz", 1e-3) if chance(rng, 0.2) else ("MHz", 1.0)
    name = pick(rng, ("Frequency", "Frequency", "Drive frequency", "Qubit frequency", "Qubit drive frequency"))
    xlabel = with_unit(rng, name, f_unit)
    names = ("Qubit driving amplitude", "Qubit driving amplitude", "Drive amplitude", "Qubit amplitude", "Drive gain")
    ylabel = with_unit(rng, "Drive power" if unit == "dBm" else pick(rng, names), unit)
    xlim, ylim = cell_limits(frequency * scale), cell_limits(levels)
    gain = log_uniform(rng, 0.01, 40.0)
    degrees = chance(rng, 0.4)
    phase = np.degrees(phase + uniform(rng, -2, 2)) if degrees else phase + uniform(rng, -2, 2)
    bars = ("Magnitude", "Phase")
    if chance(rng, 0.3):
        bars = ("Magnitude [mV]", "Phase [deg]" if degrees else "Phase [rad]")
    title = pick(
        rng, ("Qubit spectroscopy", "Qubit spectroscopy", "Qubit spectroscopy", f"{qubit_name(rng)} spectroscopy")
    )
    titles = pick(
        rng,
        (
            (f"{title} magnitude sweep", f"{title} phase sweep"),
            (f"{title} magnitude sweep", f"{title} phase sweep"),
            (f"{title}: magnitude", f"{title}: phase"),
            (title, title),
            ("", ""),
        ),
    )
    transposed = chance(rng, 0.08)
    panels = []
    for values, bar, text in zip((gain * magnitude, phase), bars, titles, strict=True):
        if transposed:
            panels.append(Panel(ylim, xlim, ylabel, xlabel, text, heatmap=Heatmap(values.T, bar)))
        else:
            panels.append(Panel(xlim, ylim, xlabel, ylabel, text, heatmap=Heatmap(values, bar)))
    return panels[0], panels[1]


def cell_limits(centres: np.ndarray) -> tuple[float, float]:
    """Limits of a map whose cells are centred on evenly spaced values."""
    half = float(centres[1] - centres[0]) / 2
    return float(centres[0]) - half, float(centres[-1]) + half


def suggest(status: str, start: float, span: float, levels: np.ndarray, unit: str) -> str | None:
    """Amplitudes about ten times lower for a saturated line, a wider frequency window without one."""
    if status == "SUCCESS":
        return None
    if status == "NO_SIGNAL":
        return f"({number((start - span) * 1e-3, 4)}, {number((start + 2 * span) * 1e-3, 4)}) [GHz]"
    if unit == "dBm":
        return f"({levels[0] - 40:.0f}, {levels[0] - 15:.0f}) [dBm]"
    lowest = float(levels[0])
    return f"({number(lowest / 100, 2)}, {number(lowest / 5, 2)}) [{unit or 'a.u.'}]"
