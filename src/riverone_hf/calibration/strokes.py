"""Which pixels does a stroke touch, and how much of each? Indices into a flat layer, and coverage."""

from __future__ import annotations

import numpy as np

BATCH = 4000
"""Pixels along the strokes that are worked on at once."""


def extent(x0: np.ndarray, y0: np.ndarray, x1: np.ndarray, y1: np.ndarray) -> tuple[float, float, float, float]:
    """(least x, least y, largest x, largest y) of segments."""
    ends = np.array((x0, y0, x1, y1))
    least, most = ends.min(axis=1).tolist(), ends.max(axis=1).tolist()
    return min(least[0], least[2]), min(least[1], least[3]), max(most[0], most[2]), max(most[1], most[3])


def straight_pixels(
    start: np.ndarray,
    end: np.ndarray,
    at: np.ndarray,
    half: float,
    reach: int,
    border: int,
    steps: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """(indices, coverage), both (2 reach + 1, pixels), of axis-parallel strokes (n,) from `start` to `end` beside `at`.

    `steps` are the index steps along and across. The same coverage as `slanted_pixels` at zero slope.
    """
    first = np.floor(np.minimum(start, end)).astype(np.int64)
    count = np.floor(np.maximum(start, end)).astype(np.int64) - first + 1
    middle = np.floor(at)
    offsets = np.arange(-reach, reach + 1)[:, None]
    distance = np.abs((middle + 0.5 - at).astype(np.float32) + offsets.astype(np.float32))
    cover = _clipped(np.float32(half + 0.5) - distance)
    along = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count - first - border, count)
    owner = np.repeat(np.arange(len(count)), count)
    base = along * steps[0] + ((middle.astype(np.int64) + border) * steps[1])[owner]
    return base + offsets * steps[1], cover[:, owner]


def batches(dx: np.ndarray, dy: np.ndarray) -> list[slice]:
    """Runs of the segments (n,) of about `BATCH` pixels each: their arrays stay in the processor's cache."""
    reached = np.cumsum(np.maximum(np.abs(dx), np.abs(dy)) + 1.0)
    total = float(reached[-1])
    if total <= BATCH:
        return [slice(None)]
    cuts = np.searchsorted(reached, np.arange(BATCH, total, BATCH)).tolist()
    return [slice(start, end) for start, end in zip([0, *cuts], [*cuts, len(dx)]) if end > start]


def slanted_pixels(
    ends: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    arc: np.ndarray | None,
    dash: tuple[float, float] | None,
    half: float,
    reach: int,
    border: int,
    stride: int,
) -> tuple[np.ndarray, np.ndarray]:
    """(indices, coverage), both (2 reach + 1, pixels), of segments `ends` = (x0, y0, dx, dy), each (n,).

    One sample per pixel along a segment's longer side, and the coverage of its neighbours across.
    """
    x0, y0, dx, dy = ends
    steep = np.abs(dy) > np.abs(dx)
    main, side = np.where(steep, dy, dx), np.where(steep, dx, dy)
    start_main, start_side = np.where(steep, y0, x0), np.where(steep, x0, y0)
    count = np.ceil(np.abs(main)).astype(np.int64) + 1
    slope = side / np.where(main == 0, 1.0, main)
    cosine = (1.0 / np.sqrt(1.0 + slope * slope)).astype(np.float32)
    owner = np.repeat(np.arange(len(count)), count)
    t = (np.arange(len(owner)) - (np.cumsum(count) - count)[owner]) / np.maximum(count - 1, 1)[owner]
    if dash and arc is not None:
        length = arc[owner] - (1.0 - t) * np.hypot(dx, dy)[owner]
        keep = np.mod(length, dash[0] + dash[1]) < dash[0]
        owner, t = owner[keep], t[keep]
    along = start_main[owner] + t * main[owner]
    column = np.floor(along)
    across = start_side[owner] + t * side[owner] + (column + 0.5 - along) * slope[owner]
    middle = np.floor(across)
    offsets = np.arange(-reach, reach + 1)[:, None]
    distance = np.abs((middle + 0.5 - across).astype(np.float32) + offsets.astype(np.float32))
    distance *= cosine[owner]
    cover = _clipped(np.subtract(np.float32(half + 0.5), distance, out=distance))
    # Pixels as indices: a step along is `ahead`, a step across `aside`.
    ahead, aside = np.where(steep, stride, 1)[owner], np.where(steep, 1, stride)[owner]
    base = (column.astype(np.int64) + border) * ahead + (middle.astype(np.int64) + border) * aside
    return base + offsets * aside, cover


def _clipped(values: np.ndarray) -> np.ndarray:
    """`values` limited to 0..1, in place: np.clip costs several times as much on small arrays."""
    return np.minimum(np.maximum(values, np.float32(0), out=values), np.float32(1), out=values)


def clip_segments(
    x0: np.ndarray,
    y0: np.ndarray,
    x1: np.ndarray,
    y1: np.ndarray,
    bounds: tuple[float, float, float, float],
    arc: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Cut segments at a rectangle (Liang and Barsky 1984) and drop those outside; `arc` is the length at each end."""
    a, b, c, d = bounds
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
