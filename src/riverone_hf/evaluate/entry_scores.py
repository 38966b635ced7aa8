"""What does one plot's set of answers score? In the official structure, and as plain numbers for statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..questions import Field
from .benchmark import BenchmarkRow
from .official import official_assessment, official_fields, official_outcome, official_status, same_status
from .scoring import score_enums, score_fields, strict_labels, without_reasoning

Scoring = Literal["official", "strict"]
LABELS = {"q2": "classification", "q4": "assessment", "q6": "status"}
"""Question -> how the official files call its label."""
UNJUDGED = ("q1_enums", "q2", "q4", "q5", "q6")
"""What is scored without a judge, and what `mean` is the plain mean of (as far as it was asked)."""
KeyPoints = Mapping[str, Sequence[float] | None]
"""q1, q3 -> score in 0..1 of every key point, or None: nobody judged them."""


@dataclass(frozen=True)
class EntryScore:
    """`detail`: the entry of judged.json. `flat`: percent by name, None where nothing can be said.

    Names: q1_enums, q1 (half of it key points), q2, q3, q4, q5, q5_values (only where the truth is a value), q6,
    `mean` (of `UNJUDGED`), `overall` (the benchmark's: of all questions asked, None unless every one is scored).
    """

    detail: dict[str, Any]
    flat: dict[str, float | None]


def score_entry(
    scoring: Scoring,
    row: BenchmarkRow,
    fields: Sequence[Field],
    answers: Mapping[str, str | None],
    questions: Sequence[str],
    points: KeyPoints,
) -> EntryScore:
    """Score the answers (question -> text, None or missing: no answer) to the `questions` that were asked of `row`."""
    told = {question: answers.get(question) or "" for question in questions}
    if scoring == "strict":
        told = {question: without_reasoning(text) for question, text in told.items()}
    scores: dict[str, Any] = {}
    flat: dict[str, float | None] = {}
    if "q1" in told:
        enums = score_enums(told["q1"], row.answers["q1"], official=scoring == "official")
        known = [value for value in enums.values() if value is not None]
        part = _mean(known)
        judged, hits = _judged(points.get("q1"))
        whole = None if judged is None else 100 * (0.5 * part + 0.5 * judged)
        scores["Q1"] = {"score": _round(whole), "programmatic": enums, **hits, **_total(row, "q1")}
        flat |= {"q1_enums": 100 * part, "q1": whole}
    labels = _labels(scoring, row.family, told)
    truths = _labels(scoring, row.family, row.answers)
    for question in ("q2", "q3", "q4", "q5", "q6"):
        if question not in told:
            continue
        if question == "q3":
            judged, hits = _judged(points.get("q3"))
            flat["q3"] = None if judged is None else 100 * judged
            scores["Q3"] = {"score": _round(flat["q3"]), **hits, **_total(row, "q3")}
        elif question == "q5":
            named, values = _fields(scoring, fields, told["q5"], row.answers["q5"])
            flat["q5"] = 100 * _mean(list(named.values()))
            flat["q5_values"] = 100 * _mean(values) if values else None
            scores["Q5"] = {"score": _round(flat["q5"]), "fields": named}
        else:
            got, want = labels[question], truths[question]
            same = same_status(got, want) if scoring == "official" and question == "q6" else got == want
            correct = bool(same and want is not None)
            name = LABELS[question]
            flat[question] = 100.0 * correct
            scores[question.upper()] = {
                "score": _round(flat[question]),
                "correct": correct,
                f"gt_{name}": want,
                f"model_{name}": got,
            }
    every = [scores[question.upper()]["score"] for question in questions]
    overall = None if None in every or not every else _mean(every)
    unjudged = [value for name in UNJUDGED if (value := flat.get(name)) is not None]
    flat |= {"mean": _mean(unjudged) if unjudged else None, "overall": overall}
    scores["overall"] = _round(overall)
    return EntryScore({"id": row.id, "experiment_type": row.experiment_type, "scores": scores}, flat)


def _labels(scoring: Scoring, family: str, answers: Mapping[str, str]) -> dict[str, str | None]:
    if scoring == "strict":
        return strict_labels(family, answers)
    return {
        "q2": official_outcome(answers.get("q2", "")),
        "q4": official_assessment(answers.get("q4", "")),
        "q6": official_status(answers.get("q6", "")),
    }


def _fields(
    scoring: Scoring, fields: Sequence[Field], answer: str, reference: str
) -> tuple[dict[str, float], list[float]]:
    """(field -> score, scores of the fields whose reference is a value)."""
    sites = score_fields(fields, answer, reference)
    has_value = {name for name, _, value in sites if value}
    if scoring == "official":
        named = official_fields(fields, answer, reference)
        return named, [score for name, score in named.items() if name in has_value]
    by_name: dict[str, list[float]] = {}
    for name, score, _ in sites:
        by_name.setdefault(name, []).append(score)
    return {name: _mean(found) for name, found in by_name.items()}, [score for _, score, value in sites if value]


def _judged(points: Sequence[float] | None) -> tuple[float | None, dict[str, Any]]:
    if points is None:
        return None, {"key_points_hit": None}
    return _mean(points), {"key_points_hit": round(sum(points), 6)}


def _total(row: BenchmarkRow, question: str) -> dict[str, int]:
    return {"key_points_total": len(row.key_points[question])}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
