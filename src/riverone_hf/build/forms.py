"""How good is the model when it is asked otherwise? In the full form, and behind solved examples."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..data import InContextSource, PlotSource
from ..questions import full_prompt, write_answers

if TYPE_CHECKING:
    from ..reader.generate import Answerer

SHOWN = ("q5", "q6")
"""Questions that have an in-context form and a strict score."""


def full_form_scores(
    answerer: Answerer,
    source: PlotSource,
    plots: int,
    questions: Sequence[str],
    batch_size: int,
    advance: Callable[[int], None],
) -> dict[str, Any]:
    """{"scores", "ci95", "per_plot"} in percent of free answers to the full, QCalEval-shaped prompts.

    Wordings are drawn per plot; `per_plot` is the mean of what was asked about each plot, for paired comparisons.
    """
    asked, references, families = [], [], []
    for index in range(plots):
        row, truth = source.row(index), source.plot(index).truth
        rng = random.Random(f"full form {source.seed} {index}")
        images = row["images"]
        image: dict[str, Any] = {"type": "image", "text": None}
        for question in questions:
            text = {"type": "text", "text": full_prompt(truth.family, question, len(images), rng)}
            asked.append((images, [image] * len(images) + [text], question))
        references.append(write_answers(truth))
        families.append(truth.family)
    return _scores(answerer, asked, families, references, questions, batch_size, advance)


def in_context_scores(
    answerer: Answerer, source: InContextSource, plots: int, batch_size: int, advance: Callable[[int], None]
) -> dict[str, Any]:
    """{"scores", "ci95", "per_plot"} in percent of free answers to q5 and q6 behind solved examples.

    Other scores are None; `per_plot` is as in `full_form_scores`.
    """
    asked, references, families = [], [], []
    for index in range(plots):
        truth = source.plots.plot(index).truth
        for question in SHOWN:
            row = source.shown_row(index, question)
            asked.append((row["images"], row["messages"][0]["content"], question))
        references.append(write_answers(truth))
        families.append(truth.family)
    return _scores(answerer, asked, families, references, SHOWN, batch_size, advance)


def _scores(
    answerer: Answerer,
    asked: list[tuple[list[Any], list[dict[str, Any]], str]],
    families: list[str],
    references: list[dict[str, str]],
    questions: Sequence[str],
    batch_size: int,
    advance: Callable[[int], None],
) -> dict[str, Any]:
    from ..evaluate import evaluate_answers, score_answers
    from ..evaluate.simulated import BUDGETS
    from ..reader.generate import Ask, render

    texts: list[str] = []
    for start in range(0, len(asked), batch_size):
        batch = asked[start : start + batch_size]
        asks = []
        for number, (images, parts, question) in enumerate(batch):
            budget = BUDGETS[question] * (len(images) if question == "q1" else 1)
            asks.append(Ask(number, render(answerer.processor, parts), budget=budget))
        texts += [answered.text for answered in answerer.answer([images for images, _, _ in batch], asks)]
        advance(len(batch))
    turns = iter(texts)
    answers = [{question: next(turns) for question in questions} for _ in references]
    result = evaluate_answers(families, answers, references)
    known = {name for question in questions for name in (question, "q1_enums" if question == "q1" else "")}
    known |= {"q5_values"} if "q5" in questions else set()
    if len(set(questions) & {"q1", "q2", "q4", "q5", "q6"}) == 5:
        known |= {"mean"}
    counted = ["q1_enums" if question == "q1" else question for question in questions]
    per_plot = []
    for row in zip(families, answers, references, strict=True):
        scored = score_answers(*row)
        per_plot.append(100 * sum(scored[name] or 0.0 for name in counted) / len(counted))
    return {
        "scores": {name: value if name in known else None for name, value in result["scores"].items()},
        "ci95": {name: value for name, value in result["ci95"].items() if name in known},
        "per_plot": per_plot,
    }
