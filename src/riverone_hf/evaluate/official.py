"""How does the benchmark itself read an answer? The published rules with their quirks, none of them mended.

Rules and quirks are those of the official QCalEval judge (July 2026), written anew from their description; a test
holds every one of them. `scoring` mends them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..questions import STATUS_CODES, Field, parse_json
from .scoring import score_q5_field

OUTCOME_ORDER = ("Expected behavior", "Anomalous behavior", "Suboptimal parameters", "Apparatus issue")
"""The first of these found anywhere in the line wins, whatever the rest of the line says."""
ASSESSMENT_ORDER = ("Unreliable", "No fit", "Reliable")
ALIASES = {"TOO_MANY_OSC": "SAMPLING_TOO_COARSE"}
"""Two codes that count as one."""

_STATUS = re.compile(r"Status:\s*\*{0,2}\s*([A-Z][A-Z_]*)")
_CLASSIFICATION = re.compile(r"Classification:\s*\*{0,2}\s*([A-Z][A-Z_]*)")


def official_outcome(text: str) -> str | None:
    """The Q2 class, or None."""
    return _contained(text, "Classification", OUTCOME_ORDER)


def official_assessment(text: str) -> str | None:
    """The Q4 class, or None. "The fit is not reliable" reads as Reliable."""
    return _contained(text, "Assessment", ASSESSMENT_ORDER)


def _contained(text: str, label: str, allowed: Sequence[str]) -> str | None:
    # White space after the colon may hold a line break, so a label on the next line is found as well.
    match = re.search(rf"\*{{0,2}}{label}\*{{0,2}}\s*:\s*\*{{0,2}}\s*([^\n]+)", text, re.IGNORECASE)
    line = match.group(1).casefold() if match else ""
    return next((name for name in allowed if name.casefold() in line), None)


def official_status(text: str) -> str | None:
    """The Q6 code, or None.

    The word after `Status:` or `Classification:` (both case-sensitive, the word in capitals) if it is a known code;
    else the first line if it is one; else the longest code that occurs anywhere in the upper-cased text.
    """
    for pattern in (_STATUS, _CLASSIFICATION):
        match = pattern.search(text)
        if match and match.group(1) in STATUS_CODES:
            return match.group(1)
    first = text.strip().split("\n", 1)[0].strip()
    if first in STATUS_CODES:
        return first
    upper = text.upper()
    return next((code for code in sorted(STATUS_CODES, key=len, reverse=True) if code in upper), None)


def same_status(got: str | None, want: str | None) -> bool:
    """Whether two codes count as the same; nothing is the same as nothing found."""
    return got is not None and want is not None and ALIASES.get(got, got) == ALIASES.get(want, want)


def official_fields(fields: Sequence[Field], answer: str, reference: str) -> dict[str, float]:
    """Field -> score in 0..1 for the fields that stand in the reference.

    A reference that is a list (one object per site) has no field at all, so nobody scores on it. A field that the
    answer leaves out reads as null. An answer that is no JSON object scores 0 in every field.
    """
    want, got = _json(reference), _json(answer)
    if not isinstance(want, dict):
        return {}
    if not isinstance(got, dict):
        return {field.name: 0.0 for field in fields if field.name in want}
    return {
        field.name: score_q5_field(field, got.get(field.name), want[field.name], slack=0.0)
        for field in fields
        if field.name in want
    }


def _json(text: str) -> Any:
    try:
        return parse_json(text)
    except RecursionError:  # a model may write brackets without end
        return None
