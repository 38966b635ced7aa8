"""How well does a model read plots whose truth is known? Answers of a model, and the scores of any set of answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..questions import QUESTIONS, short_prompt
from .intervals import bootstrap_mean, wilson
from .report import mean_score
from .scoring import SCORES, score_answers

if TYPE_CHECKING:
    from PIL import Image

    from ..reader.generate import Answerer

Answers = Mapping[str, str]
BUDGETS = {"q1": 160, "q2": 40, "q3": 96, "q4": 40, "q5": 96, "q6": 72}
"""New tokens allowed per question; above the longest answer of the simulator; q1 has as many for each image."""


def model_answers(
    answerer: Answerer,
    families: Sequence[str],
    figures: Sequence[Sequence[Image.Image]],
    questions: Sequence[str] = QUESTIONS,
    batch_size: int = 16,
    advance: Callable[[int], None] | None = None,
    constrained: bool = False,
) -> list[dict[str, str]]:
    """Greedy answers (question -> text) of a model to the short prompts, one dict per plot.

    Free unless `constrained`: a malformed answer stays malformed and will be scored 0. Constrained ones are those of
    `reader.PlotReader`: the likeliest of the legal labels, and JSON of the question's schema.
    """
    from ..reader.assemble import answer_limits
    from ..reader.generate import Ask, render

    answers: list[dict[str, str]] = []
    for start in range(0, len(figures), batch_size):
        chunk = range(start, min(start + batch_size, len(figures)))
        keys, asks = [], []
        for index in chunk:
            for question in questions:
                image: dict[str, Any] = {"type": "image", "text": None}
                text = {"type": "text", "text": short_prompt(families[index], question)}
                prompt = render(answerer.processor, [image] * len(figures[index]) + [text])
                keys.append((index - start, question))
                budget = BUDGETS[question] * (len(figures[index]) if question == "q1" else 1)
                ask = Ask(index - start, prompt, budget=budget)
                if constrained:
                    starts, schema = answer_limits(families[index], question, len(figures[index]))
                    ask = replace(ask, starts=starts, schema=schema)
                asks.append(ask)
        answered = answerer.answer([figures[index] for index in chunk], asks)
        rows: list[dict[str, str]] = [{} for _ in chunk]
        for (row, question), item in zip(keys, answered, strict=True):
            rows[row][question] = item.text
        answers += rows
        if advance:
            advance(len(chunk))
    return answers


def evaluate_answers(
    families: Sequence[str], answers: Sequence[Answers], references: Sequence[Answers]
) -> dict[str, dict[str, Any]]:
    """{"scores", "ci95"}: percent per score name and their 95 % intervals (Wilson for labels, bootstrap for means)."""
    table = [score_answers(*row) for row in zip(families, answers, references, strict=True)]
    scores: dict[str, float | None] = {}
    ci95: dict[str, list[float]] = {}
    for name in SCORES:
        values = [row[name] for row in table if row[name] is not None]
        known = [float(value) for value in values if value is not None]
        scores[name] = 100 * sum(known) / len(known) if known else None
        interval = wilson(sum(known), len(known)) if name in ("q2", "q4", "q6") else bootstrap_mean(known)
        ci95[name] = [100 * bound for bound in interval]
    scores["mean"] = mean_score(scores)
    per_plot = [mean_score(row) for row in table]
    ci95["mean"] = [100 * bound for bound in bootstrap_mean(per_plot)]
    return {"scores": scores, "ci95": ci95}
