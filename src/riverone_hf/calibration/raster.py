"""How do lines and points become pixels? Anti-aliased numpy primitives on an (h, w, 3) uint8 canvas."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image

from riverone_hf.calibration.scene import Color
from riverone_hf.calibration.stamps import CLOUD, SUBPIXEL, darkness, stamps
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

    def hlines(self, x0: float, x1: float, ys: np.ndarray, width: float, color: Color) -> None:
        """Horizontal lines like `hline` at every one of `ys` (n,), in one go."""
        a, _, c, _ = self._inside((round(x0), 0, round(x1), self.height))
        rows, alpha = _snapped(ys, width, self.height)
        if a < c and len(rows):
            self.words[rows, a:c] = _mix(self.words[rows, a:c], color, alpha)

    def vlines(self, xs: np.ndarray, y0: float, y1: float, width: float, color: Color) -> None:
        """Vertical lines like `vline` at every one of `xs` (n,), in one go."""
        _, b, _, d = self._inside((0, round(y0), self.width, round(y1)))
        columns, alpha = _snapped(xs, width, self.width)
        if b < d and len(columns):
            self.words[b:d, columns] = _mix(self.words[b:d, columns], color, alpha)

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
        """Several labels like `text`, each at its own (x, y), as one layer: the labels of an axis."""
        boxes = []
        for label, x, y in zip(labels, xs, ys):
            if label.strip():
                mask = _text_weights(label, size, font, False, "center")
                boxes.append((mask, round(x - anchor[0] * mask.shape[1]), round(y - anchor[1] * mask.shape[0])))
        if not boxes:
            return
        left, top = min(x for _, x, _ in boxes), min(y for _, _, y in boxes)
        right = max(x + mask.shape[1] for mask, x, _ in boxes)
        low = max(y + mask.shape[0] for mask, _, y in boxes)
        layer = np.zeros((low - top, right - left), dtype=np.uint32)
        for mask, x, y in boxes:
            part = layer[y - top : y - top + mask.shape[0], x - left : x - left + mask.shape[1]]
            np.maximum(part, mask, out=part)
        a, b, c, d = self._inside((left, top, right, low))
        if a < c and b < d:
            part = layer[b - top : d - top, a - left : c - left]
            self.words[b:d, a:c] = _mix(self.words[b:d, a:c], color, part)

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

    def mapped(self, levels: np.ndarray, colors: np.ndarray, x: int, y: int) -> None:
        """A picture of entries `levels` (h, w) uint8 of the table `colors` (256, 3) uint8, upper left at (x, y)."""
        a, b, c, d = self._inside((x, y, x + levels.shape[1], y + levels.shape[0]))
        wide = colors.astype(np.uint32)
        words = wide[:, 0] | wide[:, 1] << 8 | wide[:, 2] << 16
        self.words[b:d, a:c] = words[levels[b - y : d - y, a - x : c - x]]

    def band(
        self, x: np.ndarray, low: np.ndarray, high: np.ndarray, color: Color, alpha: float, clip: Clip | None = None
    ) -> None:
        """Fill between two curves (n,) over rising `x`, all in pixels; `low` lies below `high` on the screen."""
        a, b, c, d = self._inside(clip)
        a, c = max(a, int(np.ceil(x[0] - 0.5))), min(c, int(x[-1] + 0.5) + 1)
        if a >= c or b >= d:
            return
        columns = np.arange(a, c) + 0.5
        top, bottom = np.interp(columns, x, high), np.interp(columns, x, low)
        rows = np.arange(b, d)[:, None]
        cover = np.clip(np.minimum(rows + 1, bottom) - np.maximum(rows, top), 0, 1).astype(np.float32)
        self._blend(cover, (a, b, c, d), color, alpha)

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
        a, b, c, d = clip = _shrink(clip, (x0, x1), (y0, y1), pad + 2)
        if a >= c or b >= d:
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
        if not near.all():
            x, y = x[near], y[near]
        if not len(x):
            return
        a, b, c, d = clip = _shrink(clip, (x,), (y,), reach + 1)
        x, y = x - a, y - b
        fx, fy = np.floor(x), np.floor(y)
        border = 2 * reach + 1
        stride, tall = c - a + 2 * border, d - b + 2 * border
        base = ((fy + border) * stride + (fx + border)).astype(np.int64)
        if len(x) >= CLOUD:
            dark, offsets = stamps(reach, kind, radius, filled, line, alpha)
            where = (np.floor((y - fy) * SUBPIXEL) * SUBPIXEL + np.floor((x - fx) * SUBPIXEL)).astype(np.int64)
            values, shifts = dark[where], offsets[:, 0] * stride + offsets[:, 1]
        else:
            values = darkness(x - fx, y - fy, reach, kind, radius, filled, line, alpha).reshape(len(x), -1)
            steps = np.arange(-reach, reach + 1)
            shifts = (steps[:, None] * stride + steps).ravel()
        passed = np.bincount((base[:, None] + shifts).ravel(), values.ravel(), stride * tall)
        inner = passed.reshape(tall, stride)[border:-border, border:-border]
        self._blend(-np.expm1(inner.astype(np.float32)), clip, color, 1.0)


def _shrink(clip: Clip, xs: tuple[np.ndarray, ...], ys: tuple[np.ndarray, ...], pad: float) -> Clip:
    """`clip` cut to what lies within `pad` of the points: small layers for small things."""
    a, b, c, d = clip
    return (
        max(a, int(min(v.min() for v in xs) - pad)),
        max(b, int(min(v.min() for v in ys) - pad)),
        min(c, int(max(v.max() for v in xs) + pad) + 1),
        min(d, int(max(v.max() for v in ys) + pad) + 1),
    )


def _snapped(at: np.ndarray, width: float, size: int) -> tuple[np.ndarray, np.uint32]:
    """(whole rows or columns within [0, size) of lines centred `at`, their weight): thinner than a pixel is paler."""
    thick = max(1, round(width))
    first = np.round(np.asarray(at, dtype=float) - thick / 2).astype(np.int64)
    cells = first if thick == 1 else (first[:, None] + np.arange(thick)).ravel()
    return cells[(cells >= 0) & (cells < size)], np.uint32(round(256 * min(1.0, max(0.45, width))))


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
