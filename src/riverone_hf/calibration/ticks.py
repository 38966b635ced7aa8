"""Where do axis ticks stand and what do they say? Small versions of matplotlib's and Plotly's rules."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
SI = {-12: "p", -9: "n", -6: "μ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}


def sane_limits(limits: tuple[float, float]) -> tuple[float, float]:
    """`limits` as finite floats with a non-zero span (a constant axis is widened by 5 % of its value, or by 1)."""
    lo, hi = (float(v) if math.isfinite(v) else 0.0 for v in limits)
    if abs(hi - lo) <= 1e-12 * max(abs(lo), abs(hi)):
        pad = 0.05 * abs(lo) or 1.0
        return lo - pad, hi + pad
    return lo, hi


@lru_cache(maxsize=4096)
def nice_ticks(lo: float, hi: float, intervals: int) -> tuple[float, ...]:
    """Tick positions inside [lo, hi] with at most `intervals` intervals, steps 1, 2, 2.5, 5 x 10^k."""
    lo, hi = min(lo, hi), max(lo, hi)
    span = hi - lo
    raw = span / max(1, intervals)
    scale = 10.0 ** math.floor(math.log10(raw))
    candidates = [s * scale for s in STEPS] + [20.0 * scale]
    step = next(s for s in candidates if s >= raw * (1 - 1e-9))
    first, last = math.ceil(lo / step - 1e-9), math.floor(hi / step + 1e-9)
    if last - first < 1:  # a short axis still shows two ticks, as matplotlib's min_n_ticks does
        smaller = [s for s in (0.2 * scale, 0.25 * scale, 0.5 * scale, *candidates) if s < step]
        for step in reversed(smaller):
            first, last = math.ceil(lo / step - 1e-9), math.floor(hi / step + 1e-9)
            if last - first >= 1:
                break
    return tuple(i * step for i in range(first, last + 1))


def _decimals(values: list[float], step: float) -> int:
    for digits in range(10):
        if all(abs(round(v, digits) - v) < 1e-3 * step for v in values):
            return digits
    return 10


@lru_cache(maxsize=4096)
def tick_labels(ticks: tuple[float, ...], si: bool = False) -> tuple[tuple[str, ...], str]:
    """(labels, offset text). `si` writes Plotly's style; otherwise matplotlib's with offset and power of ten.

    The offset text is empty, a power such as "1e6", an offset such as "+4.5e9", or both.
    """
    if not ticks:
        return (), ""
    largest = max(abs(t) for t in ticks)
    step = abs(ticks[1] - ticks[0]) if len(ticks) > 1 else largest or 1.0
    if largest == 0.0:
        return tuple("0" for _ in ticks), ""
    if si:
        power = 0
        if largest >= 1e4 or largest < 1e-3:
            power = int(np.clip(3 * math.floor(math.log10(largest) / 3), -12, 12))
        scaled = [t / 10.0**power for t in ticks]
        digits = _decimals(scaled, step / 10.0**power)
        texts = [f"{v:.{digits}f}" for v in scaled]
        if digits:
            texts = [t.rstrip("0").rstrip(".") for t in texts]
        texts = ["0" if t in ("0", "-0") else t + SI[power] for t in texts]
        return tuple(t.replace("-", "−") for t in texts), ""
    offset, note = 0.0, ""
    span = max(ticks) - min(ticks)
    if span > 0 and largest / span > 1e4:
        unit = 10.0 ** math.ceil(math.log10(span))
        offset = math.copysign(math.floor(min(abs(t) for t in ticks) / unit) * unit, ticks[0])
        note = f"{offset:+.10g}"
    rest = [t - offset for t in ticks]
    top = max(abs(r) for r in rest)
    power = math.floor(math.log10(top)) if top > 0 else 0
    if -5 < power < 6:
        power = 0
    else:
        note = f"1e{power}" + note
    scaled = [r / 10.0**power for r in rest]
    digits = _decimals(scaled, step / 10.0**power)
    texts = [f"{v:.{digits}f}" for v in scaled]
    texts = [t[1:] if t.startswith("-") and float(t) == 0 else t for t in texts]
    return tuple(t.replace("-", "−") for t in texts), note.replace("-", "−")
