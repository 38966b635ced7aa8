"""How are all questions put, and none twice? Row by row into the journal, and once more with white pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from ..errors import EvaluationError
from .backends import Backend, Reply
from .journal import Journal
from .progress import Progress
from .queries import Entry, Query, blank_query
from .results_files import result_of, results_file, timestamp

_ASKED = "time of the first question"


def short_hash(value: Any) -> str:
    """16 hexadecimal digits that stand for a value with a stable `repr`."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


def ask_all(
    backend: Backend, entries: Sequence[Entry], journal: Journal, batch_size: int, progress: Progress
) -> tuple[dict[str, Any], int]:
    """(results.json without names, number of answers stopped at their limit); finished rows are not asked again.

    Raises EvaluationError when an endpoint stops answering or the journal cannot be written.
    """
    progress.stage("answers", len(entries))
    if _ASKED not in journal.rows:
        journal.add({_ASKED: timestamp()})
    pending = [entry for entry in entries if _is_open(entry, journal)]
    if pending and hasattr(backend, "warm_up"):
        backend.warm_up(pending[0].queries)
    for start in range(0, len(entries), batch_size):
        chunk = entries[start : start + batch_size]
        wanted = [entry for entry in chunk if _is_open(entry, journal)]
        if wanted:
            # A batch is always asked whole: padding, and so the last bits of a score, stays the same on resuming.
            asked = chunk if backend.batched else wanted
            replies = backend.answer([query for entry in asked for query in entry.queries])
            _check_alive(backend, replies)
            told = iter(replies)
            done = {}
            for entry in asked:
                own = [next(told) for _ in entry.queries]
                if entry in wanted:
                    done[entry.row.id] = {"result": result_of(entry, own), "cut": sum(reply.cut for reply in own)}
            journal.add(done)
        progress.advance(len(chunk))
    rows = [journal.rows[entry.row.id] for entry in entries]
    found = results_file(
        [row["result"] for row in rows], len(entries[0].queries) == 3, model="", model_id="", api_base="", dataset=""
    )
    found["timestamp"] = journal.rows[_ASKED]
    return found, sum(row["cut"] for row in rows)


def ask_blank(
    backend: Backend, entries: Sequence[Entry], journal: Journal, batch_size: int, progress: Progress
) -> dict[str, dict[str, str | None]]:
    """row id -> answers to white images. Q3 is left out (nobody judges it here); equal questions are asked once."""
    wanted: dict[str, Query] = {}
    keys: dict[str, dict[str, str]] = {}
    for entry in entries:
        for query in entry.queries:
            if query.question != "q3":
                blank = blank_query(query, entry.row)
                key = f"blank {short_hash((blank.question, blank.parts))}"
                wanted[key] = blank
                keys.setdefault(entry.row.id, {})[query.question] = key
    # Neighbours share a family, so that a batch holds prompts of like length.
    names = sorted(wanted, key=lambda name: (wanted[name].family, wanted[name].question, name))
    progress.stage("blank images", len(names))
    size = 6 * batch_size
    for start in range(0, len(names), size):
        chunk = names[start : start + size]
        if any(name not in journal.rows for name in chunk):
            replies = backend.answer([wanted[name] for name in chunk])
            _check_alive(backend, replies)
            journal.add({name: reply.answer for name, reply in zip(chunk, replies, strict=True)})
        progress.advance(len(chunk))
    return {
        row_id: {question: journal.rows[key] for question, key in by_question.items()}
        for row_id, by_question in keys.items()
    }


def _is_open(entry: Entry, journal: Journal) -> bool:
    """Whether a row is still to be asked; one with a failed question is asked again by the next run."""
    row = journal.rows.get(entry.row.id)
    return row is None or any(response["error"] for response in row["result"]["responses"].values())


def _check_alive(backend: Backend, replies: Sequence[Reply]) -> None:
    # A server that has gone away must not turn all remaining rows into zeros.
    if not backend.batched and all(reply.error for reply in replies):
        raise EvaluationError(
            f"the endpoint answers nothing any more: {replies[0].error}. Finished rows are kept. "
            "Remedy: see to the server and run the same command again"
        )
