"""The tables of SPEC 2.7: 22 families, 87 types, 41 codes."""

from __future__ import annotations

import pytest

from riverone_hf.errors import QuestionError
from riverone_hf.questions import FAMILIES, STATUS_CODES, family_of_type, full_type, get_family


def test_counts():
    assert len(FAMILIES) == 22
    types = [name for family in FAMILIES.values() for name in family.types]
    assert len(types) == len(set(types)) == 87
    assert len(STATUS_CODES) == len(set(STATUS_CODES)) == 41


def test_codes_are_the_judges():
    used = {code for family in FAMILIES.values() for code in family.statuses}
    assert used == set(STATUS_CODES)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_family_is_complete(family):
    assert set(family.next_actions) == set(family.statuses)
    assert len(family.implications) == 3
    assert family.n_images in (1, 2)
    for field in family.fields:
        full, half = field.tolerances()
        assert 0 <= full <= half
        assert (field.kind == "enum") == bool(field.choices)
        assert field.schema_text()


def test_full_type_names():
    assert full_type("t1", "success") == "t1_success"
    assert full_type("rabi", "rabi_successful_limited_range") == "rabi_successful_limited_range"
    assert family_of_type("ramsey_success_t2star").name == "ramsey_t2star"
    assert family_of_type("rabi_hw_success").name == "rabi_hw"


def test_two_image_families():
    two = {name for name, family in FAMILIES.items() if family.n_images == 2}
    assert two == {
        "cz_benchmarking",
        "qubit_spectroscopy_power_frequency",
        "ramsey_freq_cal",
        "ramsey_t2star",
        "res_spec",
    }


def test_unknown_names_are_named_errors():
    with pytest.raises(QuestionError, match=r"unknown family 'rabbi'.*rabi"):
        get_family("rabbi")
    with pytest.raises(QuestionError, match="unknown experiment type"):
        family_of_type("t1")
