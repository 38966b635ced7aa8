"""What may a lab's plot look like? Weighted random looks; all randomness of a figure's appearance is here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from riverone_hf.calibration.habits import family_habits
from riverone_hf.calibration.palette import (
    BLACK,
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    PURE_BLUE,
    PURE_RED,
    PURPLE,
    RED,
    SIZES,
    pick,
)
from riverone_hf.calibration.scene import Color, Style

PLOTLY: tuple[Color, ...] = ((99, 110, 250), (239, 85, 59), (0, 204, 150), (171, 99, 250), (31, 119, 180))
SEABORN: tuple[Color, ...] = ((76, 114, 176), (221, 132, 82), (85, 168, 104), (196, 78, 82), (129, 114, 179))

LOOKS: dict[str, float] = {
    "default": 0.40,
    "plain": 0.13,
    "paper": 0.13,
    "seaborn": 0.10,
    "plotly": 0.14,
    "gray": 0.06,
    "dark": 0.04,
}
"""Share of each look; matplotlib's defaults lead, as in labs."""

_WILD_SIZES = [(2070, 720), (1400, 740), (1480, 880), (1270, 950), (1170, 430), (280, 300), (300, 300), (420, 900)]


def _jitter(rng: np.random.Generator, color: Color, spread: float = 12.0) -> Color:
    r, g, b = (int(np.clip(c + rng.normal(0, spread), 0, 255)) for c in color)
    return r, g, b


def _figsize(rng: np.random.Generator) -> tuple[int, int]:
    """Common sizes, or free ones with aspect 0.6 .. 2.2, from 280 x 280 to 1200 x 900; one in ten goes to extremes."""
    share = rng.random()
    if share < 0.55:
        return pick(rng, SIZES)
    if share < 0.59:
        return pick(rng, _WILD_SIZES)
    wild = share < 0.65
    aspect = float(np.exp(rng.uniform(np.log(0.4 if wild else 0.6), np.log(2.9 if wild else 2.2))))
    area = float(np.exp(rng.uniform(np.log(290), np.log(1220 if wild else 900))))
    width, height = area * aspect**0.5, area / aspect**0.5
    largest = (2070, 1000) if wild else (1200, 900)
    return int(np.clip(width, 279, largest[0])), int(np.clip(height, 279, largest[1]))


def _colors(rng: np.random.Generator, palette: tuple[Color, ...], dark: bool = False) -> dict[str, Color]:
    """Roles -> colours: the fit usually contrasts with the data, sometimes it has the same colour."""
    data = palette[0] if rng.random() < 0.75 else pick(rng, list(palette))
    others = [c for c in palette if c != data]
    fits = [c for c in (others[0], RED, PURE_RED, ORANGE, GREEN, (255, 255, 255) if dark else BLACK) if c != data]
    fit = data if rng.random() < 0.07 else pick(rng, fits, [0.36, 0.18, 0.13, 0.13, 0.08, 0.12][: len(fits)])
    second = pick(rng, [c for c in (*others, RED) if c not in (data, fit)] or [GREEN])
    colors = {"data": data, "fit": fit, "data2": second, "fit2": second}
    if rng.random() < 0.2:
        colors["guide"] = GRAY
    if rng.random() < 0.15:
        colors = {role: _jitter(rng, c) for role, c in colors.items()}
    if rng.random() < 0.3:
        colors["envelope"] = pick(rng, [GRAY, GREEN, (230, 230, 230) if dark else BLACK])
    return colors


def _default(rng: np.random.Generator) -> dict[str, Any]:
    palette = pick(rng, [(BLUE, ORANGE, RED, GREEN, PURPLE), (PURE_BLUE, PURE_RED, BLACK)], [0.72, 0.28])
    grid = rng.random() < 0.35
    return {
        "colors": _colors(rng, palette),
        "grid": grid,
        "grid_color": pick(rng, [(176, 176, 176), (228, 228, 228)], [0.35, 0.65]),
        "grid_dashed": grid and rng.random() < 0.15,
        "frame": pick(rng, ["box", "open"], [0.93, 0.07]),
        "legend": pick(rng, ["best", "upper right", "upper left", "lower right", "none"], [5, 3, 0.6, 0.6, 1.0]),
    }


def _plain(rng: np.random.Generator) -> dict[str, Any]:
    same = rng.random() < 0.6
    colors = _colors(rng, (BLUE, ORANGE, RED))
    if same:
        colors["fit"] = colors["data"]
    outside = rng.random() < 0.6
    return {
        "colors": colors,
        "marker": "o",
        "marker_filled": rng.random() < 0.3,
        "frame_width": float(rng.uniform(1.4, 2.2)),
        "line_width": float(rng.uniform(1.2, 2.0)),
        "legend": pick(rng, ["none", "outside", "upper right"], [0.5, 0.35, 0.15]),
        "text_outside": outside,
        "font_scale": float(rng.uniform(0.5, 0.9)),
    }


def _paper(rng: np.random.Generator) -> dict[str, Any]:
    mirror = rng.random() < 0.6
    return {
        "colors": _colors(
            rng, pick(rng, [(BLUE, (214, 60, 40), ORANGE, GREEN), (BLACK, RED, BLUE), (BLUE, GREEN, RED)])
        ),
        "font": "serif",
        "ticks": "mirror" if mirror else "in",
        "font_scale": float(rng.uniform(0.85, 1.6)),
        "cap_size": pick(rng, [0.0, 2.0, 3.0]),
        "legend": pick(rng, ["best", "none", "upper right", "lower right"], [0.4, 0.35, 0.15, 0.1]),
        "grid": rng.random() < 0.2,
        "legend_frame": rng.random() < 0.6,
    }


def _seaborn(rng: np.random.Generator) -> dict[str, Any]:
    white = rng.random() < 0.3
    return {
        "colors": _colors(rng, SEABORN),
        "axes_background": (255, 255, 255) if white else (234, 234, 242),
        "foreground": (38, 38, 38),
        "grid": True,
        "grid_color": (204, 204, 204) if white else (255, 255, 255),
        "frame": "none",
        "ticks": "none",
        "legend": pick(rng, ["best", "upper right", "none"], [0.6, 0.25, 0.15]),
    }


def _plotly(rng: np.random.Generator) -> dict[str, Any]:
    classic = rng.random() < 0.5
    roomy = rng.random() < 0.6
    return {
        "colors": _colors(rng, pick(rng, [PLOTLY, (BLUE, ORANGE, RED, GREEN)])),
        "axes_background": (229, 236, 246) if classic else (255, 255, 255),
        "foreground": (42, 63, 95),
        "grid": classic or rng.random() < 0.6,
        "grid_color": (255, 255, 255) if classic else (233, 238, 246),
        "frame": "none",
        "ticks": "none",
        "font": pick(rng, ["plain", "sans"], [0.7, 0.3]),
        "title_left": rng.random() < 0.85,
        "si_ticks": True,
        "legend": pick(rng, ["outside", "none", "upper right"], [0.5, 0.35, 0.15]),
        "legend_frame": False,
        "margins": (0.125, 0.21, 0.125, 0.167) if roomy else (0.08, 0.12, 0.04, 0.1),
        "font_scale": float(rng.uniform(0.75, 1.1)),
        "marker": "o",
    }


def _gray(rng: np.random.Generator) -> dict[str, Any]:
    shade = 128 if rng.random() < 0.4 else int(rng.integers(110, 225))
    return _default(rng) | {"background": (shade, shade, shade), "colors": _colors(rng, (RED, GREEN, BLUE, BLACK))}


def _dark(rng: np.random.Generator) -> dict[str, Any]:
    shade = int(rng.integers(0, 40))
    palette = ((141, 211, 199), (254, 255, 179), (250, 129, 116), (129, 177, 210))
    return {
        "background": (shade, shade, shade),
        "axes_background": (shade, shade, shade),
        "foreground": (235, 235, 235),
        "colors": _colors(rng, palette, dark=True),
        "grid": rng.random() < 0.4,
        "grid_color": (80, 80, 85),
        "legend": pick(rng, ["best", "upper right", "none"]),
    }


_MAKERS: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "default": _default,
    "plain": _plain,
    "paper": _paper,
    "seaborn": _seaborn,
    "plotly": _plotly,
    "gray": _gray,
    "dark": _dark,
}


def draw_style(rng: np.random.Generator, family: str) -> Style:
    """A random look for a figure of `family`; the same generator state gives the same style.

    `family` sets habits only (`habits.family_habits`): small dots for point clouds, dark maps for cameras, and so on.
    """
    look = pick(rng, list(LOOKS), list(LOOKS.values()))
    if family == "rabi_hw" and rng.random() < 0.4:
        look = "plain"
    options: dict[str, Any] = {
        "look": look,
        "figsize": _figsize(rng),
        "marker": pick(rng, ["o", "s", "x", "+", ".", "D"], [0.72, 0.07, 0.05, 0.03, 0.08, 0.05]),
        "marker_size": float(np.clip(np.exp(rng.normal(np.log(5.6), 0.28)), 3.0, 10.0)),
        "marker_filled": rng.random() < 0.82,
        "line_width": float(rng.uniform(1.0, 2.4)),
        "fit_dashed": rng.random() < 0.15,
        "font_scale": float(np.clip(np.exp(rng.normal(0.0, 0.2)), 0.55, 1.6) * (0.65 if rng.random() < 0.06 else 1.0)),
        "alpha": pick(rng, [1.0, float(rng.uniform(0.4, 0.9))], [0.55, 0.45]),
        "cap_size": pick(rng, [0.0, float(rng.uniform(1.5, 4.0))], [0.6, 0.4]),
        "show_title": rng.random() < 0.88,
        "text_outside": rng.random() < 0.1,
        "colormap": pick(
            rng,
            ["viridis", "plasma", "inferno", "magma", "cividis", "Greens_r", "Greens", "RdBu_r", "Blues_r", "coolwarm"],
            [0.4, 0.1, 0.06, 0.05, 0.04, 0.1, 0.05, 0.1, 0.05, 0.05],
        ),
    }
    options |= _MAKERS[look](rng)
    options |= family_habits(rng, family, options["colors"])
    return Style(**options)
