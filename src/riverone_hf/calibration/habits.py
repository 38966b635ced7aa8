"""What does a family's figure usually look like? Habits of labs that come on top of the general looks."""

from __future__ import annotations

from typing import Any

import numpy as np

from riverone_hf.calibration.palette import BLACK, BLUE, GREEN, ORANGE, PURE_BLUE, PURE_RED, RED, SIZES, pick
from riverone_hf.calibration.scene import Color

WHITE: Color = (255, 255, 255)
CYAN: Color = (0, 255, 255)
_MAP_FITS: dict[str, tuple[Color, ...]] = {
    "viridis": (RED, WHITE, ORANGE, BLACK),
    "Greens_r": (BLUE, ORANGE, RED),
    "Blues_r": (RED, ORANGE, WHITE),
    "cividis": (RED, WHITE),
    "plasma": (WHITE, CYAN, (0, 255, 0)),
    "inferno": (WHITE, CYAN, (0, 255, 0)),
    "magma": (WHITE, CYAN, (0, 255, 0)),
    "Greens": (BLACK, RED, BLUE),
    "RdBu_r": (BLACK, (0, 200, 0)),
    "coolwarm": (BLACK, (0, 200, 0)),
}
"""Colour map -> fit colours that stand out from it at every level."""
_DARK_MAPS = ("viridis", "Greens_r", "Blues_r", "cividis", "plasma", "inferno", "magma")


def family_habits(rng: np.random.Generator, family: str, colors: dict[str, Color]) -> dict[str, Any]:
    """Style entries that replace the general look's for figures of `family`; empty for most families.

    Point clouds (gmm) have small translucent dots, cameras dark maps, atom labs gray figures with serif words, maps
    with fits have fit colours that can be seen, charge tomography wide red-blue maps.
    """
    if family == "gmm":
        return _cloud(rng, colors)
    if family in ("tweezer_array", "mot_loading"):
        return _camera(rng, family)
    if family in ("rydberg_ramsey", "rydberg_spectroscopy") and rng.random() < 0.6:
        return _atom_lab(rng, family)
    if family in ("microwave_ramsey", "cz_benchmarking") and rng.random() < 0.5:
        return _atom_trace(rng, family)
    if family in ("coupler_flux", "qubit_flux_spectroscopy"):
        return _flux_map(rng, family)
    if family == "ramsey_charge_tomography" and rng.random() < 0.6:
        return {"colormap": "RdBu_r", "grid": False, "figsize": pick(rng, [(1380, 730), (1000, 560), (760, 480)])}
    return {}


def _cloud(rng: np.random.Generator, colors: dict[str, Color]) -> dict[str, Any]:
    if rng.random() < 0.5:
        colors["data"], colors["data2"] = pick(rng, [(BLUE, RED), (PURE_BLUE, PURE_RED), (RED, BLUE)])
    landscape = int(rng.integers(480, 1100)), int(rng.integers(300, 520))
    return {
        "marker": "o",
        "marker_filled": True,
        "marker_size": float(rng.uniform(1.5, 3.5)),
        "alpha": float(rng.uniform(0.3, 1.0)),
        "text_outside": False,
        "figsize": (640, 480) if rng.random() < 0.6 else landscape,
        "colors": colors,
    }


def _flux_map(rng: np.random.Generator, family: str) -> dict[str, Any]:
    colormap = pick(rng, list(_MAP_FITS), [3, 4.5, 0.8, 0.4, 0.5, 0.4, 0.4, 0.4, 0.4, 0.3])
    fits = list(_MAP_FITS[colormap])
    first = pick(rng, fits)
    second = pick(rng, [color for color in fits if color != first])
    guide = WHITE if colormap in _DARK_MAPS else BLACK
    points = RED if first != RED else WHITE if colormap in _DARK_MAPS else BLACK
    roles = {"fit": first, "fit2": second, "guide": guide, "data": points, "data2": second, "envelope": guide}
    habits: dict[str, Any] = {"colormap": colormap, "colors": roles, "grid": False, "alpha": 1.0}
    if family == "coupler_flux":
        roles |= {"data": first}
        if rng.random() < 0.7:
            width = int(rng.integers(900, 1250))
            habits["figsize"] = width, int(width / rng.uniform(2.3, 2.8))
    return habits


def _atom_trace(rng: np.random.Generator, family: str) -> dict[str, Any]:
    cz = family == "cz_benchmarking"
    sizes: list[tuple[int, int]] = [(640, 480), (560, 520)] if cz else [(280, 300), (300, 300), (420, 420)]
    return {
        "background": WHITE,
        "axes_background": WHITE,
        "foreground": BLACK,
        "colors": {"data": BLUE, "data2": ORANGE, "fit": GREEN if cz else ORANGE, "fit2": GREEN, "guide": RED},
        "font": "serif" if rng.random() < 0.7 else "sans",
        "ticks": "mirror",
        "frame": "box",
        "grid": False,
        "marker": "o",
        "marker_filled": True,
        "marker_size": float(rng.uniform(4.5, 8.0)),
        "line_width": float(rng.uniform(1.4, 2.4)),
        "figsize": pick(rng, sizes),
        "alpha": 1.0,
        "legend": "none",
        "show_title": True,
        "text_outside": False,
    }


def _camera(rng: np.random.Generator, family: str) -> dict[str, Any]:
    """Camera images: dark maps with white fits, seldom light ones with dark fits; no grid over the picture."""
    light = rng.random() < 0.08
    maps, weights = ["viridis", "gray", "inferno", "plasma", "magma", "jet", "Blues_r"], [5, 2, 2, 1, 1, 1, 0.5]
    if family == "tweezer_array":
        maps, weights = ["gray", "inferno", "viridis", "Greens_r", "Blues_r"], [8, 1, 1, 0.5, 0.5]
    width = int(rng.integers(300, 760))
    sizes = SIZES[:12] if family == "mot_loading" else [(width, int(width * rng.uniform(0.85, 1.15)))]
    return {
        "colormap": pick(rng, ["Greens", "Blues"]) if light else pick(rng, maps, weights),
        "colors": {"overlay": (0, 0, 0) if light else pick(rng, [(255, 255, 255), (255, 60, 60), (0, 255, 255)],
                                                            [0.7, 0.2, 0.1])},
        "grid": False,
        "frame": "box",
        "line_width": float(rng.uniform(0.7, 1.6)),
        "figsize": pick(rng, sizes),
        "text_outside": False,
    }  # fmt: skip


def _atom_lab(rng: np.random.Generator, family: str) -> dict[str, Any]:
    """Atom labs' habits: gray figures with white axes, serif words, mirrored ticks, long titles, error bars."""
    gray = rng.random() < (0.6 if family == "rydberg_ramsey" else 0.15)
    shade = 128 if rng.random() < 0.6 else int(rng.integers(110, 225))
    palettes = [(RED, GREEN, BLUE), ((255, 0, 0), (0, 128, 0), BLUE), (BLUE, RED, GREEN), (BLUE, PURE_RED, BLACK)]
    colors = pick(rng, palettes, [2, 3, 1, 1] if family == "rydberg_ramsey" else [1, 0.5, 3, 3])
    if family == "rydberg_ramsey" and rng.random() < 0.7:
        width = int(rng.integers(900, 2071))
        size = width, int(np.clip(width / rng.uniform(1.8, 2.9), 400, 900))
    else:
        size = pick(rng, [(280, 300), (300, 300), (640, 480), (900, 320), (800, 600)], [3, 1, 3, 1, 1])
    cropped = size[0] <= 300  # one panel cut out of a large sheet: big words
    return {
        "background": (shade, shade, shade) if gray else (255, 255, 255),
        "axes_background": (255, 255, 255),
        "foreground": BLACK,
        "colors": {"data": colors[0], "fit": colors[1], "data2": colors[2], "fit2": colors[2], "guide": colors[1]},
        "font": "serif" if family == "rydberg_ramsey" and rng.random() < 0.7 else "sans",
        "font_scale": float(rng.uniform(1.15, 1.6) if cropped else rng.uniform(0.7, 1.1)),
        "ticks": "mirror" if rng.random() < 0.8 else "in",
        "frame": "box",
        "grid": family == "rydberg_spectroscopy" and rng.random() < 0.75,
        "grid_color": (176, 176, 176),
        "marker": "o",
        "marker_filled": True,
        "marker_size": float(rng.uniform(3.5, 6.5)),
        "figsize": size,
        "show_title": True,
        "alpha": 1.0,
        "legend": "lower right" if family == "rydberg_spectroscopy" else "none",
        "text_outside": False,
        "margins": (0.0, 0.0, 0.0, 0.0),
        "si_ticks": False,
        "title_left": False,
    }
