"""Where does each part of a figure stand? Shared by both renderers, so that their axes agree to the pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from riverone_hf.calibration.scene import Color, Figure, Marker, Panel, Series, Style
from riverone_hf.calibration.text import text_size
from riverone_hf.calibration.ticks import nice_ticks, sane_limits, tick_labels

MIN_FONT = 6.5
"""Pixels of the smallest tick label when a figure is forced to a small size: below it digits cannot be read."""

DEFAULT_COLORS: dict[str, Color] = {
    "data": (31, 119, 180),
    "fit": (255, 127, 14),
    "data2": (214, 39, 40),
    "fit2": (214, 39, 40),
    "guide": (0, 0, 0),
    "overlay": (255, 255, 255),
}


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels from the upper left corner of the image; edges, not pixel centres."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0


@dataclass(frozen=True)
class Axis:
    """Visible range, tick positions, their labels and the offset text at the axis' end."""

    limits: tuple[float, float]
    ticks: tuple[float, ...]
    labels: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class PanelLayout:
    """Axes rectangle, axes and the optional colour bar of one panel."""

    box: Box
    x: Axis
    y: Axis
    colorbar: Box | None
    bar: Axis | None
    cell: Box
    """The part of the image that belongs to the panel."""


@dataclass(frozen=True)
class Metrics:
    """Pixel sizes at one output size: fonts, and `unit` = one typographic point (100 dpi at 640 x 480)."""

    unit: float
    tick: float
    label: float
    title: float
    legend: float
    pad: float


def color_of(style: Style, role: str) -> Color:
    """The style's colour of `role`; envelopes follow the fit, fit2 follows data2."""
    for name in (role, {"envelope": "fit", "fit2": "data2"}.get(role, role)):
        if name in style.colors:
            return style.colors[name]
    if role == "guide":
        return style.foreground
    return DEFAULT_COLORS.get(role, DEFAULT_COLORS["fit"])


def panel_rows(figure: Figure) -> list[list[int]]:
    """Positions in `figure.panels` of the panels of every row, from the top; rows without a panel are left out."""
    rows = sorted({panel.row for panel in figure.panels})
    return [[i for i, panel in enumerate(figure.panels) if panel.row == row] for row in rows]


def metrics(figure: Figure, size: tuple[int, int]) -> Metrics:
    """Font and stroke sizes for an output of `size` (width, height)."""
    width, height = size
    unit = math.sqrt(min(width, 2 * height) * min(height, 2 * width) / (640 * 480)) * 100 / 72
    # Fonts in half pixels: few different ones, so that the cache of label masks works.
    rows = panel_rows(figure)
    cell_width, cell_height = width / max(len(row) for row in rows), height / len(rows)
    floor = min(MIN_FONT, max(4.0, min(cell_width if len(rows) > 1 else width, cell_height) / 14))
    tick = max(floor, round(2 * 10 * unit * figure.style.font_scale) / 2)
    cap = max(floor, min(cell_width, cell_height) / 9)
    tick = min(tick, round(2 * cap) / 2)
    title = min(round(2 * 1.2 * tick) / 2, 1.5 * cap)
    results = [panel.title for panel in figure.panels if panel.title.count("\n") > 1 or len(rows) > 1]
    if results and figure.style.show_title:  # titles that tell fit results are made to fit their panel
        widest = max(text_size(text, title, figure.style.font)[0] for text in results)
        if widest > 0.97 * cell_width:
            title = max(min(floor, 4.5), int(2 * title * 0.97 * cell_width / widest) / 2)
    return Metrics(unit, tick, tick, title, max(floor, round(2 * 0.95 * tick) / 2), max(2.0, 0.35 * tick))


def settle(figure: Figure) -> Style:
    """The figure's style with what cannot work mended, e.g. an outside legend beside one of several panels."""
    style = figure.style
    if any(panel.heatmap is not None for panel in figure.panels):
        style = replace(style, legend_frame=True)  # words straight on a colour map cannot be read
    if len(figure.panels) > 1 and (style.legend == "outside" or style.text_outside):
        style = replace(style, legend="best" if style.legend == "outside" else style.legend, text_outside=False)
    if any(panel.row for panel in figure.panels):
        style = replace(style, margins=(0.0, 0.0, 0.0, 0.0), title_left=False)
    return style


def legend_entries(panel: Panel) -> list[tuple[str, Series | Marker]]:
    """(label, series or marker) of everything that a legend names."""
    artists: tuple[Series | Marker, ...] = (*panel.series, *panel.markers)
    return [(a.label, a) for a in artists if a.label and a.label.strip()]


def legend_size(panel: Panel, style: Style, m: Metrics) -> tuple[int, int]:
    """Width and height of the panel's legend in pixels, (0, 0) without one."""
    entries = legend_entries(panel)
    if style.legend == "none" or not entries:
        return 0, 0
    sizes = [text_size(label, m.legend, style.font) for label, _ in entries]
    handle = 3.0 * m.legend
    return (
        math.ceil(max(w for w, _ in sizes) + handle + 0.6 * m.legend),
        math.ceil(sum(h for _, h in sizes) + 0.6 * m.legend),
    )


def _axis(limits: tuple[float, float], length: float, m: Metrics, style: Style, vertical: bool) -> Axis:
    lo, hi = sane_limits(limits)
    count = int(min(max(length / (m.tick * (2.2 if vertical else 3.2)), 1), 7 if style.si_ticks else 9))
    while True:
        ticks = nice_ticks(lo, hi, count)
        labels, note = tick_labels(ticks, style.si_ticks)
        if vertical or count == 1:
            break
        widest = max((text_size(t, m.tick, style.font)[0] for t in labels), default=0)
        spacing = length * abs(ticks[1] - ticks[0]) / abs(hi - lo) if len(ticks) > 1 else length
        if widest + 0.5 * m.tick <= spacing:
            break
        count -= 1
    return Axis((lo, hi), ticks, labels, note)


def _outside(panel: Panel, style: Style, m: Metrics) -> float:
    """Width needed right of the axes for an outside legend or text box."""
    need = 0.0
    if style.legend == "outside":
        need = legend_size(panel, style, m)[0]
    if style.text_outside and panel.text:
        need = max(need, text_size(panel.text, m.legend, style.font)[0] + m.legend)
    return need + 2 * m.pad if need else 0.0


_LAST: list[tuple[Any, Any, Any]] = [(None, None, None)]
"""The figure laid out last, its size and the result: one tuple, so that threads never mix two figures."""


def layout(figure: Figure, size: tuple[int, int]) -> tuple[list[PanelLayout], Metrics]:
    """Positions of every panel for an output of `size` (width, height): tight around the labels, or wider margins.

    The last result is kept: whoever draws a figure and then asks where things stand in it waits once.
    """
    last = _LAST[0]
    if last[0] is not figure or last[1] != size:
        last = _LAST[0] = (figure, size, _layout(figure, size))
    places, m = last[2]
    return list(places), m


def _layout(figure: Figure, size: tuple[int, int]) -> tuple[list[PanelLayout], Metrics]:
    width, height = size
    style, m = settle(figure), metrics(figure, size)
    rows = panel_rows(figure)
    places: dict[int, PanelLayout] = {}
    for row, members in enumerate(rows):
        cells = [
            Box(k * width / len(members), row * height / len(rows), (k + 1) * width / len(members),
                (row + 1) * height / len(rows))
            for k in range(len(members))
        ]  # fmt: skip
        places |= zip(members, _row([figure.panels[i] for i in members], cells, style, m))
    return [places[i] for i in range(len(figure.panels))], m


def _row(panels: list[Panel], cells: list[Box], style: Style, m: Metrics) -> list[PanelLayout]:
    """Positions of the panels of one row, their axes at the same height."""
    cell_width, height = cells[0].width, cells[0].height
    tick = 3.5 * m.unit if style.ticks == "out" else 0.0
    lefts, rights, tops, bottoms = [], [], [0.0], [0.0]
    for panel in panels:
        if panel.bare:
            lefts.append(0.0)
            rights.append(0.0)
            continue
        x_axis = _axis(panel.xlim, 0.72 * cell_width, m, style, vertical=False)
        y_axis = _axis(panel.ylim, 0.75 * height, m, style, vertical=True)
        wide = max((text_size(t, m.tick, style.font)[0] for t in y_axis.labels), default=0)
        left = 2 * m.pad + wide + tick + text_size(panel.ylabel, m.label, style.font)[1]
        bottom = 2 * m.pad + 1.2 * m.tick + tick + text_size(panel.xlabel, m.label, style.font)[1]
        bottom += 0.8 * m.tick if x_axis.note and panel.xlabel else 0.0
        top = 2 * m.pad + (1.1 * m.tick if y_axis.note else 0.3 * m.tick)
        if style.show_title:
            top += text_size(panel.title, m.title, style.font)[1]
        last = text_size(x_axis.labels[-1], m.tick, style.font)[0] / 2 if x_axis.labels else 0.0
        right = max(2 * m.pad, 0.6 * last) + _outside(panel, style, m)
        if panel.heatmap is not None and panel.heatmap.colorbar is not None:
            right += 0.06 * cell_width + 4.2 * m.tick + text_size(panel.heatmap.colorbar, m.label, style.font)[1]
        lefts.append(max(left, style.margins[0] * cell_width))
        rights.append(max(right, style.margins[2] * cell_width))
        tops.append(max(top, style.margins[1] * height))
        bottoms.append(max(bottom, style.margins[3] * height))
    top, bottom = max(tops), max(bottoms)
    if top + bottom > 0.65 * height:
        top, bottom = (v * 0.65 * height / (top + bottom) for v in (top, bottom))
    return [
        _place(panel, cell, (left, top, right, bottom), style, m)
        for panel, cell, left, right in zip(panels, cells, lefts, rights)
    ]


def _place(
    panel: Panel, cell: Box, margins: tuple[float, float, float, float], style: Style, m: Metrics
) -> PanelLayout:
    """Where one panel stands within `margins` (left, top, right, bottom) of its cell."""
    left, top, right, bottom = (0.0,) * 4 if panel.bare else margins
    if left + right > 0.65 * cell.width:
        left, right = (v * 0.65 * cell.width / (left + right) for v in (left, right))
    x0, y0, x1, y1 = cell.x0 + left, cell.y0 + top, cell.x1 - right, cell.y1 - bottom
    bar_box = bar = None
    if panel.heatmap is not None and panel.heatmap.colorbar is not None and not panel.bare:
        start = round(round(x1) + max(2.0, 0.03 * cell.width))
        bar_box = Box(start, round(y0), start + max(3, round(0.035 * cell.width)), round(y1))
        values = np.asarray(panel.heatmap.values)
        limits = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
        bar = _axis(panel.heatmap.limits or limits, bar_box.height, m, style, vertical=True)
    if panel.equal:
        shape = abs((panel.ylim[1] - panel.ylim[0]) / (panel.xlim[1] - panel.xlim[0]))
        spare_x, spare_y = max(0.0, x1 - x0 - (y1 - y0) / shape), max(0.0, y1 - y0 - (x1 - x0) * shape)
        x0, x1, y0, y1 = x0 + spare_x / 2, x1 - spare_x / 2, y0 + spare_y / 2, y1 - spare_y / 2
    box = Box(round(x0), round(y0), round(x1), round(y1))
    x_axis = _axis(panel.xlim, box.width, m, style, vertical=False)
    guess = box.height if panel.equal else 0.75 * cell.height
    return PanelLayout(box, x_axis, _axis(panel.ylim, guess, m, style, vertical=True), bar_box, bar, cell)


def axes_box(figure: Figure, size: tuple[int, int] | None = None) -> list[tuple[float, float, float, float]]:
    """(x0, y0, x1, y1) of every panel's axes in pixels from the upper left corner, the same in both renderers."""
    panels, _ = layout(figure, size or figure.style.figsize)
    return [(p.box.x0, p.box.y0, p.box.x1, p.box.y1) for p in panels]


def to_pixels(place: PanelLayout, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Data coordinates -> pixel coordinates (float64; pixel i spans [i, i + 1))."""
    (xa, xb), (ya, yb) = place.x.limits, place.y.limits
    box = place.box
    return (
        box.x0 + (np.asarray(x, dtype=float) - xa) / (xb - xa) * box.width,
        box.y1 - (np.asarray(y, dtype=float) - ya) / (yb - ya) * box.height,
    )


def best_corner(panel: Panel, place: PanelLayout, width: float, height: float) -> str:
    """The corner where a legend of `width` x `height` pixels hides the fewest points."""
    points = [to_pixels(place, s.x, s.y) for s in panel.series if len(s.x)]
    if not points:
        return "upper right"
    x = np.concatenate([p[0] for p in points])
    y = np.concatenate([p[1] for p in points])
    right, low = x > place.box.x1 - width * 1.1, y > place.box.y1 - height * 1.2
    left, up = x < place.box.x0 + width * 1.1, y < place.box.y0 + height * 1.2
    counts = {
        "upper right": int(np.count_nonzero(right & up)),
        "upper left": int(np.count_nonzero(left & up)),
        "lower right": int(np.count_nonzero(right & low)),
        "lower left": int(np.count_nonzero(left & low)),
    }
    return min(counts, key=lambda k: counts[k])
