"""What does the vision tower know about looks and families that it has not seen, and how many plots does it need?

Trains the tower of the `nano` recipe from scratch under throw-away heads for outcome (question 2) and fit assessment
(question 4), once per row: with all plots of increasing number, without one look, without one family. Rows that leave
something out are tested on exactly what was left out, beside the tower that saw everything (`control`) and the most
frequent answer. Finished rows are kept in results/generalization.json and skipped when the command is repeated.

Run: python benchmarks/generalization.py [--only plots|looks|families] [--steps 200] [--seed 0]
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments, set_seed

from riverone_hf.build.recipe import load_recipe
from riverone_hf.build.run import commit, machine, versions
from riverone_hf.build.stages import build_model
from riverone_hf.calibration import SUPPORTED_FAMILIES, Plot
from riverone_hf.calibration.style import LOOKS
from riverone_hf.data import DATA_VERSION, PlotSource
from riverone_hf.data.calibration import plot_row
from riverone_hf.evaluate.intervals import wilson
from riverone_hf.questions import OUTCOMES
from riverone_hf.train.warmup import WarmupCollator, WarmupHeads, WarmupTrainer

RESULTS = Path(__file__).parents[1] / "results" / "generalization.json"
BATCH = 64
IMAGE_SIZE = 128
TEST_PLOTS = 300
CURVE = (1 / 8, 1 / 4, 1 / 2, 2)
"""Lengths of the runs of the curve, as multiples of the control's."""


@dataclass(frozen=True)
class Kept(torch.utils.data.Dataset):
    """Rows of a source whose plot passes `keep`; the i-th row looks for its plot in a stretch of its own."""

    source: PlotSource
    keep: Callable[[Plot], bool]
    length: int
    stretch: int = 4096

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        families = len(self.source.families)
        for attempt in range(self.stretch):
            # Steps of one round of families: the i-th row keeps its family, whatever is left out.
            number = index + attempt * families * self.length
            plot = self.source.plot(number)
            if self.keep(plot):
                row = plot_row(plot, self.source, str(number), ["q2"])
                row["labels"] = row["labels"] | {"experiment_type": plot.truth.outcome}
                return {"images": row["images"], "labels": row["labels"]}
        raise ValueError(f"no plot of {self.source.families} passes the filter in {self.stretch} draws")


class Without:
    """True for plots of another look (a class, because worker processes must be able to receive it)."""

    def __init__(self, look: str | None = None, only: str | None = None):
        self.look, self.only = look, only

    def __call__(self, plot: Plot) -> bool:
        look = plot.figures[0].style.look
        return look != self.look and self.only in (None, look)


def source(families: tuple[str, ...], split: Any, seed: int) -> PlotSource:
    """Plots straight at the tile size, 1 % by matplotlib in training and half in tests."""
    share = 0.01 if split == "train" else 0.5
    return PlotSource(families, seed, split, direct_size=IMAGE_SIZE, direct_share=0.9, matplotlib_share=share)


def train(families: tuple[str, ...], keep: Callable[[Plot], bool], steps: int, seed: int) -> tuple[Any, Any]:
    """A tower trained from scratch on `steps` batches; returns the heads and their collator."""
    changes = [f"model.families=[{', '.join(families)}]", f"model.seed={seed}", f"model.image.image_size={IMAGE_SIZE}"]
    recipe = load_recipe("nano", [*changes, "model.tokenizer.plots=60"])
    assert recipe.warmup is not None
    model, processor = build_model(recipe)
    model.model.vision_tower.set_attn_implementation("eager")
    set_seed(seed + 1)
    heads = WarmupHeads(model, OUTCOMES, [])
    collator = WarmupCollator(processor, OUTCOMES, [])
    with tempfile.TemporaryDirectory() as folder:
        trainer = WarmupTrainer(
            model=heads,
            args=TrainingArguments(
                output_dir=folder,
                max_steps=steps,
                per_device_train_batch_size=BATCH,
                learning_rate=recipe.warmup.learning_rate,
                lr_scheduler_type="cosine",
                warmup_steps=min(recipe.warmup.warmup_steps, steps // 5),
                bf16=True,
                use_cpu=not torch.cuda.is_available(),
                dataloader_num_workers=1,
                train_sampling_strategy="sequential",
                remove_unused_columns=False,
                save_strategy="no",
                disable_tqdm=True,
                report_to="none",
                logging_steps=max(steps // 4, 1),
                seed=seed,
            ),
            data_collator=collator,
            train_dataset=Kept(source(families, "train", seed), keep, steps * BATCH),
        )
        trainer.muon_lr = recipe.warmup.muon_lr
        trainer.train()
    return heads.eval(), collator


@torch.no_grad()
def test(heads: Any, collator: Any, families: tuple[str, ...], keep: Callable[[Plot], bool], n: int) -> dict[str, Any]:
    """Shares of right outcomes (q2) and assessments (q4) in percent with 95 % intervals, and the majority's share."""
    rows = Kept(source(families, "test", 1), keep, n)
    hits: Counter[str] = Counter()
    labels: dict[str, Counter[int]] = {"q2": Counter(), "q4": Counter()}
    for start in range(0, n, BATCH):
        batch = collator([rows[index] for index in range(start, min(start + BATCH, n))])
        outputs = heads(**batch)
        for question, name in (("q2", "type"), ("q4", "fit")):
            hits[question] += int((outputs[f"{name}_logits"].argmax(-1) == batch[f"{name}_labels"]).sum())
            labels[question].update(batch[f"{name}_labels"].tolist())
    percent = {q: 100 * hits[q] / n for q in ("q2", "q4")}
    return {
        "n": n,
        "scores": percent,
        "ci95": {q: [100 * edge for edge in wilson(hits[q], n)] for q in percent},
        "majority": {q: 100 * max(labels[q].values()) / n for q in percent},
    }


def rows_to_do(only: str | None) -> Iterator[tuple[str, str, str | None]]:
    """(name, kind, what is left out); the control first, for the others stand beside it."""
    yield "control", "control", None
    if only in (None, "plots"):
        yield from ((f"{factor:g} x plots", "plots", str(factor)) for factor in CURVE)
    if only in (None, "looks"):
        yield from ((f"without look {look}", "looks", look) for look in LOOKS)
    if only in (None, "families"):
        yield from ((f"without family {family}", "families", family) for family in SUPPORTED_FAMILIES)


def run_row(kind: str, left_out: str | None, steps: int, seed: int) -> list[tuple[str, dict[str, Any]]]:
    """Train once and test; the control is tested on every look and family as well. Pairs of (tested on, scores)."""
    every, everything = tuple(SUPPORTED_FAMILIES), Without()
    n_all = TEST_PLOTS * 3
    if kind == "looks":
        trained = train(every, Without(look=left_out), steps, seed)
        return [(f"look {left_out}", test(*trained, every, Without(only=left_out), TEST_PLOTS))]
    if kind == "families":
        trained = train(tuple(f for f in every if f != left_out), everything, steps, seed)
        return [(f"family {left_out}", test(*trained, (str(left_out),), everything, TEST_PLOTS))]
    length = steps if left_out is None else max(1, round(float(left_out) * steps))
    trained = train(every, everything, length, seed)
    tests = [("all", test(*trained, every, everything, n_all))]
    if kind == "control":
        tests += [(f"look {look}", test(*trained, every, Without(only=look), TEST_PLOTS)) for look in LOOKS]
        tests += [(f"family {name}", test(*trained, (name,), everything, TEST_PLOTS)) for name in every]
    return tests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["plots", "looks", "families"])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    content: dict[str, Any] = {"rows": []}
    if arguments.out.is_file():
        content = json.loads(arguments.out.read_text(encoding="utf-8"))
    for name, kind, left_out in rows_to_do(arguments.only):
        key = {"name": name, "seed": arguments.seed, "control_steps": arguments.steps, "data_version": DATA_VERSION}
        if any(key.items() <= row.items() for row in content["rows"]):
            continue
        began = time.monotonic()
        tests = run_row(kind, left_out, arguments.steps, arguments.seed)
        seconds = round(time.monotonic() - began, 1)
        common = key | {"batch_size": BATCH, "commit": commit(), "seconds": seconds}
        content["rows"] += [common | {"tested_on": tested_on} | scores for tested_on, scores in tests]
        content |= {
            "command": "python benchmarks/generalization.py",
            "date": datetime.date.today().isoformat(),
            "machine": machine(),
            "versions": versions(),
        }
        temporary = arguments.out.with_suffix(".new")
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        temporary.replace(arguments.out)
        print(name, [(tested_on, scores["scores"]) for tested_on, scores in tests][:1], f"{seconds} s", flush=True)


if __name__ == "__main__":
    main()
