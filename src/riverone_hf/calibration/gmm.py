"""GMM readout: single shots in the IQ plane after preparing |0> and |1>, split by a Gaussian mixture model.

Physics: each shot is a Gaussian of width sigma around the pointer state of the qubit; relaxation during readout
leaves some |1> shots at |0>, thermal population the reverse. Too much readout power squeezes, bends or breaks the
clouds (resonator nonlinearity, leakage). The mixture with common spherical width is fitted to all shots by a few steps
of expectation maximisation; circles are its contours.

Label rule (criteria: SPEC 2.7, family 4; thresholds are the constants below, draws keep clear of them):
type                         outcome                status           decided by
gmm_success                  Expected behavior      SUCCESS          two round clouds, each panel has its own
gmm_failure_high_power       Suboptimal parameters  HIGH_POWER       clouds elongated (aspect > 2), bent, or in pieces
gmm_failure_no_excitation    Anomalous behavior     NO_EXCITATION    two round clouds, both panels alike
gmm_failure_no_res_response  Apparatus issue        NO_RES_RESPONSE  one spot, deviation below 5 % of an axis
gmm_failure_no_signal        Apparatus issue        NO_SIGNAL        one diffuse cloud, deviation over 10 % of an axis
The fit is Reliable where the circles sit on round, distinct clouds (success, and no_excitation when the residual
second cloud is populated); otherwise Unreliable with centres "Unreliable".
`targets`: separation, c0_x, c0_y, c1_x, c1_y (axis fractions of the circles), size, difference (of populations).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from riverone_hf.calibration.gmm_words import ACTIONS, WORDS
from riverone_hf.calibration.physics import (
    chance,
    clip01,
    decade_below,
    log_uniform,
    pick,
    round_to_step,
    uniform,
)
from riverone_hf.calibration.scene import Circle, Panel, Series, Style
from riverone_hf.calibration.trace import panel_truth
from riverone_hf.calibration.words import ANOMALOUS, APPARATUS, EXPECTED, SUBOPTIMAL, assessment, with_unit
from riverone_hf.questions.truth import UNRELIABLE, Truth

LABELS = {
    "gmm_success": (EXPECTED, "SUCCESS"),
    "gmm_failure_high_power": (SUBOPTIMAL, "HIGH_POWER"),
    "gmm_failure_no_excitation": (ANOMALOUS, "NO_EXCITATION"),
    "gmm_failure_no_res_response": (APPARATUS, "NO_RES_RESPONSE"),
    "gmm_failure_no_signal": (APPARATUS, "NO_SIGNAL"),
}
TYPES = tuple(LABELS)

WELL_SEPARATED = 4.0
"""Centre distance over sigma from which clouds are well-separated; draws leave out 3.6 to 4.2."""
TOUCHING = 2.4
"""The same for touching clouds; below, they are overlapping."""


def simulate(
    experiment_type: str, rng: np.random.Generator, style: Style
) -> tuple[Truth, tuple[tuple[Panel, ...], ...]]:
    """One readout plot: its truth and one image of two panels, "Distribution 0" and "Distribution 1"."""
    kind = experiment_type.removeprefix("gmm_")
    shots = int(log_uniform(rng, 250, 900))
    distance = {"success": uniform(rng, 4.2, 8.0), "failure_no_excitation": uniform(rng, 4.2, 7.0)}.get(kind, 0.6)
    if kind == "success" and chance(rng, 0.1):
        distance = uniform(rng, 3.0, 3.6)
    angle = uniform(rng, 0, 2 * math.pi)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    populations = draw_populations(rng, kind)
    clouds, distance = draw_clouds(rng, kind, shots, distance, populations)
    scale = log_uniform(rng, 0.02, 2.0)
    shift = rng.normal(size=2) * scale * uniform(rng, 0, 15) * (kind != "failure_no_signal" or chance(rng, 0.3))
    clouds = [cloud @ turn * scale + shift for cloud in clouds]
    axis = np.array([-distance / 2, 0.0]) @ turn * scale
    centres, sigma = fit_mixture(np.concatenate(clouds), shift + axis, shift - axis)
    radius = sigma * uniform(rng, 2.0, 2.6)
    limits = draw_limits(rng, kind, clouds, centres, radius, scale)
    if kind == "failure_high_power" or chance(rng, 0.75):
        # Unequal axes would make an elongated cloud look round.
        limits = equal_aspect(limits, 2.1 * style.figsize[1] / style.figsize[0])
    xlabel, ylabel = draw_labels(rng)
    panels, fractions = draw_panels(rng, clouds, centres, radius, limits, (xlabel, ylabel))
    reliable = kind in ("success", "failure_no_excitation")
    quality = "good" if reliable else "wrong" if kind == "failure_high_power" else "unsupported"
    if chance(rng, 0.06):
        quality = "none"
        panels = tuple(without_circles(panel) for panel in panels)
    reliability, q4_reason = assessment(rng, quality)
    outcome, status = LABELS[experiment_type]
    words = WORDS[kind].draw(rng, p0=f"{fractions[0][0]:.0%}", p1=f"{fractions[1][1]:.0%}")
    position = [
        clip01((centres[k][i] - limits[i][0]) / (limits[i][1] - limits[i][0])) for k in range(2) for i in range(2)
    ]
    separation = (
        "well-separated" if distance >= WELL_SEPARATED else "touching" if distance >= TOUCHING else "overlapping"
    )
    if kind in ("failure_no_signal", "failure_no_res_response", "failure_high_power") and chance(rng, 0.06):
        panels = panels[:1]
    return Truth(
        "gmm",
        experiment_type,
        outcome,
        reliability,
        status,
        {
            "separation": separation,
            "cluster0_center": as_read(centres[0], limits) if reliable else UNRELIABLE,
            "cluster1_center": as_read(centres[1], limits) if reliable else UNRELIABLE,
        },
        (panel_truth(panels[0], "scatter", words.pop("main_features")),),
        q4_reason=q4_reason,
        suggested_range=None if status == "SUCCESS" else pick(rng, ACTIONS[kind]),
        targets={
            "separation": clip01(distance / 10),
            **dict(zip(("c0_x", "c0_y", "c1_x", "c1_y"), position if reliable else [0.0] * 4, strict=True)),
            "size": clip01(2 * sigma / (limits[0][1] - limits[0][0])),
            "difference": abs(fractions[1][1] - fractions[0][1]),
        },
        **words,
    ), (panels,)


Distortion = Callable[[np.random.Generator, np.ndarray], np.ndarray]
"""(rng, which shots are ones (n,) bool) -> shots (n, 2)."""


def draw_populations(rng: np.random.Generator, kind: str) -> tuple[float, float]:
    """Share of shots in pointer state 1 after preparing |0> and |1>."""
    if kind == "failure_no_excitation":
        thermal = pick(rng, (uniform(rng, 0.03, 0.15), uniform(rng, 0.03, 0.15), uniform(rng, 0.4, 0.6)))
        return thermal, thermal + uniform(rng, -0.01, 0.01)
    return log_uniform(rng, 0.005, 0.08), 1 - log_uniform(rng, 0.01, 0.2)


def draw_clouds(
    rng: np.random.Generator, kind: str, shots: int, distance: float, populations: tuple[float, float]
) -> tuple[list[np.ndarray], float]:
    """Two arrays (shots, 2) in units of sigma, states on the first axis around the origin; and their distance."""
    if kind == "failure_no_signal":
        flat = chance(rng, 0.4)
        draw = (lambda: rng.uniform(-1.8, 1.8, (shots, 2))) if flat else (lambda: rng.normal(size=(shots, 2)))
        return [draw(), draw()], 0.5
    if kind == "failure_no_res_response":
        return [rng.normal(size=(shots, 2)) for _ in range(2)], 0.5
    clouds = []
    if kind == "failure_high_power":
        distort, distance = draw_distortion(rng)
        for share in populations:
            ones = rng.random(shots) < share
            clouds.append(distort(rng, ones))
        return clouds, distance
    for share in populations:
        ones = rng.random(shots) < share
        cloud = rng.normal(size=(shots, 2))
        cloud[:, 0] += np.where(ones, distance / 2, -distance / 2)
        clouds.append(cloud)
    return clouds, distance


def draw_distortion(rng: np.random.Generator) -> tuple[Distortion, float]:
    """(function (rng, ones) -> shots (n, 2), distance over the typical width) of one kind of high-power damage."""
    way = int(rng.integers(3))
    if way == 0:
        aspect, tilt, gap = uniform(rng, 3.0, 6.0), uniform(rng, 0.3, 1.2), uniform(rng, 3.0, 6.0)

        def elongated(rng: np.random.Generator, ones: np.ndarray) -> np.ndarray:
            cloud = rng.normal(size=(ones.size, 2)) * (0.8, 0.8 * aspect)
            cos, sin = math.cos(tilt), math.sin(tilt)
            cloud = cloud @ np.array([[cos, sin], [-sin, cos]])
            cloud[:, 0] += np.where(ones, gap / 2, -gap / 2)
            return cloud

        return elongated, 2.0
    if way == 1:
        radius, arc, gap = uniform(rng, 5.0, 9.0), uniform(rng, 0.6, 1.1), uniform(rng, 0.9, 2.2)

        def bent(rng: np.random.Generator, ones: np.ndarray) -> np.ndarray:
            phase = arc * rng.normal(size=ones.size) + np.where(ones, gap, -gap) / 2
            length = radius + 0.6 * rng.normal(size=ones.size)
            return np.stack([length * np.sin(phase), length * (np.cos(phase) - 0.5)], axis=1)

        return bent, 2.0
    spots = rng.uniform(-6, 6, (int(rng.integers(4, 7)), 2))
    spots[:, 0] = np.linspace(-6, 6, len(spots))
    widths = rng.uniform(0.35, 0.9, len(spots))

    def fragmented(rng: np.random.Generator, ones: np.ndarray) -> np.ndarray:
        share = np.where(ones, rng.beta(2.0, 1.2, ones.size), rng.beta(1.2, 2.0, ones.size))
        which = np.minimum((share * len(spots)).astype(int), len(spots) - 1)
        return spots[which] + widths[which, None] * rng.normal(size=(ones.size, 2))

    return fragmented, 3.0


def fit_mixture(
    shots: np.ndarray, first: np.ndarray, second: np.ndarray, steps: int = 4
) -> tuple[tuple[np.ndarray, np.ndarray], float]:
    """Two-component Gaussian mixture with one spherical width: (centres (2,) each, sigma), by EM from two centres.

    `shots` is (n, 2). Expectation maximisation for equal spherical covariances (Dempster, Laird, Rubin 1977).
    """
    spread = shots - shots.mean(axis=0)
    variance = float((spread * spread).sum()) / (2 * len(shots))
    weight = 0.5
    for _ in range(steps):
        d0, d1 = shots - first, shots - second
        s0, s1 = np.einsum("ij,ij->i", d0, d0), np.einsum("ij,ij->i", d1, d1)
        ratio = np.clip((s1 - s0) / (2 * variance) + math.log((1 - weight) / weight), -50, 50)
        one = 1 / (1 + np.exp(ratio))
        total = float(one.sum())
        weight = min(max(total / len(shots), 1e-3), 1 - 1e-3)
        first = (shots * (1 - one)[:, None]).sum(axis=0) / max(len(shots) - total, 1e-9)
        second = (shots * one[:, None]).sum(axis=0) / max(total, 1e-9)
        variance = max(float(((1 - one) * s0 + one * s1).sum()) / (2 * len(shots)), 1e-18)
    return (first, second), math.sqrt(variance)


def draw_limits(
    rng: np.random.Generator,
    kind: str,
    clouds: list[np.ndarray],
    centres: tuple[np.ndarray, np.ndarray],
    radius: float,
    scale: float,
) -> tuple[tuple[float, float], tuple[float, float]]:
    """x and y limits shared by both panels: all shots and circles; far wider when the resonator does not respond."""
    edges = np.stack([centre + side * radius for centre in centres for side in (-1, 1)])
    every = np.concatenate([*clouds, edges])
    low, high = every.min(axis=0), every.max(axis=0)
    margin = 0.05 * (high - low)
    low, high = low - margin, high + margin
    if kind == "failure_no_res_response":
        room = scale * log_uniform(rng, 40, 120) * np.array([1.0, uniform(rng, 0.7, 1.4)])
        where = rng.uniform(0.3, 0.7, 2)
        low, high = low - room * where, high + room * (1 - where)
    return (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))


def equal_aspect(
    limits: tuple[tuple[float, float], tuple[float, float]], height_over_width: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """The limits, widened on one axis, so that circles look round in a panel of that shape."""
    (x0, x1), (y0, y1) = limits
    grow_x = max(0.0, (y1 - y0) / height_over_width - (x1 - x0)) / 2
    grow_y = max(0.0, (x1 - x0) * height_over_width - (y1 - y0)) / 2
    return (x0 - grow_x, x1 + grow_x), (y0 - grow_y, y1 + grow_y)


def draw_labels(rng: np.random.Generator) -> tuple[str, str]:
    """x and y labels of the IQ plane."""
    return pick(
        rng,
        (
            ("I", "Q"),
            ("I", "Q"),
            ("I (a.u.)", "Q (a.u.)"),
            ("I [mV]", "Q [mV]"),
            ("In-phase", "Quadrature"),
            ("Re(S21)", "Im(S21)"),
            (with_unit(rng, "I", "mV", 0.0), with_unit(rng, "Q", "mV", 0.0)),
        ),
    )


def draw_panels(
    rng: np.random.Generator,
    clouds: list[np.ndarray],
    centres: tuple[np.ndarray, np.ndarray],
    radius: float,
    limits: tuple[tuple[float, float], tuple[float, float]],
    labels: tuple[str, str],
) -> tuple[tuple[Panel, ...], list[tuple[float, float]]]:
    """(one panel per prepared state, share of shots assigned to 0 and 1 in each)."""
    circles = (
        Circle(float(centres[0][0]), float(centres[0][1]), radius, radius, "data"),
        Circle(float(centres[1][0]), float(centres[1][1]), radius, radius, "data2"),
    )
    titles = pick(
        rng,
        (
            ("Distribution 0", "Distribution 1"),
            ("Prepared |0>", "Prepared |1>"),
            ("Ground", "Excited"),
            ("State 0", "State 1"),
        ),
    )
    with_percent = chance(rng, 0.8)
    axis = centres[1] - centres[0]
    middle = (centres[0] + centres[1]) / 2
    panels, fractions = [], []
    for cloud, title in zip(clouds, titles, strict=True):
        one = (cloud - middle) @ axis > 0
        share = float(one.mean())
        fractions.append((1 - share, share))
        texts = (f"0:{1 - share:.2%}", f"1:{share:.2%}") if with_percent else ("0", "1")
        series = (
            Series(cloud[~one, 0], cloud[~one, 1], "points", "data", None, texts[0]),
            Series(cloud[one, 0], cloud[one, 1], "points", "data2", None, texts[1]),
        )
        panels.append(Panel(limits[0], limits[1], labels[0], labels[1], title, series, circles=circles))
    return tuple(panels), fractions


def without_circles(panel: Panel) -> Panel:
    """The panel without the mixture's contours."""
    return Panel(panel.xlim, panel.ylim, panel.xlabel, panel.ylabel, panel.title, panel.series)


def as_read(centre: np.ndarray, limits: tuple[tuple[float, float], tuple[float, float]]) -> list[float]:
    """[I, Q] rounded by at most 1 % of the axes, and by at most 0.05: half of what scores in full (0.1)."""
    steps = (min(0.1, decade_below(high - low, 0.02)) for low, high in limits)
    return [round_to_step(float(c), step) for c, step in zip(centre, steps, strict=True)]
