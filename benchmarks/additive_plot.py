"""Draw results/additive.json: bits per weight against the mean score, tuned and not, with 95 % intervals.

Run: python benchmarks/additive_plot.py [--results results/additive.json] [--out docs/img/additive.png]
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
METHODS = {"rtn": "round to nearest", "gptq": "GPTQ", "hqq": "HQQ", "dense": "narrower dense model"}
TUNED = (", PV", ", tuned")


def curves(content: dict[str, Any]) -> dict[tuple[str, bool], list[tuple[float, float, float, float]]]:
    """(method, tuned?) -> (bits per weight, mean, lower and upper end of its interval), by rising bits.

    Means are over seeds; so are the interval's ends: they speak of the plots, not of other seeds.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in content["rows"]:
        if row["name"] not in ("base", "reference"):
            rows.setdefault(row["name"], []).append(row)
    found: dict[tuple[str, bool], list[tuple[float, float, float, float]]] = {}
    for name, members in rows.items():
        bits, mean = (_mean(members, *path) for path in (("bits_per_weight",), ("scores", "mean")))
        low, high = (sum(row["ci95"]["mean"][end] for row in members) / len(members) for end in (0, 1))
        # Names of our rows begin with a scheme.
        method = METHODS.get(name.replace(",", " ").split()[0], "codebooks (ours)")
        found.setdefault((method, name.endswith(TUNED)), []).append((bits, mean, low, high))
    return {key: sorted(points) for key, points in found.items()}


def _mean(rows: list[dict[str, Any]], *path: str) -> float:
    total = 0.0
    for row in rows:
        value: Any = row
        for key in path:
            value = value[key]
        total += value
    return total / len(rows)


def draw(content: dict[str, Any], out: Path) -> None:
    """Write the picture. Raises SystemExit when the file has no row to draw."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = curves(content)
    if not lines:
        raise SystemExit("no finished row to draw. Remedy: run benchmarks/additive_study.py first")
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    colours = dict(zip(["codebooks (ours)", *METHODS.values()], pyplot.get_cmap("tab10").colors))
    for (method, tuned), points in sorted(lines.items()):
        bits, means, lows, highs = zip(*points)
        bars = [[m - low for m, low in zip(means, lows)], [high - m for m, high in zip(means, highs)]]
        label = f"{method}, {'tuned' if tuned else 'as coded'}"
        style: dict[str, Any] = {"color": colours[method], "linestyle": "-" if tuned else ":", "capsize": 2}
        axes.errorbar(bits, means, yerr=bars, marker="o" if tuned else "x", label=label, **style)
    for name, style in (("reference", "--"), ("base", "-.")):
        rows = [row for row in content["rows"] if row["name"] == name]
        if rows:
            text = f"uncompressed{', same extra steps' if name == 'reference' else ''}"
            axes.axhline(_mean(rows, "scores", "mean"), color="black", linewidth=0.8, linestyle=style, label=text)
    counts = Counter(row["name"] for row in content["rows"]).values()
    seeds = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else str(max(counts))
    plots = max(row["n"] for row in content["rows"])
    axes.set_xlabel("bits per weight of the language model's Linears, all bytes counted")
    axes.set_ylabel("mean of q1_enums, q2, q4, q5, q6 (%)")
    axes.set_title(
        f"Mean of {seeds} seed{'s' * (max(counts) > 1)}, {plots} simulated plots each, 95 % intervals over plots"
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "additive.json")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "img" / "additive.png")
    arguments = parser.parse_args()
    draw(json.loads(arguments.results.read_text(encoding="utf-8")), arguments.out)


if __name__ == "__main__":
    main()
