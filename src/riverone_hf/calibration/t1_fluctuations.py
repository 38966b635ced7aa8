"""T1 over time: is the relaxation time stable, does it jump between levels, or does it wander?

Physics: every point is one T1 fit with a relative error of a few percent. A two-level system that tunes in and out of
resonance opens a second decay channel, 1/T1' = 1/T1 + g, and a random telegraph process (exponential dwell times)
switches it. Many weak or slowly moving defects, or the set-up's temperature, make T1 wander as a random walk.

Label rule (criteria: SPEC 2.7, family 21; thresholds are the constants below, draws keep clear of them):
type                                      outcome             status       decided by
t1_fluctuations_stable                    Expected behavior   STABLE       white scatter around one level
t1_fluctuations_telegraphic_fluctuations  Anomalous behavior  TELEGRAPHIC  abrupt steps between levels 5 scatters apart
t1_fluctuations_random_walk               Anomalous behavior  RANDOM_WALK  slow change over more than 4 scatters
No curve is fitted here: Q4 is always "No fit", also with a line at the mean. `mean_t1_us` is the mean of the drawn
points when stable and "Unreliable" otherwise, since one mean then hides what T1 does.
`targets`: mean_position, scatter, swing, jumps, low_share, points.
"""

from __future__ import annotations

import math

import numpy as np

from riverone_hf.calibration.physics import (
    chance,
    clip01,
    log_uniform,
    number,
    padded_limits,
    pick,
    round_sig,
    uniform,
    unit_log,
)
from riverone_hf.calibration.scene import Marker, Panel, Series, Style
from riverone_hf.calibration.t1_fluctuations_words import ACTIONS, WORDS
from riverone_hf.calibration.trace import panel_truth
from riverone_hf.calibration.words import ANOMALOUS, EXPECTED, assessment, qubit_name, with_unit
from riverone_hf.questions.truth import UNRELIABLE, Truth

LABELS = {
    "t1_fluctuations_stable": (EXPECTED, "STABLE"),
    "t1_fluctuations_telegraphic_fluctuations": (ANOMALOUS, "TELEGRAPHIC"),
    "t1_fluctuations_random_walk": (ANOMALOUS, "RANDOM_WALK"),
}
TYPES = tuple(LABELS)
CLASSES = {"STABLE": "stable", "TELEGRAPHIC": "telegraphic", "RANDOM_WALK": "random_walk"}

LEVEL_THRESHOLD = 5.0
"""Levels further apart than this many scatters are TELEGRAPHIC; drawn ones are at least 6.5 apart."""
SWING_THRESHOLD = 4.0
"""A slow change over more scatters than this is RANDOM_WALK; drawn ones cover at least 9, stable records none."""

LARGEST_STEP = 0.25
"""A walk whose largest step is a larger share of its range would look like jumps, and is redrawn."""


def simulate(
    experiment_type: str, rng: np.random.Generator, style: Style
) -> tuple[Truth, tuple[tuple[Panel, ...], ...]]:
    """One record of T1 over time: its truth and one image of one panel."""
    qubit = qubit_name(rng)
    kind = experiment_type.removeprefix("t1_fluctuations_")
    typical = log_uniform(rng, 8.0, 300.0)
    points = int(log_uniform(rng, 60, 320))
    scatter = log_uniform(rng, 0.015, 0.09 if kind == "stable" else 0.075)
    state = np.zeros(points, dtype=np.intp)
    shape = np.ones(points)
    if kind == "telegraphic_fluctuations":
        levels, state = draw_telegraph(rng, points, scatter)
        shape = levels[state]
    elif kind == "random_walk":
        shape = draw_walk(rng, points, scatter)
    t1 = typical * shape * (1 + scatter * rng.normal(size=points))
    t1 = np.maximum(t1, 0.05 * typical)
    outcome, status = LABELS[experiment_type]
    mean = round_sig(float(t1.mean()))
    shown = np.unique(shape[np.r_[True, np.diff(state) != 0]]) * typical
    words = WORDS[kind].draw(
        rng,
        mean=number(mean),
        low=number(float(shown[0]), 2),
        high=number(float(shown[-1]), 2),
        least=number(float(t1.min()), 2),
        most=number(float(t1.max()), 2),
    )
    panel = draw_panel(rng, t1, mean, qubit)
    reliability, q4_reason = assessment(rng, "none")
    swing = float(np.ptp(shape)) / float(shape.mean())
    return Truth(
        "t1_fluctuations",
        experiment_type,
        outcome,
        reliability,
        status,
        {"classification": CLASSES[status], "mean_t1_us": mean if status == "STABLE" else UNRELIABLE},
        (panel_truth(panel, "scatter" if panel.series[0].kind == "points" else "line", words.pop("main_features")),),
        q4_reason=q4_reason,
        suggested_range=None if status == "STABLE" else pick(rng, ACTIONS[status]),
        targets={
            "mean_position": clip01((float(t1.mean()) - panel.ylim[0]) / (panel.ylim[1] - panel.ylim[0])),
            "scatter": clip01(scatter * 10),
            "swing": clip01(swing),
            "jumps": unit_log(float(1 + np.count_nonzero(np.diff(state))), 1.0, 60.0),
            "low_share": float(np.mean(shape < 0.5 * (shape.min() + shape.max()))) if swing > 0 else 0.0,
            "points": unit_log(points, 50, 400),
        },
        **words,
    ), ((panel,),)


def draw_telegraph(rng: np.random.Generator, points: int, scatter: float) -> tuple[np.ndarray, np.ndarray]:
    """(relative T1 of each level, level index (n,)): two levels, at times three from two defects.

    Dwell times are exponential; the record holds at least three switches and 12 % of it in every level.
    """
    rates = [1.0, uniform(rng, 1.45, 2.8)]
    if chance(rng, 0.15):
        rates.append(rates[1] * uniform(rng, 1.4, 1.9))
    levels = 1 / np.array(rates)
    # The gap must stand out of the scatter of the upper of two neighbouring levels.
    gap = float(np.min(-np.diff(levels) / levels[:-1]))
    if gap < 6.5 * scatter:
        levels = levels[0] * (1 - 6.5 * scatter * 1.05) ** np.arange(levels.size)
    dwell = points / log_uniform(rng, 4.0, 14.0) * np.array([uniform(rng, 0.5, 1.5) for _ in rates])
    state = np.zeros(points, dtype=np.intp)
    for _ in range(20):
        now, at = int(rng.integers(levels.size)), 0
        while at < points:
            stay = max(1, int(rng.exponential(dwell[now])))
            state[at : at + stay] = now
            at += stay
            now = (now + int(rng.integers(1, levels.size))) % levels.size
        share = np.bincount(state, minlength=levels.size).min() / points
        if share >= 0.12 and np.count_nonzero(np.diff(state)) >= 3:
            return levels, state
    return levels, np.arange(points) * 2 * levels.size // points % levels.size


def draw_walk(rng: np.random.Generator, points: int, scatter: float) -> np.ndarray:
    """Relative T1 (n,) that wanders: a Gaussian random walk scaled to a drawn total range, positive throughout."""
    slow = chance(rng, 0.3)
    for _ in range(8):
        steps = rng.normal(size=points)
        # Slower causes, such as temperature, change the speed of the drift rather than its position.
        walk = np.cumsum(np.convolve(steps, np.full(9, 1 / 3), "same") if slow else steps)
        if float(np.abs(np.diff(walk)).max()) < LARGEST_STEP * float(np.ptp(walk)):
            break
    swing = max(uniform(rng, 0.4, 1.1), 9 * scatter)
    walk = (walk - walk.min()) / float(np.ptp(walk))
    return 1 + swing * (walk - 0.5)


def draw_panel(rng: np.random.Generator, t1: np.ndarray, mean: float, qubit: str) -> Panel:
    """The record as a line, a line with points, or points, on an axis that often begins at zero."""
    points = t1.size
    name, unit, step = pick(
        rng,
        (
            ("Time step", "", 1.0),
            ("Time step", "", 1.0),
            ("Measurement index", "", 1.0),
            ("Repetition", "", 1.0),
            ("Iteration", "", 1.0),
            ("Time", "h", log_uniform(rng, 0.02, 0.4)),
            ("Elapsed time", "min", log_uniform(rng, 0.3, 6.0)),
            ("Time", "s", log_uniform(rng, 8.0, 90.0)),
        ),
    )
    x = np.arange(points) * round_sig(step, 2)
    kind = pick(rng, ("line",) * 6 + ("points+line",) * 3 + ("points",))
    relative = uniform(rng, 0.02, 0.08)
    yerr = t1 * relative if kind != "line" and chance(rng, 0.2) else None
    low, high = padded_limits(t1) if yerr is None else padded_limits(t1 - yerr, t1 + yerr)
    if chance(rng, 0.7):
        high = nice_top(high * uniform(rng, 1.0, 1.7))
        low = 0.0
    labels = (None, None, None, "T1", f"{qubit} T1", "data")
    series = Series(x, t1, kind, "data", yerr, pick(rng, labels))  # type: ignore[arg-type]
    markers: tuple[Marker, ...] = ()
    if chance(rng, 0.08):
        label = pick(rng, ("mean", f"mean = {number(mean)} µs", "Average", None))
        markers = (Marker(float(t1.mean()), "h", "guide", label),)
    title = pick(
        rng,
        (
            "T1 Measurement",
            "T1 over time",
            "T1 stability",
            f"{qubit} T1 vs time",
            f"{qubit}: repeated T1, {points} runs",
            f"T1 monitoring {qubit}",
            "T1 fluctuations",
            "",
        ),
    )
    return Panel(
        padded_limits(x, pad=pick(rng, (0.05, 0.05, 0.0, 0.02))),
        (low, high),
        with_unit(rng, name, unit).replace(" []", ""),
        with_unit(rng, pick(rng, ("T1", "T1", "T1 time", "Relaxation time T1")), "µs"),
        title,
        (series,),
        markers,
    )


def nice_top(value: float) -> float:
    """The next round number at or above `value`, as a person types an axis limit."""
    step = 10.0 ** math.floor(math.log10(value)) / 2
    return math.ceil(value / step) * step
