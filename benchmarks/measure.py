"""What does a finished model score by the last stage of a recipe? For a model that several commands have trained.

Writes the rows that `riverone build` would have written, with the commands that made the model, to the results file
and into the model's own folder and card.

Run: python benchmarks/measure.py MODEL --recipe base --out results/base.json --made-by 'COMMAND' --seconds N --steps N
     [KEY=VALUE]...    # of the recipe, as for `riverone build`
"""

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path

from riverone_hf.build import load_recipe
from riverone_hf.build.measure import measure
from riverone_hf.build.progress import StageProgress
from riverone_hf.build.run import machine, versions, write_json
from riverone_hf.hub import model_card
from riverone_hf.reader.loading import load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--recipe", required=True, help="whose evaluate stage is run")
    parser.add_argument("--out", type=Path, required=True, help="the results file")
    parser.add_argument("--made-by", required=True, help="the commands that trained the model")
    parser.add_argument("--seconds", type=float, required=True, help="of training")
    parser.add_argument("--steps", type=int, required=True, help="of all training stages")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="recipe values to change")
    # Recipe values may stand anywhere between the options.
    arguments = parser.parse_intermixed_args()
    plan = load_recipe(arguments.recipe, arguments.overrides)
    model, processor = load_model(str(arguments.model), device="cpu")
    with StageProgress() as progress:
        rows = measure(model, processor, plan, progress, arguments.seconds)
    for row in rows:
        if row["steps"] is not None:
            row["steps"] = arguments.steps
    results = {
        "command": arguments.made_by,
        "date": date.today().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "use": plan.model.use,
        "rows": rows,
    }
    write_json(arguments.out, results)
    write_json(arguments.model / "metrics.json", results)
    model_card(arguments.model).save(arguments.model / "README.md")
    print(json.dumps({row["name"]: row["scores"] for row in rows}, indent=1))


if __name__ == "__main__":
    main()
