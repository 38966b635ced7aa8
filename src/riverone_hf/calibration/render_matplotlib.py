"""How does matplotlib itself draw a figure? Through its Agg renderer and legends, without any global state."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from riverone_hf.calibration.layout import color_of, layout, legend_entries, settle
from riverone_hf.calibration.raster import DOT, Clip
from riverone_hf.calibration.render_fast import Painter
from riverone_hf.calibration.scene import Color, Figure, Series
from riverone_hf.errors import MissingExtraError

if TYPE_CHECKING:
    from riverone_hf.calibration.raster import Canvas

_FONTS = {"sans": "DejaVu Sans", "serif": "DejaVu Serif", "plain": "DejaVu Sans"}


def render_matplotlib(figure: Figure, size: tuple[int, int] | None = None) -> Image.Image:
    """Draw `figure` with matplotlib's Agg at `size` (width, height; None: the style's) as an RGB image.

    Axes, ticks and labels stand where the fast renderer puts them; strokes, markers, glyphs and legends are
    matplotlib's own. Agg's renderer is called directly: a full Axes with its tick objects costs 40 ms, this 10.
    Raises MissingExtraError without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError as error:
        raise MissingExtraError("matplotlib", "train") from error
    del FigureCanvasAgg
    width, height = size or figure.style.figsize
    style = settle(figure)
    canvas: Any = AggCanvas(width, height, style.background)
    places, m = layout(figure, (width, height))
    for panel, place in zip(figure.panels, places):
        _AggPainter(canvas, panel, place, style, m).draw()
    return canvas.image()


def _rgba(color: Color, alpha: float = 1.0) -> tuple[float, float, float, float]:
    return color[0] / 255, color[1] / 255, color[2] / 255, alpha


@lru_cache(maxsize=256)
def _font(family: str, size: float) -> Any:
    from matplotlib.font_manager import FontProperties

    # DejaVu runs wider than the grotesque that the layout measured.
    return FontProperties(family=_FONTS[family], size=0.92 * size if family == "plain" else size)


class AggCanvas:
    """The methods of `raster.Canvas`, drawn by matplotlib's Agg renderer; coordinates in pixels, y downwards."""

    def __init__(self, width: int, height: int, background: Color):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Sheet
        from matplotlib.transforms import Affine2D

        self.width, self.height = width, height
        self.whole: Clip = (0, 0, width, height)
        # 72 dpi: one point is one pixel. The small excess keeps 279 / 72 * 72 from being truncated to 278.
        self.sheet = Sheet(figsize=((width + 0.01) / 72, (height + 0.01) / 72), dpi=72)
        self.agg = FigureCanvasAgg(self.sheet)
        self.renderer = self.agg.get_renderer()
        self.flip = Affine2D().scale(1, -1).translate(0, height)
        self.rect(0, 0, width, height, background)

    def image(self) -> Image.Image:
        """The finished picture, mode RGB."""
        pixels = np.asarray(self.agg.buffer_rgba())
        return Image.fromarray(np.ascontiguousarray(pixels[: self.height, : self.width, :3]))

    def _pen(self, color: Color, alpha: float, width: float, clip: Clip | None = None) -> Any:
        from matplotlib.transforms import Bbox

        pen = self.renderer.new_gc()
        pen.set_foreground(_rgba(color, alpha), isRGBA=True)
        pen.set_linewidth(width)
        if clip is not None:
            pen.set_clip_rectangle(Bbox([[clip[0], self.height - clip[3]], [clip[2], self.height - clip[1]]]))
        return pen

    def rect(self, x0: float, y0: float, x1: float, y1: float, color: Color, alpha: float = 1.0) -> None:
        from matplotlib.path import Path

        x0, y0, x1, y1 = round(x0), round(y0), round(x1), round(y1)
        path = Path(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]], dtype=float))
        self.renderer.draw_path(self._pen(color, alpha, 0.0), path, self.flip, _rgba(color, alpha))

    def hline(self, x0: float, x1: float, y: float, width: float, color: Color, alpha: float = 1.0) -> None:
        self._straight(x0, y, x1, y, width, color, alpha)

    def vline(self, x: float, y0: float, y1: float, width: float, color: Color, alpha: float = 1.0) -> None:
        self._straight(x, y0, x, y1, width, color, alpha)

    def hlines(self, x0: float, x1: float, ys: np.ndarray, width: float, color: Color) -> None:
        ends = np.stack(np.broadcast_arrays(x0, ys, x1, ys), axis=1)
        self._snapped(ends, width, color)

    def vlines(self, xs: np.ndarray, y0: float, y1: float, width: float, color: Color) -> None:
        ends = np.stack(np.broadcast_arrays(xs, y0, xs, y1), axis=1)
        self._snapped(ends, width, color)

    def _snapped(self, ends: np.ndarray, width: float, color: Color) -> None:
        """Straight lines (n, 4) x0, y0, x1, y1, snapped to whole pixels."""
        for x0, y0, x1, y1 in ends:
            self._straight(x0, y0, x1, y1, width, color, 1.0)

    def _straight(self, x0: float, y0: float, x1: float, y1: float, width: float, color: Color, alpha: float) -> None:
        from matplotlib.path import Path

        pen = self._pen(color, alpha, width)
        pen.set_snap(True)
        self.renderer.draw_path(pen, Path(np.array([[x0, y0], [x1, y1]], dtype=float)), self.flip, None)

    def segments(
        self,
        x0: np.ndarray,
        y0: np.ndarray,
        x1: np.ndarray,
        y1: np.ndarray,
        width: float,
        color: Color,
        alpha: float = 1.0,
        clip: Clip | None = None,
        dash: tuple[float, float] | None = None,
    ) -> None:
        from matplotlib.path import Path

        if not len(x0):
            return
        vertices = np.stack([x0, y0, x1, y1], axis=1).reshape(-1, 2)
        codes = np.tile(np.array([Path.MOVETO, Path.LINETO], dtype=Path.code_type), len(x0))
        self._stroke(Path(vertices, codes), width, color, alpha, clip, dash)

    def polyline(
        self,
        x: np.ndarray,
        y: np.ndarray,
        width: float,
        color: Color,
        alpha: float = 1.0,
        clip: Clip | None = None,
        dash: tuple[float, float] | None = None,
    ) -> None:
        from matplotlib.path import Path

        if len(x) > 1:
            self._stroke(Path(np.stack([x, y], axis=1)), width, color, alpha, clip, dash)

    def _stroke(
        self, path: Any, width: float, color: Color, alpha: float, clip: Clip | None, dash: tuple[float, float] | None
    ) -> None:
        pen = self._pen(color, alpha, width, clip)
        pen.set_joinstyle("round")
        pen.set_capstyle("butt" if dash else "projecting")
        if dash:
            pen.set_dashes(0, dash)
        self.renderer.draw_path(pen, path, self.flip, None)

    def points(
        self,
        x: np.ndarray,
        y: np.ndarray,
        kind: str,
        radius: float,
        filled: bool,
        line: float,
        color: Color,
        alpha: float = 1.0,
        clip: Clip | None = None,
    ) -> None:
        from matplotlib.markers import MarkerStyle
        from matplotlib.path import Path
        from matplotlib.transforms import Affine2D

        if not len(x):
            return
        scale = 2 * radius
        if kind == ".":
            kind, filled, scale = "o", True, 2 * DOT * radius
        marker = MarkerStyle(kind)
        shape: Any = marker.get_transform() + Affine2D().scale(scale)
        pen = self._pen(color, alpha, line, clip)
        face = _rgba(color, alpha) if filled and kind not in "x+" else None
        self.renderer.draw_markers(
            pen, marker.get_path(), shape, Path(np.stack([x, y], axis=1).astype(float)), self.flip, face
        )

    def text(
        self,
        text: str,
        x: float,
        y: float,
        size: float,
        font: str,
        color: Color,
        anchor: tuple[float, float],
        rotated: bool = False,
        align: str = "center",
    ) -> None:
        prop, pen = _font(font, size), self._pen(color, 1.0, 0.0)
        lines, pitch = text.split("\n"), 1.2 * size
        widths = [self.renderer.get_text_width_height_descent(line, prop, False)[0] if line else 0.0 for line in lines]
        width, height = max(widths), pitch * len(lines)
        for i, (line, used) in enumerate(zip(lines, widths)):
            if not line.strip():
                continue
            inset = 0.0 if align == "left" else (width - used) / 2
            base = pitch * i + 0.93 * size
            if rotated:
                left, bottom = x - anchor[0] * height, y + (1 - anchor[1]) * width
                self.renderer.draw_text(pen, left + base, bottom - inset, line, prop, 90)
            else:
                left, top = x - anchor[0] * width, y - anchor[1] * height
                self.renderer.draw_text(pen, left + inset, top + base, line, prop, 0)

    def texts(
        self,
        labels: Sequence[str],
        xs: np.ndarray,
        ys: np.ndarray,
        size: float,
        font: str,
        color: Color,
        anchor: tuple[float, float],
    ) -> None:
        for label, x, y in zip(labels, xs, ys):
            self.text(label, x, y, size, font, color, anchor)

    def band(
        self, x: np.ndarray, low: np.ndarray, high: np.ndarray, color: Color, alpha: float, clip: Clip | None = None
    ) -> None:
        from matplotlib.path import Path

        outline = np.stack([np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]])], axis=1)
        pen = self._pen(color, alpha, 0.0, clip)
        self.renderer.draw_path(pen, Path(outline, closed=False), self.flip, _rgba(color, alpha))

    def mapped(self, levels: np.ndarray, colors: np.ndarray, x: int, y: int) -> None:
        self.picture(colors[levels], x, y)

    def picture(self, colors: np.ndarray, x: int, y: int) -> None:
        opaque = np.full((*colors.shape[:2], 1), 255, dtype=np.uint8)
        image = np.ascontiguousarray(np.concatenate([colors, opaque], axis=2)[::-1])
        self.renderer.draw_image(self._pen((0, 0, 0), 1.0, 0.0), x, self.height - y - colors.shape[0], image)


class _AggPainter(Painter):
    """Draws one panel through matplotlib, with matplotlib's legend."""

    canvas: Canvas

    def _legend(self) -> None:
        from matplotlib.legend import Legend
        from matplotlib.lines import Line2D
        from matplotlib.transforms import Bbox, IdentityTransform

        style, m, box = self.style, self.m, self.place.box
        entries = legend_entries(self.panel)
        if style.legend == "none" or not entries:
            return
        agg: Any = self.canvas
        handles = []
        for _, artist in entries:
            role = artist.role
            look: dict[str, Any] = {"color": _rgba(color_of(style, role))[:3], "linestyle": "none"}
            if not isinstance(artist, Series):
                look |= {"linestyle": "--", "linewidth": self.line}
            else:
                if artist.kind != "points":
                    look |= {"linestyle": "--" if self._dash(role) else "-", "linewidth": self.line}
                if artist.kind != "line":
                    cloud = len(artist.x) > 800
                    diameter = style.marker_size * m.unit * (DOT if style.marker == "." else 1.0)
                    look |= {"marker": "o" if cloud or style.marker == "." else style.marker, "alpha": style.alpha}
                    look |= {"markersize": min(diameter, 3.2 * m.unit if cloud else 0.9 * m.legend)}
                    look |= {"markerfacecolor": None if style.marker_filled or cloud else "none"}
            handles.append(Line2D([], [], **look))
        where = self.corner()
        anchor = Bbox([[box.x0, agg.height - box.y1], [box.x1, agg.height - box.y0]])
        place: dict[str, Any] = {"loc": where, "bbox_to_anchor": anchor}
        if where == "outside":
            place = {"loc": "upper left", "bbox_to_anchor": (box.x1, agg.height - box.y0), "borderaxespad": 0.3}
        legend = Legend(
            agg.sheet,
            handles,
            [label for label, _ in entries],
            bbox_transform=IdentityTransform(),
            prop=_font(style.font, m.legend),
            frameon=style.legend_frame,
            facecolor=_rgba(style.axes_background)[:3],
            labelcolor=_rgba(style.foreground)[:3],
            **place,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
        legend.draw(agg.renderer)
