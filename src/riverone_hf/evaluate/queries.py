"""What exactly is put to the model? The six questions of a row, or its in-context questions, as texts and pictures."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from PIL import Image

from ..errors import EvaluationError
from ..questions import QUESTIONS, short_prompt
from .benchmark import FEWSHOT_QUESTIONS, Benchmark, BenchmarkRow, FewShotRow, Picture

PromptForm = Literal["short", "full"]
MARK = "<image>"
BLANK_SIDE = 256


@dataclass(frozen=True)
class Query:
    """One request: a single user turn whose texts and pictures stand in this order.

    `images` of the pictures are the row's own; others belong to solved examples.
    """

    question: str
    family: str
    parts: tuple[str | Picture, ...]
    images: int = 1

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return tuple(part for part in self.parts if isinstance(part, Picture))


@dataclass(frozen=True)
class Entry:
    """Everything that is asked about one row."""

    row: BenchmarkRow
    queries: tuple[Query, ...]


def zero_shot_entries(benchmark: Benchmark, form: PromptForm) -> list[Entry]:
    """Six single turns per row: all its images, then the text.

    `full` is the data set's own prompt word for word, literal `<image>` marks included; `short` is our tag and the
    family.
    """
    return [
        Entry(
            row,
            tuple(
                Query(
                    question,
                    row.family,
                    (*row.images, row.prompts[question] if form == "full" else short_prompt(row.family, question)),
                    len(row.images),
                )
                for question in QUESTIONS
            ),
        )
        for row in benchmark.rows
    ]


def icl_entries(benchmark: Benchmark, form: PromptForm, pool: Benchmark | None = None) -> list[Entry]:
    """Three single turns per few-shot row, texts and images alternating as the `<image>` marks say.

    `pool` holds the rows whose images are shown (default: those of `benchmark`). `short` replaces the wording by our
    own form: the images of a solved plot, then its label line. Raises EvaluationError without few-shot rows.
    """
    if not benchmark.fewshot:
        raise EvaluationError(
            f"{benchmark.name} has no in-context prompts (fewshot-*.parquet) for these rows. "
            "Remedy: evaluate without --icl"
        )
    owners = {picture.id: row for row in (pool or benchmark).rows for picture in row.images}
    pictures = {picture.id: picture for row in (pool or benchmark).rows for picture in row.images}
    entries = []
    for shot in benchmark.fewshot:
        row = benchmark.row(shot.source_id)
        if row is None:
            raise EvaluationError(
                f"few-shot row {shot.source_id!r} is no row of {benchmark.name}: its answers are unknown. "
                "Remedy: copy the data set again"
            )
        queries = []
        at = 0
        for question in FEWSHOT_QUESTIONS:
            count = shot.prompts[question].count(MARK)
            ids = shot.image_ids[at : at + count]
            at += count
            if form == "full":
                parts = _interleaved(shot, question, [pictures.get(name) for name in ids])
            else:
                parts = _short_parts(row, question, ids, owners)
            queries.append(Query(question, row.family, parts, len(row.images)))
        entries.append(Entry(row, tuple(queries)))
    return entries


def _interleaved(shot: FewShotRow, question: str, shown: Sequence[Picture | None]) -> tuple[str | Picture, ...]:
    # An unknown image is left out, as in the benchmark's own script.
    pieces = [piece.strip() for piece in shot.prompts[question].split(MARK)]
    parts: list[str | Picture] = [pieces[0]] if pieces[0] else []
    for picture, piece in zip([*shown, *[None] * len(pieces)], pieces[1:], strict=False):
        parts += [part for part in (picture, piece) if part]
    return tuple(parts)


def _short_parts(
    row: BenchmarkRow, question: str, ids: Sequence[str], owners: dict[str, BenchmarkRow]
) -> tuple[str | Picture, ...]:
    shown = list(dict.fromkeys(owners[name].id for name in ids if name in owners and owners[name].id != row.id))
    by_id = {owner.id: owner for owner in owners.values()}
    parts: list[str | Picture] = []
    for other in (by_id[name] for name in shown):
        answer = other.answers[question]
        parts += [*other.images, (answer.split("\n", 1)[0] if question == "q6" else answer) + "\n"]
    return (*parts, *row.images, short_prompt(row.family, question))


def blank_query(query: Query, row: BenchmarkRow) -> Query:
    """The same question with the pictures of `row` replaced by white ones; solved examples keep theirs."""
    own = {picture.id for picture in row.images}
    # An example that shows the row's own image keeps nothing of it either.
    parts = (_white() if isinstance(part, Picture) and part.id in own else part for part in query.parts)
    return dataclasses.replace(query, parts=tuple(parts))


@cache
def _white() -> Picture:
    stream = io.BytesIO()
    Image.new("RGB", (BLANK_SIDE, BLANK_SIDE), "white").save(stream, "PNG")
    return Picture("(blank)", stream.getvalue())
