"""DRAG: sweep the derivative coefficient and find where two pulse sequences agree.

Physics: a pi pulse with derivative coefficient 1/alpha leaves a phase error proportional to its distance from the
optimum; two sequences of opposite sign turn it into <z> = +-sin(k (1/alpha - optimum)), nearly straight lines that
cross at the optimum.

Label rule (criteria: SPEC 2.7, family 3; thresholds are the constants below, draws keep clear of them). `position` is
the optimum in fractions of the swept window:
type                                  outcome                status                decided by
drag_success                          Expected behavior      SUCCESS               position in [0.25, 0.75]
drag_failure_position_first_quarter   Suboptimal parameters  OPTIMAL_NOT_CENTERED  position in [0, 0.25)
drag_failure_position_last_quarter    Suboptimal parameters  OPTIMAL_NOT_CENTERED  position in (0.75, 1]
drag_failure_position_far_offset      Suboptimal parameters  OPTIMAL_NOT_CENTERED  lines do not cross in the window
drag_failure_no_signal                Apparatus issue        NO_SIGNAL             flat or random, no opposite slopes
A drawn fit is Reliable when the crossing lies in the window; an extrapolated one is Unreliable, `optimal_alpha_inv`
"Unreliable" and `intersection_clear` false.
`targets`: position (0..1 holds -0.5..1.5), slope (over noise), misfit, has_fit.
"""

from __future__ import annotations

import math

import numpy as np

from riverone_hf.calibration.physics import (
    chance,
    clip01,
    decade_below,
    log_uniform,
    number,
    padded_limits,
    pick,
    rms,
    round_sig,
    round_to_step,
    solve_linear,
    uniform,
    unit_log,
)
from riverone_hf.calibration.scene import Marker, Panel, Series, Style
from riverone_hf.calibration.trace import SMALLEST_SHARE, panel_truth
from riverone_hf.calibration.words import APPARATUS, EXPECTED, SUBOPTIMAL, Words, assessment, qubit_name
from riverone_hf.questions.truth import UNRELIABLE, Truth

_OFF_CENTRE = (SUBOPTIMAL, "OPTIMAL_NOT_CENTERED")
LABELS = {
    "drag_success": (EXPECTED, "SUCCESS"),
    "drag_failure_no_signal": (APPARATUS, "NO_SIGNAL"),
    "drag_failure_position_far_offset": _OFF_CENTRE,
    "drag_failure_position_first_quarter": _OFF_CENTRE,
    "drag_failure_position_last_quarter": _OFF_CENTRE,
}
TYPES = tuple(LABELS)

QUARTERS = (0.25, 0.75)
"""Window fractions between which the optimum counts as centred; draws leave out 0.2 to 0.29 and 0.71 to 0.8."""
POSITIONS = {
    "success": (0.29, 0.71),
    "failure_position_first_quarter": (0.06, 0.2),
    "failure_position_last_quarter": (0.8, 0.94),
}
FAR_OFFSET = (0.2, 1.6)
"""How far outside the window (in window lengths) the far-offset crossing lies."""

_SHIFT = (
    "The lines have opposite slopes, so DRAG responds as expected, but the optimum lies {where} of the window. "
    "Recentre the sweep around it and repeat before gate benchmarking."
)
WORDS = {
    "success": Words(
        ("Two opposite linear trends crossing near {optimum}.", "Two series with opposite slopes intersect centrally."),
        ("Opposite trends cross clearly inside the window.", "Clear crossing near {optimum}, well inside the sweep."),
        ("Crossing near {optimum} lies well inside the window.", "Both trends cross clearly in the central window."),
        (
            "The crossing near {optimum} gives the DRAG coefficient that minimises phase error. The range captures it "
            "well. Adopt it and proceed to gate benchmarking.",
        ),
    ),
    "failure_no_signal": Words(
        ("Two scattered series without slope or crossing.", "Flat, random points in both series."),
        ("Both series are flat noise without crossing trend.", "No opposite slopes; no DRAG response visible."),
        ("Flat or random data; check pulses and readout.", "No crossing pattern; verify drive and readout first."),
        (
            "Neither sequence responds to the DRAG coefficient, so no optimum can be extracted. "
            "Check pi pulse and readout, then widen the sweep.",
        ),
    ),
    "failure_position_first_quarter": Words(
        ("Opposite linear trends crossing near the left edge.", "Two lines intersect in the first quarter."),
        ("Crossing lies in the first quarter of the sweep.", "Optimum sits near the left edge of the window."),
        (
            "Crossing near {optimum} is off centre; shift the sweep left.",
            "Optimum in first quarter; recentre the window.",
        ),
        (_SHIFT,),
    ),
    "failure_position_last_quarter": Words(
        ("Opposite linear trends crossing near the right edge.", "Two lines intersect in the last quarter."),
        ("Crossing lies in the last quarter of the sweep.", "Optimum sits near the right edge of the window."),
        (
            "Crossing near {optimum} is off centre; shift the sweep right.",
            "Optimum in last quarter; recentre the window.",
        ),
        (_SHIFT,),
    ),
    "failure_position_far_offset": Words(
        ("Two separated trends that do not cross here.", "Diverging lines without intersection in the window."),
        ("The lines do not cross inside the sweep window.", "Crossing lies outside the scanned range."),
        ("No crossing in the window; shift the sweep {side}.", "Optimum lies outside the range, to the {side}."),
        (_SHIFT,),
    ),
}


def simulate(
    experiment_type: str, rng: np.random.Generator, style: Style
) -> tuple[Truth, tuple[tuple[Panel, ...], ...]]:
    """One DRAG plot: its truth and one image of one panel."""
    qubit = qubit_name(rng)
    kind = experiment_type.removeprefix("drag_")
    position = draw_position(rng, kind)
    low, span = draw_sweep(rng)
    points = int(rng.integers(11, 42))
    u = np.linspace(0, 1, points)
    x = low + span * u
    slope = log_uniform(rng, 0.15, 1.2) / max(1.0, abs(position - 0.5))
    ratio = uniform(rng, 0.7, 1.4)
    # Near an edge the crossing is determined less well; it must stay in its quarter.
    noisiest = 0.11 if kind == "success" else min(0.11, 0.015 * math.sqrt(points))
    noise = slope * log_uniform(rng, 0.02, noisiest)
    offset = uniform(rng, -0.05, 0.05)
    if kind == "failure_no_signal":
        noise, slope = log_uniform(rng, 0.01, 0.2), 0.0
    first = offset + np.sin(slope * (u - position)) + noise * rng.normal(size=points)
    second = offset - np.sin(slope * ratio * (u - position)) + noise * rng.normal(size=points)
    if chance(rng, 0.5):
        first, second = second, first
    in_population = chance(rng, 0.25)
    if in_population:
        first, second = (1 - first) / 2, (1 - second) / 2
        noise /= 2
    quality = "none" if chance(rng, 0.1) else "good" if kind in POSITIONS else "unsupported"
    basis = np.stack([np.ones_like(u), u], axis=1)
    lines = [solve_linear(basis, y) for y in (first, second)] if quality != "none" else []
    crossing = (lines[1][0] - lines[0][0]) / (lines[0][1] - lines[1][1]) if lines else position
    step = decade_below(span)
    reported = crossing if quality == "good" else position
    optimum = round_to_step(low + span * float(reported), step / 10 if span / step < 30 else step)
    where = "outside" if kind.endswith("far_offset") else "near the edge"
    side = "left" if position < 0.5 else "right"
    words = WORDS[kind].draw(rng, optimum=number(optimum), where=where, side=side)
    panel = draw_panel(rng, qubit, x, (first, second), [basis @ c for c in lines], noise, in_population, slope == 0)
    if lines and 0 < crossing < 1 and chance(rng, 0.2) and kind != "failure_no_signal":
        panel = mark(panel, low + span * crossing)
    outcome, status = LABELS[experiment_type]
    reliability, q4_reason = assessment(rng, quality)
    clear = kind in POSITIONS
    spread = rms(np.concatenate([first - first.mean(), second - second.mean()]))
    residual = np.concatenate([y - basis @ c for y, c in zip((first, second), lines, strict=False)]) if lines else None
    return Truth(
        "drag",
        experiment_type,
        outcome,
        reliability,
        status,
        {"optimal_alpha_inv": optimum if clear else UNRELIABLE, "intersection_clear": clear},
        (panel_truth(panel, "scatter", words.pop("main_features")),),
        q4_reason=q4_reason,
        suggested_range=suggest(status, low, span, position),
        targets={
            "position": 0.0 if kind == "failure_no_signal" else clip01((position + 0.5) / 2),
            "slope": 0.0 if slope == 0 else unit_log(slope / noise, 1.0, 200.0),
            "misfit": 1.0 if residual is None else clip01(rms(residual) / spread),
            "has_fit": float(bool(lines)),
        },
        **words,
    ), ((panel,),)


def draw_position(rng: np.random.Generator, kind: str) -> float:
    """Window fraction at which the lines cross."""
    if kind in POSITIONS:
        return uniform(rng, *POSITIONS[kind])
    distance = uniform(rng, *FAR_OFFSET)
    return -distance if chance(rng, 0.5) else 1 + distance


def draw_sweep(rng: np.random.Generator) -> tuple[float, float]:
    """(first value, span) of the swept 1/alpha: around a small negative or positive value, or through zero."""
    span = round_sig(log_uniform(rng, 0.002, 4.0), 2)
    return round_sig(span * pick(rng, (-0.5, -1.17, uniform(rng, -1.5, 0.5))), 3), span


def draw_panel(
    rng: np.random.Generator,
    qubit: str,
    x: np.ndarray,
    data: tuple[np.ndarray, np.ndarray],
    lines: list[np.ndarray],
    noise: float,
    in_population: bool,
    flat: bool,
) -> Panel:
    """Two point series and, where fitted, their lines."""
    labels = pick(
        rng, (("Xp-Yp", "Yp-Xm"), ("X180 Y90", "Y180 X90"), ("+", "-"), ("seq 1", "seq 2"), (None, None), (None, None))
    )
    yerr = np.full(x.shape, noise) if chance(rng, 0.15) else None
    series = [
        Series(x, data[0], "points", "data", yerr, labels[0]),
        Series(x, data[1], "points", "data2", yerr, labels[1]),
    ]
    for line, role in zip(lines, ("fit", "fit2"), strict=False):
        series.append(Series(x, line, "line", role, None, "Fit" if chance(rng, 0.15) else None))  # type: ignore[arg-type]
    shown = [s.y for s in series]
    if yerr is not None:
        shown += [y + yerr for y in data] + [y - yerr for y in data]
    ylim = padded_limits(*shown)
    share = (ylim[1] - ylim[0]) / (1.0 if in_population else 2.0)
    if chance(rng, 0.12) and (flat or share > SMALLEST_SHARE):
        ylim = (0.0, 1.0) if in_population else (-1.0, 1.0)
        ylim = min(ylim[0], *(float(s.min()) for s in shown)), max(ylim[1], *(float(s.max()) for s in shown))
    xlabel = pick(
        rng,
        (
            "1/α (Inverse DRAG coefficient)",
            "1/alpha",
            "1/α",
            "DRAG coefficient",
            "Inverse alpha",
            "DRAG parameter (1/alpha)",
            "beta",
        ),
    )
    ylabel = (
        pick(rng, ("Population", "P(|1>)", "Excited state population"))
        if in_population
        else pick(rng, ("<z>", "<Z>", "Z expectation"))
    )
    title = pick(
        rng, ("DRAG Calibration", "DRAG", f"DRAG {qubit}", f"{qubit} DRAG calibration", "DRAG alpha sweep", "")
    )
    return Panel(padded_limits(x, pad=pick(rng, (0.05, 0.05, 0.02))), ylim, xlabel, ylabel, title, tuple(series))


def mark(panel: Panel, at: float) -> Panel:
    """The panel with a vertical line at the fitted crossing."""
    return Panel(
        panel.xlim, panel.ylim, panel.xlabel, panel.ylabel, panel.title, panel.series, (Marker(at, "v", "guide"),)
    )


def suggest(status: str, low: float, span: float, position: float) -> str | None:
    """The same span recentred on the optimum, or a wider one without signal."""
    if status == "SUCCESS":
        return None
    if status == "NO_SIGNAL":
        return f"({number(low - span / 2)}, {number(low + 1.5 * span)})"
    centre = low + span * position
    return f"({number(centre - span / 2)}, {number(centre + span / 2)})"
