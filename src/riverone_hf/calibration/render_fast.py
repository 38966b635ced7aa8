"""How is a figure drawn in a millisecond? A numpy rasteriser with cached labels, close to matplotlib's looks."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from PIL import Image

from riverone_hf.calibration.colormaps import levels, table
from riverone_hf.calibration.layout import (
    Box,
    Metrics,
    PanelLayout,
    axes_box,
    best_corner,
    color_of,
    layout,
    legend_entries,
    legend_size,
    settle,
    to_pixels,
)
from riverone_hf.calibration.raster import DOT, Canvas, Clip
from riverone_hf.calibration.scene import Circle, Color, Figure, Marker, Panel, Series, Style
from riverone_hf.calibration.text import text_size

__all__ = ["Painter", "axes_box", "render_fast"]

SMALLEST = 1.2
"""Least radius of a data point in pixels, point clouds excepted."""

_TURN = np.linspace(0.0, 2.0 * np.pi, 73)
_COS, _SIN = np.cos(_TURN), np.sin(_TURN)


def render_fast(figure: Figure, size: tuple[int, int] | None = None) -> Image.Image:
    """Draw `figure` at `size` (width, height; None: the style's) as an RGB image; the same input, the same pixels."""
    width, height = size or figure.style.figsize
    style = settle(figure)
    canvas = Canvas(width, height, style.background)
    places, m = layout(figure, (width, height))
    for panel, place in zip(figure.panels, places):
        Painter(canvas, panel, place, style, m).draw()
    return canvas.image()


class Painter:
    """Draws one panel on a canvas: `raster.Canvas`, or one with the same methods that draws through matplotlib."""

    def __init__(self, canvas: Canvas, panel: Panel, place: PanelLayout, style: Style, m: Metrics):
        self.canvas, self.panel, self.place, self.style, self.m = canvas, panel, place, style, m
        box = place.box
        self.clip: Clip = (int(box.x0), int(box.y0), int(box.x1), int(box.y1))
        self.line = style.line_width * m.unit
        self.frame = style.frame_width * m.unit

    def draw(self) -> None:
        box, style = self.place.box, self.style
        if style.axes_background != style.background:
            self.canvas.rect(box.x0, box.y0, box.x1, box.y1, style.axes_background)
        if self.panel.heatmap is not None and np.size(self.panel.heatmap.values):
            self._heatmap()
            if self.panel.bare:
                return
        elif style.grid:
            self._grid()
        for series in self.panel.series:
            self._series(series)
        for circle in self.panel.circles:
            self._circle(circle)
        for marker in self.panel.markers:
            self._marker(marker)
        self._frame()
        self._labels()
        self._legend()
        self._text_box()
        self._corner()

    def _text(
        self,
        text: str,
        x: float,
        y: float,
        size: float,
        ax: float,
        ay: float,
        rotated: bool = False,
        align: str = "center",
    ) -> None:
        """Text whose box is anchored at (x, y): ax, ay = 0 (left, top) .. 1 (right, bottom)."""
        if not text.strip():
            return
        self.canvas.text(text, x, y, size, self.style.font, self.style.foreground, (ax, ay), rotated, align)

    def _texts(self, labels: tuple[str, ...], xs: np.ndarray, ys: np.ndarray, ax: float, ay: float) -> None:
        """Tick labels, each anchored at its own (x, y) like `_text`."""
        self.canvas.texts(labels, xs, ys, self.m.tick, self.style.font, self.style.foreground, (ax, ay))

    @cached_property
    def _ticks(self) -> tuple[np.ndarray, np.ndarray]:
        """Pixel positions of the x and y ticks."""
        x, y = self.place.x, self.place.y
        px, _ = to_pixels(self.place, np.array(x.ticks), np.full(len(x.ticks), y.limits[0]))
        _, py = to_pixels(self.place, np.full(len(y.ticks), x.limits[0]), np.array(y.ticks))
        return px, py

    def _grid(self) -> None:
        box, style = self.place.box, self.style
        px, py = self._ticks
        width = 0.8 * self.m.unit
        if style.grid_dashed:
            dash = (max(2.0, 3 * self.m.unit), max(1.0, 1.5 * self.m.unit))
            px, py = np.floor(px) + 0.5, np.floor(py) + 0.5
            for x in px:
                self._straight((x, box.y0, x, box.y1), width, style.grid_color, dash)
            for y in py:
                self._straight((box.x0, y, box.x1, y), width, style.grid_color, dash)
            return
        self.canvas.vlines(px, box.y0, box.y1, width, style.grid_color)
        self.canvas.hlines(box.x0, box.x1, py, width, style.grid_color)

    def _straight(
        self, ends: tuple[float, float, float, float], width: float, color: Color, dash: tuple[float, float] | None
    ) -> None:
        x0, y0, x1, y1 = (np.array([v], dtype=float) for v in ends)
        self.canvas.segments(x0, y0, x1, y1, width, color, 1.0, self.clip, dash)

    def _heatmap(self) -> None:
        heatmap = self.panel.heatmap
        assert heatmap is not None
        x0, y0, x1, y1 = self.clip
        colors = table(self.style.colormap)
        picture = Image.fromarray(levels(heatmap.values, heatmap.limits)[::-1])
        coarse = picture.height > 1.5 * (y1 - y0) or picture.width > 1.5 * (x1 - x0)
        sampling = Image.Resampling.BICUBIC if heatmap.smooth else Image.Resampling.NEAREST
        picture = picture.resize((x1 - x0, y1 - y0), Image.Resampling.BOX if coarse else sampling)
        self.canvas.mapped(np.asarray(picture), colors, x0, y0)
        bar, scale = self.place.colorbar, self.place.bar
        if bar is None or scale is None:
            return
        ramp = np.linspace(255.5, 0.0, int(bar.height)).astype(np.uint8)[:, None]
        self.canvas.mapped(np.repeat(ramp, int(bar.width), axis=1), colors, int(bar.x0), int(bar.y0))
        if self.style.frame != "none":
            self._outline(bar, self.style.foreground, self.frame)
        lo, hi = scale.limits
        ys = bar.y1 - (np.array(scale.ticks) - lo) / (hi - lo) * bar.height
        if self.style.ticks != "none":
            self.canvas.hlines(bar.x1, bar.x1 + 3.5 * self.m.unit, ys, self.frame, self.style.foreground)
        xs = np.full(len(ys), bar.x1 + 3.5 * self.m.unit + self.m.pad / 2)
        self._texts(scale.labels, xs, ys, 0.0, 0.5)
        wide = max((text_size(label, self.m.tick, self.style.font)[0] for label in scale.labels), default=0)
        if heatmap.colorbar:
            x = bar.x1 + 3.5 * self.m.unit + self.m.pad + wide
            self._text(heatmap.colorbar, x, (bar.y0 + bar.y1) / 2, self.m.label, 0.0, 0.5, rotated=True)
        self._text(scale.note, bar.x0, bar.y0 - self.m.pad / 2, self.m.tick, 0.0, 1.0)

    def _series(self, series: Series) -> None:
        style, m = self.style, self.m
        color = color_of(style, series.role)
        x, y = to_pixels(self.place, series.x, series.y)
        measured = series.role in ("data", "data2")
        if series.yerr is not None and len(series.x):
            xa, ya = to_pixels(self.place, series.x, np.asarray(series.y) - series.yerr)
            xb, yb = to_pixels(self.place, series.x, np.asarray(series.y) + series.yerr)
            width = max(1.0 * m.unit, 0.8)
            self.canvas.segments(xa, ya, xb, yb, width, color, 1.0, self.clip)
            if style.cap_size:
                cap = max(style.cap_size * m.unit, 1.0)
                ends_x, ends_y = np.concatenate([xa, xb]), np.concatenate([ya, yb])
                self.canvas.segments(ends_x - cap, ends_y, ends_x + cap, ends_y, width, color, 1.0, self.clip)
        if series.band is not None and len(series.x) > 1:
            _, low = to_pixels(self.place, series.x, np.asarray(series.y) - series.band)
            _, high = to_pixels(self.place, series.x, np.asarray(series.y) + series.band)
            self.canvas.band(x, low, high, color, 0.3, self.clip)
        if series.kind != "points":
            alpha = 1.0 if not measured else max(style.alpha, 0.6)
            width = self.line if series.role != "data" or series.kind == "line" else 0.8 * self.line
            self.canvas.polyline(x, y, max(width, 0.8), color, alpha, self.clip, self._dash(series.role))
        if series.kind != "line":
            kind, filled, radius = style.marker, style.marker_filled, style.marker_size * m.unit / 2
            line = 0.9 * m.unit if filled else max(1.2 * m.unit, 0.5 * self.line)
            if len(x) > 800:  # point clouds: labs draw them small and without edges
                kind, filled, radius, line = "o", True, min(radius, 1.6 * m.unit), 0.0
            else:  # in a thumbnail a point stays visible
                radius = max(radius, SMALLEST / DOT if kind == "." else SMALLEST)
            self.canvas.points(x, y, kind, radius, filled, line, color, style.alpha, self.clip)

    def _dash(self, role: str) -> tuple[float, float] | None:
        if role in ("envelope", "guide") or (self.style.fit_dashed and role in ("fit", "fit2")):
            return max(2.5, 3.7 * self.line), max(1.5, 1.6 * self.line)
        return None

    def _circle(self, circle: Circle) -> None:
        color = color_of(self.style, circle.role)
        along, across = circle.rx * _COS, circle.ry * _SIN
        if circle.angle:
            cos, sin = np.cos(circle.angle), np.sin(circle.angle)
            along, across = cos * along - sin * across, sin * along + cos * across
        x, y = to_pixels(self.place, circle.x + along, circle.y + across)
        self.canvas.polyline(x, y, max(self.line, 0.9), color, 1.0, self.clip)
        if circle.cross:
            cx, cy = to_pixels(self.place, np.array([circle.x]), np.array([circle.y]))
            radius = max(3.0, 5 * self.m.unit)
            self.canvas.points(cx, cy, circle.sign, radius, True, max(1.1, 1.2 * self.m.unit), color, 1.0, self.clip)

    def _marker(self, marker: Marker) -> None:
        color = color_of(self.style, marker.role)
        box = self.place.box
        at = np.array([marker.position], dtype=float)
        dash = (max(2.5, 3.7 * self.line), max(1.5, 1.6 * self.line))
        x, y = to_pixels(self.place, at, at)
        if marker.orientation == "v":
            ends = (float(x[0]), box.y1, float(x[0]), box.y0)
        else:
            ends = (box.x0, float(y[0]), box.x1, float(y[0]))
        self._straight(ends, max(self.line, 0.9), color, dash)

    def _outline(self, box: Box, color: Color, width: float) -> None:
        reach = max(1, round(width)) / 2
        self.canvas.hlines(box.x0 - reach, box.x1 + reach, np.array([box.y0, box.y1]), width, color)
        self.canvas.vlines(np.array([box.x0, box.x1]), box.y0 - reach, box.y1 + reach, width, color)

    def _frame(self) -> None:
        box, style, canvas, width = self.place.box, self.style, self.canvas, self.frame
        if style.frame == "box":
            self._outline(box, style.foreground, width)
        elif style.frame == "open":
            canvas.hline(box.x0, box.x1, box.y1, width, style.foreground)
            canvas.vline(box.x0, box.y0, box.y1, width, style.foreground)
        if style.ticks == "none":
            return
        long = max(2.0, 3.5 * self.m.unit)
        px, py = self._ticks
        inward = style.ticks != "out"
        sides = (0, 1) if style.ticks == "mirror" else (0,)
        for side in sides:
            edge_y, down = (box.y0, -1) if side else (box.y1, 1)
            edge_x, out = (box.x1, 1) if side else (box.x0, -1)
            down, out = (-down, -out) if inward else (down, out)
            for group, length in self._tick_groups(px, long):
                ends = sorted((edge_y, edge_y + down * length))
                canvas.vlines(group, ends[0], ends[1], width, style.foreground)
            for group, length in self._tick_groups(py, long):
                ends = sorted((edge_x, edge_x + out * length))
                canvas.hlines(ends[0], ends[1], group, width, style.foreground)

    def _tick_groups(self, ticks: np.ndarray, long: float) -> list[tuple[np.ndarray, float]]:
        """Major ticks and, for mirrored ticks, four minor ones between each pair."""
        groups = [(ticks, long)]
        if self.style.ticks == "mirror" and len(ticks) > 1 and abs(ticks[1] - ticks[0]) > 20:
            minor = (ticks[:-1, None] + np.diff(ticks)[:, None] * np.array([0.2, 0.4, 0.6, 0.8])).ravel()
            groups.append((minor, 0.5 * long))
        return groups

    def _labels(self) -> None:
        panel, place, style, m = self.panel, self.place, self.style, self.m
        box = place.box
        gap = (3.5 * m.unit if style.ticks == "out" else 0.0) + 0.5 * m.pad
        px, py = self._ticks
        self._texts(place.x.labels, px, np.full(len(px), box.y1 + gap), 0.5, 0.0)
        self._texts(place.y.labels, np.full(len(py), box.x0 - gap), py, 1.0, 0.5)
        wide = max((text_size(label, m.tick, style.font)[0] for label in place.y.labels), default=0)
        below = box.y1 + gap + 1.2 * m.tick
        if place.x.note:
            self._text(place.x.note, box.x1, below, m.tick, 1.0, 0.0)
            below += 0.8 * m.tick
        self._text(panel.xlabel, (box.x0 + box.x1) / 2, below + 0.2 * m.pad, m.label, 0.5, 0.0)
        self._text(panel.ylabel, box.x0 - gap - wide - 0.5 * m.pad, (box.y0 + box.y1) / 2, m.label, 1.0, 0.5,
                   rotated=True)  # fmt: skip
        self._text(place.y.note, box.x0, box.y0 - 0.3 * m.pad, m.tick, 0.0, 1.0)
        if not style.show_title or not panel.title.strip():
            return
        above = box.y0 - 0.8 * m.pad - (0.9 * m.tick if place.y.note else 0.0)
        if style.title_left:
            spare = place.cell.y0 + max(m.pad, 0.5 * (above - text_size(panel.title, m.title, style.font)[1]))
            self._text(panel.title, place.cell.x0 + 0.05 * place.cell.width, spare, m.title, 0.0, 0.0, align="left")
        else:
            middle = (box.x0 + box.x1) / 2
            if panel.title.count("\n") > 1:  # fit results: the layout made them narrow enough for the cell
                reach = text_size(panel.title, m.title, style.font)[0] / 2
                middle = max(place.cell.x0 + reach, min(middle, place.cell.x1 - reach))
            self._text(panel.title, middle, above, m.title, 0.5, 1.0)

    def corner(self) -> str:
        """Where the legend stands: "best" is resolved to a corner."""
        if self.style.legend != "best":
            return self.style.legend
        return best_corner(self.panel, self.place, *legend_size(self.panel, self.style, self.m))

    def _legend(self) -> None:
        style, m, box = self.style, self.m, self.place.box
        width, height = legend_size(self.panel, style, m)
        if not width:
            return
        where = self.corner()
        inset = 0.5 * m.legend
        if where == "outside":
            x, y = box.x1 + m.pad, box.y0
        else:
            x = box.x1 - inset - width if where.endswith("right") else box.x0 + inset
            y = box.y0 + inset if where.startswith("upper") else box.y1 - inset - height
        x, y = round(x), round(y)
        if style.legend_frame:
            self._panel_box(x, y, width, height)
        y += 0.3 * m.legend
        for label, artist in legend_entries(self.panel):
            tall = text_size(label, m.legend, style.font)[1]
            self._swatch(artist, x + 0.4 * m.legend, x + 2.4 * m.legend, y + 0.5 * tall)
            self._text(label, x + 2.9 * m.legend, y, m.legend, 0.0, 0.0, align="left")
            y += tall

    def _panel_box(self, x: float, y: float, width: float, height: float) -> None:
        self.canvas.rect(x, y, x + width, y + height, self.style.axes_background, 0.8)
        gray = tuple(int(0.8 * b + 0.2 * f) for b, f in zip(self.style.axes_background, self.style.foreground))
        self._outline(Box(x, y, x + width, y + height), gray, 1.0)  # type: ignore[arg-type]

    def _swatch(self, artist: Series | Marker, x0: float, x1: float, y: float) -> None:
        style, m, whole = self.style, self.m, self.canvas.whole
        role = artist.role
        color = color_of(style, role)
        kind = artist.kind if isinstance(artist, Series) else "line"
        ends = (np.array([x0]), np.array([y]), np.array([x1]), np.array([y]))
        if kind != "points":
            dash = self._dash(role) if isinstance(artist, Series) else (3.7 * self.line, 1.6 * self.line)
            self.canvas.segments(*ends, max(self.line, 0.8), color, 1.0, whole, dash)
        if kind != "line":
            middle = (np.array([(x0 + x1) / 2]), np.array([y]))
            cloud = isinstance(artist, Series) and len(artist.x) > 800
            radius = min(style.marker_size * m.unit / 2, 0.5 * m.legend, 1.6 * m.unit if cloud else np.inf)
            radius = max(radius, SMALLEST)
            self.canvas.points(*middle, "o" if cloud else style.marker, radius, cloud or style.marker_filled,
                               1.0 * m.unit, color, style.alpha)  # fmt: skip

    def _text_box(self) -> None:
        text, style, m, box = self.panel.text, self.style, self.m, self.place.box
        if not text or not text.strip():
            return
        width, height = text_size(text, m.legend, style.font)
        pad = round(0.4 * m.legend)
        if style.text_outside:
            x, y = box.x1 + m.pad, box.y0
            if style.legend == "outside":
                y += legend_size(self.panel, style, m)[1] + m.pad
        else:
            x, y = box.x0 + m.legend, box.y0 + 0.6 * m.legend
            if self.corner() == "upper left":
                y = box.y1 - 0.6 * m.legend - height - 2 * pad
        self._panel_box(round(x), round(y), width + 2 * pad, height + 2 * pad)
        self._text(text, round(x) + pad, round(y) + pad, m.legend, 0.0, 0.0, align="left")

    def _corner(self) -> None:
        words, m, box = self.panel.corner, self.m, self.place.box
        if words:
            inset = 0.4 * m.tick
            self._text(words, box.x0 + inset, box.y1 - inset, 1.5 * m.tick, 0.0, 1.0)
