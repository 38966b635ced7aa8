"""Which environment goes with a drift? Rank correlations of daily means with lag, effective n and Holm correction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .drift_statistics import autocorrelation, two_sided

LEVEL = 0.05
"""Family-wise error rate of one map."""
LEAST_PAIRS = 15


@dataclass(frozen=True)
class Correlations:
    """A map: rows are variables, columns are (series, lag) pairs; every array is (rows, columns).

    `rho` Spearman's rank correlation, NaN where fewer than `LEAST_PAIRS` days have both or one does not change; `n`
    days in common; `n_effective` as many independent ones; `p` two-sided; `p_holm` corrected over all tests of the map.
    """

    rho: np.ndarray
    n: np.ndarray
    n_effective: np.ndarray
    p: np.ndarray
    p_holm: np.ndarray

    @property
    def tests(self) -> int:
        return int(np.isfinite(self.rho).sum())

    @property
    def significant(self) -> np.ndarray:
        return self.p_holm < LEVEL

    def strongest(self) -> tuple[int, int]:
        """(row, column) of the largest |rho|."""
        row, column = np.unravel_index(int(np.nanargmax(np.abs(self.rho))), self.rho.shape)
        return int(row), int(column)


def daily_means(t: np.ndarray, v: np.ndarray, days: int) -> np.ndarray:
    """Means (days,) of the points `v` at `t` days since the start, NaN for days without one."""
    day = np.clip(t.astype(int), 0, days - 1)
    count = np.bincount(day, minlength=days)
    total = np.bincount(day, weights=v, minlength=days)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def correlate(series: Sequence[np.ndarray], lags: Sequence[int], environment: np.ndarray) -> Correlations:
    """Correlate each daily series (days,) with each row of `environment` (rows, days) of `lag` >= 0 days earlier.

    Only days of the window are used, so n falls by the lag. The effective number of days is
    n (1 - a b) / (1 + a b) with the lag-1 autocorrelations a, b of both sides (Bartlett 1935), and p comes from
    atanh(rho), whose variance is 1.06 / (n_effective - 3) (Fieller, Hartley and Pearson 1957).
    """
    shape = (len(environment), len(series))
    rho, effective, p = np.full(shape, np.nan), np.zeros(shape), np.ones(shape)
    n = np.zeros(shape, dtype=int)
    memory = [autocorrelation(row) if np.isfinite(row).any() else 0.0 for row in environment]
    for column, (values, lag) in enumerate(zip(series, lags, strict=True)):
        days = values.size
        later = values[lag:]
        own = autocorrelation(values)
        for row, variable in enumerate(environment):
            earlier = variable[: days - lag]
            both = np.isfinite(later) & np.isfinite(earlier)
            n[row, column] = count = int(both.sum())
            x, y = later[both], earlier[both]
            if count < LEAST_PAIRS or np.ptp(x) == 0 or np.ptp(y) == 0:
                continue
            rho[row, column] = r = float(np.corrcoef(ranks(x), ranks(y))[0, 1])
            # Only a shared memory of the same sign makes days worth less than one each.
            joint = min(max(own * memory[row], 0.0), 0.9)
            effective[row, column] = worth = count * (1 - joint) / (1 + joint)
            bounded = min(abs(r), 1 - 1e-9)
            if worth > 4:
                p[row, column] = two_sided(math.atanh(bounded) * math.sqrt((worth - 3) / 1.06))
    return Correlations(rho, n, effective, p, holm(p, np.isfinite(rho)))


def ranks(v: np.ndarray) -> np.ndarray:
    """Ranks (n,) from 0, equal values share the mean of theirs."""
    _, inverse, counts = np.unique(v, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts + 1) / 2)[inverse]


def holm(p: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Holm's step-down correction (1979) of `p` over the entries that are `tested`; the others become 1."""
    corrected = np.ones(p.shape)
    values = p[tested]
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * (values.size - np.arange(values.size)))
    back = np.empty(values.size)
    back[order] = np.minimum(stepped, 1.0)
    corrected[tested] = back
    return corrected
