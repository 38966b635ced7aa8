"""What does a figure contain? A renderer-neutral description that both renderers draw."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Series:
    """Points or a curve in data coordinates: `x`, `y` float arrays (n,); `yerr` (n,) draws error bars.

    `role` lets the style choose a colour: data, fit, envelope (dashed), data2/fit2 for a second data set, guide.
    `band` (n,) is the half height of a translucent ribbon around the curve, in units of y.
    """

    x: np.ndarray
    y: np.ndarray
    kind: Literal["points", "line", "points+line"] = "points"
    role: Literal["data", "fit", "envelope", "data2", "fit2", "guide"] = "data"
    yerr: np.ndarray | None = None
    label: str | None = None
    band: np.ndarray | None = None


@dataclass(frozen=True)
class Marker:
    """A vertical or horizontal reference line at `position` (data coordinates)."""

    position: float
    orientation: Literal["v", "h"] = "v"
    role: Literal["fit", "guide"] = "fit"
    label: str | None = None


@dataclass(frozen=True)
class Circle:
    """An ellipse outline centred at (`x`, `y`) with data-unit radii, optionally with a cross at its centre.

    Role overlay is meant for pictures: white unless the style says otherwise. `angle` turns the ellipse from the
    x towards the y axis, in radians.
    """

    x: float
    y: float
    rx: float
    ry: float
    role: Literal["data", "data2", "overlay"] = "data"
    cross: bool = True
    angle: float = 0.0
    sign: Literal["x", "+"] = "x"
    """The shape of the cross."""


@dataclass(frozen=True)
class Heatmap:
    """`values` (rows = y, columns = x; row 0 at the lower end of `ylim`) shown over the axes' whole range.

    `limits` are the values of the colour map's two ends (None: the smallest and largest value). Pixels are sharp
    unless `smooth`, which interpolates as image viewers do.
    """

    values: np.ndarray
    colorbar: str | None = None
    limits: tuple[float, float] | None = None
    smooth: bool = False


@dataclass(frozen=True)
class Panel:
    """One set of axes. `xlim`, `ylim` are the visible ranges, margins included."""

    xlim: tuple[float, float]
    ylim: tuple[float, float]
    xlabel: str = ""
    ylabel: str = ""
    title: str = ""
    series: tuple[Series, ...] = ()
    markers: tuple[Marker, ...] = ()
    circles: tuple[Circle, ...] = ()
    heatmap: Heatmap | None = None
    text: str | None = None
    """A text box inside or beside the axes, e.g. fit results; lines are separated by newline."""
    corner: str | None = None
    """Large words without a box at the lower left, e.g. the number of a site."""
    row: int = 0
    """Row of the figure in which the panel stands, from the top; panels of one row share its width."""
    equal: bool = False
    """One unit of x is as long as one of y: the axes shrink to that shape, as those of camera images do."""
    bare: bool = False
    """Nothing but the picture: no axes, labels or title, from edge to edge, as a camera saves it."""


@dataclass(frozen=True)
class Style:
    """How a lab's plotting code looks. All draws of randomness happen in `style.draw_style`."""

    look: str = "default"
    """Which of `style.LOOKS` it was drawn from; renderers do not read it, studies leave looks out by it."""
    figsize: tuple[int, int] = (640, 480)
    """Pixels (width, height) of the figure when the caller does not force a size."""
    background: Color = (255, 255, 255)
    axes_background: Color = (255, 255, 255)
    foreground: Color = (0, 0, 0)
    colors: dict[str, Color] = field(default_factory=dict)
    """role -> colour; missing roles fall back to the renderer's default."""
    marker: Literal["o", "s", "x", "+", ".", "D"] = "o"
    marker_size: float = 4.0
    """Diameter in points at 640 px width."""
    marker_filled: bool = True
    line_width: float = 1.5
    fit_dashed: bool = False
    grid: bool = False
    frame: Literal["box", "open", "none"] = "box"
    """box: four spines; open: left and bottom only; none: no spines."""
    font: Literal["sans", "serif", "plain"] = "sans"
    """plain: a light grotesque as in Plotly (the fast renderer: Pillow's built-in font)."""
    font_scale: float = 1.0
    legend: Literal["none", "best", "upper right", "upper left", "lower right", "lower left", "outside"] = "upper right"
    """best: the corner that hides the fewest points, as matplotlib's default; outside: right of the axes."""
    colormap: str = "viridis"
    show_title: bool = True
    alpha: float = 1.0
    """Opacity of data points, 0..1."""
    title_left: bool = False
    """Title at the left edge of the figure (Plotly) instead of centred above the axes."""
    frame_width: float = 0.8
    """Width of spines and ticks in points at 640 px width."""
    ticks: Literal["out", "in", "mirror", "none"] = "out"
    """mirror: inward ticks on all four sides, with minor ticks."""
    si_ticks: bool = False
    """Tick labels as Plotly writes them: no trailing zeros, SI suffixes (20k, 5μ)."""
    grid_color: Color = (215, 215, 215)
    grid_dashed: bool = False
    cap_size: float = 0.0
    """Half width of error-bar caps in points at 640 px width; 0: no caps."""
    legend_frame: bool = True
    text_outside: bool = False
    """The panel's text box stands to the right of the axes instead of inside them."""
    margins: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Smallest margins (left, top, right, bottom) as fractions of the width or height; 0: as tight as labels allow."""


@dataclass(frozen=True)
class Figure:
    """One image: panels side by side in one row (or several, see `Panel.row`), drawn with one style."""

    panels: tuple[Panel, ...]
    style: Style
