"""Which columns has each view of the calibration data? `datasets.Features` of DESIGN contract 4 and SPEC 2.1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import MissingExtraError
from ..questions import QUESTIONS

if TYPE_CHECKING:
    from datasets import Features

VIEWS = ("sft_zero_shot", "sft_icl", "preference", "qcaleval", "fewshot")
"""Every table that a build writes; `qcaleval` and `fewshot` hold the test split only."""
FEWSHOT_QUESTIONS = ("q3", "q5", "q6")


def view_features(view: str) -> Features:
    """Columns of one of `VIEWS`. Raises KeyError for another name, MissingExtraError without `datasets`.

    Images are stored as {bytes, path} with PNG bytes inside the parquet files; `images` is flat and in the order in
    which image parts or `<image>` marks appear. Message contents are lists of {type, text}, text null for an image.
    """
    try:
        from datasets import Features, Image, List, Value
    except ImportError:
        raise MissingExtraError("datasets", "train") from None

    text, images = Value("string"), List(Image())
    messages = List({"role": text, "content": List({"type": text, "text": text})})
    plot = {"id": text, "family": text, "experiment_type": text, "images": images}
    columns = {
        "sft_zero_shot": plot | {"messages": messages},
        "sft_icl": plot | {"messages": messages},
        "preference": plot | {"prompt": messages, "chosen": messages, "rejected": messages},
        "qcaleval": {
            "id": text,
            "experiment_type": text,
            "experiment_background": text,
            "images": images,
            "image_ids": List(text),
            **{f"{question}_prompt": text for question in QUESTIONS},
            **{f"{question}_answer": text for question in QUESTIONS},
            "q1_key_points": List(text),
            "q3_key_points": List(text),
        },
        "fewshot": {
            "source_id": text,
            "experiment_type": text,
            "image_ids": List(text),
            **{f"{question}_prompt": text for question in FEWSHOT_QUESTIONS},
        },
    }
    return Features(columns[view])
