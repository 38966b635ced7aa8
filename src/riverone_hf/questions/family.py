"""What is an experiment family, and what is a Q5 field?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FieldKind = Literal[
    "bool",
    "enum",
    "int_count",
    "count_float",
    "pct",
    "abs",
    "coord_list",
    "array_int_match",
    "array_float_match",
]


@dataclass(frozen=True)
class Field:
    """One Q5 field: its name, how it is scored (SPEC 2.6), unit, allowed choices and tolerances.

    The benchmark's own tolerances are not public offline; the defaults are 5 % / 10 % for relative kinds and 0 / 1
    for counts, and a data set's `experiment_config.json` overrides them.
    """

    name: str
    kind: FieldKind
    unit: str | None = None
    choices: tuple[str, ...] = ()
    nullable: bool = False
    tol_full: float | None = None
    tol_half: float | None = None
    schema: str | None = None
    """How the prompt writes the value's type; derived from the kind when None."""

    def tolerances(self) -> tuple[float, float]:
        """(full, half) credit tolerances: relative for pct and array_float_match, absolute otherwise."""
        full, half = (0.0, 1.0) if self.kind in ("int_count", "array_int_match") else (0.05, 0.10)
        if self.kind == "count_float":
            full, half = 0.5, 1.0
        return (full if self.tol_full is None else self.tol_full, half if self.tol_half is None else self.tol_half)

    def schema_text(self) -> str:
        """The type as the prompt's JSON schema shows it, e.g. `float | null` or `"peak" | "dip"`."""
        if self.schema is not None:
            return self.schema
        text = {
            "bool": "true | false",
            "enum": " | ".join(f'"{choice}"' for choice in self.choices),
            "int_count": "int",
            "count_float": "float",
            "pct": "float",
            "abs": "float",
            "coord_list": "[float, float]",
            "array_int_match": "[int, ...]",
            "array_float_match": "[float, ...]",
        }[self.kind]
        return text + (" | null" if self.nullable else "")


@dataclass(frozen=True)
class Family:
    """One experiment family. `types` are full type names; `statuses` maps a code to its criterion."""

    name: str
    title: str
    background: str
    types: tuple[str, ...]
    statuses: dict[str, str]
    fields: tuple[Field, ...]
    sweep: str
    """What is swept; the suggested range is given in it. Empty when an action is suggested instead of a range."""
    unit: str
    implications: tuple[str, str, str]
    """The three things that Q3 asks about: physics meaning, sufficiency of the data, next step."""
    next_actions: dict[str, str]
    platform: Literal["superconducting", "atoms", "helium"] = "superconducting"
    n_images: int = 1
    list_answer: bool = False
    """Q5 is a JSON array of objects, one per site."""
    status_label: str = "Status"
    asks_range: bool = True


def full_type(family: str, short: str) -> str:
    """Full type name: the family is put in front unless the type already starts with `rabi_` or `ramsey_`."""
    return short if short.startswith(("rabi_", "ramsey_")) else f"{family}_{short}"


def type_names(family: str, shorts: str) -> tuple[str, ...]:
    """Full type names of the whitespace-separated short ones."""
    return tuple(full_type(family, short) for short in shorts.split())
