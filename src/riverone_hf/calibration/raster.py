"""How do lines and points become pixels? Anti-aliased numpy primitives on an (h, w, 3) uint8 canvas."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

from riverone_hf.calibration.scene import Color
from riverone_hf.calibration.text import text_mask

Clip = tuple[int, int, int, int]
"""x0, y0, x1, y1 in whole pixels, the upper ends excluded."""


DOT = 0.6
"""Size of the marker "." relative to "o"."""


class Canvas:
    """An RGB image under construction; every primitive is clipped to `clip` and blended with `alpha`.

    Pixels are 32-bit words R | G << 8 | B << 16: filling, gathering and mixing words is several times faster than
    three bytes each.
    """

    def __init__(self, width: int, height: int, background: Color):
        self.width, self.height = width, height
        self.words = np.full((height, width), _word(background), dtype=np.uint32)
        self.whole: Clip = (0, 0, width, height)

    def image(self) -> Image.Image:
        """The finished picture, mode RGB."""
        return Image.frombytes(
            "RGB", (self.width, self.height), self.words.astype("<u4").tobytes(), "raw", "RGBX", 0, 1
        )

    def _inside(self, clip: Clip | None) -> Clip:
        x0, y0, x1, y1 = clip or self.whole
        return max(0, int(x0)), max(0, int(y0)), min(self.width, int(x1)), min(self.height, int(y1))

    def rect(self, x0: float, y0: float, x1: float, y1: float, color: Color, alpha: float = 1.0) -> None:
        """Fill a rectangle whose edges are rounded to whole pixels."""
        a, b, c, d = self._inside((round(x0), round(y0), round(x1), round(y1)))
        if a >= c or b >= d:
            return
        if alpha >= 0.999:
            self.words[b:d, a:c] = _word(color)
        else:
            self.words[b:d, a:c] = _mix(self.words[b:d, a:c], color, np.uint32(round(256 * alpha)))

    def hline(self, x0: float, x1: float, y: float, width: float, color: Color, alpha: float = 1.0) -> None:
        """A horizontal line snapped to whole pixels; thinner than a pixel means paler."""
        thick = max(1, round(width))
        top = round(y - thick / 2)
        self.rect(x0, top, x1, top + thick, color, alpha * min(1.0, max(0.45, width)))

    def vline(self, x: float, y0: float, y1: float, width: float, color: Color, alpha: float = 1.0) -> None:
        """A vertical line snapped to whole pixels; thinner than a pixel means paler."""
        thick = max(1, round(width))
        left = round(x - thick / 2)
        self.rect(left, y0, left + thick, y1, color, alpha * min(1.0, max(0.45, width)))

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
        """Text of `size` pixels whose box is anchored at (x, y): 0, 0 = its left top corner, 1, 1 = right bottom."""
        mask = _text_weights(text, size, font, rotated, align)
        left, top = round(x - anchor[0] * mask.shape[1]), round(y - anchor[1] * mask.shape[0])
        a, b, c, d = self._inside((left, top, left + mask.shape[1], top + mask.shape[0]))
        if a >= c or b >= d:
            return
        part = mask[b - top : d - top, a - left : c - left]
        self.words[b:d, a:c] = _mix(self.words[b:d, a:c], color, part)

    def picture(self, colors: np.ndarray, x: int, y: int) -> None:
        """Copy `colors` (h, w, 3) uint8 with its upper left corner at (x, y)."""
        a, b, c, d = self._inside((x, y, x + colors.shape[1], y + colors.shape[0]))
        part = colors[b - y : d - y, a - x : c - x].astype(np.uint32)
        self.words[b:d, a:c] = part[:, :, 0] | part[:, :, 1] << 8 | part[:, :, 2] << 16

    def _blend(self, cover: np.ndarray, clip: Clip, color: Color, alpha: float) -> None:
        """Blend through `cover` (h, w) float32, the size of `clip`."""
        a, b, c, _ = clip
        hit = np.flatnonzero(cover > 0.002)
        if not len(hit):
            return
        rows = hit // (c - a)
        where = hit + rows * (self.width - (c - a)) + (b * self.width + a)
        weight = (cover.reshape(-1)[hit] * np.float32(256 * alpha) + np.float32(0.5)).astype(np.uint32)
        flat = self.words.reshape(-1)
        flat[where] = _mix(flat[where], color, weight)

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
        """Straight segments (n,) each, as one layer: overlaps do not add up. `dash` (on, off) in pixels runs on."""
        a, b, c, d = clip = self._inside(clip)
        if a >= c or b >= d or not len(x0):
            return
        pad = width + 2.0
        arc = np.cumsum(np.hypot(x1 - x0, y1 - y0)) if dash else None
        x0, y0, x1, y1, arc = _clip_segments(x0, y0, x1, y1, (a - pad, b - pad, c + pad, d + pad), arc)
        if not len(x0):
            return
        x0, y0, dx, dy = x0 - a, y0 - b, x1 - x0, y1 - y0
        steep = np.abs(dy) > np.abs(dx)
        main, side = np.where(steep, dy, dx), np.where(steep, dx, dy)
        start_main, start_side = np.where(steep, y0, x0), np.where(steep, x0, y0)
        count = np.ceil(np.abs(main)).astype(np.int64) + 1
        slope = side / np.where(main == 0, 1.0, main)
        cosine = 1.0 / np.sqrt(1.0 + slope * slope)
        total = int(count.sum())
        owner = np.repeat(np.arange(len(count)), count)
        t = (np.arange(total) - np.repeat(np.cumsum(count) - count, count)) / np.maximum(count - 1, 1)[owner]
        if dash and arc is not None:
            length = arc[owner] - (1.0 - t) * np.hypot(dx, dy)[owner]
            keep = np.mod(length, dash[0] + dash[1]) < dash[0]
            owner, t = owner[keep], t[keep]
        along = start_main[owner] + t * main[owner]
        column = np.floor(along)
        across = start_side[owner] + t * side[owner] + (column + 0.5 - along) * slope[owner]
        half, strength = (width / 2, 1.0) if width >= 1.0 else (0.5, max(0.35, width))
        reach = int(np.ceil(half * 1.415 + 0.5))
        middle = np.floor(across)
        offsets = np.arange(-reach, reach + 1)
        distance = np.abs((middle + 0.5 - across).astype(np.float32)[:, None] + offsets.astype(np.float32))
        distance *= cosine.astype(np.float32)[owner][:, None]
        cover = np.clip(np.float32(half + 0.5) - distance, 0.0, 1.0)
        # A border around the layer takes what sticks out: cheaper than testing every pixel.
        border = int(np.ceil(pad)) + reach + 3
        stride = c - a + 2 * border
        tall = steep[owner]
        column, middle = column.astype(np.int64) + border, middle.astype(np.int64) + border
        base = np.where(tall, column * stride + middle, middle * stride + column)
        index = base[:, None] + offsets * np.where(tall, 1, stride)[:, None]
        layer = np.zeros((d - b + 2 * border) * stride, dtype=np.float32)
        np.maximum.at(layer, index.ravel(), cover.ravel())
        inner = layer.reshape(-1, stride)[border:-border, border:-border]
        self._blend(inner, clip, color, alpha * strength)

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
        """A curve through points (n,) in pixels."""
        if len(x) > 1:
            self.segments(x[:-1], y[:-1], x[1:], y[1:], width, color, alpha, clip, dash)

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
        """Markers centred at (x, y) in pixels (n,); translucent ones add up where they overlap, as in matplotlib."""
        a, b, c, d = clip = self._inside(clip)
        if a >= c or b >= d or not len(x):
            return
        if kind == ".":
            kind, filled, radius = "o", True, DOT * radius
        radius = max(radius, 0.6)
        if not filled or kind in "x+":
            line = max(line, 0.7)
        reach = int(np.ceil(radius * (1.2 if kind in "x+" else 1.0) + line / 2 + 0.5))
        near = (x > a - reach) & (x < c + reach) & (y > b - reach) & (y < d + reach)
        x, y = x[near] - a, y[near] - b
        steps = np.arange(-reach, reach + 1)
        fx, fy = np.floor(x), np.floor(y)
        dx = np.abs((fx + 0.5 - x).astype(np.float32)[:, None, None] + steps.astype(np.float32)[None, None, :])
        dy = np.abs((fy + 0.5 - y).astype(np.float32)[:, None, None] + steps.astype(np.float32)[None, :, None])
        cover = _marker_cover(dx, dy, kind, radius, filled, line)
        border = 2 * reach + 1
        stride, tall = c - a + 2 * border, d - b + 2 * border
        base = (fy.astype(np.int64) + border) * stride + fx.astype(np.int64) + border
        index = base[:, None, None] + (steps[:, None] * stride + steps)[None]
        # Light that passes one layer of markers after the other: the product of (1 - alpha), a sum of logarithms.
        dark = np.log1p(-np.minimum(cover * np.float32(alpha), np.float32(0.9999)))
        if alpha < 0.95 and filled and line and radius > 2 and kind not in "x+":
            # matplotlib strokes the edge over the face: with both translucent the rim is darker.
            rim = _marker_cover(dx, dy, kind, radius + line / 2, False, line)
            dark += np.log1p(-rim * np.float32(alpha))
        passed = np.bincount(index.ravel(), dark.ravel(), stride * tall)
        inner = passed.reshape(tall, stride)[border:-border, border:-border]
        self._blend(-np.expm1(inner).astype(np.float32), clip, color, 1.0)


def _word(color: Color) -> np.uint32:
    return np.uint32(color[0] | color[1] << 8 | color[2] << 16)


def _mix(old: np.ndarray, color: Color, weight: np.ndarray | np.uint32) -> np.ndarray:
    """`old` words with `color` laid over them, `weight` uint32 in 0..256; red and blue share one multiplication."""
    word, keep = _word(color), np.uint32(256) - weight
    outer, inner = np.uint32(0xFF00FF), np.uint32(0x00FF00)
    red_blue = ((old & outer) * keep + (word & outer) * weight + np.uint32(0x800080)) >> np.uint32(8) & outer
    green = ((old & inner) * keep + (word & inner) * weight + np.uint32(0x008000)) >> np.uint32(8) & inner
    return red_blue | green


@lru_cache(maxsize=3000)
def _text_weights(text: str, size: float, font: str, rotated: bool, align: str) -> np.ndarray:
    return (text_mask(text, size, font, rotated, align) * 256 + 0.5).astype(np.uint32)


def _marker_cover(dx: np.ndarray, dy: np.ndarray, kind: str, radius: float, filled: bool, line: float) -> np.ndarray:
    """Share of each pixel covered by a marker; `dx`, `dy` >= 0 distances of pixel centres from the marker's centre."""
    if kind in ("x", "+"):
        u, v = (dx, dy) if kind == "+" else ((dx + dy) * 0.7071, np.abs(dx - dy) * 0.7071)
        long, short = np.maximum(u, v), np.minimum(u, v)
        arm = radius if kind == "+" else radius * 1.2
        return np.clip(arm + 0.5 - long, 0, 1) * np.clip(line / 2 + 0.5 - short, 0, 1)
    if kind == "s":
        distance = np.maximum(dx, dy) - 0.9 * radius
    elif kind == "D":
        distance = (dx + dy) * 0.7071 - 0.9 * radius
    else:
        distance = np.sqrt(dx * dx + dy * dy) - radius
    if filled:
        return np.clip(line / 2 + 0.5 - distance, 0, 1)
    return np.clip(line / 2 + 0.5 - np.abs(distance + line / 2), 0, 1)


def _clip_segments(
    x0: np.ndarray,
    y0: np.ndarray,
    x1: np.ndarray,
    y1: np.ndarray,
    bounds: tuple[float, float, float, float],
    arc: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Cut segments at a rectangle (Liang and Barsky 1984) and drop those outside; `arc` is the length at each end."""
    a, b, c, d = bounds
    if (
        min(x0.min(), x1.min()) >= a
        and max(x0.max(), x1.max()) <= c
        and min(y0.min(), y1.min()) >= b
        and max(y0.max(), y1.max()) <= d
    ):
        return x0, y0, x1, y1, arc
    dx, dy = x1 - x0, y1 - y0
    enter, leave = np.zeros(len(x0)), np.ones(len(x0))
    keep = np.isfinite(dx) & np.isfinite(dy)
    for start, delta, low, high in ((x0, dx, a, c), (y0, dy, b, d)):
        still = delta == 0
        keep &= ~still | ((start >= low) & (start <= high))
        safe = np.where(still, 1.0, delta)
        one, two = (low - start) / safe, (high - start) / safe
        enter = np.where(still, enter, np.maximum(enter, np.minimum(one, two)))
        leave = np.where(still, leave, np.minimum(leave, np.maximum(one, two)))
    keep &= enter <= leave
    x0, y0, dx, dy, enter, leave = (v[keep] for v in (x0, y0, dx, dy, enter, leave))
    if arc is not None:
        arc = arc[keep] - (1.0 - leave) * np.hypot(dx, dy)
    return x0 + enter * dx, y0 + enter * dy, x0 + leave * dx, y0 + leave * dy, arc
