"""Prompts in both forms, and answers that parse back to what was true."""

from __future__ import annotations

import dataclasses
import random

import pytest

from riverone_hf.errors import QuestionError
from riverone_hf.questions import (
    FAMILIES,
    QUESTIONS,
    AxisTruth,
    PanelTruth,
    Truth,
    full_prompt,
    parse_json,
    parse_label,
    parse_q0,
    parse_q1,
    parse_q2,
    parse_q4,
    parse_q5,
    parse_q6,
    parse_reason,
    question_texts,
    short_prompt,
    write_answers,
)

TRUTH = Truth(
    family="t1",
    experiment_type="t1_success",
    outcome="Expected behavior",
    reliability="Reliable",
    status="SUCCESS",
    parameters={"T1_us": 48.2, "decay_visible": True},
    panels=(PanelTruth("scatter", AxisTruth("Delay (µs)", (0, 300.0)), AxisTruth("P", (0.0, 1.0)), "clean decay"),),
    q2_reason="a clear decay",
    q4_reason="the fit follows the points",
    q6_notes="decays to the baseline",
    significance="T1 can be stored.",
)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("question", QUESTIONS)
def test_full_prompt_has_what_the_benchmark_asks(family, question):
    text = full_prompt(family, question, FAMILIES[family].n_images)
    assert "<image>" in text
    if question != "q1":
        assert text.startswith(FAMILIES[family].background)
    if question == "q6":
        assert all(f"- {code}: " in text for code in FAMILIES[family].statuses)
    if question == "q5":
        assert all(f'"{field.name}": ' in text for field in FAMILIES[family].fields)


def test_full_prompt_varies_only_with_its_generator():
    assert full_prompt("rabi", "q2") == full_prompt("rabi", "q2")
    assert len({full_prompt("rabi", "q2", 1, random.Random(seed)) for seed in range(20)}) > 1


def test_short_prompt():
    assert short_prompt("rabi", "q2") == "[outcome] rabi"
    assert len({short_prompt("rabi", question) for question in QUESTIONS}) == 6
    with pytest.raises(QuestionError, match="needs a family"):
        short_prompt(None, "q2")
    with pytest.raises(QuestionError, match="unknown question"):
        short_prompt("rabi", "q7")


def test_answers_parse_back():
    answers = write_answers(TRUTH)
    assert parse_q0(answers["q0"]) == "t1"
    assert parse_q1(answers["q1"])[0]["x_axis"] == {"label": "Delay (µs)", "scale": "linear", "range": [0, 300]}
    assert parse_q2(answers["q2"]) == TRUTH.outcome and parse_reason(answers["q2"]) == TRUTH.q2_reason
    assert parse_q4(answers["q4"]) == TRUTH.reliability
    assert parse_q5(answers["q5"]) == TRUTH.parameters
    status = parse_q6(answers["q6"], "t1")
    assert (status.status, status.suggested_range, status.notes) == ("SUCCESS", None, TRUTH.q6_notes)


def test_two_images_give_an_array():
    answers = write_answers(dataclasses.replace(TRUTH, panels=TRUTH.panels * 2))
    assert len(parse_q1(answers["q1"])) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outcome": "fine"}, "outcome is 'fine'"),
        ({"status": "BEATING"}, "status is 'BEATING'"),
        ({"parameters": {"decay_visible": True, "T1_us": 1}}, "in this order"),
        ({"q2_reason": "word " * 13}, "q2_reason has 13 words, at most 12"),
        ({"panels": ()}, "at least one panel"),
    ],
)
def test_illegal_truth_is_refused(change, message):
    with pytest.raises(QuestionError, match=message):
        write_answers(dataclasses.replace(TRUTH, **change))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1}', {"a": 1}),
        ('Here:\n```json\n{"a": 1}\n```', {"a": 1}),
        ('so {"a": {"b": 2}} it is', {"a": {"b": 2}}),
        ("values [1, 2] end", [1, 2]),
        ("nothing", None),
        ('{"a": 1', None),
    ],
)
def test_parse_json(text, expected):
    assert parse_json(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Assessment: Reliable\nReason: x", "Reliable"),
        ("**Assessment:** No fit", "No fit"),
        ("assessment: unreliable.", "Unreliable"),
        ("Assessment: the fit is not reliable", None),
        ("Assessment:\nReliable", "Reliable"),
        ("Reliable", None),
    ],
)
def test_labels_are_exact(text, expected):
    assert parse_label(text, "Assessment", ("Reliable", "Unreliable", "No fit")) == expected


def test_q6_of_charge_tomography_uses_its_own_label():
    assert parse_q6("Classification: EVENT\nNotes: a jump", "ramsey_charge_tomography").status == "EVENT"
    assert parse_q6("Status: EVENT", "ramsey_charge_tomography").status is None


def test_corpus_is_seeded():
    assert list(question_texts(1, rounds=1)) == list(question_texts(1, rounds=1))
    assert list(question_texts(1, rounds=1)) != list(question_texts(2, rounds=1))
