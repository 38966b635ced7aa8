"""Pinch-off of electrons on helium: step a gate and watch the channel's current fall to its floor.

Physics: the electrons are classical, so the passage over the gate's barrier is thermally activated and the current
saturates once the barrier is gone: I = offset + I_0 g (1 + s (m - i)), g = 1 / (1 + exp((i - m) / w)), with the gate
index i, the midpoint m, and a plateau that leans by s as the gate thins the electrons.

Label rule (criteria: SPEC 2.7, family 7; thresholds are the constants below, draws keep clear of them). `floor` is the
residual current over the step height, `left` the share of the step that is left at the last point:
type                           outcome                status           decided by
pinchoff_success               Expected behavior      SUCCESS          -0.08 < floor < 0.15, low plateau reached
failure_incomplete_transition  Suboptimal parameters  INCOMPLETE       left > 0.15: still falling at the last point
failure_noisy_no_transition    Apparatus issue        NO_TRANSITION    noise about one level
failure_stabilize_negative     Anomalous behavior     NEGATIVE_OFFSET  floor <= -0.08
failure_stabilize_positive     Anomalous behavior     POSITIVE_OFFSET  floor >= 0.15
No fit is drawn in this family (SPEC 2.2), so Q4 is always "No fit". A plateau holds the points within 5 % of its end
of the step; it is reached where two neighbours lie on it, so `saturation_index` and `cut_off_index` are one point
further out than the first such point seen from the transition. `transition_index` is the last index above half of the
step. Without a low plateau cut-off and midpoint are null; without a transition all three are.
`targets`: midpoint, width, floor (0..1 holds -1..1), left, noise, plateau_slope.
"""

from __future__ import annotations

import math

import numpy as np

from riverone_hf.calibration.physics import (
    chance,
    clip01,
    log_uniform,
    padded_limits,
    pick,
    slow_drift,
    uniform,
    unit_log,
)
from riverone_hf.calibration.scene import Marker, Panel, Series, Style
from riverone_hf.calibration.trace import panel_truth
from riverone_hf.calibration.words import (
    ANOMALOUS,
    APPARATUS,
    EXPECTED,
    SUBOPTIMAL,
    Words,
    assessment,
    with_unit,
)
from riverone_hf.questions.truth import Truth

LABELS = {
    "pinchoff_success": (EXPECTED, "SUCCESS"),
    "pinchoff_failure_incomplete_transition": (SUBOPTIMAL, "INCOMPLETE"),
    "pinchoff_failure_noisy_no_transition": (APPARATUS, "NO_TRANSITION"),
    "pinchoff_failure_stabilize_negative": (ANOMALOUS, "NEGATIVE_OFFSET"),
    "pinchoff_failure_stabilize_positive": (ANOMALOUS, "POSITIVE_OFFSET"),
}
TYPES = tuple(LABELS)

FLOOR_THRESHOLDS = (-0.08, 0.15)
"""Residual currents (over the step height) between these count as zero; draws leave out -0.15 to -0.02 and 0.1 to
0.25."""
LEFT_THRESHOLD = 0.15
"""More than this share of the step left at the last point is INCOMPLETE; draws leave out 0.01 to 0.25."""
PLATEAU = 0.05
"""A point within this share of the step from its end lies on the plateau."""

FLOORS = {
    "success": (-0.02, 0.1),
    "failure_incomplete_transition": (-0.02, 0.1),
    "failure_noisy_no_transition": (0.0, 0.0),
    "failure_stabilize_negative": (-0.7, -0.15),
    "failure_stabilize_positive": (0.25, 1.2),
}

WORDS = {
    "success": Words(
        (
            "Current falls from a high to a low plateau.",
            "Sharp drop near index {middle} to almost zero current.",
            "Sigmoidal pinch-off centred near index {middle}.",
        ),
        (
            "Complete pinch-off: current drops to a near-zero floor.",
            "Clear transition near index {middle} between two plateaus.",
        ),
        (
            "Current drops near index {middle} and stays near zero afterwards.",
            "High plateau, steep transition and near-zero floor are all captured.",
        ),
        (
            "The gate depletes the channel completely near index {middle}. The range covers both plateaus. "
            "Choose a working point just past the cut-off.",
        ),
    ),
    "failure_incomplete_transition": Words(
        (
            "Current begins to drop but reaches no floor.",
            "High plateau, then a fall cut off by range.",
            "Transition still in progress at the last index.",
        ),
        ("The sweep ends before the current reaches its floor.", "Pinch-off begins but is not completed in range."),
        (
            "Current is still falling at the last index; extend the sweep.",
            "No low plateau is reached; widen the gate range.",
        ),
        (
            "The gate begins to close the channel, but the sweep ends too early to place threshold and floor. "
            "Extend the gate range and repeat.",
        ),
    ),
    "failure_noisy_no_transition": Words(
        (
            "Noisy current without any transition.",
            "Random fluctuations about one level.",
            "Scattered current, no plateau or drop.",
        ),
        ("No pinch-off: current only fluctuates about one level.", "The trace is noise without a transition."),
        (
            "No drop between plateaus; check electrons, wiring and lock-in.",
            "Current fluctuates randomly; the gate has no visible effect.",
        ),
        (
            "The gate has no visible effect, so no threshold can be extracted. "
            "Check that electrons are loaded and that gate and pickup are connected.",
        ),
    ),
    "failure_stabilize_negative": Words(
        (
            "Current drops through zero to a negative plateau.",
            "Transition near index {middle}, settling below zero.",
        ),
        ("The current crosses zero and settles at a negative value.", "Transition is clear but its floor is negative."),
        (
            "Low plateau lies clearly below zero; correct the offset.",
            "Current saturates negative: background or amplifier offset.",
        ),
        (
            "The gate closes the channel near index {middle}, but the negative floor shows an instrumental offset. "
            "Correct the background and repeat before using the currents.",
        ),
    ),
    "failure_stabilize_positive": Words(
        (
            "Current drops but stays at a positive floor.",
            "Transition near index {middle}, settling well above zero.",
        ),
        ("The current saturates well above zero after the drop.", "The floor remains positive: incomplete depletion."),
        (
            "Low plateau stays well above zero; look for leakage.",
            "Residual current remains after the drop: leak or offset.",
        ),
        (
            "The gate acts near index {middle}, yet a large current remains, so a parallel path or an offset is "
            "present. Check for leakage and guard voltages, then repeat.",
        ),
    ),
}
ACTIONS = {
    "INCOMPLETE": ("Extend the gate sweep by {more} more indices", "Sweep the gate further, to about index {end}"),
    "NO_TRANSITION": ("Check electron density and wiring, then repeat", "Reload electrons and widen the gate range"),
    "NEGATIVE_OFFSET": ("Zero the amplifier offset and repeat", "Correct the background subtraction"),
    "POSITIVE_OFFSET": ("Look for a parallel leak and use a more negative gate", "Check guard gates and the offset"),
}


def simulate(
    experiment_type: str, rng: np.random.Generator, style: Style
) -> tuple[Truth, tuple[tuple[Panel, ...], ...]]:
    """One pinch-off trace: its truth and one image of one panel."""
    kind = experiment_type.removeprefix("pinchoff_")
    outcome, status = LABELS[experiment_type]
    points = pick(rng, (41, 41, 41, 31, 31, int(rng.integers(21, 62))))
    index = np.arange(points, dtype=float)
    floor = uniform(rng, *FLOORS[kind])
    middle, width, left = draw_transition(rng, kind, points)
    step = log_uniform(rng, 0.5, 2000.0)
    lean = pick(rng, (0.0, uniform(rng, 0.0, 0.25))) / max(middle, 1.0)
    noise = log_uniform(rng, 0.003, 0.035)
    if status == "NO_TRANSITION":
        current = noise_only(rng, points)
        saturation = transition = cut_off = None
        lean = noise = 0.0
    else:
        fraction = step_fraction(index, middle, width)
        current = floor + fraction * (1 + lean * np.maximum(middle - index, 0.0)) + noise * rng.normal(size=points)
        saturation, transition, cut_off = indices(fraction)
    words = WORDS[kind].draw(rng, middle=transition)
    panel, line = draw_panel(rng, index, step * current, status)
    reliability, q4_reason = assessment(rng, "none")
    quiet = status == "NO_TRANSITION"
    action = None
    if status != "SUCCESS":
        more = max(5, 5 * math.ceil((middle + 5 * width - points) / 5))
        action = pick(rng, ACTIONS[status]).format(more=more, end=points - 1 + more)
    return Truth(
        "pinchoff",
        experiment_type,
        outcome,
        reliability,
        status,
        {"cut_off_index": cut_off, "transition_index": transition, "saturation_index": saturation},
        (panel_truth(panel, "line" if line else "scatter", words.pop("main_features")),),
        q4_reason=q4_reason,
        suggested_range=action,
        targets={
            "midpoint": 0.0 if quiet else clip01(middle / points / 1.25),
            "width": 0.0 if quiet else unit_log(width, 0.1, 6.0),
            "floor": 0.5 if quiet else clip01((floor + 1) / 2),
            "left": 0.0 if quiet else clip01(left),
            "noise": 1.0 if quiet else clip01(noise * 20),
            "plateau_slope": clip01(lean * middle * 4),
        },
        q2_reason=words["q2_reason"],
        q6_notes=words["q6_notes"],
        significance=words["significance"],
    ), ((panel,),)


def step_fraction(index: np.ndarray, middle: float, width: float) -> np.ndarray:
    """Share of the step (n,) at each gate index, 1 open to 0 pinched off."""
    return 1 / (1 + np.exp(np.clip((index - middle) / width, -60, 60)))


def draw_transition(rng: np.random.Generator, kind: str, points: int) -> tuple[float, float, float]:
    """(midpoint, width in indices, share of the step left at the last point)."""
    width = log_uniform(rng, 0.2, 0.045 * points)
    last = points - 1
    if kind == "failure_incomplete_transition":
        width = log_uniform(rng, 0.6, 0.12 * points)
        left = uniform(rng, 0.25, 0.7)
        return last - width * math.log((1 - left) / left), width, left
    # Both plateaus are reached with points to spare: 4.6 widths leave 1 % of the step.
    edge = 4.6 * width + 3
    middle = uniform(rng, edge, max(edge, min(last - edge, uniform(rng, 0.4, 0.95) * last)))
    return middle, width, float(step_fraction(np.array([last]), middle, width)[0])


def indices(fraction: np.ndarray) -> tuple[int | None, int | None, int | None]:
    """(saturation, transition, cut-off) index by the rule above; None where a plateau is not reached."""
    high = int(np.count_nonzero(fraction >= 1 - PLATEAU)) - 2
    low = fraction.size - int(np.count_nonzero(fraction <= PLATEAU)) + 1
    reached = low < fraction.size
    half = int(np.count_nonzero(fraction >= 0.5)) - 1
    return (high if high >= 0 else None), (half if reached else None), (low if reached else None)


def noise_only(rng: np.random.Generator, points: int) -> np.ndarray:
    """A current trace (n,) without transition: noise about a level that is often near zero, at times correlated."""
    noise = rng.normal(size=points) if chance(rng, 0.75) else rng.standard_t(4, size=points) / 1.4
    size = log_uniform(rng, 0.02, 1.0)
    level = pick(rng, (0.0, 0.0, uniform(rng, -1.0, 2.0)))
    return level + size * (noise + slow_drift(rng, points, pick(rng, (0.0, 0.0, 0.5))))


def draw_panel(rng: np.random.Generator, index: np.ndarray, current: np.ndarray, status: str) -> tuple[Panel, bool]:
    """(panel, whether the points are joined). Zero is inside or marked often enough to judge the floor."""
    kind = pick(rng, ("points+line",) * 7 + ("line", "line", "points"))
    low, high = padded_limits(current, pad=pick(rng, (0.05, 0.05, 0.05, 0.1)))
    with_zero = {"POSITIVE_OFFSET": 0.75, "INCOMPLETE": 0.6, "NO_TRANSITION": 0.3}.get(status, 0.3)
    if chance(rng, with_zero):
        margin = 0.05 * max(high, -low)
        low, high = min(low, -margin), max(high, margin)
    marked = low < 0 < high and chance(rng, 0.7 if status == "NEGATIVE_OFFSET" else 0.25)
    markers = (Marker(0.0, "h", "guide", pick(rng, (None, None, "Zero"))),) if marked else ()
    series = Series(index, current, kind, "data", None, pick(rng, ("Current", "Data", None, None, None)))  # type: ignore[arg-type]
    xlabel = pick(
        rng,
        (
            "Gate Voltage Index",
            "Gate Voltage Index",
            "Gate voltage index",
            "Gate index",
            "Voltage step",
            "Gate Voltage (index)",
        ),
    )
    ylabel = with_unit(rng, "Current", pick(rng, ("a.u.", "a.u.", "a.u.", "pA", "nA", "arb. units")))
    title = pick(
        rng,
        (
            "Pinch-off Trace",
            "Pinch-off Trace",
            "Pinchoff",
            "Pinch-off",
            "Electron on helium pinch-off",
            "Gate sweep",
            f"Pinch-off, gate {int(rng.integers(1, 9))}",
            "",
        ),
    )
    margin = pick(rng, (0.05, 0.05, 0.05, 0.02, 0.0)) * (index.size - 1)
    xlim = (-margin, index.size - 1 + margin)
    return Panel(xlim, (low, high), xlabel, ylabel, title, (series,), markers), kind != "points"
