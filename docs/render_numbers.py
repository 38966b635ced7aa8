"""Render the README's numbers from results/base.json (the model inside the package) and results/nano.json.

python docs/render_numbers.py [--check]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from riverone_hf.evaluate import score_table

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- numbers: rendered from results/base.json and results/nano.json -->", "<!-- end of numbers -->"


def _part(name: str, head: str) -> str:
    """Head, table and origin of one results file."""
    results: dict[str, Any] = json.loads((ROOT / "results" / name).read_text(encoding="utf-8"))
    first = results["rows"][0]
    return (
        f"{head}\n\n{score_table(results['rows'])}\n\n`{results['command']}`, {results['date']}, {results['machine']}, "
        f"seed {first['seed']}, {first['seconds'] / 60:.0f} minutes of training."
    )


def rendered(readme: str) -> str:
    """The README with the text between the two marks replaced by what the results files say."""
    parts = [
        _part("base.json", "The model inside the package, all 22 families:"),
        _part("nano.json", "The `nano` recipe, six families:"),
        "Percent, with the half-width of the 95 % interval; `q5_values` are the parameters that have a value at all; "
        "`mean` is that of q1_enums, q2, q4, q5 and q6, not the benchmark's.",
    ]
    head, rest = readme.split(START)
    return "\n\n".join([f"{head}{START}", *parts, END]) + rest.split(END)[1]


if __name__ == "__main__":
    path = ROOT / "README.md"
    new = rendered(path.read_text(encoding="utf-8"))
    if "--check" in sys.argv:
        sys.exit(new != path.read_text(encoding="utf-8") and "README.md is stale: run python docs/render_numbers.py")
    path.write_text(new, encoding="utf-8")
