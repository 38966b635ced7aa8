"""MOT loading: a camera image of the fluorescence of a magneto-optical trap.

Physics: balanced beams give a Gaussian cloud; unequal radiation pressure or a misplaced field zero drags atoms out on
one side, a comet tail whose light decays exponentially along it. Background light, its gradient, shot noise (growing
with the light) and readout noise add up; the image may be scaled to its maximum or shown in counts.

Label rule (criteria: SPEC 2.7, family 6; thresholds are the constants below):
type                  outcome                status      decided by
mot_loading_good      Expected behavior      SUCCESS     tail light < 0.06
mot_loading_tailed    Suboptimal parameters  ASYMMETRIC  tail light > 0.06
mot_loading_no_signal Apparatus issue        NO_SIGNAL   no cloud, only background
The tail light is that of the tail, three rms radii from the centre, over the cloud's peak; draws keep 0.02 to 0.13
free, and clouds that are there stand at least four times above the noise of one pixel. Contours of a Gaussian fit at
one to three rms radii, drawn on the cloud, are Reliable on a good one and Unreliable on a tailed one or on noise;
without them the answer is No fit. A missing cloud has centre (0, 0), as the benchmark asks.
`targets`: cloud (0, 1), center_x, center_y (of the image, 0 without a cloud), size, tail, brightness over noise.
"""

from __future__ import annotations

import math

import numpy as np

from riverone_hf.calibration.camera import axis_labels, image_truth, noise
from riverone_hf.calibration.physics import chance, clip01, log_uniform, pick, uniform, unit_log
from riverone_hf.calibration.scene import Circle, Heatmap, Panel, Style
from riverone_hf.calibration.words import APPARATUS, EXPECTED, SUBOPTIMAL, Words, assessment
from riverone_hf.questions.truth import Truth

LABELS = {
    "mot_loading_good": (EXPECTED, "SUCCESS"),
    "mot_loading_no_signal": (APPARATUS, "NO_SIGNAL"),
    "mot_loading_tailed": (SUBOPTIMAL, "ASYMMETRIC"),
}
TYPES = tuple(LABELS)

TAIL_THRESHOLD = 0.06
"""Light of the tail three rms radii out, over the peak, above which a cloud is ASYMMETRIC (see above)."""

WORDS = {
    "good": Words(
        ("One compact bright cloud on a dark background.", "Symmetric Gaussian cloud near x {x}, y {y}."),
        ("A compact, symmetric cloud is clearly visible.", "Bright round cloud, well above the background."),
        ("One symmetric cloud near ({x}, {y}) with good contrast.", "The cloud is round and far above the noise."),
        (
            "The round, compact cloud shows balanced beams and a centred field zero. Signal to noise suffices for "
            "position and width. Go on to load the tweezers.",
            "Size and symmetry say that the trap is well aligned; the image suffices to characterise it. Proceed.",
        ),
    ),
    "tailed": Words(
        ("Bright cloud with a comet tail to one side.", "Asymmetric cloud drawn out towards one side."),
        ("The cloud has a one-sided tail; beams are not balanced.", "Atoms leak out in a comet-like tail."),
        ("A cloud near ({x}, {y}) with a clear one-sided tail.", "The cloud is asymmetric: a tail leaves its core."),
        (
            "Atoms are trapped, but the tail points to unequal radiation pressure or a misplaced field zero. The image "
            "suffices to see its direction. Balance the beams and realign.",
            "The comet shape shows that one beam pushes atoms out. Balance powers and centre the field, then repeat.",
        ),
    ),
    "no_signal": Words(
        ("Uniform noise without any cloud.", "No bright spot, only background noise."),
        ("No atom cloud is visible, only noise.", "Only background; no fluorescence of trapped atoms."),
        ("The whole field shows noise; nothing is trapped.", "No cloud stands above the background."),
        (
            "No atoms are trapped or the camera does not see them. Nothing can be measured from this image. Check "
            "beams, coils, atom source and camera timing.",
        ),
    ),
}
ACTIONS = {
    "tailed": (
        "Balance the powers of opposite MOT beams.",
        "Realign the beams and centre the magnetic field zero.",
        "Adjust the shim coils and check beam polarisations.",
    ),
    "no_signal": (
        "Check that cooling and repumping beams are on and locked.",
        "Check coil current, shutters and camera timing.",
        "Verify laser lock, atom source and camera exposure.",
    ),
}


def simulate(
    experiment_type: str, rng: np.random.Generator, style: Style
) -> tuple[Truth, tuple[tuple[Panel, ...], ...]]:
    """One camera image: its truth and one image of one panel."""
    kind = experiment_type.removeprefix("mot_loading_")
    width = int(log_uniform(rng, 110, 340))
    height = int(min(300, max(90, width * pick(rng, (0.667, 0.75, 1.0, uniform(rng, 0.6, 1.2))))))
    size = log_uniform(rng, 0.022, 0.09) * min(width, height)
    room = min(3.2 * size, 0.4 * width, 0.4 * height)
    center = uniform(rng, room, width - room), uniform(rng, room, height - room)
    strength = log_uniform(rng, 5.0, 40.0) if kind != "tailed" else log_uniform(rng, 12.0, 50.0)
    aspect, turn = uniform(rng, 0.85, 1.18), uniform(rng, 0, math.pi)
    tail = 0.0
    image = background(rng, height, width)
    if kind != "no_signal":
        u, v = np.arange(width, dtype=np.float32) - center[0], np.arange(height, dtype=np.float32) - center[1]
        if kind == "tailed":
            tail = log_uniform(rng, 0.13, 0.4)
            image += strength * tail_light(u, v, size, tail, tail_direction(rng, center, width, height))
        elif chance(rng, 0.4):
            image += strength * tail_light(u, v, size, uniform(rng, 0.0, 0.02), uniform(rng, 0, 2 * math.pi))
        cloud = round_cloud(u, v, size, aspect, turn)
        image += strength * cloud
        grain = noise(rng, image.shape, 1.0)
        image += grain * np.sqrt(1 + np.float32(uniform(rng, 0.0, 0.15) * strength) * cloud)
    else:
        image += noise(rng, image.shape, 1.0)
    dead = rng.integers(0, image.size, int(rng.integers(0, 6)) if chance(rng, 0.2) else 0)
    image.reshape(-1)[dead] += np.float32(strength * 0.7)
    fitted = chance(rng, {"good": 0.8, "tailed": 0.3, "no_signal": 0.08}[kind])
    quality = "none" if not fitted else {"good": "good", "tailed": "wrong", "no_signal": "unsupported"}[kind]
    panel, names, bar = draw_panel(rng, image, center, (size * aspect, size / aspect, turn) if fitted else None, kind)
    at = (round(center[0]), round(center[1])) if kind != "no_signal" else (0, 0)
    words = WORDS[kind].draw(rng, x=at[0], y=at[1])
    reliability, q4_reason = assessment(rng, quality)
    outcome, status = LABELS[experiment_type]
    seen = kind != "no_signal"
    return Truth(
        "mot_loading",
        experiment_type,
        outcome,
        reliability,
        status,
        {"has_cloud": seen, "center_x": at[0], "center_y": at[1], "cloud_present": seen},
        (image_truth(panel, "image", names, words.pop("main_features"), bar),),
        q4_reason=q4_reason,
        suggested_range=None if status == "SUCCESS" else pick(rng, ACTIONS[kind]),
        targets={
            "cloud": float(seen),
            "center_x": clip01(center[0] / width) if seen else 0.0,
            "center_y": clip01(center[1] / height) if seen else 0.0,
            "size": clip01(size / min(width, height) * 10) if seen else 0.0,
            "tail": clip01(2 * tail),
            "brightness": unit_log(strength, 4.0, 60.0) if seen else 0.0,
        },
        **words,
    ), ((panel,),)


def background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Stray light (h, w) float32 in units of the pixel noise: nearly flat, with a gradient in some images."""
    slope = rng.normal(size=2) * (0.8 if chance(rng, 0.25) else 0.1)
    x, y = np.linspace(-0.5, 0.5, width), np.linspace(-0.5, 0.5, height)
    return (uniform(rng, 1.0, 4.0) + slope[0] * x[None, :] + slope[1] * y[:, None]).astype(np.float32)


def round_cloud(u: np.ndarray, v: np.ndarray, size: float, aspect: float, turn: float) -> np.ndarray:
    """A Gaussian of rms radii size * aspect, size / aspect and peak 1 at distances u (w,), v (h,) from its centre."""
    cos, sin = math.cos(turn), math.sin(turn)
    long, short = (size * aspect) ** -2, (size / aspect) ** -2
    xx, yy = cos * cos * long + sin * sin * short, sin * sin * long + cos * cos * short
    cross = np.outer(np.float32(cos * sin * (long - short)) * v, u)
    cross += (0.5 * xx) * (u * u)[None, :] + (0.5 * yy) * (v * v)[:, None]
    return np.exp(-cross)


def tail_direction(rng: np.random.Generator, center: tuple[float, float], width: int, height: int) -> float:
    """An angle that points roughly to the far side of the image, so that the tail is seen."""
    return math.atan2(height / 2 - center[1], width / 2 - center[0]) + uniform(rng, -0.9, 0.9)


def tail_light(u: np.ndarray, v: np.ndarray, size: float, light: float, angle: float) -> np.ndarray:
    """A comet tail (h, w) with `light` three rms radii from the centre, falling by e every 3 to 4 radii behind."""
    cos, sin = math.cos(angle), math.sin(angle)
    along = (np.float32(cos / size) * u)[None, :] + (np.float32(sin / size) * v)[:, None]
    across = (np.float32(-sin / size) * u)[None, :] + (np.float32(cos / size) * v)[:, None]
    width = 0.75 + 0.06 * np.clip(along, 0, 12)
    rise = 1 / (1 + np.exp(np.clip(-2.5 * along, -30, 30)))
    return light * math.e * rise * np.exp(-np.maximum(along, 0) / 3.0 - 0.5 * (across / width) ** 2)


def draw_panel(
    rng: np.random.Generator,
    image: np.ndarray,
    center: tuple[float, float],
    fit: tuple[float, float, float] | None,
    kind: str,
) -> tuple[Panel, tuple[str, str], str]:
    """(panel, names of the axes, label of the colour bar) of an image in units of the noise."""
    height, width = image.shape
    scaled = chance(rng, 0.6)
    if scaled:
        image = np.clip(image - image.min() * pick(rng, (1.0, 0.7)), 0, None)
        image = image / image.max()
    else:
        image = image * uniform(rng, 3.0, 60.0) + uniform(rng, 0.0, 300.0)
    word = "Intensity (a.u.)" if scaled else "Counts"
    bar = pick(rng, (word, word, pick(rng, ("Intensity (a.u.)", "Fluorescence (a.u.)", "Signal")), None))
    limits = (0.0, 1.0) if scaled and chance(rng, 0.7) else None
    if kind == "no_signal" and scaled and chance(rng, 0.3):
        image, limits = image * uniform(rng, 0.15, 0.4), (0.0, 1.0)  # shown on the scale of a good cloud
    upside = chance(rng, 0.25)
    circles: tuple[Circle, ...] = ()
    if fit is not None:
        long, short, turn = fit
        if kind == "tailed":  # a Gaussian fit is drawn out and pulled towards the tail
            long, short = long * uniform(rng, 1.1, 1.5), short * uniform(rng, 1.0, 1.2)
        sign = pick(rng, ("+", "+", "x"))
        rings = pick(rng, ((1, 2, 3), (1, 2, 3), (1, 2), (1,), (2,)))
        circles = tuple(
            Circle(center[0], center[1], k * long, k * short, "overlay", k == rings[0], turn, sign)  # type: ignore[arg-type]
            for k in rings
        )
    xlabel, ylabel, x_name, y_name = axis_labels(rng)
    ylim = (height - 0.5, -0.5) if upside else (-0.5, height - 0.5)
    titles = ("MOT Loading", "MOT Loading", "MOT fluorescence", "MOT image", "Camera image", "Atom cloud", "")
    panel = Panel(
        (-0.5, width - 0.5),
        ylim,
        xlabel,
        ylabel,
        pick(rng, titles) if chance(rng, 0.8) else f"MOT shot {int(rng.integers(1, 4000))}",
        circles=circles,
        heatmap=Heatmap(image[::-1] if upside else image, bar, limits),
        equal=chance(rng, 0.9),
    )
    return panel, (x_name, y_name), bar or ""
