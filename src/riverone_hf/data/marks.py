"""Where in a figure do curve, points and marks stand? Coarse grids that the vision warm-up learns to fill in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..calibration.layout import layout, to_pixels

if TYPE_CHECKING:
    from ..calibration.scene import Figure, Panel, Series

CHANNELS = ("fit", "data", "mark")
"""Fitted curves with their envelopes; measured points or traces; reference lines, circles and guides."""
_CHANNEL = {"fit": 0, "fit2": 0, "envelope": 0, "data": 1, "data2": 1, "guide": 2}
_BETWEEN = 8
"""Points between two of a curve: its cells must not have gaps."""
_TURN = np.linspace(0.0, 2.0 * np.pi, 73)


def mark_grid(figure: Figure, cells: int, size: tuple[int, int] | None = None) -> np.ndarray:
    """uint8 (3, cells, cells), row 0 at the top: 1 in every cell of the whole image that holds something of a channel.

    `size` (width, height) is the size at which the figure is drawn, before it is scaled to a square tile.
    """
    width, height = size or figure.style.figsize
    grid = np.zeros((len(CHANNELS), cells, cells), dtype=np.uint8)
    places, _ = layout(figure, (width, height))
    for panel, place in zip(figure.panels, places):
        for channel, x, y in _points(panel):
            px, py = to_pixels(place, x, y)
            box = place.box
            inside = (px >= box.x0) & (px < box.x1) & (py >= box.y0) & (py < box.y1)
            columns, rows = px[inside] * (cells / width), py[inside] * (cells / height)
            grid[channel, rows.astype(int), columns.astype(int)] = 1
    return grid


def _points(panel: Panel) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """(channel, x, y) of everything drawn in data coordinates."""
    found = [(_CHANNEL[series.role], *_trace(series)) for series in panel.series if len(series.x)]
    steps = np.linspace(0.0, 1.0, 64)
    (xa, xb), (ya, yb) = panel.xlim, panel.ylim
    for marker in panel.markers:
        at = np.full(len(steps), marker.position)
        upright = marker.orientation == "v"
        found.append((2, at if upright else xa + steps * (xb - xa), ya + steps * (yb - ya) if upright else at))
    for circle in panel.circles:
        along, across = circle.rx * np.cos(_TURN), circle.ry * np.sin(_TURN)
        cos, sin = np.cos(circle.angle), np.sin(circle.angle)
        found.append((2, circle.x + along * cos - across * sin, circle.y + along * sin + across * cos))
    return found


def _trace(series: Series) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(series.x, dtype=float), np.asarray(series.y, dtype=float)
    if series.kind != "points" and len(x) > 1:
        fine = np.linspace(0.0, len(x) - 1.0, _BETWEEN * (len(x) - 1) + 1)
        x, y = (np.interp(fine, np.arange(len(v)), v) for v in (x, y))
    seen = np.isfinite(x) & np.isfinite(y)
    return x[seen], y[seen]
