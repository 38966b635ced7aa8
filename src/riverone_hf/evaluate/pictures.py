"""What is seen at a glance? Scores beside the references, and confusion matrices, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .entry_scores import EntryScore
from .page import TITLES
from .summary import confusion

COLOURS = ("#14508c", "#d9d9d9", "#bfbfbf", "#a6a6a6", "#8c8c8c", "#737373", "#e8a33d", "#7fb069")
"""The model, what does not look (grey), and what reads the vision tower."""
BARS = ("q2", "q4", "q5", "q6", "mean")


def draw_pictures(rows: Sequence[dict[str, Any]], scores: Sequence[EntryScore], out: Path) -> list[tuple[str, str]]:
    """(title, file name) of the PNGs written into `out`; none without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return []
    drawn = [("Scores beside the references", "scores.png")]
    # The second row is the model again, by the other rules.
    _save(_bars(Figure, [rows[0], *rows[2:]]), out / "scores.png")
    for question in ("q2", "q4", "q6"):
        labels = confusion(scores, question)
        if labels[0]:
            drawn.append((f"{TITLES[question]}: true and answered", f"confusion_{question}.png"))
            _save(_matrix(Figure, *labels, TITLES[question]), out / drawn[-1][1])
    return drawn


def _save(figure: Any, path: Path) -> None:
    partial = path.with_name(f".{path.stem}.tmp.png")
    figure.savefig(partial, dpi=110)
    partial.replace(path)


def _bars(kind: Any, rows: Sequence[dict[str, Any]]) -> Any:
    names = [name for name in BARS if rows[0]["scores"].get(name) is not None]
    figure = kind(figsize=(1.9 * len(names) + 2, 4.2), layout="constrained")
    axes = figure.subplots()
    width = 0.85 / len(rows)
    for place, row in enumerate(rows):
        known = [(at, name) for at, name in enumerate(names) if row["scores"].get(name) is not None]
        values = [row["scores"][name] for _, name in known]
        bounds = [row["ci95"][name] for _, name in known]
        error = [
            [max(0.0, value - low) for value, (low, _) in zip(values, bounds, strict=True)],
            [max(0.0, high - value) for value, (_, high) in zip(values, bounds, strict=True)],
        ]
        axes.bar(
            [at + (place - (len(rows) - 1) / 2) * width for at, _ in known],
            values,
            width,
            yerr=error,
            label=row["name"],
            color=COLOURS[place % len(COLOURS)],
            error_kw={"linewidth": 0.8},
        )
    axes.set_xticks(range(len(names)), [TITLES[name] for name in names])
    axes.set_ylim(0, 100)
    axes.set_ylabel("percent")
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize=7, frameon=False)
    return figure


def _matrix(kind: Any, rows: list[str], columns: list[str], counts: list[list[int]], title: str) -> Any:
    figure = kind(figsize=(2.2 + 0.5 * len(columns), 1.8 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for y, row in enumerate(counts):
        for x, count in enumerate(row):
            if count:
                axes.text(x, y, count, ha="center", va="center", fontsize=7, color="w" if shares[y][x] > 0.6 else "k")
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", fontsize=7)
    axes.set_yticks(range(len(rows)), rows, fontsize=7)
    axes.set_xlabel("answered")
    axes.set_ylabel("true")
    axes.set_title(title, fontsize=9)
    return figure
