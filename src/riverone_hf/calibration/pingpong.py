"""Ping-pong: repeat pairs of nominal pi pulses, so that a small amplitude error adds up and shifts <Z>.

Physics: after a pi/2 pulse, N (even) pi pulses that each rotate by pi + e leave Z = -k e^(-N/D) sin(N e + e0): the
error angle N e grows linearly, and once it passes a quarter turn the signal oscillates. The ideal value is Z = 0
(population 1/2); a qubit that is not driven stays in the ground state, Z = 1.

Label rule (criteria: SPEC 2.7, family 8; thresholds are the constants below, draws keep clear of them):
type                              outcome                status          decided by
pingpong_success_well_calibrated  Expected behavior      SUCCESS         |N e| < 0.25 at the last pulse
pingpong_failure_moderate_error   Suboptimal parameters  MODERATE_ERROR  0.25 to 2.5: a drift that a line describes
pingpong_failure_large_error      Anomalous behavior     LARGE_ERROR     more than 2.5: <Z> swings to both sides
pingpong_failure_no_excitation    Apparatus issue        NO_EXCITATION   flat at the ground state
A drawn line is Reliable for SUCCESS and MODERATE_ERROR. `error_per_gate` is the rotation error per pulse in radians,
the slope of <Z> (twice that of a population) in a least-squares line through the points, without sign; 0 when no
drift can be seen (`accumulation_type` "none"), "Unreliable" when oscillating, null without excitation.
`targets`: turns, phase_per_step, slope, level, points, misfit, has_fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from riverone_hf.calibration.physics import (
    Readout,
    chance,
    clip01,
    log_uniform,
    number,
    padded_limits,
    pick,
    round_sig,
    shot_noise,
    solve_linear,
    uniform,
    unit_log,
)
from riverone_hf.calibration.pingpong_words import ACTIONS, WORDS
from riverone_hf.calibration.scene import Marker, Panel, Style
from riverone_hf.calibration.trace import Curve, Trace, misfit, panel_truth, trace_panel
from riverone_hf.calibration.words import (
    ANOMALOUS,
    APPARATUS,
    EXPECTED,
    SUBOPTIMAL,
    assessment,
    draw_readout,
    qubit_name,
)
from riverone_hf.questions.truth import UNRELIABLE, Truth

LABELS = {
    "pingpong_success_well_calibrated": (EXPECTED, "SUCCESS"),
    "pingpong_failure_large_error": (ANOMALOUS, "LARGE_ERROR"),
    "pingpong_failure_moderate_error": (SUBOPTIMAL, "MODERATE_ERROR"),
    "pingpong_failure_no_excitation": (APPARATUS, "NO_EXCITATION"),
}
TYPES = tuple(LABELS)

DRIFT_THRESHOLD = 0.25
"""Accumulated error angle (rad) above which the drift is MODERATE_ERROR; draws leave out 0.17 to 0.4."""
OSCILLATION_THRESHOLD = 2.5
"""Accumulated (or aliased) angle above which <Z> oscillates: LARGE_ERROR; draws leave out 1.05 to 4.7."""
SWING_THRESHOLD = 0.4
"""An oscillation shows when <Z> passes this on both sides of the ideal value; aliased draws that do not are redrawn."""
VISIBLE_ANGLE = 0.07
"""Accumulated angle (rad) below which no drift is seen on an axis of the whole range; draws leave out 0.05 to 0.09."""


@dataclass(frozen=True)
class Scenario:
    """The drawn physics: angles in radians, `scatter` the standard deviation of a point in units of <Z>."""

    counts: np.ndarray
    """Numbers of pulses (n,), even."""
    angle: float
    """Accumulated error angle at the last count."""
    start: float
    """Error of the preparing pi/2 pulse."""
    contrast: float
    damping: float
    """Last over first contrast."""
    scatter: float


def draw_scenario(rng: np.random.Generator, kind: str) -> Scenario:
    """A scenario of this kind, clear of the thresholds."""
    steps = int(log_uniform(rng, 5, 42))
    stride = pick(rng, (2, 2, 4, 10, 10)) if steps < 16 else pick(rng, (2, 2, 4))
    counts = np.arange(steps + 1) * float(stride)
    scatter, contrast = log_uniform(rng, 0.015, 0.07), uniform(rng, 0.85, 1.0)
    start, damping, sign = uniform(rng, -0.06, 0.06), uniform(rng, 0.92, 1.0), pick(rng, (-1.0, 1.0))
    if kind == "success_well_calibrated":
        # Standard error of the total rise of a line through steps + 1 even points.
        error = scatter * math.sqrt(12 / (steps + 2))
        if chance(rng, 0.5):
            angle = uniform(rng, 0.0, 1.0) * min(error, 0.05)
        else:
            angle = uniform(rng, 0.09, 0.17)
            scatter = min(scatter, angle / 7 / math.sqrt(12 / (steps + 2)))
    elif kind == "failure_moderate_error":
        angle = uniform(rng, 0.4, 1.05)
        scatter = min(scatter, 0.1 * angle)
    else:
        damping = uniform(rng, 0.6, 1.0)
        for _ in range(12):
            start = uniform(rng, -0.3, 0.3)
            swing = Scenario(counts, sign * draw_swing(rng, steps), start, contrast, damping, scatter)
            if swings(swing):
                return swing
        # Five radians over few points always show both extremes.
        angle, start = max(5.0, 0.3 * steps), 0.0
    return Scenario(counts, sign * angle, start, contrast, damping, scatter)


def swings(scene: Scenario) -> bool:
    """Whether the points reach both sides of the ideal value and no line describes them."""
    z = draw_signal(scene)
    return float(z.min()) < -SWING_THRESHOLD < SWING_THRESHOLD < float(z.max()) and line_misfit(scene.counts, z) > 0.6


def line_misfit(x: np.ndarray, y: np.ndarray) -> float:
    """Rms distance from the least-squares line, over the rms about the mean."""
    u, v = x - x.mean(), y - y.mean()
    return math.sqrt(max(0.0, 1 - float(u @ v) ** 2 / float((u @ u) * (v @ v))))


def draw_swing(rng: np.random.Generator, steps: int) -> float:
    """An angle whose samples swing to both sides, resolved or with less than two points per turn."""
    least = 4.7 / steps
    if least < 1.2 and chance(rng, 0.6):
        return steps * log_uniform(rng, least, min(1.25, 4 * least))
    # Near a whole turn per step the samples would form a slow drift.
    return steps * (pick(rng, (0, 0, 1)) * 2 * math.pi + uniform(rng, max(1.25, least), 2 * math.pi - max(1.25, least)))


def simulate(
    experiment_type: str, rng: np.random.Generator, style: Style
) -> tuple[Truth, tuple[tuple[Panel, ...], ...]]:
    """One ping-pong plot: its truth and one image of one panel."""
    qubit = qubit_name(rng)
    kind = experiment_type.removeprefix("pingpong_")
    scene = draw_scenario(rng, kind if kind != "failure_no_excitation" else "success_well_calibrated")
    z = draw_signal(scene)
    if kind == "failure_no_excitation":
        z = np.full_like(z, uniform(rng, 0.88, 0.99))
    population = shot_noise(rng, (1 - z) / 2, scene.scatter / 2)
    readout = draw_readout(rng, qubit, ("z", "population"))
    if readout.gain < 0 and chance(rng, 0.5):
        readout = replace(readout, label=pick(rng, ("⟨Z⟩ Expectation", "⟨Z⟩", "<Z> Expectation", "⟨σz⟩")))
    trace = Trace(
        scene.counts,
        readout(population),
        abs(readout.gain) * scene.scatter / 2,
        draw_xlabel(rng),
        readout.label,
        readout,
        abs(scene.angle) < DRIFT_THRESHOLD,
    )
    to_z = 2 / abs(readout.gain)
    line = fit_line(trace)
    error = abs(line[1]) * to_z
    quality, curve = draw_fit(rng, kind, line)
    outcome, status = LABELS[experiment_type]
    seen = kind == "failure_moderate_error" or abs(scene.angle) > VISIBLE_ANGLE
    value, accumulation = draw_answer(status, error, seen)
    words = WORDS[kind].draw(
        rng, error=number(error, 2), pulses=int(scene.counts[-1]), trend="a slight" if seen else "no visible"
    )
    fit_label, text = fit_texts(rng, curve, line)
    features = words.pop("main_features")
    panel, told = trace_panel(
        rng, trace, curve, title=draw_title(rng, qubit), features=features, fit_label=fit_label, text=text
    )
    panel = set_axes(rng, panel, trace, readout)
    reliability, q4_reason = assessment(rng, quality)
    idle = kind == "failure_no_excitation"
    per_step = abs(scene.angle) / (scene.counts.size - 1)
    return Truth(
        "pingpong",
        experiment_type,
        outcome,
        reliability,
        status,
        {"error_per_gate": value, "accumulation_type": accumulation},
        (panel_truth(panel, told.plot_type, features),),
        q4_reason=q4_reason,
        suggested_range=None if status == "SUCCESS" else pick(rng, ACTIONS[status]).format(error=number(error, 2)),
        targets={
            "turns": 0.0 if idle else unit_log(abs(scene.angle) / (2 * math.pi), 0.005, 50.0),
            "phase_per_step": 0.0 if idle else clip01(per_step / (4 * math.pi)),
            "slope": clip01(error * float(scene.counts[-1]) / 2),
            "level": clip01(float(population.mean())),
            "points": clip01(scene.counts.size / 45),
            "misfit": misfit(curve, trace),
            "has_fit": float(curve is not None),
        },
        **words,
    ), ((panel,),)


def draw_signal(scene: Scenario) -> np.ndarray:
    """Noiseless <Z> (n,) at the drawn numbers of pulses."""
    u = scene.counts / scene.counts[-1]
    return -scene.contrast * scene.damping**u * np.sin(scene.angle * u + scene.start)


def fit_line(trace: Trace) -> tuple[float, float]:
    """(offset, slope) of the least-squares line through the drawn points."""
    offset, slope = solve_linear(np.stack([np.ones_like(trace.x), trace.x], axis=1), trace.y)
    return float(offset), float(slope)


def draw_fit(rng: np.random.Generator, kind: str, line: tuple[float, float]) -> tuple[str, Curve | None]:
    """(quality, curve or None): the lab always fits a line, whatever the points hold."""
    if chance(rng, 0.1):
        return "none", None
    quality = {"failure_large_error": "wrong", "failure_no_excitation": "unsupported"}.get(kind, "good")
    return quality, lambda count: line[0] + line[1] * count


def draw_answer(status: str, error: float, seen: bool) -> tuple[float | str | None, str]:
    """(error_per_gate, accumulation_type) as a reader gives them."""
    if status == "NO_EXCITATION":
        return None, "none"
    if status == "LARGE_ERROR":
        return UNRELIABLE, "oscillatory"
    return (round_sig(error, 2), "linear") if seen else (0.0, "none")


def set_axes(rng: np.random.Generator, panel: Panel, trace: Trace, readout: Readout) -> Panel:
    """The whole range of <Z> or population, as labs fix it: on an autoscaled axis a tiny drift would look large."""
    ends = sorted((readout.offset, readout.offset + readout.gain))
    pad = pick(rng, (0.05, 0.05, 0.02, 0.1)) * (ends[1] - ends[0])
    shown = [series.y for series in panel.series]
    low, high = padded_limits(*shown)
    if high - low < 0.6 * (ends[1] - ends[0]) or chance(rng, 0.6):
        low, high = min(low, ends[0] - pad), max(high, ends[1] + pad)
    if any(series.yerr is not None for series in panel.series):
        low, high = (
            min(low, float(trace.y.min()) - 1.1 * trace.noise),
            max(high, float(trace.y.max()) + 1.1 * trace.noise),
        )
    ideal = readout.offset + readout.gain / 2
    markers = (Marker(ideal, "h", "guide", pick(rng, ("Ideal", "ideal", None))),) if chance(rng, 0.12) else ()
    return replace(panel, ylim=(low, high), markers=markers)


def draw_xlabel(rng: np.random.Generator) -> str:
    """The swept number of pulses; seldom without a label."""
    if chance(rng, 0.03):
        return ""
    return pick(
        rng,
        (
            "Pulse Count",
            "Number of pulses",
            "Number of pi pulses",
            "Gate count",
            "N pulses",
            "Number of gates []",
            "Pulse repetitions",
        ),
    )


def fit_texts(
    rng: np.random.Generator, curve: Curve | None, line: tuple[float, float]
) -> tuple[str | None, str | None]:
    """(legend label, text box) of the line; its numbers are the fit's own, sensible or not."""
    if curve is None:
        return None, None
    where = float(rng.random())
    if where < 0.12:
        return None, f"slope: {number(line[1], 2)}\noffset: {number(line[0], 2)}"
    if where < 0.3:
        return pick(rng, ("Linear fit: slope = {}", "Fit (slope {})", "fit: {} per pulse")).format(
            number(line[1], 2)
        ), None
    return pick(rng, ("Linear Fit", "Linear fit", "Fit", "linear fit", None)), None


def draw_title(rng: np.random.Generator, qubit: str) -> str:
    """A title as measurement software writes it, or none."""
    return pick(
        rng,
        (
            "Ping-Pong Amplitude Calibration",
            "Ping-Pong Calibration",
            "PingPong",
            f"{qubit} ping-pong",
            f"Pi-pulse error amplification, {qubit}",
            f"Amplitude fine tuning {qubit}",
            f"{qubit} x180 ping-pong amplitude",
            "",
        ),
    )
