"""What do the in-context phase and preference training add to zero-shot fine-tuning, and what do they cost?

For every seed three models of one recipe: zero-shot fine-tuning alone (no solved example is ever seen), with the
in-context phase before it (and the recipe's share of examples in it), and with MPO behind that. The last is the base
checkpoint of the other studies; it is left in WORK/base-SEED, as `riverone build` would write it. Each is asked in
short prompts, in full prompts and behind solved examples. A stage that rows share (tokenizer, warm-up, both
fine-tunings before MPO) runs once. A finished stage or (row, seed) pair is skipped, a killed one goes on.

Run: python benchmarks/training.py --work WORK [--out results/training.json] [--seed 0 --seed 1 --seed 2]
     [--recipe base] [--base SEED=DIR] [--rows 'REGEX'] [--plots 800] [--form-plots 220] [--minutes 60] [--list]
     [KEY=VALUE]...    # of the recipe, as for `riverone build`
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from paired import paired_difference
from study import ASKED, Plots, finished, picked, results, run_rows, study_parser, write

from riverone_hf import multiplex
from riverone_hf.build import PlotBatches, Recipe, load_recipe
from riverone_hf.build.forms import SHOWN, full_form_scores, in_context_scores
from riverone_hf.build.measure import blank_answers, majority_answers
from riverone_hf.build.progress import StageProgress
from riverone_hf.build.run import STATE, finish_build, saved_dtype
from riverone_hf.build.shared_stages import FinishedStage, run_shared
from riverone_hf.data import DATA_VERSION, InContextSource, PlotSource
from riverone_hf.errors import BuildError
from riverone_hf.evaluate.references import shuffled_answers
from riverone_hf.reader.generate import Answerer
from riverone_hf.reader.loading import load_model

ALONE, SHOWN_FIRST, PREFERRED = "zero-shot SFT alone", "+ in-context phase", "+ MPO"
NAMES = (ALONE, SHOWN_FIRST, PREFERRED)
FORMS = {"full_prompts": "full prompts", "in_context": "in context"}
LIMIT = 3600
POOL = 32
"""Plots of a family that solved examples are taken from."""


class Asked(NamedTuple):
    """What `shuffled_answers` must know of a plot."""

    family: str
    images: list[Any]


def plan_of(plan: Recipe, name: str) -> Recipe:
    """The stages of a row of a seed's recipe."""
    if name == PREFERRED:
        return plan
    assert plan.sft is not None
    alone = {"sft_icl": None, "sft": plan.sft.model_copy(update={"in_context": None})} if name == ALONE else {}
    return plan.model_copy(update={"mpo": None, **alone})


def trainings(plan: Recipe) -> dict[str, Any]:
    """What decides the trained model: everything but how it is evaluated and what is said about it."""
    said = plan.model_dump(exclude_none=True, exclude={"evaluate"})
    return said | {"model": {key: value for key, value in said["model"].items() if key not in ("use", "status")}}


def trained_alike(plan: Recipe, folder: Path) -> bool:
    """Whether a finished build is this recipe's, with the same seed and values."""
    built = Recipe.model_validate(json.loads((folder / STATE).read_text(encoding="utf-8"))["recipe"])
    return trainings(built) == trainings(plan)


def take_over(plan: Recipe, folder: Path, target: Path) -> None:
    """Copy a finished build of `riverone build` to `target`. Raises BuildError when it is not this recipe and seed."""
    if not (folder / STATE).is_file() or not trained_alike(plan, folder):
        raise BuildError(
            f"--base: {folder} is no finished build of recipe {plan.name} with seed {plan.model.seed} and the same "
            "values. Remedy: name the --out of such a build, or leave --base out and the study builds it"
        )
    if not target.exists():
        partial = target.with_name(target.name + ".new")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(folder, partial)
        partial.rename(target)


class Study:
    """All rows of one seed."""

    def __init__(self, arguments: argparse.Namespace, plan: Recipe, test: Plots, command: str):
        self.arguments, self.plan, self.test, self.command = arguments, plan, test, command
        self.seed = plan.model.seed
        self.base = arguments.work / f"base-{self.seed}"

    def run(self, name: str) -> dict[str, Any]:
        """Train what is not trained yet, score it, and for the last row leave the base checkpoint."""
        plan = plan_of(self.plan, name)
        finish: dict[str, FinishedStage] = {}
        if name == PREFERRED and self.base.is_dir():
            if not trained_alike(plan, self.base):
                raise BuildError(f"{self.base} was built from another recipe. Remedy: name another --work")
            model, processor = load_model(str(self.base), device="cpu")
            seconds = json.loads((self.base / STATE).read_text(encoding="utf-8"))["seconds"]
        else:
            with StageProgress() as progress:
                finish = run_shared(plan, self.arguments.work / "stages", progress)
            model, processor = load_model(str(list(finish.values())[-1].model), device="cpu")
            seconds = {stage: done.seconds for stage, done in finish.items()}
        # What is measured is what is saved.
        model.to(saved_dtype(plan)).float().eval()
        row = self.measure(name, plan, model, processor)
        row["stage_seconds"] = {stage: second for stage, second in seconds.items() if stage != "evaluate"}
        row["seconds"] = round(sum(row["stage_seconds"].values()), 1)
        if killed := [stage for stage, done in finish.items() if done.resumed]:
            row["seconds_since_the_last_resume"] = killed
        if name == PREFERRED:
            row |= self.depth(model, processor)
            if finish:
                self.leave(row, finish, model, processor)
        return row

    def measure(self, name: str, plan: Recipe, model: Any, processor: Any) -> dict[str, Any]:
        """Scores in all prompt forms; with the last row what answers without looking score."""
        parameters = model.num_parameters()
        size = parameters * saved_dtype(plan).itemsize
        trainings = [getattr(plan, stage) for stage in plan.stages if stage not in ("model", "evaluate")]
        sizes = {
            "steps": sum(training.steps for training in trainings),
            "trained_params": parameters,
            "logical_params": parameters,
            "bytes": size,
            "bits_per_weight": 8 * size / parameters,
        }
        began = time.monotonic()
        answers = self.test.answers(model, processor)
        row = self.test.row_of(name, self.seed, answers, **sizes)
        if name == PREFERRED:
            row["floors"] = self.floors(name, model, processor, answers)
        row |= self.forms(Answerer(model, processor))
        row["evaluation_seconds"] = round(time.monotonic() - began, 1)
        return row

    def forms(self, answerer: Answerer) -> dict[str, Any]:
        """{form: {"n", "scores", "ci95", "per_plot"}} of the other prompt forms."""
        count, source = self.arguments.form_plots, self.test.source
        shown = InContextSource(source, pool=POOL)
        with StageProgress() as progress:
            progress.stage("full prompts", count * len(ASKED))
            full = full_form_scores(answerer, source, count, ASKED, 120, progress.advance)
            progress.stage("in context", count * len(SHOWN))
            context = in_context_scores(answerer, shown, count, 24, progress.advance)
        return {"full_prompts": {"n": count, **full}, "in_context": {"n": count, **context}}

    def floors(self, name: str, model: Any, processor: Any, answers: list[dict[str, str]]) -> list[dict[str, Any]]:
        """Rows of blank images, shuffled images and the commonest labels."""
        test, counts = self.test, [len(images) for images in self.test.images]
        asked: Any = [Asked(family, images) for family, images in zip(test.families, test.images, strict=True)]
        shuffled = [told or {} for told in shuffled_answers(asked, answers)]
        given = {
            f"{name}, blank image": blank_answers(Answerer(model, processor), test.families, counts, 24),
            f"{name}, shuffled images": shuffled,
            **majority_answers(
                test.families, tuple(self.plan.model.families), self.seed, self.arguments.majority_plots
            ),
        }
        return [test.row_of(floor, self.seed, told) for floor, told in given.items()]

    def depth(self, model: Any, processor: Any) -> dict[str, Any]:
        """What leaving out each vision block costs: relative error of the tower's output, and points of the mean."""
        image, few = self.plan.model.image, self.test.first(self.arguments.skip_plots)
        source = PlotSource(few.source.families, seed=1000 + self.seed, direct_size=image.image_size, direct_share=0.9)
        probe = [PlotBatches(source, processor.image_processor, 16, 1)[0]]
        lost = multiplex.skip_cost(model, (), lambda skipping: float(np.mean(few.score(skipping, processor)[1])))
        return {
            "skip_cost": [round(cost, 4) for cost in multiplex.skip_cost(model, probe)],
            "skip_cost_points": [round(cost, 2) for cost in lost],
            "skip_cost_points_n": len(few.families),
        }

    def leave(self, row: dict[str, Any], finish: dict[str, FinishedStage], model: Any, processor: Any) -> None:
        """Write the base checkpoint, with its scores on its card."""
        work = self.base.with_name(self.base.name + ".work")
        work.mkdir(parents=True, exist_ok=True)
        state = {
            "fingerprint": self.plan.fingerprint(),
            "seconds": row["stage_seconds"],
            "log": {stage: done.log for stage, done in finish.items() if done.log},
            "rows": flat(row, self.plan.name),
        }
        finish_build(self.plan, state, model, processor, work, self.base, self.command)


def flat(row: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """A finished row as results rows: itself under `name`, its floors and its other prompt forms."""
    hidden = ("per_plot", "settings", "floors", "evaluation_seconds", *FORMS)
    main = {key: value for key, value in row.items() if key not in hidden} | {"name": name}
    depth = ("skip_cost", "skip_cost_points", "skip_cost_points_n", "stage_seconds")
    sizes = {key: value for key, value in main.items() if key not in depth}
    floors = [
        {**dict.fromkeys(sizes), **{key: value for key, value in floor.items() if key not in hidden}}
        for floor in row.get("floors", ())
    ]
    for floor in floors:
        floor["name"] = floor["name"].replace(row["name"], name)
    others = [
        {**sizes, "name": f"{name}, {title}"} | {key: row[form][key] for key in ("n", "scores", "ci95")}
        for form, title in FORMS.items()
    ]
    return [main, *floors, *others]


def effects(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each row against the one before it, on the seeds that both have: paired differences in points, by prompt form."""
    out = []
    for before, after in pairwise(NAMES):
        found = [{row["seed"]: row for row in rows if row["name"] == name} for name in (after, before)]
        seeds = sorted(set(found[0]) & set(found[1]))
        for form in ("short prompts", *FORMS) if seeds else ():
            first, second = (
                np.array([(row[seed] if form == "short prompts" else row[seed][form])["per_plot"] for seed in seeds])
                for row in found
            )
            said = {"comparison": [after, before], "prompts": FORMS.get(form, form), "seeds": seeds}
            out.append({**said, **paired_difference(first, second)})
    return out


def publish(arguments: argparse.Namespace, settings: int, command: str) -> None:
    """Write the results file from all finished rows."""
    found = sorted(finished(arguments.out, settings), key=lambda row: (row["seed"], NAMES.index(row["name"])))
    rows = [line for row in found for line in flat(row, row["name"])]
    write(arguments.out, results(command, rows, effects=effects(found)))


def main() -> None:
    parser = study_parser(__doc__.splitlines()[0], "results/training.json")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="recipe values to change")
    parser.add_argument("--recipe", default="base", help="name of a shipped recipe, or a folder")
    parser.add_argument("--seed", type=int, action="append", help="repeatable; default 0, 1 and 2")
    parser.add_argument("--form-plots", type=int, default=220, help="asked in full prompts and in context")
    parser.add_argument("--majority-plots", type=int, default=3000, help="training plots whose labels are counted")
    parser.add_argument("--skip-plots", type=int, default=200, help="read with each vision block left out")
    # Recipe values may stand anywhere between the options.
    arguments = parser.parse_intermixed_args()
    if arguments.list:
        print("\n".join(NAMES))
        return
    if arguments.work is None:
        parser.error("--work FOLDER is needed to run rows")
    arguments.work = arguments.work.absolute()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    plan = load_recipe(arguments.recipe, arguments.overrides)
    if missing := {"warmup", "sft_icl", "sft", "mpo"} - set(plan.stages):
        parser.error(f"--recipe {arguments.recipe}: has no stage {', '.join(sorted(missing))}, the rows compare these")
    command = " ".join(["python benchmarks/training.py --work DIR --recipe", arguments.recipe, *arguments.overrides])
    given = {int(seed): Path(folder) for seed, _, folder in (text.partition("=") for text in arguments.base)}
    seeds = arguments.seed or sorted({0, 1, 2, *given})
    plans = {seed: load_recipe(arguments.recipe, [*arguments.overrides, f"model.seed={seed}"]) for seed in seeds}
    arguments.work.mkdir(parents=True, exist_ok=True)
    for seed in set(seeds) & set(given):
        take_over(plans[seed], given[seed], arguments.work / f"base-{seed}")
    said = trainings(plan)
    del said["model"]["seed"]
    counts = [arguments.plots, arguments.form_plots, arguments.majority_plots, arguments.skip_plots]
    settings = zlib.crc32(json.dumps([said, counts, DATA_VERSION], sort_keys=True).encode())
    test: list[Plots] = []

    def make(name: str, seed: int) -> dict[str, Any]:
        test[:] = test or [Plots(tuple(plan.model.families), arguments.plots, "test")]
        return Study(arguments, plans[seed], test[0], f"{command} --seed {seed}").run(name)

    jobs = [(name, seed) for seed in seeds for name in picked(NAMES, arguments)]
    run_rows(jobs, make, (), arguments, settings, lambda: publish(arguments, settings, command), LIMIT)


if __name__ == "__main__":
    main()
