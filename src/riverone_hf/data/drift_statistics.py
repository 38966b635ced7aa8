"""What does a drift curve say? Statistics, trend, stability and change point, computed from its points with numpy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

Trend = Literal["rising", "falling", "none", "unclear"]
Stability = Literal["stable", "moderate", "unstable"]

STABLE, UNSTABLE = 0.10, 0.25
"""Bounds of the standard deviation over the mean: below the first stable, above the second unstable."""
CLEAR, ABSENT = 0.01, 0.20
"""A trend is there below the first p, absent above the second; between them it is unclear and not asked."""
LEAST_CHANGE = 0.10
"""A trend that moves the curve by less than this share of its median over the window is not called one."""
SIDE = 4
"""Fewest points on each side of a change point."""
OUTLIER = 9.0
"""A point so many median deviations (about six standard deviations) off the line is an outlier."""
EVIDENCE = 10.0
"""Difference of the Bayesian information criterion that counts as very strong (Kass and Raftery 1995)."""


@dataclass(frozen=True)
class Change:
    """A step: between the days `left` and `right` (since the window's start) from the mean `before` to `after`."""

    left: float
    right: float
    before: float
    after: float

    @property
    def day(self) -> float:
        return (self.left + self.right) / 2

    @property
    def relative(self) -> float:
        return self.after / self.before - 1


@dataclass(frozen=True)
class Curve:
    """Facts of a curve of n points in its unit; days count from the window's start.

    `slope` per day (Theil-Sen), `change` = slope over the window / median, `p` of the Mann-Kendall test.
    `step`: the change point, None when a constant or a line describes the curve as well; `step_unclear`: neither holds
    by a clear margin, or a lone outlier is there. `borderline`: the spread is too near a bound of the stability rule
    to be read off a figure.
    """

    n: int
    mean: float
    median: float
    std: float
    lowest: float
    lowest_day: float
    highest: float
    highest_day: float
    first: float
    last: float
    slope: float
    change: float
    p: float
    trend: Trend
    stability: Stability
    borderline: bool
    step: Change | None
    step_unclear: bool

    @property
    def spread(self) -> float:
        """Standard deviation over the mean."""
        return self.std / self.mean


def describe(t: np.ndarray, v: np.ndarray, days: float) -> Curve:
    """The facts of the points `v` (n,) > 0 at `t` (n,) days since the start of a window of `days`; n >= 3, t rising."""
    mean, median, std = float(v.mean()), float(np.median(v)), float(v.std(ddof=1))
    slope = theil_sen(t, v)
    change = slope * days / median
    p = mann_kendall(v, v - slope * t)
    step, unclear = change_point(t, v)
    trend: Trend = "unclear"
    if step is not None:
        pass  # one jump is no steady drift, and the test for one does not describe it
    elif p < CLEAR and abs(change) >= LEAST_CHANGE:
        trend = "rising" if slope > 0 else "falling"
    elif p > ABSENT:
        trend = "none"
    rest = np.abs(v - slope * t - np.median(v - slope * t))
    # A lone outlier looks like a change to a reader and is none by the rule: not asked.
    unclear |= step is None and float(rest.max()) > OUTLIER * float(np.median(rest))
    spread = std / mean
    stability: Stability = "stable" if spread < STABLE else "unstable" if spread > UNSTABLE else "moderate"
    low, high = int(v.argmin()), int(v.argmax())
    return Curve(
        n=v.size,
        mean=mean,
        median=median,
        std=std,
        lowest=float(v[low]),
        lowest_day=float(t[low]),
        highest=float(v[high]),
        highest_day=float(t[high]),
        first=float(v[0]),
        last=float(v[-1]),
        slope=slope,
        change=change,
        p=p,
        trend=trend,
        stability=stability,
        borderline=any(abs(spread / bound - 1) < 0.15 for bound in (STABLE, UNSTABLE)),
        step=step,
        step_unclear=unclear,
    )


def theil_sen(t: np.ndarray, v: np.ndarray) -> float:
    """Median of the slopes of all pairs of points (Sen 1968), per day: single outliers do not turn it."""
    i, j = np.triu_indices(t.size, 1)
    return float(np.median((v[j] - v[i]) / (t[j] - t[i])))


def mann_kendall(v: np.ndarray, rest: np.ndarray) -> float:
    """Two-sided p of the Mann-Kendall trend test of `v` (n,), normal approximation with tie correction.

    The variance is widened by (1 + r) / (1 - r) for the lag-1 autocorrelation r > 0 of `rest`, the points without
    their trend: neighbours that repeat each other are not independent evidence (as in Yue and Wang 2004).
    """
    n = v.size
    i, j = np.triu_indices(n, 1)
    s = float(np.sign(v[j] - v[i]).sum())
    ties = np.unique(v, return_counts=True)[1]
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    r = min(max(autocorrelation(rest), 0.0), 0.9)
    variance *= (1 + r) / (1 - r)
    if variance <= 0:
        return 1.0
    return two_sided(max(abs(s) - 1, 0.0) / math.sqrt(variance))


def two_sided(z: float) -> float:
    """P(|N(0, 1)| > |z|)."""
    return math.erfc(abs(z) / math.sqrt(2))


def autocorrelation(v: np.ndarray) -> float:
    """Lag-1 autocorrelation of `v` (n,), 0 for a constant; pairs with NaN are left out."""
    centred = v - np.nanmean(v)
    pairs = centred[1:] * centred[:-1]
    power = np.nanmean(centred**2)
    return float(np.nanmean(pairs) / power) if power > 0 and np.isfinite(pairs).any() else 0.0


def change_point(t: np.ndarray, v: np.ndarray) -> tuple[Change | None, bool]:
    """(the step, if one step describes log v much better than a constant and a line, whether that is unclear).

    Least squares over all places with `SIDE` points on each side; models are compared by the Bayesian information
    criterion (constant 1, line 2, step 3 parameters). Differences below `EVIDENCE` are unclear.
    """
    n = v.size
    if n < 2 * SIDE:
        return None, True
    y = np.log(v)
    sums, squares = np.cumsum(y), np.cumsum(y**2)
    k = np.arange(SIDE, n - SIDE + 1)
    left = squares[k - 1] - sums[k - 1] ** 2 / k
    right = squares[-1] - squares[k - 1] - (sums[-1] - sums[k - 1]) ** 2 / (n - k)
    best = int(np.argmin(left + right))
    floor = 1e-12 * n
    rss_step = max(float(left[best] + right[best]), floor)
    rss_flat = max(float(squares[-1] - sums[-1] ** 2 / n), floor)
    x = t - t.mean()
    rss_line = max(rss_flat - float(x @ y) ** 2 / float(x @ x), floor)
    bic = [n * math.log(rss / n) + count * math.log(n) for rss, count in ((rss_flat, 1), (rss_line, 2), (rss_step, 3))]
    gain = min(bic[0], bic[1]) - bic[2]
    at = int(k[best])
    if gain >= EVIDENCE:
        return Change(float(t[at - 1]), float(t[at]), float(v[:at].mean()), float(v[at:].mean())), False
    return None, gain > 0
