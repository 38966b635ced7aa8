"""What does an answer say? Parsers that turn answer text back into labels, numbers and notes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from .enums import ASSESSMENTS, OUTCOMES
from .families import FAMILIES, get_family

_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)


def parse_json(text: str) -> Any | None:
    """The first JSON found: whole text, fenced block, outermost braces, outermost brackets; None if none parses."""
    candidates = [text.strip()]
    candidates += _FENCE.findall(text)[:1]
    for opening, closing in ("{}", "[]"):
        start, end = text.find(opening), text.rfind(closing)
        if 0 <= start < end:
            candidates.append(text[start : end + 1])
    for candidate in candidates:
        try:
            return json.loads(candidate)
        except ValueError:
            continue
    return None


def parse_label(text: str, label: str, allowed: tuple[str, ...]) -> str | None:
    """The value after `label:` if it is exactly one of `allowed` (any case, markup ignored), else None."""
    match = re.search(rf"\**{label}\**\s*:\s*\**\s*([^\n]*)", text, re.IGNORECASE)
    if not match:
        return None
    got = match.group(1).strip().strip("*.`\"' ").casefold()
    return next((name for name in allowed if got == name.casefold()), None)


def parse_q0(text: str) -> str | None:
    """The family named by an identify answer, or None."""
    return parse_label(text, "Experiment", tuple(FAMILIES))


def parse_q1(text: str) -> list[dict[str, Any]] | None:
    """One dict per described image, or None when there is no JSON object."""
    value = parse_json(text)
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return value
    return None


def parse_q2(text: str) -> str | None:
    """The outcome, or None."""
    return parse_label(text, "Classification", OUTCOMES)


def parse_q4(text: str) -> str | None:
    """The fit assessment, or None."""
    return parse_label(text, "Assessment", ASSESSMENTS)


def parse_q5(text: str) -> dict[str, Any] | list[dict[str, Any]] | None:
    """The parameter object (a list of objects for per-site families), or None."""
    items = parse_q1(text)
    if items is None:
        return None
    return items[0] if isinstance(parse_json(text), dict) else items


@dataclass(frozen=True)
class StatusAnswer:
    """Q6 taken apart. `status` is None when no legal code was given; `suggested_range` is None for N/A."""

    status: str | None
    suggested_range: str | None
    notes: str | None


def parse_q6(text: str, family: str) -> StatusAnswer:
    """Status, suggested range and notes of a Q6 answer of `family`; raises QuestionError for an unknown family."""
    spec = get_family(family)
    status = parse_label(text, spec.status_label, tuple(spec.statuses))
    suggested = _line(text, "Suggested range")
    if suggested is not None and suggested.strip(" .").upper() == "N/A":
        suggested = None
    return StatusAnswer(status, suggested, _line(text, "Notes"))


def parse_reason(text: str) -> str | None:
    """The text after `Reason:`, or None."""
    return _line(text, "Reason")


def _line(text: str, label: str) -> str | None:
    match = re.search(rf"{label}\s*:\s*([^\n]*)", text, re.IGNORECASE)
    return match.group(1).strip() or None if match else None
