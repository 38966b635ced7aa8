"""How do lines and points become pixels? Anti-aliased numpy primitives on an (h, w, 3) uint8 canvas."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image

from riverone_hf.calibration.scene import Color
from riverone_hf.calibration.stamps import CLOUD, SUBPIXEL, darkness, stamps
from riverone_hf.calibration.strokes import batches, clip_segments, extent, slanted_pixels, straight_pixels
from riverone_hf.calibration.text import text_mask

Clip = tuple[int, int, int, int]
"""x0, y0, x1, y1 in whole pixels, the upper ends excluded."""


DOT = 0.6
"""Size of the marker "." relative to "o"."""
_HALF = 0x0080_0080_0080_0080
"""One half in each of four lanes of 8 + 8 bits."""
HIT = 0.002
"""Pixels covered less than this are left as they are."""


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
        words = np.ascontiguousarray(self.words, dtype="<u4").view(np.uint8)
        return Image.frombytes("RGB", (self.width, self.height), memoryview(words), "raw", "RGBX", 0, 1)  # type: ignore[arg-type]

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
            self.words[b:d, a:c] = _mix(self.words[b:d, a:c], color, round(256 * alpha))

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
        layer = np.zeros((low - top, right - left), dtype=np.uint64)
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

    def _blend(
        self, layer: np.ndarray, clip: Clip, color: Color, alpha: float, border: int = 0, dark: bool = False
    ) -> None:
        """Blend through `layer` (h, w) of coverage float32, the size of `clip` plus a `border` that is left out.

        `dark`: the layer holds log(1 - coverage) instead.
        """
        a, b, c, d = clip
        wide = c - a
        inner = layer[border : border + d - b, border : border + wide]
        hit = np.flatnonzero(inner < -HIT if dark else inner > HIT)
        if not len(hit):
            return
        rows = hit // wide
        cover = layer.reshape(-1)[hit + rows * (layer.shape[1] - wide) + border * (layer.shape[1] + 1)]
        where = hit + rows * (self.width - wide) + (b * self.width + a)
        if dark:
            cover = -np.expm1(cover.astype(np.float32))
            seen = cover > HIT
            cover, where = cover[seen], where[seen]
        cover *= np.float32(256 * alpha)
        cover += np.float32(0.5)
        flat = self.words.reshape(-1)
        flat[where] = _mix(flat[where], color, cover.astype(np.uint64))

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
        reached = extent(x0, y0, x1, y1)
        if reached[0] < a - pad or reached[1] < b - pad or reached[2] > c + pad or reached[3] > d + pad:
            x0, y0, x1, y1, arc = clip_segments(x0, y0, x1, y1, (a - pad, b - pad, c + pad, d + pad), arc)
            if not len(x0):
                return
            reached = extent(x0, y0, x1, y1)
        a, b, c, d = clip = _shrink(clip, reached, pad + 2)
        if a >= c or b >= d:
            return
        x0, y0, dx, dy = x0 - a, y0 - b, x1 - x0, y1 - y0
        half, strength = (width / 2, 1.0) if width >= 1.0 else (0.5, max(0.35, width))
        reach = int(np.ceil(half * 1.415 + 0.5))
        # A border around the layer takes what sticks out: cheaper than testing every pixel.
        border = int(np.ceil(pad)) + reach + 3
        stride = c - a + 2 * border
        layer = np.zeros((d - b + 2 * border, stride), dtype=np.float32)
        flat = layer.reshape(-1)
        if not dash and not dy.any():
            index, cover = straight_pixels(x0, x0 + dx, y0, half, reach, border, (1, stride))
            np.maximum.at(flat, index.ravel(), cover.ravel())
        elif not dash and dy.all() and not dx.any():
            index, cover = straight_pixels(y0, y0 + dy, x0, half, reach, border, (stride, 1))
            np.maximum.at(flat, index.ravel(), cover.ravel())
        else:
            for part in batches(dx, dy):
                ends = (x0[part], y0[part], dx[part], dy[part])
                lengths = None if arc is None else arc[part]
                index, cover = slanted_pixels(ends, lengths, dash, half, reach, border, stride)
                np.maximum.at(flat, index.ravel(), cover.ravel())
        self._blend(layer, clip, color, alpha * strength, border)

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
        a, b, c, d = clip = _shrink(clip, (float(x.min()), float(y.min()), float(x.max()), float(y.max())), reach + 1)
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
        self._blend(passed.reshape(tall, stride), clip, color, 1.0, border, dark=True)


def _shrink(clip: Clip, reached: tuple[float, float, float, float], pad: float) -> Clip:
    """`clip` cut to what lies within `pad` of `reached` (x0, y0, x1, y1): small layers for small things."""
    a, b, c, d = clip
    return (
        max(a, int(reached[0] - pad)),
        max(b, int(reached[1] - pad)),
        min(c, int(reached[2] + pad) + 1),
        min(d, int(reached[3] + pad) + 1),
    )


def _snapped(at: np.ndarray, width: float, size: int) -> tuple[np.ndarray, int]:
    """(whole rows or columns within [0, size) of lines centred `at`, their weight): thinner than a pixel is paler."""
    thick = max(1, round(width))
    first = np.round(np.asarray(at, dtype=float) - thick / 2).astype(np.int64)
    cells = first if thick == 1 else (first[:, None] + np.arange(thick)).ravel()
    return cells[(cells >= 0) & (cells < size)], round(256 * min(1.0, max(0.45, width)))


def _word(color: Color) -> np.uint32:
    return np.uint32(color[0] | color[1] << 8 | color[2] << 16)


@lru_cache(maxsize=256)
def _lanes(color: Color) -> np.uint64:
    return np.uint64(np.array([_word(color)]).view(np.uint8).astype(np.uint16).view(np.uint64)[0])


def _mix(old: np.ndarray, color: Color, weight: np.ndarray | int) -> np.ndarray:
    """`old` words with `color` laid over them, `weight` in 0..256: a whole number, or uint64 in the shape of `old`.

    The four bytes of a word spread to 16-bit lanes of one uint64: a handful of operations mixes all channels.
    """
    new = _lanes(color)
    if isinstance(weight, int):
        if weight == 256:
            return np.full(old.shape, _word(color))
        mixed = np.ascontiguousarray(old).view(np.uint8).astype(np.uint16).view(np.uint64)
        mixed *= np.uint64(256 - weight)
        mixed += np.uint64(int(new) * weight + _HALF)
    else:
        mixed = np.ascontiguousarray(old).view(np.uint8).astype(np.uint16).view(np.uint64)
        mixed *= np.uint64(256) - weight
        mixed += weight * new
        mixed += np.uint64(_HALF)
    mixed >>= np.uint64(8)
    return mixed.view(np.uint16).astype(np.uint8).view(np.uint32)


@lru_cache(maxsize=3000)
def _text_weights(text: str, size: float, font: str, rotated: bool, align: str) -> np.ndarray:
    return (text_mask(text, size, font, rotated, align) * 256 + 0.5).astype(np.uint64)
