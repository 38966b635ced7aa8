"""How is a set of scores shown? Rows of a results file, and a plain table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..data import DATA_VERSION
from .scoring import SCORES

_MEAN_OF = ("q1_enums", "q2", "q4", "q5", "q6")


def score_table(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of results rows: one line per row, scores in percent with their 95 % half-widths.

    Rows of an older simulator are called stale.
    """
    head = ["", "n", *SCORES, "mean"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [row["name"] + stale(row), str(row["n"])]
        for name in (*SCORES, "mean"):
            value, interval = row["scores"].get(name), row["ci95"].get(name)
            half = f" ± {(interval[1] - interval[0]) / 2:.1f}" if interval else ""
            cells.append("-" if value is None else f"{value:.1f}{half}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def stale(row: Mapping[str, Any]) -> str:
    """What to say behind the name of a results row: nothing, unless its plots are not those of this simulator."""
    version = row.get("data_version")
    return "" if version in (None, DATA_VERSION) else f" (stale: data version {version}, now {DATA_VERSION})"


def mean_score(scores: dict[str, float | None]) -> float:
    """The plain mean of q1_enums, q2, q4, q5 and q6 (not the benchmark's mean: Q3 and key points need a judge)."""
    values = [scores[name] for name in _MEAN_OF]
    return sum(value or 0.0 for value in values) / len(values)
