"""What does one marker cover? Exact coverage of few markers, cached sub-pixel stamps for clouds of hundreds."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

SUBPIXEL = 8
"""Stamps stand on a grid of 1/8 pixel in x and y: 1/16 pixel off at most."""
CLOUD = 120
"""So many markers and more are stamped."""


def marker_cover(dx: np.ndarray, dy: np.ndarray, kind: str, radius: float, filled: bool, line: float) -> np.ndarray:
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


def darkness(
    x: np.ndarray, y: np.ndarray, reach: int, kind: str, radius: float, filled: bool, line: float, alpha: float
) -> np.ndarray:
    """log(1 - opacity) (n, 2 reach + 1, 2 reach + 1) float32 around markers whose centres are `x`, `y` (n,) in [0, 1).

    Light passes one layer of markers after the other: products of (1 - opacity) are sums of these logarithms.
    """
    steps = np.arange(-reach, reach + 1, dtype=np.float32)
    dx = np.abs((0.5 - x).astype(np.float32)[:, None, None] + steps[None, None, :])
    dy = np.abs((0.5 - y).astype(np.float32)[:, None, None] + steps[None, :, None])
    cover = marker_cover(dx, dy, kind, radius, filled, line)
    dark = np.log1p(-np.minimum(cover * np.float32(alpha), np.float32(0.9999)))
    if alpha < 0.95 and filled and line and radius > 2 and kind not in "x+":
        # matplotlib strokes the edge over the face: with both translucent the rim is darker.
        rim = marker_cover(dx, dy, kind, radius + line / 2, False, line)
        dark += np.log1p(-rim * np.float32(alpha))
    return dark


@lru_cache(maxsize=64)
def stamps(
    reach: int, kind: str, radius: float, filled: bool, line: float, alpha: float
) -> tuple[np.ndarray, np.ndarray]:
    """(darkness (SUBPIXEL^2, k) float64 of every sub-pixel position, index row SUBPIXEL * y + x; offsets (k, 2)).

    The k offsets (dy, dx) are those of a (2 reach + 1)^2 square that any position covers.
    """
    middle = (np.arange(SUBPIXEL) + 0.5) / SUBPIXEL
    y, x = (grid.ravel() for grid in np.meshgrid(middle, middle, indexing="ij"))
    dark = darkness(x, y, reach, kind, radius, filled, line, alpha).reshape(SUBPIXEL**2, -1)
    used = np.flatnonzero((dark < -1e-3).any(axis=0))
    side = 2 * reach + 1
    return dark[:, used].astype(np.float64), np.stack([used // side - reach, used % side - reach], axis=1)
