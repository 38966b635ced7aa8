"""How does MMPR become preference rows? The science subset of MMPR-v1.2, and MMPR-Tiny with made-up wrong answers.

Columns of `OpenGVLab/MMPR-v1.2` (its card): image (string: a file of images.zip, or a list of them), question, chosen,
rejected; unpacked it is `annotations/<subset>.jsonl`, images and meta.json ({subset: {root, annotation, ...}}). Columns
of `OpenGVLab/MMPR-Tiny`: data_source, prompt, images (list of {path}), ability, reward_model ({ground_truth, style}),
extra_info ({question, answer, ...}); it has no wrong answers, so another choice, or another number, is rejected.

Images come as files beside the annotations: download and unpack the data set, then give its folder with --source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .source import Origin
from .source_image import Reject, clean_image
from .source_rows import PREFERENCE, Kind, Row, checked, preference_row
from .wrong_choice import wrong_answer

SCIENCE = ("chartqa", "plotqa", "figureqa", "dvqa", "mavis_function", "scienceqa", "ai2d", "m3cot", "tqa", "arxivqa")
"""Subsets with plots, curves, fits and science figures: a row is one of them when its image path or file says so."""
IMAGE, QUESTION, CHOSEN, REJECTED = ("image", "images"), ("question", "extra_info"), ("chosen",), ("rejected",)
TINY = ("reward_model",)
_MARK = re.compile(r"<image(?:_?\d+)?>")


def mmpr(subsets: tuple[str, ...] = SCIENCE) -> Kind:
    """The kind of source that keeps rows of `subsets` (parts of names, lower case; none: all rows)."""

    def convert(row: Mapping[str, Any], origin: Origin) -> list[Row | Reject]:
        try:
            return [_row(row, origin, subsets)]
        except Reject as reject:
            return [reject]

    named = ", ".join(subsets) or "all"
    return Kind(
        "mmpr",
        "MMPR preference pairs on science figures",
        PREFERENCE,
        (IMAGE, QUESTION, (*CHOSEN, *TINY), (*REJECTED, *TINY)),
        convert,
        "mit",
        "OpenGVLab/MMPR-v1.2",
        f"Pairs of a preferred and a rejected answer to questions about figures. Kept subsets: {named}. Rows without a "
        "rejected answer (MMPR-Tiny) reject another choice of the question, or another number.",
    )


def _row(row: Mapping[str, Any], origin: Origin, subsets: tuple[str, ...]) -> Row:
    pictures = row.get("image") if row.get("image") is not None else row.get("images")
    pictures = pictures if isinstance(pictures, list | tuple) else [pictures]
    paths = [picture.get("path") if isinstance(picture, Mapping) else picture for picture in pictures]
    names = [*paths, row.get("data_source"), row.get("file")]
    told = " ".join(name for name in names if isinstance(name, str))
    subset = next((name for name in subsets if name in told.lower()), None)
    if subsets and subset is None:
        raise Reject("other_subset")
    extra = row.get("extra_info")
    question = row.get("question") or (extra.get("question") if isinstance(extra, Mapping) else None)
    question = checked(_MARK.sub("", question) if isinstance(question, str) else question, "question")
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if "chosen" not in row:
        reward = row.get("reward_model")
        chosen = checked(reward.get("ground_truth") if isinstance(reward, Mapping) else None, "chosen")
        rejected = wrong_answer(question, chosen)
    images = [clean_image(picture, origin) for picture in pictures]
    return preference_row(images, question, chosen, rejected, f"mmpr_{subset or 'other'}")  # type: ignore[arg-type]
