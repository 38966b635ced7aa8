"""How good is one plot's set of answers? Strict scores: missing, unparsable or ambiguous answers count 0.

A label must be exactly one of the allowed ones ("not reliable" is none of them), only what the reference states is
counted, reasoning before the answer is cut off. Key points of Q1 and Q3 need a judge and are not scored here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..questions import Field, get_family, parse_q1, parse_q2, parse_q4, parse_q5, parse_q6

SCORES = ("q1_enums", "q2", "q4", "q5", "q5_values", "q6")
_NOTHING = (None, "unreliable", "null", "none")


def score_answers(
    family: str,
    answers: Mapping[str, str | None],
    reference: Mapping[str, str],
    fields: Sequence[Field] | None = None,
) -> dict[str, float | None]:
    """Scores in 0..1 of `answers` (question -> text) against `reference` answer texts of one plot.

    q1_enums: mean of plot_type, x scale and y scale over the images; q2, q4, q6: exact label; q5: mean over the
    family's fields; q5_values: the same over fields whose reference is a value (None when the plot has no such field).
    `fields` are the data set's own fields and tolerances; None takes those of the family.
    """
    told = {question: without_reasoning(text or "") for question, text in answers.items()}
    q1 = [score for score in score_enums(told.get("q1", ""), reference["q1"]).values() if score is not None]
    scored = score_fields(fields or get_family(family).fields, told.get("q5", ""), reference["q5"])
    values = [score for _, score, has_value in scored if has_value]
    labels = strict_labels(family, told)
    return {
        "q1_enums": _mean(q1),
        **{
            question: float(want is not None and labels[question] == want)
            for question, want in strict_labels(family, reference).items()
        },
        "q5": _mean([score for _, score, _ in scored]),
        "q5_values": _mean(values) if values else None,
    }


def strict_labels(family: str, answers: Mapping[str, str | None]) -> dict[str, str | None]:
    """{q2, q4, q6: label or None}: None unless the answer names exactly one legal label of the family."""
    return {
        "q2": parse_q2(answers.get("q2") or ""),
        "q4": parse_q4(answers.get("q4") or ""),
        "q6": parse_q6(answers.get("q6") or "", family).status,
    }


def without_reasoning(text: str) -> str:
    """What follows a model's reasoning block; the text itself when there is none."""
    return text.rsplit("</think>", 1)[-1]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


ENUMS = {"plot_type": ("plot_type",), "x_scale": ("x_axis", "scale"), "y_scale": ("y_axis", "scale")}
"""The three closed facts of a Q1 answer, and where they stand in the JSON object of an image."""


def score_enums(answer: str, reference: str, official: bool = False) -> dict[str, float | None]:
    """{plot_type, x_scale, y_scale: 0..1}: share of the images, by position; images too many or too few count 0.

    A fact that the reference states for no image is None; `official` counts it 0 instead, as the benchmark does.
    """
    got, want = _panels(answer), _panels(reference)
    scores: dict[str, float | None] = {}
    for name, path in ENUMS.items():
        pairs = [(_dig(mine, path), _dig(theirs, path)) for mine, theirs in zip(got, want, strict=False)]
        hits = sum(isinstance(a, str) and isinstance(b, str) and a.casefold() == b.casefold() for a, b in pairs)
        stated = official or any(isinstance(_dig(theirs, path), str) for theirs in want)
        scores[name] = hits / max(len(got), len(want), 1) if stated else None
    return scores


def _panels(text: str) -> list[dict[str, Any]]:
    try:
        return parse_q1(text) or []
    except RecursionError:  # a model may write brackets without end
        return []


def _dig(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def score_fields(fields: Sequence[Field], answer: str, reference: str) -> list[tuple[str, float, bool]]:
    """(name, score in 0..1, reference has a value) per field of the reference; list answers match by position."""
    wants, gots = _objects(reference), _objects(answer)
    scored = []
    for position in range(max(len(wants), len(gots))):
        mine = gots[position] if position < len(gots) else {}
        theirs = wants[position] if position < len(wants) else {}
        for field in fields:
            if field.name in theirs:
                has_value = not is_nothing(theirs[field.name])
                # A field that is not there at all is a missing answer, not a null.
                score = score_q5_field(field, mine[field.name], theirs[field.name]) if field.name in mine else 0.0
                scored.append((field.name, score, has_value))
            elif position >= len(wants) and field.name in wants[0]:  # a site too many
                scored.append((field.name, 0.0, False))
    return scored


def _objects(text: str) -> list[dict[str, Any]]:
    try:
        value = parse_q5(text)
    except RecursionError:
        return []
    return value if isinstance(value, list) else [value or {}]


def is_nothing(value: Any) -> bool:
    """Whether a Q5 value says that there is none: null, "Unreliable", "null" or "none"."""
    return value is None or (isinstance(value, str) and value.strip().casefold() in _NOTHING)


def score_q5_field(field: Field, got: Any, want: Any, slack: float = 1e-10) -> float:
    """Score in 0..1 of one Q5 value by the rule of its kind. Null and "Unreliable" match each other.

    `slack` is added to every tolerance: 0.1 - 0.05 must not fail a tolerance of 0.05 by rounding. The benchmark has
    none (0).
    """
    if is_nothing(want) or is_nothing(got):
        return float(is_nothing(want) and is_nothing(got))
    full, half = (tolerance + slack for tolerance in field.tolerances())
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
    if field.kind in ("int_count", "count_float") and isinstance(got, list) and isinstance(want, list):
        a, b = _numbers(got), _numbers(want)
        if a is None or b is None or not a or not b:
            return float(a == b == [])
        near = [_graded(abs(x - y), full, half) for x, y in zip(a, b, strict=False)]
        return _mean(near) * min(len(a), len(b)) / max(len(a), len(b))
    a, b = _numbers([got]), _numbers([want])
    if a is None or b is None:
        return 0.0
    if field.kind == "pct":
        if b[0] == 0:
            return float(abs(a[0]) < 0.01)
        return _graded(abs(a[0] - b[0]) / abs(b[0]), full, half)
    return _graded(abs(a[0] - b[0]), full, half)


def _graded(difference: float, full: float, half: float) -> float:
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
    except (TypeError, ValueError, OverflowError):
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
    near = [abs(a) < 0.01 if b == 0 else abs(a - b) / abs(b) <= tolerance for a, b in pairs]
    return _mean([float(hit) for hit in near]) * min(len(got), len(want)) / max(len(got), len(want))
