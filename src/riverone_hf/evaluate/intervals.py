"""How sure is a score? Wilson intervals for rates, bootstrap over plots for means."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def wilson(hits: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """95 % Wilson score interval of a rate `hits / n`, in 0..1; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    p = hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap_mean(values: Sequence[float], seed: int = 0, draws: int = 1000) -> tuple[float, float]:
    """95 % percentile interval of the mean over plots; one value per plot (its answers are not independent)."""
    array = np.asarray(values, dtype=float)
    if array.size == 0:
        return 0.0, 1.0
    rng = np.random.default_rng(seed)
    means = array[rng.integers(0, array.size, (draws, array.size))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
