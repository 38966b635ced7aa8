"""What do the rows of the sharing study say about the preregistered question? See docs/preregistration.md."""

from __future__ import annotations

from typing import Any

import numpy as np
from paired import holm, paired_difference, recovered_share

FRACTIONS = {"1/2": 1 / 2, "1/3": 1 / 3, "1/6": 1 / 6}
CLASSICAL = {
    "kronecker": {"method": "kronecker"},
    "bit mask": {"method": "bit_mask"},
    "elementwise MLP": {"method": "mlp"},
    "LoRA, frozen factors": {"method": "lora", "frozen_factors": True},
}
"""Classical generators that can be sized to the circuit's number of trained parameters."""
SEEDS = 3
"""All rows have seeds 0, 1, ... below; the contested cell has more."""
CONTROLS = {
    "shared weights": ("control: blocks dropped", "control: small tower from scratch"),
    "qgp": ("qgp, angles frozen", "qgp, angles reset", "qgp without entangler", "shared weights, q/k/v frozen"),
}
"""What must lose if sharing, or the circuit, is the reason."""
CIRCUIT, NOTHING, CEILING = "qgp", "shared weights, q/k/v frozen", "q/k/v unshared"


def plots_of(rows: list[dict[str, Any]], *names: str, below: int | None = None) -> tuple[list[int], list[np.ndarray]]:
    """Seeds (all, or those `below`) that every named row has, and each row's scores (seeds, plots) on them."""
    tables = [{row["seed"]: row["per_plot"] for row in rows if row["name"] == name} for name in names]
    seeds = sorted(seed for seed in set.intersection(*map(set, tables)) if below is None or seed < below)
    return seeds, [np.array([table[seed] for seed in seeds]) for table in tables]


def compared(
    rows: list[dict[str, Any]],
    pairs: list[tuple[str, str]],
    below: int | None = None,
    least: int = 1,
    comparisons: int | None = None,
) -> list[dict[str, Any]]:
    """Paired differences of the pairs that have at least `least` seeds in common, Holm-corrected among themselves.

    "lower" and "upper" hold for that many `comparisons` at once, by default for those that are found.
    """
    found = [(pair, *plots_of(rows, *pair, below=below)) for pair in pairs]
    found = [item for item in found if len(item[1]) >= least]
    count = comparisons or len(found)
    out = [
        {"comparison": list(pair), "seeds": seeds, **paired_difference(first, second, comparisons=count)}
        for pair, seeds, (first, second) in found
    ]
    for row, p in zip(out, holm([row["p"] for row in out]), strict=True):
        row["p_holm"] = p
    return out


def matched(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The circuit against every classical method of its size, seeds 0-2, per fraction."""
    out = []
    for fraction in FRACTIONS:
        names = [f"{fraction} {name}" for name in CLASSICAL if any(_sized(row, f"{fraction} {name}") for row in rows)]
        out += compared(rows, [(f"{fraction} {CIRCUIT}", name) for name in names], below=SEEDS)
    return out


def _sized(row: dict[str, Any], name: str) -> bool:
    """Whether this is a row of `name` with the circuit's number of trained parameters, within 5 %."""
    return bool(row["name"] == name and row["matched"]["within_5_percent"])


def recovered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What generators give back of what frozen, shared q/k/v lose against unshared ones, seeds 0-2."""
    out = []
    for fraction in FRACTIONS:
        for name in (CIRCUIT, "qgp without entangler", "qgp with row_col", "row_col", *CLASSICAL, "LoRA, rank 1"):
            names = [f"{fraction} {part}" for part in (name, NOTHING, CEILING)]
            seeds, plots = plots_of(rows, *names, below=SEEDS)
            if seeds:
                out.append({"name": names[0], "seeds": seeds, **recovered_share(*plots)})
    return out


def controls(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sharing against dropped blocks and a small tower, the circuit against what it is without learning; seeds 0-2."""
    out = []
    for fraction in FRACTIONS:
        for name, rivals in CONTROLS.items():
            out += compared(rows, [(f"{fraction} {name}", f"{fraction} {rival}") for rival in rivals], below=SEEDS)
    return out


def contested(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The circuit against the classical method that was best on validation (seeds 0-2), on all seeds, per fraction."""
    best = {fraction: best_classical(rows, fraction) for fraction in FRACTIONS}
    pairs = [(f"{fraction} {CIRCUIT}", name) for fraction, name in best.items() if name]
    # As preregistered: all fractions count, also those that are not run yet.
    return compared(rows, pairs, least=2, comparisons=len(FRACTIONS))


def best_classical(rows: list[dict[str, Any]], fraction: str) -> str | None:
    """Name of the classical row of the circuit's size with the highest mean on validation over seeds 0-2."""
    means: dict[str, list[float]] = {}
    names = [f"{fraction} {name}" for name in CLASSICAL]
    for row in rows:
        if row["name"] in names and _sized(row, row["name"]) and row["seed"] < SEEDS:
            means.setdefault(row["name"], []).append(row["validation_mean"])
    return max(means, key=lambda name: float(np.mean(means[name]))) if means else None
