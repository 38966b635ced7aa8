"""How much of the base's score does a row keep? Paired comparisons of per-plot scores over seeds.

Scores are arrays (seeds, plots): the same plots for every row, one trained model per seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

DRAWS = 10_000


def _resampled(*arrays: np.ndarray, seed: int) -> list[np.ndarray]:
    """Means of every array in DRAWS bootstrap worlds: seeds drawn first, then plots, alike for all arrays."""
    rng = np.random.default_rng(seed)
    seeds, plots = arrays[0].shape
    # How often each seed and each plot is drawn says all that a mean needs.
    seed_counts = rng.multinomial(seeds, np.full(seeds, 1 / seeds), DRAWS)
    plot_counts = rng.multinomial(plots, np.full(plots, 1 / plots), DRAWS)
    return [((seed_counts @ array) * plot_counts).sum(axis=1) / (seeds * plots) for array in arrays]


def kept_share(scores: np.ndarray, base: np.ndarray, seed: int = 0) -> dict[str, float]:
    """{"ratio", "lower95", "upper95"} of mean(scores) / mean(base), both (seeds, plots); 2.5 and 97.5 percentiles.

    Empty for a base that scores nothing.
    """
    if base.mean() == 0:
        return {}
    mine, theirs = _resampled(scores, base, seed=seed)
    low, high = np.percentile(mine / theirs, [2.5, 97.5])
    return {"ratio": float(scores.mean() / base.mean()), "lower95": float(low), "upper95": float(high)}


def recovered_share(
    scores: np.ndarray, nothing: np.ndarray, ceiling: np.ndarray, seed: int = 0
) -> dict[str, float | None]:
    """{"share", "lower95", "upper95"} of (scores - nothing) / (ceiling - nothing), means of (seeds, plots).

    Without bounds when in some bootstrap world the ceiling is not above `nothing`: a quotient says little then.
    """
    gap = ceiling.mean() - nothing.mean()
    mine, least, most = _resampled(scores, nothing, ceiling, seed=seed)
    share = float((scores.mean() - nothing.mean()) / gap) if gap > 0 else None
    if share is None or (most - least).min() <= 0:
        return {"share": share, "lower95": None, "upper95": None}
    low, high = np.percentile((mine - least) / (most - least), [2.5, 97.5])
    return {"share": share, "lower95": float(low), "upper95": float(high)}


def paired_difference(first: np.ndarray, second: np.ndarray, seed: int = 0, comparisons: int = 1) -> dict[str, float]:
    """{"difference", "lower95", "upper95", "p"} of mean(first) - mean(second), in points if the scores are in 0..100.

    With several `comparisons` also "lower", "upper", bounds that hold for all of them at once (Bonferroni). p is
    two-sided, from exact sign flips of the seeds' mean differences (random ones above 16 seeds).
    """
    difference = first - second
    (mine,) = _resampled(difference, seed=seed)
    low, high = np.percentile(mine, [2.5, 97.5])
    means = difference.mean(axis=1)
    if len(means) <= 16:
        signs = np.array(list(product((1, -1), repeat=len(means))))
    else:
        signs = np.random.default_rng(seed).choice((1, -1), (2**16, len(means)))
    flipped = np.abs((signs * means).mean(axis=1))
    p = float((flipped >= abs(means.mean()) - 1e-12).mean())
    found = {"difference": float(means.mean()), "lower95": float(low), "upper95": float(high), "p": p}
    if comparisons > 1:
        rest = 2.5 / comparisons
        found |= dict(zip(("lower", "upper"), map(float, np.percentile(mine, [rest, 100 - rest])), strict=True))
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's corrected p values, in the given order."""
    order = np.argsort(p_values)
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def summary(
    rows: Sequence[dict[str, Any]], plots: dict[tuple[str, int], list[float]], base: str = "base"
) -> list[dict[str, Any]]:
    """Per row name: seeds, mean score, and what it keeps of the row `base` on the seeds that both have."""
    names = list(dict.fromkeys(row["name"] for row in rows))
    out = []
    for name in names:
        seeds = sorted(seed for known, seed in plots if known == name and (base, seed) in plots)
        if not seeds:
            continue
        scores = np.array([plots[name, seed] for seed in seeds])
        kept = kept_share(scores, np.array([plots[base, seed] for seed in seeds]))
        out.append({"name": name, "seeds": seeds, "mean": float(scores.mean()), "keeps": kept})
    return out
