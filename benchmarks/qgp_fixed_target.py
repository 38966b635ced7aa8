"""Which method reaches which change of a weight, at an equal number of trained parameters? Writes results/qgp.json.

Rows that are there already (same name, seed, steps and size) are kept, so an interrupted run goes on.

Run: python benchmarks/qgp_fixed_target.py [--steps 150] [--seeds 3] [--size 32] [--out results/qgp.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from riverone_hf.build.run import commit
from riverone_hf.qgp.generator import draw
from riverone_hf.qgp.study import TARGETS, fit, make_target, study_methods


def run(out: Path, size: int, steps: int, seeds: int) -> dict[str, Any]:
    """All rows, each written as it is finished."""
    shape = (size, size)
    results = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {"rows": []}
    results |= {
        "command": f"python benchmarks/qgp_fixed_target.py --steps {steps} --seeds {seeds} --size {size}",
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} CPU cores, one used, {platform.machine()}",
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": version("numpy")},
    }
    done = {(row["name"], row["seed"], row.get("steps"), row.get("logical_params")) for row in results["rows"]}
    for seed in range(seeds):
        weight = draw(shape, 1000 + seed, size**-0.5)
        for target in TARGETS:
            goal = make_target(target, weight, 2000 + seed)
            for method, match in study_methods(shape).items():
                name = f"{method} on {target}"
                if (name, seed, steps, size * size) in done:
                    continue
                found = fit(match.config, weight, goal, steps, 3000 + seed)
                results["rows"].append(
                    {
                        "name": name,
                        "seed": seed,
                        "method": method,
                        "target": target,
                        "matched": match.matched,
                        "budget": match.budget,
                        "scores": {"explained": round(found.explained, 3)},
                        "rate": found.rate,
                        "n": size * size,
                        "ci95": None,
                        "commit": commit(),
                        "data_version": None,
                        "steps": steps,
                        "trained_params": match.trained,
                        "logical_params": size * size,
                        "bytes": 4 * size * size,
                        "bits_per_weight": 32.0,
                        "seconds": round(found.seconds, 3),
                    }
                )
                partial = out.with_suffix(".tmp")
                partial.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
                partial.replace(out)
    return results


def table(results: dict[str, Any]) -> str:
    """Mean explained change per method and target; `*` marks the best matched method of a target."""
    # The file may hold rows of other studies of the same topic.
    rows = [row for row in results["rows"] if "target" in row]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    scores = {
        (method, target): statistics.fmean(
            row["scores"]["explained"] for row in rows if (row["method"], row["target"]) == (method, target)
        )
        for method in methods
        for target in TARGETS
    }
    fits = {row["method"]: (row["matched"], row["trained_params"]) for row in rows}
    lines = ["| method | trained | matched | " + " | ".join(TARGETS) + " |", "|---" * (3 + len(TARGETS)) + "|"]
    best = {target: max((scores[m, target], m) for m in methods if fits[m][0])[1] for target in TARGETS}
    for method in methods:
        cells = [f"{scores[method, t]:.1f}{'*' if best[t] == method else ''}" for t in TARGETS]
        lines.append(f"| {method} | {fits[method][1]} | {'yes' if fits[method][0] else 'no'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("results/qgp.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(table(run(arguments.out, arguments.size, arguments.steps, arguments.seeds)))


if __name__ == "__main__":
    main()
