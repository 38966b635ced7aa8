"""Tunable coupler: map the frequencies of its two qubits over the coupler's bias and find the avoided crossings.

Physics: the coupler is an asymmetric transmon (`flux_maps.Arc`) that crosses both fixed qubits; two coupled levels have
f = (f_q + f_c)/2 +- sqrt((f_q - f_c)^2/4 + g^2), each line as bright as its qubit part. Below the coupler a qubit is
pushed down, above it up, so the line is a row of arcs of alternating curvature. Each panel shows one qubit.

Label rule (criteria: SPEC 2.7, family 1; threshold is the constant below, draws keep clear of it). `miss` is the rms
distance of fitted and true branches in heights of the window, each distance limited to 0.3:
type                          outcome                status    decided by
coupler_flux_success          Expected behavior      SUCCESS   miss < 0.1 in both panels
coupler_flux_failure_bad_fit  Suboptimal parameters  FIT_POOR  miss > 0.1 in a panel
The fit is always drawn, and Reliable on success only. Q5 lists where the coupler crosses (mean of both qubits, rounded
by at most 1 % of the axis) and the extremum of every branch (left to right); both "Unreliable" on failure.
`targets`: crossings (over 4), first_crossing, last_crossing (in the window), shift (of the plateaus, in the window),
contrast, misfit, has_fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from riverone_hf.calibration.coupler_words import WORDS
from riverone_hf.calibration.flux_maps import CHARGING, Arc, lines, map_limits, pick_peaks
from riverone_hf.calibration.physics import (
    chance,
    clip01,
    decade_below,
    log_uniform,
    number,
    pick,
    rms,
    round_to_step,
    uniform,
    unit_log,
)
from riverone_hf.calibration.scene import Heatmap, Panel, Series, Style
from riverone_hf.calibration.trace import panel_truth
from riverone_hf.calibration.words import EXPECTED, SUBOPTIMAL, assessment, with_unit
from riverone_hf.questions.truth import UNRELIABLE, Truth

LABELS = {
    "coupler_flux_success": (EXPECTED, "SUCCESS"),
    "coupler_flux_failure_bad_fit": (SUBOPTIMAL, "FIT_POOR"),
}
TYPES = tuple(LABELS)

MISS_THRESHOLD = 0.1
"""Rms distance (limited to 0.3) in window heights above which a fit is poor; draws leave out 0.06 to 0.14."""
LIMIT = 0.3


@dataclass(frozen=True)
class Level:
    """One qubit beside the coupler: bare frequency and coupling `g` in GHz, and the coupler's arc."""

    qubit: float
    g: float
    arc: Arc

    def branches(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(lower line, upper line, share of the qubit in the upper one), each (n,)."""
        coupler = self.arc(x)
        half = 0.5 * (self.qubit - coupler)
        root = np.sqrt(half * half + self.g * self.g)
        return self.qubit - half - root, self.qubit - half + root, 0.5 * (1 + half / root)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The more qubit-like line (n,), which jumps where the coupler crosses."""
        lower, upper, share = self.branches(x)
        return np.where(share > 0.5, upper, lower)


def simulate(
    experiment_type: str, rng: np.random.Generator, style: Style
) -> tuple[Truth, tuple[tuple[Panel, ...], ...]]:
    """One coupler map: its truth and one image of two panels, one for each qubit."""
    kind = experiment_type.removeprefix("coupler_flux_")
    levels, x, crossings = draw_device(rng)
    noise = log_uniform(rng, 0.025, 0.24)
    first = int(rng.integers(1, 40))
    qubits = pick(rng, (f"QB{first}", f"Q{first}")), f"QB{first + int(rng.integers(1, 8))}"
    coupler = pick(rng, (f"TC-{first}-{qubits[1][2:]}",) * 3 + (f"C{first}", "Coupler", "tunable coupler"))
    texts = {
        "x": with_unit(rng, pick(rng, (f"{coupler} bias voltage",) * 3 + ("Coupler bias", "Coupler flux bias")), "V"),
        "y": with_unit(rng, pick(rng, ("Frequency", "Frequency", "Qubit frequency")), "GHz"),
        "bar": pick(rng, (None, None, None, None, "S21 (a.u.)", "")),
        "coupler": f"{coupler} frequency",
    }
    shown = chance(rng, 0.75), chance(rng, 0.85), chance(rng, 0.7)
    titled = chance(rng, 0.25)
    share = log_uniform(rng, 0.045, 0.13)
    shift = uniform(rng, 0.05, 0.11)
    rows = int(log_uniform(rng, 40, 90))
    saturated = chance(rng, 0.4)
    panels, fits, misses = [], [], []
    both = chance(rng, 0.6)
    wrong_panel = int(rng.integers(2))
    for i, level in enumerate(levels):
        height = level.g**2 / abs(level.arc.top - CHARGING - level.qubit) / shift
        frequency = level.qubit + height * np.linspace(-0.5, 0.5, rows)
        values = draw_map(rng, level, x, frequency, share * height, noise)
        points, errors = pick_peaks(values, frequency, 2)
        start = level if kind == "success" or not (both or i == wrong_panel) else draw_wrong(rng, level, x, height)
        fit = refine(x, points, level, height) if start is level else start
        fits.append(fit)
        misses.append(distance(fit, level, x, height))
        clip = (-2 * noise, 0.7) if saturated else None
        panel = draw_panel((x, frequency, values, clip), (points, errors), fit, shown, texts, qubits[i], i)
        panels.append(replace(panel, title=qubits[i]) if titled else panel)
    step = decade_below(float(np.ptp(x)), 0.02)
    at = [round_to_step(float(c), step) for c in crossings]
    heights = [panel.ylim[1] - panel.ylim[0] for panel in panels]
    plateaus = [read_plateaus(f, x, crossings, h) for f, h in zip(fits, heights, strict=True)]
    words = WORDS[kind].draw(rng, n=len(at), first=number(at[0], 3), last=number(at[-1], 3))
    outcome, status = LABELS[experiment_type]
    good = status == "SUCCESS"
    reliability, q4_reason = assessment(rng, "good" if good else "wrong")
    span = float(np.ptp(x))
    period = levels[0].arc.period
    middle = float(np.mean(crossings))
    return Truth(
        "coupler_flux",
        experiment_type,
        outcome,
        reliability,
        status,
        {
            "crossing_voltages_V": at if good else UNRELIABLE,
            "left_fig_branch_freqs_GHz": plateaus[0] if good else UNRELIABLE,
            "right_fig_branch_freqs_GHz": plateaus[1] if good else UNRELIABLE,
        },
        (panel_truth(panels[0], "heatmap", words.pop("main_features")),),
        q4_reason=q4_reason,
        suggested_range=None
        if good
        else f"({number(middle - 0.7 * period, 2)}, {number(middle + 0.7 * period, 2)}) [V]",
        targets={
            "crossings": len(at) / 4,
            "first_crossing": clip01((crossings[0] - x[0]) / span),
            "last_crossing": clip01((crossings[-1] - x[0]) / span),
            "shift": clip01(5 * shift),
            "contrast": unit_log(1 / noise, 1.0, 30.0),
            "misfit": clip01(max(misses) / LIMIT),
            "has_fit": 1.0,
        },
        **words,
    ), (tuple(panels),)


def draw_device(rng: np.random.Generator) -> tuple[list[Level], np.ndarray, np.ndarray]:
    """(levels of the two qubits, biases (columns,), mean crossing biases (2 to 4,)).

    The coupler is above the first qubit for `inside` of its period; the second qubit differs by up to 0.25 GHz, so
    its crossings are a little displaced. The window ends well inside branches of both qubits.
    """
    qubit = uniform(rng, 3.9, 5.6)
    asymmetry = uniform(rng, 0.0, 0.4)
    inside = uniform(rng, 0.28, 0.62)
    squares = 1 - (1 - asymmetry**2) * math.sin(0.5 * math.pi * inside) ** 2
    period = log_uniform(rng, 0.6, 3.0)
    arc = Arc((qubit + CHARGING) / squares**0.25, period * uniform(rng, -0.4, 0.4), period, asymmetry)
    gap = arc.top - CHARGING - qubit
    other = qubit + pick(rng, (-1.0, 1.0)) * min(0.25, 0.25 * gap) * uniform(rng, 0.15, 1.0)
    g = math.sqrt(0.5 * gap * log_uniform(rng, 0.004, 0.015))
    levels = [Level(q, g * uniform(rng, 0.85, 1.15), arc) for q in (qubit, other)]
    if chance(rng, 0.5):
        levels.reverse()
    halves = np.array([arc.angle_of(level.qubit) / math.pi * period for level in levels])
    centres = arc.centre + period * np.arange(-2, 4)
    both = np.sort(np.stack([(centres[:, None] + half * np.array([-1.0, 1.0])).ravel() for half in halves]), axis=1)
    mean = both.mean(axis=0)
    count = pick(rng, (2, 2, 3, 4))
    begin = int(rng.integers(2, 5))
    left = mean[begin] - (mean[begin] - mean[begin - 1]) * uniform(rng, 0.35, 0.85)
    right = mean[begin + count - 1] + (mean[begin + count] - mean[begin + count - 1]) * uniform(rng, 0.35, 0.85)
    return levels, np.linspace(left, right, int(rng.integers(18, 26)) * count), mean[begin : begin + count]


def draw_map(
    rng: np.random.Generator, level: Level, x: np.ndarray, frequency: np.ndarray, width: float, noise: float
) -> np.ndarray:
    """Signal (rows, columns): both lines, as bright as their qubit part, over noise."""
    lower, upper, share = level.branches(x)
    bright = 1.0 - 0.25 * rng.random(x.size)
    values = bright * (share * lines(frequency, upper, width) + (1 - share) * lines(frequency, lower, width))
    return values + noise * rng.standard_normal(values.shape)


def refine(x: np.ndarray, points: np.ndarray, level: Level, height: float, steps: int = 2) -> Level:
    """Gauss-Newton least squares of qubit frequency, g and coupler centre to the points away from the crossings."""
    use = (np.abs(points - level(x)) < 0.12 * height) & (np.abs(points - level.qubit) < 0.3 * height)
    if np.count_nonzero(use) < 8:
        return level
    x, points = x[use], points[use]
    sizes = (0.01 * height, 0.01 * level.g, 1e-3 * level.arc.period)
    for _ in range(steps):
        value = level(x)
        arc = level.arc
        trials = (
            replace(level, qubit=level.qubit + sizes[0]),
            replace(level, g=level.g + sizes[1]),
            replace(level, arc=replace(arc, centre=arc.centre + sizes[2])),
        )
        jacobian = np.stack([trial(x) - value for trial in trials], axis=1)
        gram = jacobian.T @ jacobian
        gram[np.diag_indices_from(gram)] *= 1.001
        move = np.clip(np.linalg.solve(gram, jacobian.T @ (points - value)), -8, 8) * sizes
        level = Level(level.qubit + move[0], level.g + move[1], replace(arc, centre=arc.centre + move[2]))
    return level


def distance(fit: Level, level: Level, x: np.ndarray, height: float) -> float:
    """Rms distance of the fitted from the true line in window heights, each limited to `LIMIT`."""
    return rms(np.minimum(np.abs(fit(x) - level(x)) / height, LIMIT))


def draw_wrong(rng: np.random.Generator, level: Level, x: np.ndarray, height: float) -> Level:
    """A fit gone wrong by at least 0.14: crossings displaced, a false period, coupling or frequency."""
    mode = pick(rng, ("centre", "centre", "period", "qubit", "g"))
    sign, size = pick(rng, (1.0, -1.0)), uniform(rng, 0.6, 1.2)
    wrong = level
    for _ in range(12):
        arc = level.arc
        if mode == "centre":
            wrong = replace(level, arc=replace(arc, centre=arc.centre + sign * min(0.5, 0.12 * size) * arc.period))
        elif mode == "period":
            period = arc.period * (1 + 0.15 * size if sign > 0 else 1 / (1 + 0.15 * size))
            wrong = replace(level, arc=replace(arc, period=period))
        elif mode == "qubit":
            wrong = replace(level, qubit=level.qubit + sign * 0.13 * size * height)
        else:
            wrong = replace(level, g=level.g * (1 + size))
        if distance(wrong, level, x, height) > 0.15:
            return wrong
        size *= 1.3
    return replace(level, qubit=level.qubit + sign * 0.2 * height)


def read_plateaus(fit: Level, x: np.ndarray, crossings: np.ndarray, height: float) -> list[float]:
    """Frequency at the extremum of each branch, left to right, rounded as a reader would (GHz)."""
    edges = np.searchsorted(x, crossings)
    line, step = fit(x), decade_below(height, 0.02)
    values = []
    for part in np.split(line, edges):
        inner = part[1:-1] if part.size > 3 else part
        flattest = inner[int(np.argmin(np.abs(inner - fit.qubit)))]
        values.append(round_to_step(float(flattest), step))
    return values


def draw_panel(
    data: tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float] | None],
    peaks: tuple[np.ndarray, np.ndarray],
    fit: Level,
    shown: tuple[bool, bool, bool],
    texts: dict[str, str | None],
    qubit: str,
    index: int,
) -> Panel:
    """One qubit's map with its points, rejected points, fitted line and the coupler's own frequency."""
    x, frequency, values, clip = data
    points, errors = peaks
    height = float(frequency[-1] - frequency[0])
    curve = fit(x)
    with_coupler, with_points, with_bars = shown
    series: list[Series] = []
    if with_coupler:
        fine = np.linspace(x[0], x[-1], 4 * x.size)
        # Far outside the window a straight line to the next point is enough for the clipped drawing.
        coupler = np.clip(fit.arc(fine), frequency[0] - 3 * height, frequency[-1] + 3 * height)
        series.append(Series(fine, coupler, "line", "guide", None, texts["coupler"]))
    far = np.abs(points - curve) > 0.16 * height
    roles = ("data", "fit") if index == 0 else ("data2", "fit2")
    if with_points:
        for chosen, role, label in ((far, "guide", "outlier"), (~far, roles[0], f"{qubit} frequency")):
            if chosen.any():
                bars = errors[chosen] if with_bars else None
                series.append(Series(x[chosen], points[chosen], "points", role, bars, label))  # type: ignore[arg-type]
    series.append(Series(x, curve, "line", roles[1], None, None))  # type: ignore[arg-type]
    return Panel(
        map_limits(x), map_limits(frequency), texts["x"] or "", texts["y"] or "", "", tuple(series),
        heatmap=Heatmap(values, texts["bar"], clip),
    )  # fmt: skip
