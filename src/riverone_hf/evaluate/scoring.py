"""How good is one plot's set of answers? Strict scores: missing, unparsable or ambiguous answers count 0.

Field rules of Q5: SPEC 2.6. Key points of Q1 and Q3 need a judge and are not scored here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..questions import Field, get_family, parse_q1, parse_q2, parse_q4, parse_q5, parse_q6

SCORES = ("q1_enums", "q2", "q4", "q5", "q5_values", "q6")
_NOTHING = (None, "unreliable", "null", "none")


def score_answers(
    family: str, answers: Mapping[str, str | None], reference: Mapping[str, str]
) -> dict[str, float | None]:
    """Scores in 0..1 of `answers` (question -> text) against `reference` answer texts of one plot.

    q1_enums: mean of plot_type, x scale and y scale over the images; q2, q4, q6: exact label; q5: mean over the
    family's fields; q5_values: the same over fields whose reference is a value (None when the plot has no such field).
    """
    q1 = _score_enums(parse_q1(answers.get("q1") or ""), parse_q1(reference["q1"]) or [])
    fields = _score_fields(family, answers.get("q5") or "", reference["q5"])
    values = [score for score, has_value in fields if has_value]
    return {
        "q1_enums": q1,
        "q2": float(parse_q2(answers.get("q2") or "") == parse_q2(reference["q2"])),
        "q4": float(parse_q4(answers.get("q4") or "") == parse_q4(reference["q4"])),
        "q5": _mean([score for score, _ in fields]),
        "q5_values": _mean(values) if values else None,
        "q6": float(parse_q6(answers.get("q6") or "", family).status == parse_q6(reference["q6"], family).status),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _score_enums(got: list[dict[str, Any]] | None, want: list[dict[str, Any]]) -> float:
    got = got or []
    hits = 0
    for mine, theirs in zip(got, want, strict=False):
        for path in (("plot_type",), ("x_axis", "scale"), ("y_axis", "scale")):
            a, b = _dig(mine, path), _dig(theirs, path)
            hits += isinstance(a, str) and isinstance(b, str) and a.casefold() == b.casefold()
    return hits / (3 * max(len(got), len(want), 1))


def _dig(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _score_fields(family: str, answer: str, reference: str) -> list[tuple[float, bool]]:
    """(score, reference has a value) per field; sites of list answers are matched by position."""
    want, got = parse_q5(reference), parse_q5(answer)
    wants = want if isinstance(want, list) else [want or {}]
    gots = got if isinstance(got, list) else [got or {}]
    scored = []
    for position in range(max(len(wants), len(gots))):
        mine = gots[position] if position < len(gots) else {}
        theirs = wants[position] if position < len(wants) else {}
        for field in get_family(family).fields:
            if field.name in theirs:
                has_value = not _is_nothing(theirs[field.name])
                # A field that is not there at all is a missing answer, not a null.
                score = score_q5_field(field, mine[field.name], theirs[field.name]) if field.name in mine else 0.0
                scored.append((score, has_value))
    return scored


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip().casefold() in _NOTHING)


def score_q5_field(field: Field, got: Any, want: Any) -> float:
    """Score in 0..1 of one Q5 value by the rule of its kind (SPEC 2.6). Null and "Unreliable" match each other."""
    if _is_nothing(want) or _is_nothing(got):
        return float(_is_nothing(want) and _is_nothing(got))
    full, half = field.tolerances()
    if field.kind == "bool":
        return float(_boolean(got) is not None and _boolean(got) == _boolean(want))
    if field.kind == "enum":
        return float(str(got).strip().casefold() == str(want).strip().casefold())
    if field.kind == "coord_list":
        a, b = _numbers(got), _numbers(want)
        if a is None or b is None or len(a) != len(b):
            return 0.0
        return _mean([_graded(abs(x - y), full, half) for x, y in zip(a, b, strict=True)])
    if field.kind == "array_int_match":
        return _match_f1(_numbers(got), _numbers(want), full)
    if field.kind == "array_float_match":
        return _positional(_numbers(got), _numbers(want), full)
    a, b = _numbers([got]), _numbers([want])
    if a is None or b is None:
        return 0.0
    if field.kind == "pct":
        if b[0] == 0:
            return float(abs(a[0]) < 0.01)
        return _graded(abs(a[0] - b[0]) / abs(b[0]), full, half)
    return _graded(abs(a[0] - b[0]), full, half)


def _graded(difference: float, full: float, half: float) -> float:
    # Ten digits: 0.1 - 0.05 must not fail a tolerance of 0.05 by rounding.
    difference = round(difference, 10)
    return 1.0 if difference <= full else 0.5 if difference <= half else 0.0


def _boolean(value: Any) -> bool | None:
    table = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
    return table.get(str(value).strip().casefold())


def _numbers(value: Any) -> list[float] | None:
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, bool) for item in items):
        return None
    try:
        return [float(item) for item in items]
    except (TypeError, ValueError):
        return None


def _match_f1(got: list[float] | None, want: list[float] | None, tolerance: float) -> float:
    if got is None or want is None:
        return 0.0
    if not got or not want:
        return float(got == want)
    left, hits = list(want), 0
    for item in got:
        nearest = min(left, key=lambda other: abs(other - item), default=None)
        if nearest is not None and abs(nearest - item) <= tolerance:
            left.remove(nearest)
            hits += 1
    return 2 * hits / (len(got) + len(want))


def _positional(got: list[float] | None, want: list[float] | None, tolerance: float) -> float:
    if got is None or want is None:
        return 0.0
    if not want or not got:
        return float(not want)
    pairs = list(zip(got, want, strict=False))
    near = [abs(a) < 0.01 if b == 0 else abs(a - b) / abs(b) <= tolerance + 1e-10 for a, b in pairs]
    return _mean([float(hit) for hit in near]) * min(len(got), len(want)) / max(len(got), len(want))
