"""What do results.json and judged.json hold? The structures that the official QCalEval scripts write and read."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import EvaluationError
from ..questions import QUESTIONS, RESPONSE_KEYS
from .backends import Reply
from .benchmark import FEWSHOT_QUESTIONS, Benchmark, BenchmarkRow
from .entry_scores import EntryScore, Scoring, score_entry
from .queries import Entry

IN_CONTEXT_MODES = ("icl", "fewshot")
Marks = Mapping[tuple[str, str], Sequence[float] | None]


def timestamp() -> str:
    """Now, as the official files write it."""
    return time.strftime("%Y%m%d_%H%M%S")


def result_of(entry: Entry, replies: Sequence[Reply]) -> dict[str, Any]:
    """One entry of results.json. A failed question keeps its place with a null answer, so that it counts 0."""
    failed = [reply.error for reply in replies if reply.error]
    return {
        "id": entry.row.id,
        "experiment_type": entry.row.experiment_type,
        "error": failed[0] if len(failed) == len(replies) else None,
        "responses": {
            RESPONSE_KEYS[query.question]: {"answer": reply.answer, "error": reply.error}
            for query, reply in zip(entry.queries, replies, strict=True)
        },
    }


def results_file(
    results: Sequence[dict[str, Any]], icl: bool, model: str, model_id: str, api_base: str, dataset: str, **extra: Any
) -> dict[str, Any]:
    """The whole of results.json; `extra` keys (ours: how the questions were worded) come last."""
    return {
        "mode": "icl" if icl else "zeroshot",
        "model": model,
        "model_id": model_id,
        "api_base": api_base,
        "dataset": dataset,
        "timestamp": timestamp(),
        "total_entries": len(results),
        "results": list(results),
        **extra,
    }


def questions_of(mode: str) -> tuple[str, ...]:
    """The questions that a results file of this mode answers."""
    return FEWSHOT_QUESTIONS if mode in IN_CONTEXT_MODES else QUESTIONS


def answers_of(result: Mapping[str, Any], questions: Sequence[str]) -> dict[str, str | None]:
    """question -> answer text of one entry of results.json; None where there is none."""
    responses = result.get("responses") or {}
    found = {}
    for question in questions:
        response = responses.get(RESPONSE_KEYS[question])
        answer = response.get("answer") if isinstance(response, dict) else None
        found[question] = answer if isinstance(answer, str) else None
    return found


def scored_rows(
    results: Mapping[str, Any], benchmark: Benchmark, scoring: Scoring
) -> list[tuple[BenchmarkRow, dict[str, str | None]]]:
    """The rows that count, with their answers.

    `official` silently drops entries with empty responses and rows without an entry, so that means rise; `strict`
    keeps every row of the data set, in its order. Unknown ids are dropped by both.

    Raises:
        EvaluationError: nothing is left to score (the official script divides by zero).
    """
    questions = questions_of(results.get("mode", ""))
    entries = {result["id"]: result for result in results["results"] if benchmark.row(result.get("id"))}
    if scoring == "official":
        kept = [benchmark.row(row_id) for row_id, result in entries.items() if result.get("responses")]
    else:
        shots = {shot.source_id for shot in benchmark.fewshot}
        kept = [row for row in benchmark.rows if questions == QUESTIONS or row.id in shots]
    rows = [(row, answers_of(entries.get(row.id, {}), questions)) for row in kept if row is not None]
    if not rows:
        raise EvaluationError(
            f"no entry of the results is a row of {benchmark.name}. Remedy: name the data set that was asked"
        )
    return rows


def score_results(
    rows: Sequence[tuple[BenchmarkRow, Mapping[str, str | None]]],
    benchmark: Benchmark,
    scoring: Scoring,
    questions: Sequence[str],
    marks: Marks | None = None,
) -> list[EntryScore]:
    """One score per row; `marks` holds the key points that a judge marked, None: nobody did."""
    scores = []
    for row, answers in rows:
        points = {question: (marks or {}).get((row.id, question)) for question in ("q1", "q3")}
        scores.append(score_entry(scoring, row, benchmark.fields[row.family], answers, questions, points))
    return scores


def judged_file(
    results: Mapping[str, Any], scores: Sequence[EntryScore], scoring: Scoring, judge: str | None
) -> dict[str, Any]:
    """The whole of judged.json. Without a judge, Q1, Q3 and every mean over them are null and listed as unscored."""
    entries = [score.detail for score in scores]
    questions = [question.upper() for question in questions_of(results.get("mode", ""))]
    columns = {name: [entry["scores"][name]["score"] for entry in entries] for name in questions}
    overall = [entry["scores"]["overall"] for entry in entries]
    accuracy = {
        name: round(100 * statistics.fmean(entry["scores"][name]["correct"] for entry in entries), 2)
        for name in ("Q2", "Q4", "Q6")
        if name in questions
    }
    unscored = {name: count for name, values in columns.items() if (count := values.count(None))}
    return {
        "judge_model": judge or "none",
        "judge_model_id": judge or "none",
        "tested_model": results["model"],
        "tested_model_id": results["model_id"],
        "mode": results["mode"],
        "timestamp": timestamp(),
        "total_entries": len(entries),
        "aggregate": {
            name: {"mean": _over(values, statistics.fmean), "median": _over(values, statistics.median)}
            for name, values in columns.items()
        },
        "overall_mean": _over(overall, statistics.fmean),
        "classification_accuracy": accuracy,
        "results": entries,
        "scoring": scoring,
        "unscored": unscored,
    }


def _over(values: Sequence[float | None], average: Any) -> float | None:
    return None if None in values or not values else round(average(values), 2)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file that is either whole or not there."""
    partial = path.with_name(f".{path.name}.tmp")
    partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
