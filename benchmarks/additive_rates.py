"""Which learning rates and V steps for the rows of `additive_study.py`? Chosen by perplexity on validation plots.

A hundred steps on seed 0. Four rows stand for all: the uncompressed model, two of ours, one of whole numbers. Every
setting is chosen at the best of those before it; what competes is compared by the mean log-perplexity of the answers
over the rows it is tried on. `chosen` in the results file are the best values: the study's defaults.

Run: python benchmarks/additive_rates.py [--out results/additive_rates.json] [--rows 'REGEX'] [--threads 1] [--list]

With --rows, processes can share the work; one whose next settings need rows of others stops, and is run again then.
"""

from __future__ import annotations

import dataclasses
import json
import math
import zlib
from collections.abc import Sequence
from typing import Any

import torch
from additive_study import BATCH, PV, Study, Tuning, rows
from study import Plots, bases_of, digests, finished, picked, results, run_rows, study_parser, write

from riverone_hf import additive
from riverone_hf.data import DATA_VERSION
from riverone_hf.reader.loading import load_model

STEPS = 100
WHOLE, PLAIN = "rtn 2 bits, tuned", "reference"
OURS = ("2x8g8 shared, PV", "2x5g8 shared, attention 2x6g8, PV")
"""Those that the study's aims speak of, 2.2 and 1.5 bits."""
Settings = dict[str, float]
START: Settings = {"text": 3e-3, "dense": 1e-3, "codebooks": 3e-3, "v_steps": 0, "latent": 3e-3, "grid": 3e-3}
"""Where each setting stands before it is chosen."""
MOVES = ("v_steps", "v_lr", "fraction")
"""Settings of V steps, which stand where `additive.PVConfig` has them when nothing else is said."""
READS = {WHOLE: ("text", "latent", "grid"), PLAIN: ("text", "dense")} | dict.fromkeys(
    OURS, ("text", "codebooks", *MOVES)
)
"""The settings that a row depends on."""
STAGES: list[tuple[str, Sequence[str], Sequence[str], list[Settings]]] = [
    # What is chosen, what must be chosen before it, the rows it is tried on, and what competes.
    ("text", (), (PLAIN, *OURS, WHOLE), [{"text": rate} for rate in (0.001, 0.003, 0.01)]),
    ("dense", ("text",), (PLAIN,), [{"dense": rate} for rate in (0.0003, 0.001, 0.003)]),
    ("codebooks", ("text",), OURS, [{"codebooks": rate} for rate in (0.001, 0.003, 0.01)]),
    ("V steps", ("codebooks",), OURS, [{"v_steps": 0}, {"v_steps": 1}, {"v_steps": 1, "v_lr": 0.3}]),
    ("latent", ("text",), (WHOLE,), [{"latent": rate} for rate in (0.001, 0.003, 0.01)]),
    ("grid", ("latent",), (WHOLE,), [{"grid": rate} for rate in (0.001, 0.003, 0.01)]),
]


def name_of(row: str, settings: Settings) -> str:
    """Name of a run: the study's row and what it depends on, equal for equal runs of two stages."""
    read = {key: value for key, value in settings.items() if key in READS[row]}
    return f"{row}; " + ", ".join(f"{key} {value:g}" for key, value in read.items())


def walk(perplexity: dict[str, float]) -> tuple[dict[str, tuple[str, Settings]], Settings]:
    """(all runs whose settings are known by now: name -> (row, settings), what is chosen by now).

    `perplexity` is that of the finished runs, by name. Later stages stand on the best of earlier ones, so their runs
    are only known when those are finished.
    """
    runs: dict[str, tuple[str, Settings]] = {}
    chosen: Settings = {}
    for _, needed, tried_on, candidates in STAGES:
        if not chosen.keys() >= set(needed):
            continue
        scores: list[tuple[float, Settings]] = []
        for candidate in candidates:
            names = {name_of(row, START | chosen | candidate): row for row in tried_on}
            runs |= {name: (row, START | chosen | candidate) for name, row in names.items()}
            if names.keys() <= perplexity.keys():
                scores.append((sum(math.log(perplexity[name]) for name in names), candidate))
        if len(scores) == len(candidates):
            chosen |= min(scores, key=lambda pair: pair[0])[1]
    return runs, chosen


def main() -> None:
    parser = study_parser(__doc__.splitlines()[0], "results/additive_rates.json", work=False)
    parser.set_defaults(plots=48)
    arguments = parser.parse_args()
    bases = {seed: folder for seed, folder in bases_of(parser, arguments).items() if seed == 0}
    if not bases:
        parser.error("the base checkpoint of seed 0 is needed")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    tuning, every = Tuning(steps=STEPS), {row.name: row for row in rows()}
    fixed = {key: value for key, value in dataclasses.asdict(tuning).items() if key not in (*START, "scales")}
    settings = zlib.crc32(json.dumps([fixed, arguments.plots, DATA_VERSION]).encode())
    marks = digests(bases)
    studies: list[Study] = []

    def progress() -> tuple[dict[str, tuple[str, Settings]], Settings]:
        return walk({row["name"]: row["perplexity"] for row in finished(arguments.out, settings, marks)})

    def make(name: str, seed: int) -> dict[str, Any]:
        if not studies:
            families = tuple(load_model(bases[seed], device="cpu")[0].config.families)
            validation = Plots(families, arguments.plots, "validation", BATCH)
            studies.append(Study(tuning, PV, seed, bases[seed], validation, "validation"))
        row, changes = progress()[0][name]
        moves = {key: value for key, value in changes.items() if key in MOVES}
        rates = {key: value for key, value in changes.items() if key not in MOVES} | {"scales": changes["codebooks"]}
        studies[0].tuning = dataclasses.replace(tuning, **rates)
        studies[0].pv = additive.PVConfig(**moves)
        return {**studies[0].run(every[row]), "name": name, "row": row}

    def publish() -> None:
        done = finished(arguments.out, settings, marks)
        write(arguments.out, results("python benchmarks/additive_rates.py", done, chosen=progress()[1]))

    if arguments.list:
        print("\n".join(progress()[0]))
        return
    before: set[str] = set()
    while new := set(picked(progress()[0], arguments)) - before:
        run_rows([(name, 0) for name in sorted(new)], make, (), arguments, settings, publish, bases=marks)
        before |= new


if __name__ == "__main__":
    main()
