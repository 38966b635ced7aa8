"""What does the vision tower know about looks and families that it has not seen, and how many plots does it need?

Trains the tower of the `nano` recipe from scratch under throw-away heads for outcome (question 2) and fit assessment
(question 4), once per row: with plots of increasing number, without one look, without one family. Rows that leave
something out are tested on exactly what was left out, beside the tower that saw everything (`control`) and the most
frequent answer. All rows choose their plots from one pool that is drawn once and kept in memory, and every run sees
each of its plots once. The tower is narrowed to `WIDTH` to save time. Finished rows are kept in
results/generalization.json and skipped when the command is repeated.

Run: python benchmarks/generalization.py [--only plots|looks|families] [--steps 400] [--seed 0] [--processes 2]
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import TrainingArguments, set_seed

from riverone_hf.build.recipe import load_recipe
from riverone_hf.build.run import commit, machine, versions
from riverone_hf.build.stages import build_model, marks, target_names
from riverone_hf.calibration import SUPPORTED_FAMILIES
from riverone_hf.calibration.style import LOOKS
from riverone_hf.data import DATA_VERSION, PlotSource
from riverone_hf.data.calibration import plot_row
from riverone_hf.evaluate.intervals import wilson
from riverone_hf.questions import OUTCOMES
from riverone_hf.train.warmup import WarmupCollator, WarmupHeads, WarmupTrainer

RESULTS = Path(__file__).parents[1] / "results" / "generalization.json"
BATCH = 64
IMAGE_SIZE = 128
WIDTH = ("hidden_size=128", "intermediate_size=384", "num_attention_heads=4")
TEST_PLOTS = 300
CURVE = (1 / 8, 1 / 4, 1 / 2, 2)
"""Lengths of the runs of the curve, as multiples of the control's."""
FAMILIES = tuple(SUPPORTED_FAMILIES)


@dataclass(frozen=True)
class Kept:
    """One plot of the pool: what decides whether a row keeps it, and what the collator needs."""

    family: str
    look: str
    row: dict[str, Any]


Keep = Callable[[str, str], bool]
"""(family, look) -> whether a plot is kept."""


@dataclass(frozen=True)
class Drawn(torch.utils.data.Dataset):
    """The `length` plots of a pool from `first` on, reduced to the tile size."""

    source: PlotSource
    first: int
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Kept:
        plot = self.source.plot(self.first + index)
        row = plot_row(plot, self.source, str(self.first + index), ["q2"])
        images = [image.convert("RGB").resize((IMAGE_SIZE, IMAGE_SIZE)) for image in row["images"]]
        # Facts and marks are learned as in the warm-up; the class is the outcome, which families share.
        labels = row["labels"] | {"experiment_type": plot.truth.outcome}
        return Kept(plot.truth.family, plot.figures[0].style.look, {"images": images, "labels": labels})


def pool(split: Any, seed: int, length: int, workers: int, mark_cells: int = 0) -> list[Kept]:
    """Plots of all families in turn; 1 % by matplotlib in training, 10 % in tests."""
    share, direct = (0.01, 0.95) if split == "train" else (0.1, 0.0)
    drawn = Drawn(PlotSource(FAMILIES, seed, split, IMAGE_SIZE, direct, 4.0, share, mark_cells=mark_cells), 0, length)
    return list(DataLoader(drawn, batch_size=None, num_workers=workers))


class Study:
    """The pools, and what is trained and tested on them."""

    def __init__(self, steps: int, seed: int, workers: int):
        self.steps, self.seed = steps, seed
        changed = [f"model.families=[{', '.join(FAMILIES)}]", f"model.seed={seed}"]
        self.recipe = load_recipe("nano", [*changed, *(f"model.vision.{text}" for text in WIDTH)])
        spec = self.recipe.warmup
        assert spec is not None
        assert spec.marks is not None
        self.spec = spec
        self.training = pool("train", seed, 2 * steps * BATCH, workers, spec.marks.cells)
        # Enough for the rarest look and for every family.
        self.tests = pool("test", 1, TEST_PLOTS * len(FAMILIES), workers)

    def train(self, keep: Keep, steps: int) -> tuple[Any, Any]:
        """A tower trained from scratch on `steps` batches of kept plots; returns the heads and their collator."""
        kept = [plot.row for plot in self.training if keep(plot.family, plot.look)][: steps * BATCH]
        if len(kept) < steps * BATCH:
            raise ValueError(f"the pool has {len(kept)} such plots, {steps * BATCH} are needed: fewer steps")
        model, processor = build_model(self.recipe)
        model.model.vision_tower.set_attn_implementation(self.spec.vision_attention)
        set_seed(self.seed + 1)
        targets = target_names(self.recipe)
        heads = WarmupHeads(model, OUTCOMES, targets, self.spec.target_weight, **marks(self.spec, processor))
        collator = WarmupCollator(processor, OUTCOMES, targets)
        with tempfile.TemporaryDirectory() as folder:
            trainer = WarmupTrainer(
                model=heads,
                args=TrainingArguments(
                    output_dir=folder,
                    max_steps=steps,
                    per_device_train_batch_size=BATCH,
                    learning_rate=self.spec.learning_rate,
                    lr_scheduler_type="cosine",
                    warmup_steps=min(self.spec.warmup_steps, steps // 5),
                    bf16=self.spec.bf16,
                    use_cpu=not torch.cuda.is_available(),
                    train_sampling_strategy="sequential",
                    remove_unused_columns=False,
                    save_strategy="no",
                    disable_tqdm=True,
                    report_to="none",
                    logging_steps=max(steps // 4, 1),
                    seed=self.seed,
                ),
                data_collator=collator,
                train_dataset=kept,  # type: ignore[arg-type]
            )
            trainer.muon_lr = self.spec.muon_lr
            trainer.train()
        return heads.eval(), collator

    @torch.no_grad()
    def test(self, heads: Any, collator: Any, keep: Keep, most: int = TEST_PLOTS) -> dict[str, Any]:
        """Right outcomes (q2) and assessments (q4) in percent with 95 % intervals, and the share of the majority."""
        rows = [plot.row for plot in self.tests if keep(plot.family, plot.look)][:most]
        hits: Counter[str] = Counter()
        labels: dict[str, Counter[int]] = {"q2": Counter(), "q4": Counter()}
        for start in range(0, len(rows), BATCH):
            batch = collator(rows[start : start + BATCH])
            outputs = heads(**batch)
            for question, name in (("q2", "type"), ("q4", "fit")):
                hits[question] += int((outputs[f"{name}_logits"].argmax(-1) == batch[f"{name}_labels"]).sum())
                labels[question].update(batch[f"{name}_labels"].tolist())
        n = len(rows)
        percent = {q: 100 * hits[q] / n for q in ("q2", "q4")}
        return {
            "n": n,
            "scores": percent,
            "ci95": {q: [100 * edge for edge in wilson(hits[q], n)] for q in percent},
            "majority": {q: 100 * max(labels[q].values()) / n for q in percent},
        }

    def run(self, kind: str, left_out: str | None) -> list[tuple[str, dict[str, Any]]]:
        """Train once and test; the control is tested on every look and family as well. Pairs of (tested on, scores)."""
        if kind == "looks":
            trained = self.train(lambda family, look: look != left_out, self.steps)
            return [(f"look {left_out}", self.test(*trained, lambda family, look: look == left_out))]
        if kind == "families":
            trained = self.train(lambda family, look: family != left_out, self.steps)
            return [(f"family {left_out}", self.test(*trained, lambda family, look: family == left_out))]
        length = self.steps if left_out is None else max(1, round(float(left_out) * self.steps))
        trained = self.train(lambda family, look: True, length)
        tests = [("all", self.test(*trained, lambda family, look: True, 3 * TEST_PLOTS))]
        if kind == "control":
            for name in LOOKS:
                tests.append((f"look {name}", self.test(*trained, lambda family, look, name=name: look == name)))
            for name in FAMILIES:
                tests.append((f"family {name}", self.test(*trained, lambda family, look, name=name: family == name)))
        return tests


def rows_to_do(only: str | None) -> Iterator[tuple[str, str, str | None]]:
    """(name, kind, what is left out); the control first, for the others stand beside it."""
    yield "control", "control", None
    if only in (None, "plots"):
        yield from ((f"{factor:g} x plots", "plots", str(factor)) for factor in CURVE)
    if only in (None, "looks"):
        yield from ((f"without look {look}", "looks", look) for look in LOOKS)
    if only in (None, "families"):
        yield from ((f"without family {family}", "families", family) for family in FAMILIES)


STUDY: list[Study] = []
"""The study of this process. Processes that train are forked from the one that drew the pool, and share its memory."""


def run_row(kind: str, left_out: str | None) -> tuple[list[tuple[str, dict[str, Any]]], float]:
    """(what `Study.run` gives, seconds), on one core."""
    torch.set_num_threads(1)
    began = time.monotonic()
    return STUDY[0].run(kind, left_out), round(time.monotonic() - began, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["plots", "looks", "families"])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2, help="that draw the pool and train rows side by side")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    content: dict[str, Any] = {"rows": []}
    if arguments.out.is_file():
        content = json.loads(arguments.out.read_text(encoding="utf-8"))
    to_do = []
    for name, kind, left_out in rows_to_do(arguments.only):
        key = {"name": name, "seed": arguments.seed, "control_steps": arguments.steps, "data_version": DATA_VERSION}
        if not any(key.items() <= row.items() for row in content["rows"]):
            to_do.append((key, kind, left_out))
    if not to_do:
        return
    STUDY.append(Study(arguments.steps, arguments.seed, arguments.processes))
    with ProcessPoolExecutor(arguments.processes, get_context("fork")) as processes:
        running = {processes.submit(run_row, kind, left_out): key for key, kind, left_out in to_do}
        for done in as_completed(running):
            tests, seconds = done.result()
            common = running[done] | {"batch_size": BATCH, "commit": commit(), "seconds": seconds}
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
            print(common["name"], tests[0][1]["scores"], f"{seconds} s", flush=True)


if __name__ == "__main__":
    main()
