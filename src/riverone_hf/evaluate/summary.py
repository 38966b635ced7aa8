"""What do the scores of many plots say? Means with 95 % intervals, over all plots and per family, and differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .entry_scores import LABELS, EntryScore
from .intervals import bootstrap_mean, wilson

NAMES = ("q1_enums", "q1", "q2", "q3", "q4", "q5", "q5_values", "q6", "mean", "overall")
Flat = Mapping[str, float | None]


def summarise(rows: Sequence[Flat]) -> dict[str, Any]:
    """{n, scores, ci95} in percent: Wilson for the labels q2, q4, q6, bootstrap over plots for the rest.

    The answers of a plot are not independent, so a mean over questions is resampled by plots. A name that some plot
    could not be scored on is None, except q5_values, which not every plot has.
    """
    scores: dict[str, float | None] = {}
    ci95: dict[str, list[float]] = {}
    for name in NAMES:
        values = [row.get(name) for row in rows]
        known = [value for value in values if value is not None]
        if not known or (len(known) < len(values) and name != "q5_values"):
            scores[name] = None
            continue
        scores[name] = sum(known) / len(known)
        if name in LABELS:
            ci95[name] = [100 * bound for bound in wilson(sum(known) / 100, len(known))]
        else:
            ci95[name] = list(bootstrap_mean(known))
    return {"n": len(rows), "scores": scores, "ci95": ci95}


def by_family(families: Sequence[str], rows: Sequence[Flat]) -> dict[str, dict[str, Any]]:
    """family -> `summarise` of its plots."""
    return {
        family: summarise([row for name, row in zip(families, rows, strict=True) if name == family])
        for family in sorted(set(families))
    }


def paired_difference(
    mine: Sequence[float], theirs: Sequence[float], seed: int = 0, draws: int = 2000
) -> tuple[float, float, float]:
    """(mean, low, high) of mine - theirs on the same plots, with a 95 % interval by bootstrap over plots."""
    gap = np.asarray(mine, dtype=float) - np.asarray(theirs, dtype=float)
    means = gap[np.random.default_rng(seed).integers(0, gap.size, (draws, gap.size))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(gap.mean()), float(low), float(high)


def confusion(scores: Sequence[EntryScore], question: str) -> tuple[list[str], list[str], list[list[int]]]:
    """(true labels, answered labels, counts[true][answered]) of q2, q4 or q6; an answer without label is "(none)"."""
    name = LABELS[question]
    pairs: Counter[tuple[str, str]] = Counter()
    for score in scores:
        found = score.detail["scores"].get(question.upper())
        if found:
            pairs[found[f"gt_{name}"] or "(none)", found[f"model_{name}"] or "(none)"] += 1
    frequent = Counter[str]()
    for (true, _), count in pairs.items():
        frequent[true] += count
    rows = [label for label, _ in frequent.most_common()]
    columns = rows + sorted({told for _, told in pairs} - set(rows))
    return rows, columns, [[pairs[true, told] for told in columns] for true in rows]
