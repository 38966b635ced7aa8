"""Who marks free text? A language model on an OpenAI-compatible endpoint, key point by key point; or nobody."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Protocol

from ..errors import EvaluationError
from .benchmark import BenchmarkRow
from .chat import ChatClient
from .journal import Journal

MAX_TOKENS = 4096
TIMEOUT_S = 60.0
ATTEMPTS = 5
CONCURRENCY = 16
TITLES = {"q1": "Q1 (Technical Description)", "q3": "Q3 (Experimental Significance)"}
"""The questions with key points, as the judge hears them called."""


class Judge(Protocol):
    """Marks key points. Pluggable: anything with a name and this method."""

    model_id: str

    def mark(self, row: BenchmarkRow, question: str, answer: str) -> list[float]:
        """One score in 0..1 per key point of `question`. Raises EvaluationError when it cannot."""


class ChatJudge:
    """A language model that sees texts only: the description of the plot, both answers and the key points."""

    def __init__(self, client: ChatClient):
        self.client, self.model_id = client, client.model_id

    def mark(self, row: BenchmarkRow, question: str, answer: str) -> list[float]:
        reply = self.client.ask(judge_prompt(row, question, answer), MAX_TOKENS)
        return read_marks(reply, len(row.key_points[question]))


def judge_prompt(row: BenchmarkRow, question: str, answer: str) -> str:
    """What the judge is asked about the answer to q1 or q3."""
    points = "\n".join(f"{number}. {point}" for number, point in enumerate(row.key_points[question], start=1))
    return (
        "You grade the answer of a vision-language model in a benchmark of quantum experiments.\n\n"
        f"Experiment type: {row.experiment_type}\n\n"
        f"Description of the plot (you do not see it):\n{row.answers['q1']}\n\n"
        f"Question: {TITLES[question]}\n\n"
        f"Reference answer:\n{row.answers[question]}\n\n"
        f"Answer of the model:\n{answer}\n\n"
        f"Key points:\n{points}\n\n"
        "Give every key point a score: 1 if the model's answer addresses it correctly, 0.5 if partly, 0 if it is "
        "missing or wrong.\n"
        f"Reply with a JSON array of {len(row.key_points[question])} scores in this order and with nothing else."
    )


def read_marks(reply: str, count: int) -> list[float]:
    """The first `[...]` of a reply as `count` scores: cut or filled up with 0, each moved into 0..1.

    Raises EvaluationError when there is no such list of numbers.
    """
    match = re.search(r"\[.*?\]", reply, re.DOTALL)
    try:
        values = [float(value) for value in json.loads(match.group())] if match else None
    except (ValueError, TypeError, OverflowError):
        values = None
    if values is None:
        raise EvaluationError(f"the judge gave no list of scores: {' '.join(reply.split())[:120]!r}")
    values = [min(1.0, max(0.0, value)) if value == value else 0.0 for value in values]
    return (values + [0.0] * count)[:count]


def mark_all(
    judge: Judge,
    rows: Sequence[tuple[BenchmarkRow, Mapping[str, str | None]]],
    questions: Sequence[str],
    path: Path,
    fingerprint: dict[str, Any],
    abort: bool,
    advance: Callable[[int], None] | None = None,
) -> dict[tuple[str, str], list[float] | None]:
    """(row id, question) -> scores of the key points, None where the judge failed.

    Marks are kept in a journal at `path`, so that nothing is judged twice. With `abort` the first failure ends the
    run, as it does in the official script; without, an answer that is not there scores 0 unasked.
    """
    wanted = [question for question in questions if question in TITLES]
    marks: dict[tuple[str, str], list[float] | None] = {}
    with Journal.open(path, fingerprint) as journal, ThreadPoolExecutor(CONCURRENCY) as pool:
        waiting = {}
        for row, answers in rows:
            for question in wanted:
                key = f"{row.id} {question}"
                if key in journal.rows:
                    marks[row.id, question] = journal.rows[key]
                elif not answers.get(question) and not abort:
                    marks[row.id, question] = [0.0] * len(row.key_points[question])
                else:
                    task = pool.submit(judge.mark, row, question, answers.get(question) or "")
                    waiting[task] = (row.id, question)
        if advance:
            advance(len(marks))
        try:
            for task in as_completed(waiting):
                row_id, question = waiting[task]
                try:
                    found = task.result()
                except EvaluationError as exc:
                    if abort:
                        raise EvaluationError(
                            f"the judge failed at {row_id} {question}: {exc}. Marks so far are kept. "
                            "Remedy: run the same command again, or use --scoring strict, which goes on"
                        ) from None
                    marks[row_id, question] = None
                else:
                    marks[row_id, question] = found
                    journal.add({f"{row_id} {question}": found})
                if advance:
                    advance(1)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return marks
