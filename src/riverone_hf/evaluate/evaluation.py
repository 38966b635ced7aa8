"""How does an evaluation run? Ask, keep every answer, score by both rules, put references beside it, write the report.

Everything lies in one folder: `answers.jsonl` (the journal that makes it resumable), `results.json` and `judged.json`
in the official structure, `summary.json`, `report.md` with its PNGs, and `.eval_results/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import EvaluationError
from ..questions import PROMPT_VERSION
from .asking import ask_all, ask_blank, short_hash
from .backends import Backend
from .benchmark import Benchmark, BenchmarkRow
from .entry_scores import EntryScore, Scoring
from .journal import Journal
from .judge import TITLES, Judge, mark_all
from .progress import Progress, Silent
from .queries import Entry, PromptForm, icl_entries, zero_shot_entries
from .references import Answers, blind_answers, shuffled_answers, trained_answers, training_plots
from .results_files import (
    answers_of,
    judged_file,
    questions_of,
    score_results,
    scored_rows,
    write_json,
)

JOURNAL = "answers.jsonl"
FORMAT = 1
"""Raised when the same model and data set would be asked differently."""
SCORINGS: tuple[Scoring, ...] = ("official", "strict")


@dataclass(frozen=True)
class Options:
    """How to ask and what to compare with.

    `batch_size`: plots asked at a time. `references`: also ask with blank images and score all references, on
    `training_plots` simulated plots per family.
    """

    icl: bool = False
    prompt: PromptForm = "short"
    scoring: Scoring = "official"
    batch_size: int = 16
    limit: int | None = None
    filter_type: str | None = None
    references: bool = True
    training_plots: int = 64
    dataset_id: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What was found: everything that the report is written from. `rows` are the plots that count."""

    results: dict[str, Any]
    rows: list[BenchmarkRow]
    scores: dict[Scoring, list[EntryScore]]
    """The model's, by both rules."""
    references: dict[str, list[EntryScore | None]]
    """Name -> scores by `options.scoring`; None for a plot that the reference has no answer for."""
    facts: dict[str, Any]


def run_evaluation(
    backend: Backend,
    benchmark: Benchmark,
    options: Options,
    out: Path,
    judge: Judge | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Evaluate and write everything into `out`; an interrupted run goes on where it was.

    Raises:
        EvaluationError: `out` holds something else, nothing can be asked or scored, the disk is full, or (official
            scoring only) the judge fails.
    """
    progress = progress or Silent()
    pool, benchmark = benchmark, benchmark.select(options.limit, options.filter_type)
    entries = (
        icl_entries(benchmark, options.prompt, pool) if options.icl else zero_shot_entries(benchmark, options.prompt)
    )
    with _journal(out, _fingerprint(backend, benchmark, options)) as journal:
        results, cut = ask_all(backend, entries, journal, options.batch_size, progress)
        results |= {
            "model": backend.model,
            "model_id": backend.model_id,
            "api_base": backend.api_base,
            "dataset": benchmark.name,
            "prompt_form": options.prompt,
            "prompt_version": str(PROMPT_VERSION),
        }
        write_json(out / "results.json", results)
        outcome = _score(backend, benchmark, entries, results, options, out, judge, journal, progress)
    outcome.facts.update(cut_answers=cut, failed_answers=_failed(results))
    from .report_files import write_report

    write_report(outcome, options, out)
    return outcome


def check_out(out: Path) -> None:
    """Raise EvaluationError unless `out` is new, empty or of an earlier evaluation; nothing is written."""
    if out.exists() and not out.is_dir():
        raise EvaluationError(f"{out} is a file. Expected a new or empty folder. Remedy: choose another --out")
    foreign = out.is_dir() and any(out.iterdir()) and not (out / JOURNAL).is_file()
    if foreign and {path.name for path in out.iterdir()} != {f"{JOURNAL}.lock"}:
        raise EvaluationError(
            f"{out} is not empty and is no evaluation of this command (no {JOURNAL}). "
            "Remedy: choose a new or empty folder"
        )


def _journal(out: Path, fingerprint: dict[str, Any]) -> AbstractContextManager[Journal]:
    check_out(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise EvaluationError(f"cannot make the folder {out}: {exc.strerror or exc}") from None
    return Journal.open(out / JOURNAL, fingerprint)


def _fingerprint(backend: Backend, benchmark: Benchmark, options: Options) -> dict[str, Any]:
    return {
        "format": FORMAT,
        **backend.fingerprint(),
        "dataset": benchmark.digest,
        "mode": "icl" if options.icl else "zeroshot",
        "prompt": options.prompt,
        "prompt_version": str(PROMPT_VERSION),
        "limit": options.limit,
        "filter_type": options.filter_type,
    }


def _score(
    backend: Backend,
    benchmark: Benchmark,
    entries: Sequence[Entry],
    results: dict[str, Any],
    options: Options,
    out: Path,
    judge: Judge | None,
    journal: Journal,
    progress: Progress,
) -> Outcome:
    questions = questions_of(results["mode"])
    rows = scored_rows(results, benchmark, options.scoring)
    marks = None
    if judge is not None:
        progress.stage("key points", len(rows) * sum(question in TITLES for question in questions))
        stamp = {"answers": short_hash(results["results"]), "dataset": benchmark.digest, "judge": judge.model_id}
        path = out / f"marks-{short_hash(stamp)}.jsonl"  # another judge begins anew beside it
        abort = options.scoring == "official"
        marks = mark_all(judge, rows, questions, path, stamp, abort, progress.advance)
    scores = {scoring: score_results(rows, benchmark, scoring, questions, marks) for scoring in SCORINGS}
    judged = judged_file(results, scores[options.scoring], options.scoring, judge.model_id if judge else None)
    write_json(out / "judged.json", judged)
    plots = [row for row, _ in rows]
    found: dict[str, Sequence[Answers | None]] = {}
    if options.references:
        found = _references(backend, entries, rows, options, benchmark, journal, progress)
    references = {
        name: _score_reference(plots, answers, benchmark, options.scoring, questions) for name, answers in found.items()
    }
    known = getattr(getattr(getattr(backend, "network", None), "config", None), "families", None)
    facts = {
        "judge": judge.model_id if judge else None,
        "questions": list(questions),
        "dropped": len(benchmark.rows) - len(plots) if not options.icl else len(entries) - len(plots),
        "unknown_families": sorted({row.family for row in plots} - set(known)) if known else [],
        "vision_references": bool(found) and any("vision tower" in name for name in found),
        "unscored": judged["unscored"],
    }
    return Outcome(results, plots, scores, references, facts)


def _references(
    backend: Backend,
    entries: Sequence[Entry],
    rows: Sequence[tuple[BenchmarkRow, Mapping[str, str | None]]],
    options: Options,
    benchmark: Benchmark,
    journal: Journal,
    progress: Progress,
) -> dict[str, Sequence[Answers | None]]:
    plots = [row for row, _ in rows]
    found: dict[str, Sequence[Answers | None]] = {}
    blank = ask_blank(backend, entries, journal, options.batch_size, progress)
    found["the model, blank images"] = [blank.get(row.id, {}) for row in plots]
    found["the model, shuffled images"] = shuffled_answers(plots, [answers for _, answers in rows])
    training = training_plots(benchmark, options.training_plots)
    progress.stage("references", len(training.families) + len(plots))
    found |= blind_answers(plots, training)
    found |= trained_answers(backend, plots, training, progress.advance)
    return found


def _score_reference(
    plots: Sequence[BenchmarkRow],
    answers: Sequence[Answers | None],
    benchmark: Benchmark,
    scoring: Scoring,
    questions: Sequence[str],
) -> list[EntryScore | None]:
    rows = [(row, told) for row, told in zip(plots, answers, strict=True) if told is not None]
    scored = iter(score_results(rows, benchmark, scoring, questions))
    return [None if told is None else next(scored) for told in answers]


def _failed(results: Mapping[str, Any]) -> int:
    questions = questions_of(results["mode"])
    return sum(answer is None for result in results["results"] for answer in answers_of(result, questions).values())
