"""Which learning rates, and P steps with or without V steps, for the rows of `additive_study.py`?

Validation plots of seed 0, a hundred steps. One row of ours and one of whole numbers stand for all: three rates of
codebooks and scales, and P steps alone at the best of them; three rates of the weights behind whole numbers. `chosen`
in the results file are the best values by the mean score; they are the defaults of the study.

Run: python benchmarks/additive_rates.py [--out results/additive_rates.json] [--plots 400] [--threads 1] [--list]
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from typing import Any

import torch
from additive_study import BATCH, PV, Study, Tuning, rows
from study import Plots, bases_of, digests, finished, picked, results, run_rows, study_parser, write

from riverone_hf.data import DATA_VERSION
from riverone_hf.reader.loading import load_model

OURS, WHOLE = "2x5g8 shared, attention 2x6g8, PV", "rtn 2 bits, tuned"
CODEBOOKS, LATENT = (0.001, 0.003, 0.01), (0.0003, 0.001, 0.003)
P_ONLY = "P steps only"
STEPS = 100


def jobs() -> dict[str, tuple[str, dict[str, float]]]:
    """Row name -> (row of the study, changed rates)."""
    found: dict[str, tuple[str, dict[str, float]]] = {
        f"codebooks and scales at {rate}": (OURS, {"codebooks": rate, "scales": rate}) for rate in CODEBOOKS
    }
    return found | {f"latent weights at {rate}": (WHOLE, {"latent": rate}) for rate in LATENT}


def chosen(done: list[dict[str, Any]]) -> dict[str, Any]:
    """The best values by mean score, as far as all that compete are finished."""
    mean = {row["name"]: row["scores"]["mean"] for row in done}
    best: dict[str, Any] = {}
    for kind in ("codebooks", "latent"):
        names = {name: changes[kind] for name, (_, changes) in jobs().items() if kind in changes}
        if names.keys() <= mean.keys():
            best[kind] = names[max(names, key=lambda name: mean[name])]
    if P_ONLY in mean and "codebooks" in best:
        best["v_steps"] = PV.v_steps if mean[f"codebooks and scales at {best['codebooks']}"] >= mean[P_ONLY] else 0
    return best


def main() -> None:
    parser = study_parser(__doc__.splitlines()[0], "results/additive_rates.json", work=False)
    parser.set_defaults(plots=400)
    arguments = parser.parse_args()
    names = [*jobs(), P_ONLY]
    if arguments.list:
        print("\n".join(names))
        return
    bases = {seed: folder for seed, folder in bases_of(parser, arguments).items() if seed == 0}
    if not bases:
        parser.error("the base checkpoint of seed 0 is needed")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    tuning, every = Tuning(steps=STEPS), {row.name: row for row in rows()}
    key = json.dumps([dataclasses.asdict(tuning), dataclasses.asdict(PV), arguments.plots, DATA_VERSION])
    settings, marks = zlib.crc32(key.encode()), digests(bases)
    studies: list[Study] = []

    def make(name: str, seed: int) -> dict[str, Any]:
        if not studies:
            families = tuple(load_model(bases[seed], device="cpu")[0].config.families)
            validation = Plots(families, arguments.plots, "validation", BATCH)
            studies.append(Study(tuning, PV, seed, bases[seed], validation, "validation"))
        study, pv = studies[0], PV
        if name == P_ONLY:
            best = chosen(finished(arguments.out, settings, marks))["codebooks"]
            row, changes, pv = OURS, {"codebooks": best, "scales": best}, dataclasses.replace(PV, v_steps=0)
        else:
            row, changes = jobs()[name]
        study.tuning, study.pv = dataclasses.replace(tuning, **changes), pv
        return {**study.run(every[row]), "name": name, "row": row, "rates": changes}

    def publish() -> None:
        done = finished(arguments.out, settings, marks)
        write(arguments.out, results("python benchmarks/additive_rates.py", done, chosen=chosen(done)))

    wanted = [(name, 0) for name in picked(names, arguments)]
    run_rows(wanted, make, (ImportError,), arguments, settings, publish, bases=marks)


if __name__ == "__main__":
    main()
