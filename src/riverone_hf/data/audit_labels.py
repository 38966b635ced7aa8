"""How far does one get without looking? Label balance, majority and family-rule baselines, lengths of the answers."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..questions import WORD_LIMITS, Truth, parse_q5, write_answers

LABEL_QUESTIONS = ("q1", "q2", "q4", "q6")
"""Questions with one closed label per plot: plot types and scales, outcome, fit, status."""


def label(truth: Truth, question: str) -> str:
    """The closed label of `truth` for one of `LABEL_QUESTIONS`."""
    if question == "q1":
        panels = [(panel.plot_type, panel.x_axis.scale, panel.y_axis.scale) for panel in truth.panels]
        return "; ".join(" ".join(panel) for panel in panels)
    return {"q2": truth.outcome, "q4": truth.reliability, "q6": truth.status}[question]


def balance(truths: Sequence[Truth]) -> dict[str, dict[str, dict[str, int]]]:
    """family -> question -> label -> number of plots, commonest first."""
    counts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for truth in truths:
        for question in LABEL_QUESTIONS:
            counts[truth.family][question][label(truth, question)] += 1
    return {
        family: {question: dict(counter.most_common()) for question, counter in by_question.items()}
        for family, by_question in sorted(counts.items())
    }


def blind_baselines(train: Sequence[Truth], test: Sequence[Truth]) -> dict[str, dict[str, float | None]]:
    """question -> {majority, family_rule}: accuracies in 0..1 on `test` of the commonest answers in `train`.

    `majority` gives one label for all plots, `family_rule` one per family (whose name every prompt tells). For q5 an
    answer is one value per field, always that of the family; it counts when it is exactly the true one.
    """
    report: dict[str, dict[str, float | None]] = {}
    for question in LABEL_QUESTIONS:
        overall: Counter[str] = Counter()
        by_family: dict[str, Counter[str]] = defaultdict(Counter)
        for truth in train:
            overall[label(truth, question)] += 1
            by_family[truth.family][label(truth, question)] += 1
        report[question] = {
            "majority": _mean([label(truth, question) == _most(overall) for truth in test]),
            "family_rule": _mean([label(truth, question) == _most(by_family[truth.family]) for truth in test]),
        }
    fields: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for truth in train:
        for name, value in _fields(truth):
            fields[truth.family, name][value] += 1
    hits = [value == _most(fields[truth.family, name]) for truth in test for name, value in _fields(truth)]
    report["q5"] = {"majority": None, "family_rule": _mean(hits)}
    return report


def text_statistics(truths: Sequence[Truth]) -> dict[str, Any]:
    """Words per answer of q0..q6 (median, 95th percentile, longest), distinct answers, and texts over `WORD_LIMITS`."""
    lengths: dict[str, list[int]] = defaultdict(list)
    distinct: dict[str, set[str]] = defaultdict(set)
    longest = dict.fromkeys(WORD_LIMITS, 0)
    over = dict.fromkeys(WORD_LIMITS, 0)
    for truth in truths:
        for question, answer in write_answers(truth).items():
            lengths[question].append(len(answer.split()))
            distinct[question].add(answer)
        texts = {name: [getattr(truth, name)] for name in WORD_LIMITS if name != "main_features"}
        texts["main_features"] = [panel.main_features for panel in truth.panels]
        for name, items in texts.items():
            words = max(len(item.split()) for item in items)
            longest[name] = max(longest[name], words)
            over[name] += words > WORD_LIMITS[name]
    answers = {
        question: {
            "median": float(np.median(values)),
            "p95": float(np.percentile(values, 95)),
            "longest": max(values),
            "distinct": len(distinct[question]),
        }
        for question, values in lengths.items()
    }
    limits = {name: {"limit": WORD_LIMITS[name], "longest": longest[name], "over": over[name]} for name in WORD_LIMITS}
    return {"answers": answers, "limits": limits}


def _fields(truth: Truth) -> list[tuple[str, str]]:
    value = parse_q5(write_answers(truth)["q5"])
    sites: Sequence[Mapping[str, Any]] = value if isinstance(value, list) else [value or {}]
    return [(name, json.dumps(item)) for site in sites for name, item in site.items()]


def _most(counts: Counter[str]) -> str | None:
    return counts.most_common(1)[0][0] if counts else None


def _mean(hits: Sequence[bool]) -> float | None:
    return float(np.mean(hits)) if hits else None
