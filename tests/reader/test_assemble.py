from __future__ import annotations

import dataclasses
import json
import random
import string

import pytest

from riverone_hf.errors import QuestionError
from riverone_hf.questions import (
    ASSESSMENTS,
    FAMILIES,
    OUTCOMES,
    QUESTIONS,
    UNRELIABLE,
    AxisTruth,
    Field,
    PanelTruth,
    SitesTruth,
    Truth,
    answer_schema,
    write_answers,
)
from riverone_hf.reader.assemble import (
    UNCERTAIN_ACTION,
    answer_limits,
    answer_starts,
    assemble,
    find_value,
    fit_value,
    mean_probability,
)
from riverone_hf.reader.generate import Answered

EXAMPLES = {"bool": True, "int_count": 3, "coord_list": [0.5, 1.5], "array_int_match": [1, 2], "enum": None}


def truth_of(family: str) -> Truth:
    """A legal truth of `family`: the second status, a value of each kind for its fields."""
    spec = FAMILIES[family]
    values = {f.name: f.choices[0] if f.kind == "enum" else EXAMPLES.get(f.kind, 1.25) for f in spec.fields}
    values = {f.name: [1.5, 2.5] if f.kind == "array_float_match" else values[f.name] for f in spec.fields}
    axis = AxisTruth("delay [us]", (0.0, 40.0))
    kind, sites = (SitesTruth, {"sites": (values,)}) if spec.list_answer else (Truth, {})
    return kind(
        **sites,
        family=family,
        experiment_type=spec.types[0],
        outcome="Suboptimal parameters",
        reliability="Unreliable",
        status=list(spec.statuses)[1],
        parameters=values,
        panels=(PanelTruth("scatter", axis, AxisTruth("P1", (0.0, 1.0), "log"), "a decay"),) * spec.n_images,
        q2_reason="window is short",
        q4_reason="fit leaves the data",
        q6_notes="extend the sweep",
        significance="The decay is not captured.",
        suggested_range="(0, 120) [us]",
    )


def answered(truth: Truth, probability: float = 0.9, weight: float = 0.8) -> dict[str, Answered]:
    """The truth's own answers as a model would give them, every character one token of `probability`."""
    labels = {"q2": truth.outcome, "q4": truth.reliability, "q6": truth.status}
    answers = {}
    for question, text in write_answers(truth).items():
        starts = answer_starts(FAMILIES[truth.family], question)
        choice = next((n for n, start in enumerate(starts) if question in labels and labels[question] in start), 0)
        choice = next((n for n, start in enumerate(starts) if text.startswith(start)), choice)
        weights = tuple(weight if n == choice else 0.0 for n in range(len(starts)))
        spans = tuple((n, n + 1, probability) for n in range(len(starts[choice]), len(text)))
        answers[question] = Answered(choice, weights, text, spans)
    return answers


@pytest.mark.parametrize("family", FAMILIES)
def test_perfect_answers_come_back_whole(family: str) -> None:
    truth = truth_of(family)
    answers = answered(truth)
    verdict = assemble(answers, family)
    assert (verdict.outcome, verdict.fit_reliability, verdict.status) == (
        truth.outcome,
        truth.reliability,
        truth.status,
    )
    assert [p.value for p in verdict.parameters] == list(truth.parameters.values())
    assert [p.unit for p in verdict.parameters] == [f.unit for f in FAMILIES[family].fields]
    assert verdict.suggested_range == ("(0, 120) [us]" if FAMILIES[family].asks_range else None)
    assert verdict.next_action == FAMILIES[family].next_actions[truth.status]
    assert verdict.evidence == [truth.q2_reason, truth.q4_reason, truth.q6_notes]
    assert verdict.description is not None and "scatter of P1 (0 to 1) [log] over delay [us] (0 to 40)" in (
        verdict.description
    )
    assert verdict.abstained == []
    assert verdict.confidence["outcome"] == 0.8
    assert verdict.confidence[f"parameters.{verdict.parameters[0].name}"] == 0.9


def test_low_confidence_leaves_the_field_empty_and_names_the_guess() -> None:
    verdict = assemble(answered(truth_of("t1"), probability=0.2, weight=0.4), "t1", threshold=0.5)
    assert verdict.outcome is None and verdict.status is None and verdict.next_action == UNCERTAIN_ACTION
    assert all(p.value is None for p in verdict.parameters) and verdict.suggested_range is None
    reasons = {item.field: item.reason for item in verdict.abstained}
    assert "0.40 < 0.50 (best guess: Suboptimal parameters)" in reasons["outcome"]
    assert {"outcome", "fit_reliability", "status", "suggested_range", "parameters.T1_us"} <= set(reasons)
    assert assemble(answered(truth_of("t1"), 0.2, 0.4), "t1", threshold=0.0).abstained == []


def test_uncertain_family_withholds_what_belongs_to_a_family() -> None:
    verdict = assemble(answered(truth_of("t1")), "t1", family_weight=0.3)
    assert verdict.family is None and verdict.status is None and verdict.parameters == []
    assert verdict.suggested_range is None and verdict.outcome == "Suboptimal parameters"
    assert {"family", "status", "parameters", "suggested_range"} <= {item.field for item in verdict.abstained}


def test_unreliable_and_missing_values_are_abstained() -> None:
    truth = dataclasses.replace(truth_of("t1"), parameters={"T1_us": UNRELIABLE, "decay_visible": False})
    verdict = assemble(answered(truth), "t1")
    assert [p.value for p in verdict.parameters] == [None, False]
    assert "unreliable" in verdict.abstained[0].reason
    answers = answered(truth)
    answers["q5"] = dataclasses.replace(answers["q5"], text='{"T1_us": 41}')
    assert [i.field for i in assemble(answers, "t1", threshold=0).abstained] == ["parameters.decay_visible"]


def test_legal_null_is_an_answer_not_an_abstention() -> None:
    truth = dataclasses.replace(truth_of("t1"), parameters={"T1_us": None, "decay_visible": False})
    verdict = assemble(answered(truth), "t1")
    assert verdict.parameters[0].value is None and verdict.abstained == []


NONSENSE = (
    "",
    "[[[[" * 3000,
    '{"T1_us": NaN, "decay_visible": 1e999}',
    '{"T1_us": {"a": [1]}, "decay_visible": "yes"}',
    '[1, 2, {"T1_us": 3}]',
    '{"plot_type": 3, "x_axis": [], "y_axis": {"range": ["a", {}]}, "main_features": null}',
    '{"x_axis": {"label": "t", "range": [1e999, NaN]}}',
    "Suggested range:\nNotes:\nReason:",
    "\x00\ud800\ufffd",
    '{"T1_us": ' + "9" * 5000 + "}",
)


@pytest.mark.parametrize("family", ["t1", "gmm", "rydberg_spectroscopy", "t1_fluctuations"])
@pytest.mark.parametrize("text", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_never_raises_and_stays_json(family: str, text: str) -> None:
    answers = {q: Answered(0, (1.0,), text, ((0, len(text), 0.9),)) for q in QUESTIONS}
    verdict = assemble(answers, family, threshold=0.0)
    json.loads(verdict.model_dump_json())
    assert all(p.value is None for p in verdict.parameters)
    assert any(item.field.startswith("parameters") for item in verdict.abstained)


def test_random_text_never_raises() -> None:
    rng = random.Random(5)
    alphabet = '{}[]":,. \n-' + string.ascii_letters[:8] + string.digits
    for _ in range(300):
        text = "".join(rng.choices(alphabet, k=rng.randrange(80)))
        answers = {q: Answered(0, (float("nan"),), text, ()) for q in QUESTIONS}
        verdict = assemble(answers, rng.choice(list(FAMILIES)), family_weight=1.0)
        json.loads(verdict.model_dump_json())


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("int_count", 3.0, 3),
        ("count_float", 2, 2),
        ("bool", False, False),
        ("enum", "PEAK", "peak"),
        ("coord_list", [1, 2.5], [1, 2.5]),
        ("array_int_match", [], None),
        ("array_int_match", [1.5], None),
        ("pct", True, None),
        ("pct", "4.8", None),
        ("pct", float("inf"), None),
        ("int_count", 2.5, None),
        ("bool", 1, None),
        ("enum", "bump", None),
        ("coord_list", [1, "2"], None),
        ("coord_list", [[], []], None),
    ],
)
def test_values_must_be_of_the_fields_kind(kind, value, expected) -> None:
    item = Field("x", kind, choices=("peak", "dip"))
    if expected is None:
        with pytest.raises(ValueError, match="expected"):
            fit_value(item, value)
    else:
        got = fit_value(item, value)
        assert got == expected and type(got) is type(expected)


def test_value_tokens_are_found_by_their_characters() -> None:
    text = '{"a": 12, "b": "x, y"}'
    spans = ((0, 6, 0.1), (6, 7, 0.6), (7, 8, 0.8), (8, 14, 0.1), (14, 21, 0.5))
    answer = Answered(0, (1.0,), text, spans)
    span = find_value(text, "a")
    assert span == (6, 8) and mean_probability(answer, *span) == pytest.approx(0.7)
    assert find_value(text, "b") == (15, 21)
    assert (
        find_value(text, "c") is None and find_value('{"a": 1', "a") == (6, 7) and find_value('{"a": [1', "a") is None
    )


def test_starts_are_exactly_the_allowed_labels() -> None:
    for family in FAMILIES.values():
        for question, labels in (("q2", OUTCOMES), ("q4", ASSESSMENTS), ("q6", tuple(family.statuses))):
            starts = answer_starts(family, question)
            assert [start.split(": ")[1].rstrip("\n") for start in starts] == list(labels)
        assert answer_starts(family, "q1") == ("",)


def test_limits_of_an_answer_are_labels_or_a_schema() -> None:
    starts, schema = answer_limits("t1", "q2")
    assert starts == answer_starts(FAMILIES["t1"], "q2") and schema is None
    assert answer_limits("res_spec", "q1", 2) == (("",), answer_schema("res_spec", "q1", 2))
    with pytest.raises(QuestionError, match="unknown family 'nonsense'"):
        answer_limits("nonsense", "q2")
