"""What would a wrong answer to a foreign question be? Another of its choices, or a number beside the right one."""

from __future__ import annotations

import json
import random
import re

from .source_image import Reject

_CHOICE = re.compile(r"^\(?([A-H])[).:]\s*(\S.*)$", re.MULTILINE)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def wrong_answer(question: str, right: str) -> str:
    """Another lettered choice of `question`, or a number clearly beside `right`. Raises Reject (no_negative)."""
    rng = random.Random(json.dumps([question, right]))
    choices = {letter: text.strip() for letter, text in _CHOICE.findall(question)}
    letter = right.strip("(). ")[:1].upper()
    if len(right.strip("(). ")) == 1 and letter in choices and len(choices) > 1:
        return right.replace(right.strip("(). "), rng.choice(sorted(set(choices) - {letter})))
    others = [text for text in choices.values() if text != right]
    if right in choices.values() and others:
        return rng.choice(others)
    number = _NUMBER.fullmatch(right)
    if number is None:
        raise Reject("no_negative")
    value, decimals = float(right), len(right.partition(".")[2])
    if value == 0:
        return f"{rng.choice([1, 2, 5]):.{decimals}f}"
    step = max(abs(value) * rng.uniform(0.15, 0.5), 10.0**-decimals)
    return f"{value + rng.choice([-1, 1]) * step:.{decimals}f}"
