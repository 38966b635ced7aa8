"""How does ChartQA become training rows? One short question and answer about one chart.

Columns of the public source `HuggingFaceM4/ChartQA` (its card): image (Image), query (string), label (list of string),
human_or_machine (ClassLabel: human, machine). The release on GitHub has imgname, query, label (string) in
`<split>/<split>_human.json` and `<split>_augmented.json`, with the charts in `<split>/png`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .source import Origin
from .source_image import Reject, clean_image
from .source_rows import PREFERENCE, SFT, Kind, Row, checked, first_of, preference_row, sft_row
from .wrong_choice import wrong_answer

HINT = "Answer with a number, a word or a short phrase."
IMAGE, QUERY, LABEL = ("image", "imgname"), ("query", "question"), ("label", "answer")
ORIGINS = {0: "human", 1: "machine", "0": "human", "1": "machine"}


def convert(row: Mapping[str, Any], origin: Origin) -> list[Row | Reject]:
    """The one row of a ChartQA row, or why there is none."""
    try:
        image, question, answer, kind = _read(row, origin)
        return [sft_row([image], question, answer, kind)]
    except Reject as reject:
        return [reject]


def convert_pair(row: Mapping[str, Any], origin: Origin) -> list[Row | Reject]:
    """The preference row of a ChartQA row: numbers only, since a wrong word could be right as well."""
    try:
        image, question, answer, kind = _read(row, origin)
        return [preference_row([image], question, answer, wrong_answer(question, checked(answer, "answer")), kind)]
    except Reject as reject:
        return [reject]


def _read(row: Mapping[str, Any], origin: Origin) -> tuple[Row, str, Any, str]:
    """(image, question with hint, answer, type of the question)."""
    label = first_of(row, LABEL)
    many = isinstance(label, list | tuple)
    answer = ", ".join(str(item).strip() for item in label if item is not None) if many else label
    question = checked(first_of(row, QUERY), "question")
    image = clean_image(first_of(row, IMAGE), origin)
    written = row.get("human_or_machine")
    kind = ORIGINS.get(written, written) if isinstance(written, int | str) else None
    return image, f"{question}\n{HINT}", answer, f"chartqa_{kind or 'question'}"


CHARTQA = Kind(
    "chartqa",
    "ChartQA questions",
    SFT,
    (IMAGE, QUERY, LABEL),
    convert,
    "gpl-3.0",
    "HuggingFaceM4/ChartQA",
    "Charts from the web with questions written by people or made by a model; answers are numbers, words or short "
    f'phrases. Every question ends with "{HINT}"',
)
CHARTQA_PAIRS = replace(
    CHARTQA,
    title="ChartQA preference pairs",
    view=PREFERENCE,
    convert=convert_pair,
    about="Charts from the web with questions whose answer is a number, and a number 15 to 50 % beside it as the "
    f'rejected answer. Every question ends with "{HINT}"',
)
