"""Which experiments are there? The 22 QCalEval families and their 87 types (SPEC 2.7), by name."""

from __future__ import annotations

from ..errors import QuestionError
from .families_atoms import ATOM_FAMILIES
from .families_transmon import TRANSMON_FAMILIES
from .families_transmon_2d import TRANSMON_2D_FAMILIES
from .family import Family

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in sorted((*TRANSMON_FAMILIES, *TRANSMON_2D_FAMILIES, *ATOM_FAMILIES), key=lambda family: family.name)
}
"""Family name -> Family, alphabetical like the benchmark."""


def get_family(name: str) -> Family:
    """The family called `name`; raises QuestionError naming the known ones."""
    try:
        return FAMILIES[name]
    except KeyError:
        raise QuestionError(f"unknown family {name!r}. Expected one of: {', '.join(FAMILIES)}") from None


def family_of_type(experiment_type: str) -> Family:
    """The family that a full type name belongs to; raises QuestionError."""
    for family in FAMILIES.values():
        if experiment_type in family.types:
            return family
    raise QuestionError(f"unknown experiment type {experiment_type!r}; it must be one of the 87 full type names")
