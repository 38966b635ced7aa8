"""How does a plot become an in-context question? Solved examples of its family stand before it, images in order."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from ..errors import QuestionError
from ..questions import full_prompt, short_prompt, write_answers
from .conversation import Message
from .plan import Row
from .schema import FEWSHOT_QUESTIONS

MARK = "<image>"


def demonstrations(question: str, query: Row, pool: Sequence[Row], rng: random.Random) -> list[Row]:
    """Solved examples from `pool`: for q3 and q6 one per status of the family, for q5 one; never the query itself.

    Statuses that `pool` does not show are left out; the order is drawn from `rng`. Raises QuestionError for a question
    without in-context form.
    """
    if question not in FEWSHOT_QUESTIONS:
        raise QuestionError(f"{question!r} has no in-context form. Expected one of: {', '.join(FEWSHOT_QUESTIONS)}")
    family = [row for row in pool if row.truth.family == query.truth.family and row.id != query.id]
    if question == "q5":
        return [rng.choice(family)] if family else []
    by_status: dict[str, list[Row]] = defaultdict(list)
    for row in family:
        by_status[row.truth.status].append(row)
    chosen = [rng.choice(by_status[status]) for status in sorted(by_status)]
    rng.shuffle(chosen)
    return chosen


def icl_prompt(question: str, query: Row, shown: Sequence[Row], rng: random.Random | None) -> str:
    """One text with an `<image>` mark wherever an image belongs, shown examples first.

    `rng` draws the wording of the full form, with complete answers as examples; None gives the short form, in which
    examples are label lines (DESIGN contract 6).
    """
    if rng is None:
        lines = [f"{_marks(row)}{_label(question, row)}" for row in shown]
        return "\n".join([*lines, f"{_marks(query)}{short_prompt(query.truth.family, question)}"])
    lead = rng.choice(["Solved examples:", "Examples with their answers:", "Some plots and their correct answers:"])
    blocks = [
        f"Example {number}: {' and '.join([MARK] * len(row.figures))}\n{write_answers(row.truth)[question]}"
        for number, row in enumerate(shown, start=1)
    ]
    return "\n\n".join(
        [*([lead] if blocks else []), *blocks, full_prompt(query.truth.family, question, len(query.figures), rng)]
    )


def icl_messages(question: str, query: Row, shown: Sequence[Row], rng: random.Random | None) -> list[Message]:
    """One user turn whose text and image parts alternate as the marks say, and the answer of the query.

    Image parts stand in the order of the images of `shown`, then of `query`.
    """
    answer = write_answers(query.truth)[question]
    return [
        {"role": "user", "content": interleave(icl_prompt(question, query, shown, rng), strip=rng is not None)},
        {"role": "assistant", "content": [{"type": "text", "text": answer}]},
    ]


def interleave(prompt: str, strip: bool = True) -> list[dict[str, Any]]:
    """Text and image parts of a marked prompt, in order; texts are stripped as QCalEval's script does, or kept."""
    parts: list[dict[str, Any]] = []
    for number, piece in enumerate(prompt.split(MARK)):
        if number:
            parts.append({"type": "image", "text": None})
        text = piece.strip() if strip else piece
        if text:
            parts.append({"type": "text", "text": text})
    return parts


def _marks(row: Row) -> str:
    return MARK * len(row.figures)


def _label(question: str, row: Row) -> str:
    answer = write_answers(row.truth)[question]
    return answer.split("\n", 1)[0] if question == "q6" else answer
