"""How does a foreign question become a row? The columns of DESIGN contract 4, with source and licence beside them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .schema import view_features
from .source import Origin
from .source_image import Reject

if TYPE_CHECKING:
    from datasets import Features

Row = dict[str, Any]
Convert = Callable[[Mapping[str, Any], Origin], list["Row | Reject"]]
MOST_WORDS = 400
"""A longer question or answer does not fit beside its images into the context of the smallest model."""
_TOKEN = re.compile(r"\w+|[^\w\s]")
SFT, PREFERENCE = "sft_zero_shot", "preference"


@dataclass(frozen=True)
class Kind:
    """One kind of source: how its rows are converted, and what its card says.

    `columns` are groups of names of which each row has one. `convert` gives the rows (or Rejects) of one source row.
    """

    name: str
    title: str
    view: str
    columns: tuple[tuple[str, ...], ...]
    convert: Convert
    licence: str
    hub_id: str | None
    about: str


def source_features(view: str) -> Features:
    """Columns of `view_features(view)` with `source` and `licence`."""
    from datasets import Features, Value

    return Features({**view_features(view), "source": Value("string"), "licence": Value("string")})


def sft_row(images: list[Row], question: str, answer: str, kind: str) -> Row:
    """{experiment_type, images, messages} of one question about `images`. Raises Reject."""
    question, answer = checked(question, "question"), checked(answer, "answer")
    return {"experiment_type": kind, "images": images, "messages": [_asked(images, question), _said(answer)]}


def preference_row(images: list[Row], question: str, chosen: str, rejected: str, kind: str) -> Row:
    """{experiment_type, images, prompt, chosen, rejected} of one question about `images`. Raises Reject."""
    question, chosen = checked(question, "question"), checked(chosen, "chosen")
    rejected = checked(rejected, "rejected")
    if chosen == rejected:
        raise Reject("same_answers")
    answers = {"chosen": [_said(chosen)], "rejected": [_said(rejected)]}
    return {"experiment_type": kind, "images": images, "prompt": [_asked(images, question)], **answers}


def checked(text: Any, what: str) -> str:
    """The stripped text. Raises Reject when it is empty (`empty_...`), no text, or too long (`long_...`)."""
    if isinstance(text, bool | int | float) and text == text:  # NaN is no answer
        text = str(text)
    if not isinstance(text, str) or not text.strip():
        raise Reject(f"empty_{what}")
    if len(text.split()) > MOST_WORDS:
        raise Reject(f"long_{what}")
    return text.strip()


def first_of(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The value of the first of `names` that the row has."""
    return next((row[name] for name in names if name in row), None)


def row_texts(row: Mapping[str, Any]) -> tuple[str, str]:
    """(question, answers) of a built row, as plain texts."""
    turns = [*row.get("messages", ()), *row.get("prompt", ()), *row.get("chosen", ()), *row.get("rejected", ())]
    said: dict[str, list[str]] = {"user": [], "assistant": []}
    for turn in turns:
        said[turn["role"]] += [part["text"] for part in turn["content"] if part["text"] is not None]
    return "\n".join(said["user"]), "\n".join(said["assistant"])


def count_tokens(text: str) -> int:
    """Words and marks of `text`: about what a tokenizer makes of plain English, without one."""
    return len(_TOKEN.findall(text))


def _asked(images: list[Row], question: str) -> Row:
    parts: list[Row] = [{"type": "image", "text": None}] * len(images)
    return {"role": "user", "content": [*parts, {"type": "text", "text": question}]}


def _said(answer: str) -> Row:
    return {"role": "assistant", "content": [{"type": "text", "text": answer}]}
