"""What do the studies share? A fixed set of test plots, rows that are files, a loop that can be stopped anywhere.

Every finished row is a file in `results/rows/STUDY`. These are committed as they appear, so that a study of many hours
can go on from a clone of the repository. So are the base checkpoints that other studies start from (`BASES`).
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from riverone_hf.build.run import commit, machine, versions
from riverone_hf.data import DATA_VERSION, PlotSource
from riverone_hf.evaluate import evaluate_answers, model_answers, score_answers
from riverone_hf.evaluate.report import mean_score
from riverone_hf.questions import write_answers
from riverone_hf.reader.generate import Answerer

BASES = Path(__file__).parent / "bases"
"""Folders 0, 1, ...: the base checkpoint of every seed."""
ASKED = ("q1", "q2", "q4", "q5", "q6")
SECONDS = 240
"""A row of a study that starts from base checkpoints takes no longer."""


class Plots:
    """A fixed set of simulated plots of one split, and a model's scores on it (0..100 per plot).

    `batch` plots are answered together; of how many hardly matters for the answers, but large batches take less time.
    Answers are free, or `constrained` as those of `riverone read`: legal labels, JSON by the schema of its question.
    """

    def __init__(self, families: tuple[str, ...], count: int, split: Any, batch: int = 24, constrained: bool = False):
        self.batch, self.constrained = batch, constrained
        self.source = PlotSource(families, seed=1, split=split, matplotlib_share=0.5)
        rows = [self.source.row(index) for index in range(count)]
        self.families, self.images = [row["family"] for row in rows], [row["images"] for row in rows]
        self.references = [write_answers(self.source.plot(index).truth) for index in range(count)]

    def answers(self, model: Any, processor: Any) -> list[dict[str, str]]:
        """The model's answers to the short prompts."""
        answerer = Answerer(model, processor)
        return model_answers(answerer, self.families, self.images, ASKED, self.batch, constrained=self.constrained)

    def scored(self, answers: Sequence[Mapping[str, str]]) -> tuple[dict[str, Any], list[float]]:
        """Contract fields `scores` and `ci95` of answers to all plots, and the mean score of every plot."""
        table = zip(self.families, answers, self.references, strict=True)
        each = [100 * mean_score(score_answers(*row)) for row in table]
        return evaluate_answers(self.families, answers, self.references), each

    def score(self, model: Any, processor: Any) -> tuple[dict[str, Any], list[float]]:
        """`scored` of the model's answers."""
        return self.scored(self.answers(model, processor))

    def first(self, count: int) -> Plots:
        """Only the first `count` plots."""
        fewer = copy.copy(self)
        for part in ("families", "images", "references"):
            setattr(fewer, part, getattr(self, part)[:count])
        return fewer

    def row(self, name: str, seed: int, model: Any, processor: Any, **sizes: Any) -> dict[str, Any]:
        """A results row; `sizes` are the contract's steps, trained_params, logical_params, bytes and others."""
        began = time.monotonic()
        row = self.row_of(name, seed, self.answers(model.eval(), processor), **sizes)
        return {**row, "evaluation_seconds": round(time.monotonic() - began, 1)}

    def row_of(self, name: str, seed: int, answers: Sequence[Mapping[str, str]], **sizes: Any) -> dict[str, Any]:
        """The same from answers that were given already."""
        scores, each = self.scored(answers)
        return {
            "name": name,
            "seed": seed,
            "n": len(each),
            "commit": commit(),
            "data_version": DATA_VERSION,
            **sizes,
            **scores,
            "per_plot": [round(score, 2) for score in each],
        }


def study_parser(description: str, out: str, work: bool = True) -> argparse.ArgumentParser:
    """The options that every study has; `work`: rows are long enough to leave something unfinished."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--base",
        action="append",
        default=[],
        help="SEED=FOLDER of a base checkpoint; repeatable; default benchmarks/bases",
    )
    if work:
        parser.add_argument("--work", type=Path, help="for unfinished rows")
    parser.add_argument("--out", type=Path, default=Path(out), help="finished rows lie beside it in rows/NAME")
    parser.add_argument("--rows", default="", help="regular expression of row names")
    parser.add_argument("--seeds", type=int, nargs="+", help="only these; several processes can share a study so")
    parser.add_argument("--plots", type=int, default=800)
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no row after that")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--list", action="store_true", help="print the rows and stop")
    return parser


def picked(names: Iterable[str], arguments: argparse.Namespace) -> list[str]:
    """The row names that --rows asks for; a pattern that fits none of them leaves with a message (SystemExit)."""
    found = [name for name in names if re.search(arguments.rows, name)]
    if not found:
        raise SystemExit(f"--rows {arguments.rows!r} fits no row of this study. Remedy: --list prints their names")
    return found


def bases_of(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> dict[int, str]:
    """Seed -> folder of the base checkpoints; leaves with the parser's usage when there are none."""
    given = {int(seed): folder for seed, _, folder in (text.partition("=") for text in arguments.base)}
    found = given or {int(folder.name): str(folder) for folder in sorted(BASES.glob("[0-9]*"))}
    if not found:
        parser.error(f"--base SEED=FOLDER is needed to run rows: there is none in {BASES}")
    return found


def digests(bases: Mapping[int, str]) -> dict[int, str]:
    """Seed -> short sha256 of the base checkpoint's weights."""
    return {
        seed: hashlib.sha256((Path(folder) / "model.safetensors").read_bytes()).hexdigest()[:12]
        for seed, folder in bases.items()
    }


def slug(name: str) -> str:
    """A file name for a row."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def write(path: Path, content: Any) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def rows_folder(out: Path) -> Path:
    """Where the finished rows of a results file lie."""
    return out.parent / "rows" / out.stem


def finished(out: Path, settings: int, bases: Mapping[int, str] | None = None) -> list[dict[str, Any]]:
    """Rows that are done under these settings, from these base checkpoints (seed -> digest; other seeds: from any)."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(rows_folder(out).glob("*.json"))]
    known = bases or {}
    return [r for r in rows if r["settings"] == settings and known.get(r["seed"], r.get("base")) == r.get("base")]


def run_rows(
    jobs: Iterable[tuple[str, int]],
    make: Callable[[str, int], dict[str, Any]],
    left_out: tuple[type[Exception], ...],
    arguments: argparse.Namespace,
    settings: int,
    publish: Callable[[], None],
    limit: float = SECONDS,
    bases: Mapping[int, str] | None = None,
) -> None:
    """Make every (row name, seed) that is not finished, write it as a file and publish all after each.

    `bases` are the digests of the base checkpoints that the rows start from, by seed.

    A row whose `make` raises one of `left_out` is told on stderr and passed over; one that takes more than `limit`
    seconds is told. Raises SystemExit when --seeds names one that no row has.
    """
    began, jobs = time.monotonic(), list(jobs)
    seeds = sorted({seed for _, seed in jobs})
    if unknown := sorted(set(arguments.seeds or ()) - set(seeds)):
        raise SystemExit(f"--seeds: got {unknown}, but the rows asked for have the seeds {seeds}")
    for name, seed in jobs:
        if arguments.seeds and seed not in arguments.seeds:
            continue
        # Looked up each time: another process may work on other rows of the same study.
        if any(row["name"] == name and row["seed"] == seed for row in finished(arguments.out, settings, bases)):
            continue
        if time.monotonic() - began > 60 * arguments.minutes:
            break
        start = time.monotonic()
        try:
            row = make(name, seed)
        except left_out as error:
            print(f"{name}: left out ({' '.join(str(error).split())[:200]})", file=sys.stderr)
            continue
        # What serves all rows of a base may be made on the way to one of them, which then gives its own time.
        row.setdefault("seconds", round(time.monotonic() - start, 1))
        told = {**row, "settings": settings} | ({"base": bases[seed]} if bases else {})
        write(rows_folder(arguments.out) / f"{slug(name)}-{seed}.json", told)
        slow = f"  SLOWER THAN {limit / 60:.0f} MINUTES" if row["seconds"] > limit else ""
        print(f"{name} seed {seed}: mean {row['scores']['mean']:.2f} in {row['seconds']:.0f} s{slow}", flush=True)
        publish()
    publish()


def results(command: str, rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """Content of a results file; `more` are summaries beside the rows."""
    return {
        "command": command,
        "date": date.today().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "rows": [
            {key: value for key, value in row.items() if key not in ("per_plot", "settings", "base")} for row in rows
        ],
        **more,
    }
