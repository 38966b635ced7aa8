"""Strict scores: every rule of SPEC 2.6 for Q5 fields, exact labels, missing answers count 0."""

from __future__ import annotations

import json

import pytest

from riverone_hf.evaluate import MajorityClass, bootstrap_mean, evaluate_answers, score_answers, score_q5_field, wilson
from riverone_hf.questions import Field

REFERENCE = {
    "q1": json.dumps({"plot_type": "scatter", "x_axis": {"scale": "linear"}, "y_axis": {"scale": "log"}}),
    "q2": "Classification: Expected behavior\nReason: fine",
    "q4": "Assessment: Reliable\nReason: fine",
    "q5": json.dumps({"T1_us": 50.0, "decay_visible": True}),
    "q6": "Status: SUCCESS\nSuggested range: N/A\nNotes: fine",
}


def test_reference_scores_full():
    scores = score_answers("t1", REFERENCE, REFERENCE)
    assert scores == dict.fromkeys(scores, 1.0)


def test_missing_answers_count_zero():
    scores = score_answers("t1", {}, REFERENCE)
    assert scores == dict.fromkeys(scores, 0.0)


@pytest.mark.parametrize(
    ("question", "answer", "name", "expected"),
    [
        ("q1", '{"plot_type": "Scatter", "x_axis": {"scale": "log"}, "y_axis": {"scale": "log"}}', "q1_enums", 2 / 3),
        (
            "q1",
            '[{"plot_type": "scatter", "x_axis": {"scale": "linear"}, "y_axis": {"scale": "log"}}, {}]',
            "q1_enums",
            0.5,
        ),
        ("q1", "a scatter plot", "q1_enums", 0.0),
        ("q2", "Classification: Not expected behavior", "q2", 0.0),
        ("q4", "Assessment: the fit is not reliable", "q4", 0.0),
        ("q5", '{"T1_us": 52.0, "decay_visible": true}', "q5", 1.0),
        ("q5", '{"T1_us": 54.0, "decay_visible": true}', "q5", 0.75),
        ("q5", '{"decay_visible": true}', "q5", 0.5),
        ("q6", "Status: NO_SIGNAL\nNotes: not SUCCESS", "q6", 0.0),
    ],
)
def test_one_answer_changed(question, answer, name, expected):
    assert score_answers("t1", {**REFERENCE, question: answer}, REFERENCE)[name] == pytest.approx(expected)


def test_values_are_scored_apart():
    null = {**REFERENCE, "q5": json.dumps({"T1_us": None, "decay_visible": False})}
    scores = score_answers("t1", {"q5": '{"T1_us": "Unreliable", "decay_visible": true}'}, null)
    assert (scores["q5"], scores["q5_values"]) == (0.5, 0.0)
    everything_null = {**REFERENCE, "q5": json.dumps({"T1_us": None})}
    assert score_answers("t1", everything_null, everything_null)["q5_values"] is None


@pytest.mark.parametrize(
    ("kind", "got", "want", "expected"),
    [
        ("bool", "true", True, 1.0),
        ("bool", 1, True, 1.0),
        ("bool", "maybe", True, 0.0),
        ("enum", " Peak ", "peak", 1.0),
        ("enum", "dip", "peak", 0.0),
        ("int_count", 8, 8, 1.0),
        ("int_count", 9, 8, 0.5),
        ("int_count", 10, 8, 0.0),
        ("int_count", True, 1, 0.0),
        ("count_float", 7.5, 7.9, 1.0),
        ("pct", 104.9, 100, 1.0),
        ("pct", 109, 100, 0.5),
        ("pct", 111, 100, 0.0),
        ("pct", 0.005, 0, 1.0),
        ("pct", "104", 100, 1.0),
        ("pct", "many", 100, 0.0),
        ("pct", None, 100, 0.0),
        ("pct", 100, None, 0.0),
        ("count_float", [7.0, 8.0], [7.0, 9.0], 0.75),
        ("int_count", [7], [7, 8], 0.5),
        ("int_count", [], [7], 0.0),
        ("pct", [100.0], 100, 0.0),
        ("pct", 10**400, 100, 0.0),
        ("pct", "none", "Unreliable", 1.0),
        ("abs", 0.05, 0.1, 1.0),
        ("coord_list", [1.0, 2.0], [1.04, 2.08], 0.75),
        ("coord_list", [1.0], [1.0, 2.0], 0.0),
        ("array_int_match", [3, 9], [3, 8], 0.5),
        ("array_int_match", [], [], 1.0),
        ("array_int_match", [1], [], 0.0),
        ("array_float_match", [1.0, 2.2], [1.0, 2.0], 0.5),
        ("array_float_match", [1.0], [1.0, 2.0], 0.5),
        ("array_float_match", [7.0], [], 1.0),
        ("array_float_match", [0.001], [0.0], 1.0),
    ],
)
def test_field_rules(kind, got, want, expected):
    field = Field("x", kind, choices=("peak", "dip") if kind == "enum" else ())
    assert score_q5_field(field, got, want) == pytest.approx(expected)


def test_intervals():
    low, high = wilson(90, 100)
    assert (low, high) == pytest.approx((0.8256, 0.9448), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = bootstrap_mean([0.0, 1.0] * 50)
    assert 0.38 < low < 0.45 and 0.55 < high < 0.62
    assert bootstrap_mean([1.0] * 9) == (1.0, 1.0)


def test_majority_class_is_what_it_says():
    other = {**REFERENCE, "q2": "Classification: Apparatus issue", "q6": "Status: NO_SIGNAL\nNotes: flat"}
    rows = [("t1", REFERENCE)] * 3 + [("t1", other)] * 2
    majority = MajorityClass(rows, per_family=True)
    result = evaluate_answers(["t1"] * 5, [majority.answers("t1")] * 5, [answers for _, answers in rows])
    assert result["scores"]["q2"] == pytest.approx(60.0)
    assert result["scores"]["q1_enums"] == pytest.approx(100.0)
    assert result["ci95"]["q2"][0] < 60 < result["ci95"]["q2"][1]
