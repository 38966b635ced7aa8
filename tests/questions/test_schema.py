"""The schema of an answer in JSON: which questions have one, and what it asks for."""

from __future__ import annotations

import pytest

from riverone_hf.errors import QuestionError
from riverone_hf.questions import FAMILIES, PLOT_TYPES, SCALES, answer_schema


@pytest.mark.parametrize("question", ["q2", "q3", "q4", "q6"])
def test_labels_and_prose_have_none(question):
    assert answer_schema("rabi", question) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_are_those_of_the_family_in_order(family):
    schema = answer_schema(family, "q5")
    if FAMILIES[family].list_answer:
        assert (schema["type"], schema["minItems"]) == ("array", 1)
        schema = schema["items"]
    names = [field.name for field in FAMILIES[family].fields]
    assert list(schema["properties"]) == schema["required"] == names
    assert schema["additionalProperties"] is False


def test_an_image_is_an_object_and_several_are_as_many():
    one, three = answer_schema("t1", "q1"), answer_schema("t1", "q1", 3)
    assert one["properties"]["plot_type"]["enum"] == list(PLOT_TYPES)
    assert one["properties"]["x_axis"]["anyOf"][0]["properties"]["scale"]["enum"] == list(SCALES)
    assert "colorbar" not in one["required"]
    assert three == {"type": "array", "items": one, "minItems": 3, "maxItems": 3}


def test_an_unknown_family_is_named():
    with pytest.raises(QuestionError, match="nothing_known"):
        answer_schema("nothing_known", "q1")
