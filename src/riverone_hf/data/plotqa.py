"""How does PlotQA become training rows? Template questions about scientific plots, in the shapes they are published.

The release (Methani et al., WACV 2020) has `qa_pairs_V1.json` or `_V2.json`: {"qa_pairs": [{image_index,
question_string, answer, template, type, qid, ...}]} and the plots as `png/<image_index>.png`. Flat copies have image
and question_string (or question) and answer; nested ones one row per plot with `questions` or `qa_pairs`, a list of
{question, answer, question_id}. Copies with the columns image, text (`achang/plot_qa`) hold no questions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .source import Origin
from .source_image import Reject, clean_image
from .source_rows import SFT, Kind, Row, first_of, sft_row

HINT = "Answer with a number, a word or a short phrase."
IMAGE = ("image", "image_index")
QUESTION, ANSWER, MANY = ("question_string", "question", "query"), ("answer", "label"), ("questions", "qa_pairs")
COLUMNS = (IMAGE, (*QUESTION, *MANY), (*ANSWER, *MANY))


def convert(row: Mapping[str, Any], origin: Origin) -> list[Row | Reject]:
    """One row per question of a PlotQA row, each with the plot, or why there is none."""
    try:
        image = clean_image(_picture(row), origin)
    except Reject as reject:
        return [reject]
    made: list[Row | Reject] = []
    for item in _questions(row):
        try:
            question = first_of(item, QUESTION)
            if not isinstance(question, str) or not question.strip():
                raise Reject("empty_question")
            kind = f"plotqa_{item.get('template') or 'question'}"
            made.append(sft_row([image], f"{question.strip()}\n{HINT}", _plain(first_of(item, ANSWER)), kind))
        except Reject as reject:
            made.append(reject)
    return made or [Reject("empty_question")]


def _picture(row: Mapping[str, Any]) -> Any:
    image = row.get("image")
    if image is None and row.get("image_index") is not None:
        return f"{row['image_index']}.png"
    return image


def _questions(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    many = first_of(row, MANY)
    if many is None:
        return [row]
    if isinstance(many, Mapping):  # datasets' older lists of structures are structures of lists
        return [dict(zip(many, values)) for values in zip(*many.values())]
    return [item for item in many if isinstance(item, Mapping)]


def _plain(answer: Any) -> Any:
    """Numbers as a person reads them off a plot: six digits, no trailing zeros."""
    if isinstance(answer, float) or (isinstance(answer, str) and answer.count(".") == 1 and len(answer) > 8):
        try:
            return f"{float(answer):.6g}"
        except ValueError:
            return answer
    if isinstance(answer, list | tuple):
        return ", ".join(str(_plain(item)) for item in answer)
    return answer


PLOTQA = Kind(
    "plotqa",
    "PlotQA questions",
    SFT,
    COLUMNS,
    convert,
    "cc-by-4.0",
    None,
    "Bar, line and dot plots of public statistics with template questions on structure, values and reasoning. Numbers "
    f'are given to six digits. Every question ends with "{HINT}"',
)
