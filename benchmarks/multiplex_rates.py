"""Which learning rate suits each generator of the sharing study? Chosen on validation plots of seed 0, then kept.

As docs/preregistration.md says: every method that trains generators is distilled at half of the blocks with each of
`CANDIDATES`, scored on validation plots only, and the rate with the highest mean is its own in `multiplex.py`, for both
fractions and all seeds. A finished (method, rate) is a file in results/rows and is skipped.

Run: python benchmarks/multiplex_rates.py --work DIR [--base 0=DIR] [--rows 'REGEX']
     [--validation 400] [--steps 400] [--out results/multiplex_rates.json]
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from study import Plots, bases_of, digests, finished, picked, results, run_rows, slug, study_parser, write

from multiplex import RATES, Study, with_generators
from riverone_hf.build import load_compress_spec
from riverone_hf.data import DATA_VERSION
from riverone_hf.reader.loading import load_model

CANDIDATES = (0.003, 0.01, 0.03)


def chosen(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Method -> the rate of its best row; only methods of which all candidates are finished."""
    best: dict[str, float] = {}
    for method in with_generators():
        found = [row for row in rows if row["method"] == method.name]
        if len(found) == len(CANDIDATES):
            best[method.name] = max(found, key=lambda row: row["scores"]["mean"])["generator_learning_rate"]
    return best


def main() -> None:
    parser = study_parser(__doc__.splitlines()[0], str(RATES))
    parser.add_argument("--validation", type=int, default=400)
    parser.add_argument("--recipe", type=Path, default=None, help="settings; default recipes/multiplex")
    parser.add_argument("--steps", type=int, default=0, help="instead of the recipe's")
    parser.add_argument("--batch-size", type=int, default=16)
    arguments = parser.parse_args()
    jobs = {f"{m.name} at {rate}": (m, rate) for m in with_generators() for rate in CANDIDATES}
    if arguments.list:
        print("\n".join(jobs))
        return
    bases = {seed: folder for seed, folder in bases_of(parser, arguments).items() if seed == 0}
    if not bases or arguments.work is None:
        parser.error("--work FOLDER and the base checkpoint of seed 0 are needed to run rows")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    spec = load_compress_spec(arguments.recipe)
    key = json.dumps([spec.model_dump(), arguments.steps, arguments.batch_size, arguments.validation, DATA_VERSION])
    settings, marks = zlib.crc32(key.encode()), digests(bases)
    studies: list[Study] = []
    work = arguments.work

    def make(name: str, seed: int) -> dict[str, Any]:
        method, rate = jobs[name]
        if not studies:
            families = tuple(load_model(bases[seed], device="cpu")[0].config.families)
            plots = Plots(families, arguments.validation, "validation")
            studies.append(Study(arguments, seed, bases[seed], plots, plots, {}))
        studies[0].rates = {method.name: rate}
        arguments.work = work / slug(name)
        row = studies[0].run("1/2", dataclasses.replace(method, validated=False))
        shutil.rmtree(arguments.work, ignore_errors=True)
        return {**row, "name": name, "method": method.name}

    def publish() -> None:
        rows = finished(arguments.out, settings, marks)
        write(arguments.out, results("python benchmarks/multiplex_rates.py --work DIR", rows, chosen=chosen(rows)))

    wanted = [(name, 0) for name in picked(jobs, arguments)]
    run_rows(wanted, make, (ValidationError,), arguments, settings, publish, bases=marks)


if __name__ == "__main__":
    main()
