"""Tweezer array: a camera image of a grid of optical tweezers, mostly the bare picture on black.

Physics: a hologram or deflector makes a grid of spots, turned and sheared a little; each is a Gaussian with weak
ghosts (side lobes) along the axes. Residual aberrations widen (defocus), stretch (astigmatism) or drag (coma) the
spots, spread their brightness, displace them and lose some.

Label rule (criteria: SPEC 2.7, family 22; thresholds are the constants below):
type                            outcome                status     decided by
tweezer_array_success           Expected behavior      CORRECTED  spots sharp, round, of equal brightness
tweezer_array_failure_aberrated Suboptimal parameters  ABERRATED  any one of the thresholds is passed
Draws keep 0.15 to 0.21 pitches (width), 1.25 to 1.9 (stretch), 0.13 to 0.4 (brightness spread), 0.05 to 0.1 pitches
(displacement) free. Q5 follows: `grid_regularity` irregular beyond the displacement or missing threshold,
`spot_uniformity` non-uniform when aberrated spots differ in shape or brightness. No fit is ever drawn: No fit.
`targets`: columns, rows (of 24), width, stretch, spread, coma, displacement, missing, pitch (of the image).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from riverone_hf.calibration.camera import add_spots, axis_labels, image_truth, noise
from riverone_hf.calibration.physics import chance, clip01, log_uniform, pick, uniform
from riverone_hf.calibration.scene import Heatmap, Panel, Style
from riverone_hf.calibration.words import EXPECTED, SUBOPTIMAL, Words, assessment
from riverone_hf.questions.truth import Truth

LABELS = {
    "tweezer_array_success": (EXPECTED, "CORRECTED"),
    "tweezer_array_failure_aberrated": (SUBOPTIMAL, "ABERRATED"),
}
TYPES = tuple(LABELS)

WIDTH_THRESHOLD = 0.18
"""Rms spot width over pitch; corrected spots have at most 0.15, defocused ones at least 0.21."""
STRETCH_THRESHOLD = 1.5
"""Long over short axis of a spot; corrected at most 1.25, astigmatic at least 1.9."""
SPREAD_THRESHOLD = 0.25
"""Relative spread of the peak brightness; corrected at most 0.13, uneven at least 0.4."""
DISPLACEMENT_THRESHOLD = 0.07
"""Rms displacement over pitch (irregular above it); corrected at most 0.03, distorted at least 0.1."""
COMA_THRESHOLD = 0.3
"""Brightness of the flare over the spot's; corrected at most 0.1, smeared at least 0.45."""
MISSING_THRESHOLD = 0.05
"""Share of missing spots above which the grid is irregular; corrected have none, aberrated none or at least 0.08."""

WORDS = {
    "success": Words(
        ("Regular grid of {n} sharp, equal spots on black.", "Bright, evenly spaced round spots on dark background."),
        ("Sharp, uniform spots form a regular grid.", "All spots are round, bright and evenly spaced."),
        ("Spots are compact, equal and regularly spaced.", "The grid is complete and the spots are sharp."),
        (
            "Sharp, equal spots on a regular grid show good alignment and corrected aberrations. Every site can hold "
            "an atom. Go on to loading.",
            "Uniformity and sharpness say that the correction works across the field; the image suffices. Load atoms "
            "and fine-tune trap depths later.",
        ),
    ),
    "aberrated": Words(
        ("Grid of {what} spots on a dark background.", "Spot array with {what} spots."),
        ("The spots are {what}: aberrations are not corrected.", "Image shows {what} spots across the array."),
        ("Spots are {what}; run the aberration correction again.", "Sites look {what}, so traps would be unequal."),
        (
            "The {what} spots point to residual aberrations or misalignment; trap depths would vary. Not good enough "
            "for loading. Run another round of aberration correction.",
        ),
    ),
}
ACTIONS = (
    "Run another round of aberration correction.",
    "Refine the Zernike coefficients of the hologram and repeat.",
    "Refocus the objective, then rerun the aberration correction.",
)


@dataclass(frozen=True)
class Optics:
    """Imperfections of the spots, lengths in units of the pitch."""

    width: float
    stretch: float
    spread: float
    displacement: float
    missing: float
    coma: float = 0.0
    """Brightness of a second, shifted and wider spot: the flare of coma."""


def draw_optics(rng: np.random.Generator, kind: str) -> tuple[Optics, str]:
    """(optics, a word for what is wrong), clear of the thresholds."""
    good = {
        "width": uniform(rng, 0.06, 0.15),
        "stretch": uniform(rng, 1.0, 1.25),
        "spread": uniform(rng, 0.02, 0.13),
        "displacement": uniform(rng, 0.0, 0.03),
        "missing": 0.0,
        "coma": uniform(rng, 0.0, 0.1),
    }
    if kind == "success":
        return Optics(**good), ""
    bad = {
        "blurred": {"width": uniform(rng, 0.21, 0.36), "spread": uniform(rng, 0.1, 0.5)},
        "elongated": {"stretch": uniform(rng, 1.9, 3.0), "width": uniform(rng, 0.1, 0.17)},
        "smeared": {"coma": uniform(rng, 0.45, 0.9), "spread": uniform(rng, 0.1, 0.5)},
        "uneven": {"spread": uniform(rng, 0.4, 0.8)},
        "displaced": {"displacement": uniform(rng, 0.1, 0.17), "spread": uniform(rng, 0.3, 0.6)},
        "partly missing": {"missing": uniform(rng, 0.08, 0.3), "spread": uniform(rng, 0.3, 0.6)},
    }
    names = tuple(bad)
    first = pick(rng, names[:4]) if chance(rng, 0.75) else pick(rng, names[4:])
    flaws = dict(bad[first])
    if chance(rng, 0.45):
        flaws = bad[pick(rng, names)] | flaws
    return Optics(**(good | flaws)), first


def simulate(
    experiment_type: str, rng: np.random.Generator, style: Style
) -> tuple[Truth, tuple[tuple[Panel, ...], ...]]:
    """One camera image of an array: its truth and one image of one panel."""
    kind = experiment_type.removeprefix("tweezer_array_").removeprefix("failure_")
    optics, what = draw_optics(rng, kind)
    shape = style.figsize[1] / style.figsize[0]
    width = int(uniform(rng, 150, 250))
    height = int(np.clip(width * shape, 110, 270))
    pitch = max(9.0, min(width, height) / uniform(rng, 5.0, 21.0))
    image, columns, rows = draw_array(rng, optics, width, height, pitch)
    bare = chance(rng, 0.75)
    panel, names = draw_panel(rng, image, bare)
    irregular = optics.displacement > DISPLACEMENT_THRESHOLD or optics.missing > MISSING_THRESHOLD
    words = WORDS[kind].draw(rng, n=columns * rows, what=what)
    reliability, q4_reason = assessment(rng, "none")
    outcome, status = LABELS[experiment_type]
    corrected = status == "CORRECTED"
    return Truth(
        "tweezer_array",
        experiment_type,
        outcome,
        reliability,
        status,
        {
            "grid_regularity": "irregular" if irregular else "regular",
            "spot_uniformity": "uniform" if corrected else "non-uniform",
            "aberration_corrected": corrected,
        },
        (image_truth(panel, "image", names, words.pop("main_features")),),
        q4_reason=q4_reason,
        suggested_range=None if corrected else pick(rng, ACTIONS),
        targets={
            "columns": clip01(columns / 24),
            "rows": clip01(rows / 24),
            "width": clip01(optics.width * 2.5),
            "stretch": clip01((optics.stretch - 1) / 2),
            "spread": clip01(optics.spread),
            "coma": clip01(optics.coma),
            "displacement": clip01(optics.displacement * 5),
            "missing": clip01(optics.missing * 3),
            "pitch": clip01(pitch / max(width, height) * 4),
        },
        **words,
    ), ((panel,),)


def draw_array(
    rng: np.random.Generator, optics: Optics, width: int, height: int, pitch: float
) -> tuple[np.ndarray, int, int]:
    """(image (h, w) float32 with bright spots near 1, columns, rows)."""
    pitch_y = pitch * uniform(rng, 0.93, 1.07)
    columns = max(4, int((width - 0.7 * pitch) / pitch) - int(rng.integers(0, 3)))
    rows = max(4, int((height - 0.7 * pitch_y) / pitch_y) - int(rng.integers(0, 3)))
    i, j = np.meshgrid(np.arange(columns) - (columns - 1) / 2, np.arange(rows) - (rows - 1) / 2)
    i, j = i.ravel(), j.ravel()
    turn, shear = (uniform(rng, -0.02, 0.02) for _ in range(2))
    x = width / 2 + pitch * (i - turn * j) + uniform(rng, -0.25, 0.25) * pitch
    y = height / 2 + pitch_y * (j + (turn + shear) * i) + uniform(rng, -0.25, 0.25) * pitch
    x = x + rng.normal(size=x.size) * optics.displacement * pitch
    y = y + rng.normal(size=x.size) * optics.displacement * pitch
    brightness = uniform(rng, 0.65, 0.95) * np.clip(1 + optics.spread * rng.normal(size=x.size), 0.3, 1.9)
    if optics.spread > SPREAD_THRESHOLD and chance(rng, 0.5):  # fades towards a side, as an uneven beam does
        slope = i * pick(rng, (-1, 1)) / columns + j * uniform(rng, -1, 1) / rows
        brightness *= 0.5 + 0.5 / (1 + np.exp(3 * slope))
    if optics.missing:
        brightness[rng.random(x.size) < optics.missing] *= 0.02
    image = np.zeros((height, width), dtype=np.float32)
    sigma = max(0.75, optics.width * pitch)
    stretch, angle = math.sqrt(optics.stretch), uniform(rng, 0, math.pi)
    if optics.stretch < STRETCH_THRESHOLD:
        angle = 0.0
    add_spots(image, x, y, brightness, (sigma * stretch, sigma / stretch, angle))
    ghost = uniform(rng, 0.0, 0.12)
    if ghost > 0.03:  # weak side lobes along rows and columns
        for dx, dy in ((0.36, 0.0), (0.0, 0.36)):
            side = rng.choice((-1.0, 1.0), x.size)
            add_spots(image, x + side * dx * pitch, y + side * dy * pitch, ghost * brightness, (sigma, sigma, 0.0))
    if optics.coma > COMA_THRESHOLD:
        flare, away = uniform(rng, 0, 2 * math.pi), 1.4 * sigma + 0.12 * pitch
        add_spots(image, x + away * math.cos(flare), y + away * math.sin(flare), optics.coma * brightness,
                  (1.6 * sigma, 1.0 * sigma, flare))  # fmt: skip
    image += noise(rng, image.shape, log_uniform(rng, 0.004, 0.04))
    if chance(rng, 0.25):  # a stray reflection at an edge
        edge = np.array([pick(rng, (0.0, float(width)))])
        add_spots(image, edge, rng.uniform(0, height, 1), np.array([uniform(rng, 0.1, 0.3)]), (8.0, 3.0, 0.0))
    return image, columns, rows


def draw_panel(rng: np.random.Generator, image: np.ndarray, bare: bool) -> tuple[Panel, tuple[str, str]]:
    """(panel, names of the axes): the picture as the camera saves it, or inside axes in pixels."""
    height, width = image.shape
    limits = (0.0, max(0.5, float(image.max()) * uniform(rng, 0.85, 1.0)))
    smooth = chance(rng, 0.5)
    frame = (-0.5, width - 0.5), (-0.5, height - 0.5)
    if bare:
        heatmap = Heatmap(image, None, limits, smooth)
        return Panel(*frame, "x position", "y position", heatmap=heatmap, bare=True), ("x position", "y position")
    xlabel, ylabel, x_name, y_name = axis_labels(rng)
    title = pick(rng, ("Tweezer array", "Tweezer Array", "Camera image", "Trap array", "SLM tweezers", ""))
    bar = pick(rng, (None, None, "Counts", "Intensity (a.u.)"))
    if bar == "Counts":
        scale = uniform(rng, 300, 40000)
        image, limits = image * np.float32(scale), (0.0, limits[1] * scale)
    heatmap = Heatmap(image, bar, limits, smooth and chance(rng, 0.5))
    return Panel(*frame, xlabel, ylabel, title, heatmap=heatmap, equal=True), (x_name, y_name)
