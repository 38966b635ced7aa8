"""Render the README's numbers from results/base.json (the model inside the package), results/nano.json,
results/multiplex.json, results/multiplex_deep.json, results/additive.json and results/benchmark_additive.json.

python docs/render_numbers.py [--check]
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

from riverone_hf.evaluate import score_table

ROOT = Path(__file__).resolve().parents[1]
END = "<!-- end of numbers -->"
KEPT = {
    "no recovery": "shared, not distilled",
    "shared weights": "shared and distilled, as above",
    "qgp": "the same, circuits generate q/k/v from frozen ones",
    "q/k/v unshared": "the same, every layer its own q/k/v",
    "control: blocks dropped": "other layers dropped, the rest distilled",
}
"""Rows of the sharing studies that the README tells, and how it calls them."""


TUNED = (", PV", ", tuned")
CODED = {
    "1x8g8 shared": "codebooks, one of 8 bits for 8 weights",
    "2x5g8 shared, attention 2x6g8": "codebooks, two of 5 bits for 8 weights (attention 6)",
    "2x8g8 shared": "codebooks, two of 8 bits for 8 weights",
    "2x6g4 shared": "codebooks, two of 6 bits for 4 weights",
    "2x8g4 shared": "codebooks, two of 8 bits for 4 weights",
    "rtn 2 bits": "whole numbers, 2 bits, rounded",
    "gptq 2 bits": "whole numbers, 2 bits, GPTQ",
    "hqq 2 bits": "whole numbers, 2 bits, HQQ",
    "rtn 3 bits": "whole numbers, 3 bits, rounded",
    "gptq 3 bits": "whole numbers, 3 bits, GPTQ",
    "hqq 3 bits": "whole numbers, 3 bits, HQQ",
    "rtn 4 bits": "whole numbers, 4 bits, rounded",
    "gptq 4 bits": "whole numbers, 4 bits, GPTQ",
    "hqq 4 bits": "whole numbers, 4 bits, HQQ",
    "dense, the bytes of 2 bits": "narrower dense model",
    "dense, the bytes of 3 bits": "narrower dense model",
    "dense, the bytes of 4 bits": "narrower dense model",
}
"""Rows of the studies of codebooks that the README tells, tuned and not, and how it calls them."""


def _read(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "results" / name).read_text(encoding="utf-8"))


def _part(name: str, head: str) -> str:
    """Head, table and origin of one results file."""
    results = _read(name)
    first = results["rows"][0]
    return (
        f"{head}\n\n{score_table(results['rows'])}\n\n`{results['command']}`, {results['date']}, {results['machine']}, "
        f"seed {first['seed']}, {first['seconds'] / 60:.0f} minutes of training."
    )


def scores() -> str:
    """Tables of the models that are shipped or whose recipe is."""
    return "\n\n".join(
        [
            _part("base.json", "The model inside the package, all 22 families:"),
            _part("nano.json", "The `nano` recipe, six families:"),
            "Percent, with the half-width of the 95 % interval; `q5_values` are the parameters that have a value at "
            "all; `mean` is that of q1_enums, q2, q4, q5 and q6, not the benchmark's.",
        ]
    )


def kept(study: str) -> str:
    """How much of the scores is left when blocks are shared, with intervals; rows that the study has."""
    results = _read(study)
    found = {row["name"]: row["keeps"] for row in results["summary"]}
    shared = [row for row in results["rows"] if "layer_map" in row]
    sizes = {row["name"].split()[0]: f"{row['stored_blocks']} of {len(row['layer_map'])} blocks" for row in shared}
    lines = [f"| percent kept | {' | '.join(sizes.values())} |", "|---|" + "---|" * len(sizes)]
    for name, told in KEPT.items():
        names = [f"{fraction} {name}" for fraction in sizes]
        if present := [row for row in names if row in found]:
            cells = [_share(found[row]) if row in found else "-" for row in names]
            told += _seeds(results, present, "base")
            lines.append(f"| {told} | {' | '.join(cells)} |")
    return "\n".join(lines) + _origin(results, "base")


def _seeds(results: dict[str, Any], names: list[str], base: str) -> str:
    """Told behind rows of which one has other seeds than the base."""
    seeds = {row["name"]: row["seeds"] for row in results["summary"]}
    other = next((seeds[name] for name in names if seeds[name] != seeds[base]), [])
    return f" (seed{'s' * (len(other) > 1)} {', '.join(map(str, other))})" if other else ""


def _share(keeps: dict[str, float]) -> str:
    ratio, low, high = (100 * keeps[key] for key in ("ratio", "lower95", "upper95"))
    return f"{ratio:.1f} ({low:.1f} to {high:.1f})"


def _origin(results: dict[str, Any], base: str) -> str:
    """Where the numbers of a study come from; `base` is the row that all others are compared with."""
    seeds = next(row["seeds"] for row in results["summary"] if row["name"] == base)
    told = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    made = f"`{results['command']}`, {results['date']}, {results['machine']}, {told}"
    return f"\n\n{made}, {results['rows'][0]['n']} simulated plots each; 95 % intervals."


def coded(study: str) -> str:
    """How much of the tuned uncompressed model's score is left in codebooks and in whole numbers, by size."""
    results = _read(study)
    found = {row["name"]: row["keeps"] for row in results["summary"]}
    bits = {row["name"]: row["bits_per_weight"] for row in results["rows"]}
    lines = ["| percent kept | bits per weight | as coded | tuned |", "|---|---|---|---|"]
    told = []
    for name, words in CODED.items():
        both = [next((n for n in (name + end for end in ends) if n in found), None) for ends in (("",), TUNED)]
        if present := [n for n in both if n]:
            cells = [_share(found[n]) if n else "-" for n in both]
            words += _seeds(results, present, "reference")
            told.append((bits[present[0]], f"| {words} | {bits[present[0]]:.2f} | {' | '.join(cells)} |"))
    return "\n".join(lines + [line for _, line in sorted(told)]) + _origin(results, "reference")


def sooner() -> str:
    """The layer engine beside the reference algorithm, a line for each layer that was measured."""
    results = _read("benchmark_additive.json")
    lines = [
        "| layer, scheme, tokens, engine | AQLM's algorithm | same error after | `default` | its error | held-out |",
        "|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        reference, ours = row["reference"], row["default"]
        size, stopped = row["size"], ", stopped" if reference["unfinished"] else ""
        engine = {"torch": "PyTorch alone"}.get(row["kernel"], row["kernel"])
        error, held_out = (ours[key] / reference[key] for key in ("error", "held_out"))
        lines.append(
            f"| {size} x {size}, {row['scheme']}, {row['tokens']}, {engine} | {reference['seconds']:.0f} s{stopped} "
            f"| {row['seconds_to_reference']:.2f} s, 1/{row['times_sooner']:.0f} "
            f"| {ours['seconds']:.1f} s, 1/{reference['seconds'] / ours['seconds']:.0f} "
            f"| {error:.2f} | {held_out:.2f} |"
        )
    last = results["rows"][-1]
    made = f"`{results['command']}`, {last['date']}, {last['machine']}, {last['clock']}"
    return "\n".join(lines) + f"\n\n{made}; errors as shares of AQLM's."


PARTS = {
    "results/base.json and results/nano.json": scores,
    "results/multiplex.json": functools.partial(kept, "multiplex.json"),
    "results/multiplex_deep.json": functools.partial(kept, "multiplex_deep.json"),
    "results/benchmark_additive.json": sooner,
    "results/additive.json": functools.partial(coded, "additive.json"),
    "results/additive_constrained.json": functools.partial(coded, "additive_constrained.json"),
}
"""What a mark names -> the text that follows it."""


def rendered(readme: str) -> str:
    """The README with the text after each mark replaced by what the results files say."""
    for source, text in PARTS.items():
        start = f"<!-- numbers: rendered from {source} -->"
        head, rest = readme.split(start)
        readme = "\n\n".join([f"{head}{start}", text(), END]) + rest.split(END, 1)[1]
    return readme


if __name__ == "__main__":
    path = ROOT / "README.md"
    new = rendered(path.read_text(encoding="utf-8"))
    if "--check" in sys.argv:
        sys.exit(new != path.read_text(encoding="utf-8") and "README.md is stale: run python docs/render_numbers.py")
    path.write_text(new, encoding="utf-8")
