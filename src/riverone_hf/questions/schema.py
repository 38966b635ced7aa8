"""Which JSON is an answer? JSON Schema of the two questions that are answered in it, for constrained decoding.

Keys, their order and closed facts are those of `answers.write_answers`; whether they are right is the model's affair.
"""

from __future__ import annotations

from typing import Any

from .enums import PLOT_TYPES, SCALES
from .families import get_family
from .family import Family, Field
from .truth import UNRELIABLE

LONGEST = 160
"""Most characters of a label or of the main features; a model that repeats itself is stopped there."""
ENTRIES = 64
"""Most sites, or numbers of one field."""

Schema = dict[str, Any]


def answer_schema(family: str, question: str, n_images: int = 1) -> Schema | None:
    """JSON Schema (draft 2020-12) of an answer to `question` about `n_images` images; None where it is no JSON.

    q1 is an object, or an array of one object for each of several images; q5 is the family's object, or an array of
    one to `ENTRIES` of them for per-site families. Any q5 field may be null or "Unreliable". Raises QuestionError for
    an unknown family.
    """
    spec = get_family(family)
    if question == "q1":
        panel = _panel(spec)
        return panel if n_images == 1 else _array(panel, n_images, n_images)
    if question == "q5":
        site = _object({field.name: _value(field) for field in spec.fields})
        return _array(site, 1, ENTRIES) if spec.list_answer else site
    return None


def _panel(spec: Family) -> Schema:
    label = {"type": "string", "maxLength": LONGEST}
    limits = _array({"type": "number"}, 2, 2)
    plain = _object({"label": label, "scale": {"enum": list(SCALES)}, "range": limits})
    axis: Schema = {"anyOf": [plain, _object({"label": label, "unit": label})]}
    return _object(
        {
            "plot_type": {"enum": list(PLOT_TYPES)},
            "x_axis": axis,
            "y_axis": axis,
            "colorbar": _object({"label": label}),
            "main_features": label,
        },
        optional=("colorbar",),
    )


def _value(field: Field) -> Schema:
    """A value of a field: by its kind, or nothing."""
    nothing: list[Schema] = [{"type": "null"}, {"const": UNRELIABLE}]
    if field.kind == "bool":
        return {"anyOf": [{"type": "boolean"}, *nothing]}
    if field.kind == "enum":
        return {"anyOf": [{"enum": list(field.choices)}, *nothing]}
    numbers = _array({"anyOf": [{"type": "number"}, {"type": "null"}]}, 0, ENTRIES)
    return {"anyOf": [{"type": "number"}, numbers, *nothing]}


def _object(properties: dict[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _array(items: Schema, least: int, most: int) -> Schema:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}
