"""Every published scoring rule and every quirk of the official judge, one case each, beside the strict reading."""

from __future__ import annotations

import json

import pytest

from riverone_hf.errors import EvaluationError
from riverone_hf.evaluate.benchmark import Benchmark, BenchmarkRow
from riverone_hf.evaluate.entry_scores import score_entry
from riverone_hf.evaluate.official import official_assessment, official_outcome, official_status, same_status
from riverone_hf.evaluate.results_files import scored_rows
from riverone_hf.questions import QUESTIONS, STATUS_CODES, Field, get_family

PANEL = {"plot_type": "scatter", "x_axis": {"scale": "linear"}, "y_axis": {"scale": "log"}}
TRUTH = {
    "q1": json.dumps(PANEL),
    "q2": "Classification: Expected behavior\nReason: fine",
    "q3": "It decays.",
    "q4": "Assessment: Reliable\nReason: fine",
    "q5": json.dumps({"T1_us": 50.0, "decay_visible": True}),
    "q6": "Status: SUCCESS\nSuggested range: N/A\nNotes: fine",
}
POINTS = {"q1": [1.0, 0.5], "q3": [1.0, 0.5, 0.0]}


def row(family="t1", **answers):
    points = {"q1": ("a", "b"), "q3": ("a", "b", "c")}
    return BenchmarkRow("x", get_family(family).types[0], family, (), {}, {**TRUTH, **answers}, points)


def scored(scoring, answers, family="t1", truth=None, fields=None, points=POINTS):
    plot = row(family, **(truth or {}))
    told = {**plot.answers, **answers}
    return score_entry(scoring, plot, fields or get_family(family).fields, told, QUESTIONS, points).detail["scores"]


# What is in the line of a label, and what it is read as: officially, strictly.
OUTCOMES = {
    "Classification: Expected behavior": ("Expected behavior", "Expected behavior"),
    "**Classification:** Apparatus issue": ("Apparatus issue", "Apparatus issue"),
    "**Classification**: apparatus issue": ("Apparatus issue", "Apparatus issue"),
    "classification: ANOMALOUS BEHAVIOR": ("Anomalous behavior", "Anomalous behavior"),
    "I think so.\nClassification: Suboptimal parameters\nReason: x": ("Suboptimal parameters",) * 2,
    "Classification:\nSuboptimal parameters": ("Suboptimal parameters", "Suboptimal parameters"),  # quirk 7
    "Classification: Not expected behavior, apparatus issue": ("Expected behavior", None),  # quirk 3
    "Classification: apparatus issue or anomalous behavior": ("Anomalous behavior", None),  # order of the list
    "Classification: unclear": (None, None),
    "Expected behavior": (None, None),
    "": (None, None),
}


@pytest.mark.parametrize("text", OUTCOMES)
def test_outcome(text):
    official, strict = OUTCOMES[text]
    assert official_outcome(text) == official
    assert scored("strict", {"q2": text})["Q2"]["model_classification"] == strict


ASSESSMENTS = {
    "Assessment: Reliable": ("Reliable", "Reliable"),
    "**Assessment:** No fit": ("No fit", "No fit"),
    "Assessment: Unreliable": ("Unreliable", "Unreliable"),  # contains Reliable, but Unreliable is tried first
    "Assessment: the fit is not reliable": ("Reliable", None),  # quirk 3
    "Assessment: reliable, no fit problems": ("No fit", None),
    "Reliable": (None, None),
}


@pytest.mark.parametrize("text", ASSESSMENTS)
def test_assessment(text):
    official, strict = ASSESSMENTS[text]
    assert official_assessment(text) == official
    assert scored("strict", {"q4": text})["Q4"]["model_assessment"] == strict


STATUSES = {
    "Status: SUCCESS\nNotes: fine": ("SUCCESS", "SUCCESS"),
    "Status: **NO_SIGNAL**": ("NO_SIGNAL", "NO_SIGNAL"),
    "Classification: WINDOW_TOO_SHORT": ("WINDOW_TOO_SHORT", None),  # the label of another family
    "SAMPLING_TOO_COARSE\nbecause of the points": ("SAMPLING_TOO_COARSE", None),  # the first line alone
    "The status is no_signal, I think": ("NO_SIGNAL", None),  # anywhere, upper-cased
    "Status: NO EVENT": ("EVENT", None),  # quirk 3
    "Status: success\nNotes: no sign of WINDOW_TOO_SHORT": ("WINDOW_TOO_SHORT", "SUCCESS"),  # quirk 4: longest wins
    "status: SUCCESS\nNotes: not SAMPLING_TOO_COARSE": ("SAMPLING_TOO_COARSE", "SUCCESS"),  # quirk 4: case of the label
    "Status: UNKNOWN_CODE\nNotes: NO_SIGNAL here": ("NO_SIGNAL", None),
    "Status: none of them": (None, None),
}


@pytest.mark.parametrize("text", STATUSES)
def test_status(text):
    official, strict = STATUSES[text]
    assert official_status(text) == official
    assert scored("strict", {"q6": text})["Q6"]["model_status"] == strict


def test_every_code_is_known_and_two_count_as_one():
    assert len(STATUS_CODES) == 41
    assert all(official_status(f"Status: {code}") == code for code in STATUS_CODES)
    assert same_status("TOO_MANY_OSC", "SAMPLING_TOO_COARSE") and same_status("SAMPLING_TOO_COARSE", "TOO_MANY_OSC")
    assert not same_status(None, None) and not same_status("TOO_FEW_OSC", "TOO_MANY_OSC")


def test_the_suggested_range_is_not_scored():
    assert scored("official", {"q6": "Status: SUCCESS\nSuggested range: (0, 1)"})["Q6"]["score"] == 100.0


def test_q1_is_half_enums_half_key_points():
    answer = json.dumps({**PANEL, "plot_type": "LINE", "x_axis": {"scale": "Linear"}})
    q1 = scored("official", {"q1": answer})["Q1"]
    assert q1["programmatic"] == {"plot_type": 0.0, "x_scale": 1.0, "y_scale": 1.0}
    assert q1["score"] == round(100 * (0.5 * 2 / 3 + 0.5 * 0.75), 1)
    assert (q1["key_points_hit"], q1["key_points_total"]) == (1.5, 2)


@pytest.mark.parametrize(("got", "want", "hits"), [(1, 2, 0.5), (2, 1, 0.5), (2, 2, 1.0), (3, 2, 2 / 3)])
def test_q1_images_are_matched_by_position(got, want, hits):
    truth = {"q1": json.dumps([PANEL] * want)}
    for scoring in ("official", "strict"):
        q1 = scored(scoring, {"q1": json.dumps([PANEL] * got)}, truth=truth)["Q1"]
        assert q1["programmatic"]["plot_type"] == pytest.approx(hits)


def test_quirk_2_images_without_scale_reach_a_third():
    panel = json.dumps({"plot_type": "image", "x_axis": {"label": "x"}, "y_axis": {"label": "y"}})
    right = {"family": "mot_loading", "truth": {"q1": panel, "q5": "{}"}, "points": {"q1": [1.0], "q3": [1.0]}}
    assert scored("official", {"q1": panel}, **right)["Q1"]["score"] == round(100 * (0.5 / 3 + 0.5), 1)
    strict = scored("strict", {"q1": panel}, **right)["Q1"]
    assert strict["score"] == 100.0 and strict["programmatic"]["x_scale"] is None


JSON_TEXTS = {
    "whole": json.dumps(PANEL),
    "fenced": f"Here:\n```json\n{json.dumps(PANEL)}\n```\nand {{more}}",
    "fenced without tag": f"```\n{json.dumps(PANEL)}\n```",
    "braces": f"The plot is {json.dumps(PANEL)} as seen",
    "brackets": f"The plots are {json.dumps([PANEL])[:-1]},{json.dumps(PANEL)}] as seen",
}


@pytest.mark.parametrize("form", JSON_TEXTS)
def test_json_is_found(form):
    assert scored("official", {"q1": JSON_TEXTS[form]})["Q1"]["programmatic"]["plot_type"] >= 0.5


@pytest.mark.parametrize(
    "text", [f"{json.dumps(PANEL)} or {json.dumps(PANEL)}", f"<think>{{a}}</think>{json.dumps(PANEL)}", "[" * 100_000]
)
def test_quirk_5_two_objects_or_braces_in_thoughts_break_it(text):
    assert scored("official", {"q1": text})["Q1"]["programmatic"]["plot_type"] == 0.0
    thought = scored("strict", {"q1": text})["Q1"]["programmatic"]["plot_type"]
    assert thought == (1.0 if "think" in text else 0.0)


FIELDS = (Field("T1_us", "pct", tol_full=0.1, tol_half=0.2), Field("decay_visible", "bool"), Field("absent", "pct"))


def test_q5_counts_the_fields_of_the_reference():
    q5 = scored("official", {"q5": '{"T1_us": 54.0, "decay_visible": 1, "absent": 3}'}, fields=FIELDS)["Q5"]
    assert q5 == {"score": 100.0, "fields": {"T1_us": 1.0, "decay_visible": 1.0}}
    assert scored("official", {"q5": '{"T1_us": 58.0, "decay_visible": 1}'}, fields=FIELDS)["Q5"]["score"] == 75.0
    assert scored("official", {"q5": "about 50"}, fields=FIELDS)["Q5"]["score"] == 0.0


def test_q5_a_field_left_out_reads_as_null_officially():
    truth = {"q5": json.dumps({"T1_us": "Unreliable", "decay_visible": False})}
    answer = {"q5": '{"decay_visible": "false"}'}
    assert scored("official", answer, truth=truth)["Q5"]["score"] == 100.0
    assert scored("strict", answer, truth=truth)["Q5"]["score"] == 50.0


def test_quirk_1_a_list_as_reference_scores_nobody():
    site = {"site_index": 1, "f0_kHz": 3.0}
    truth = {"q5": json.dumps([site, {**site, "site_index": 2}])}
    right = {"family": "rydberg_spectroscopy", "truth": truth}
    official = scored("official", {"q5": truth["q5"]}, **right)["Q5"]
    assert official == {"score": 0.0, "fields": {}}
    strict = scored("strict", {"q5": truth["q5"]}, **right)["Q5"]
    assert strict == {"score": 100.0, "fields": {"site_index": 1.0, "f0_kHz": 1.0}}
    assert scored("strict", {"q5": json.dumps([site])}, **right)["Q5"]["score"] == 50.0
    assert scored("strict", {"q5": json.dumps([site] * 3)}, **right)["Q5"]["score"] < 80.0


def test_overall_is_the_plain_mean_of_rounded_scores():
    scores = scored("official", {"q2": ""})
    assert [scores[name]["score"] for name in ("Q1", "Q2", "Q3", "Q4", "Q5", "Q6")] == [87.5, 0, 50.0, 100, 100, 100]
    assert scores["overall"] == round(437.5 / 6, 1)


def test_without_judge_nothing_is_guessed():
    scores = scored("official", {}, points={})
    assert scores["Q1"]["score"] is None and scores["Q3"]["score"] is None and scores["overall"] is None
    assert scores["Q1"]["programmatic"]["plot_type"] == 1.0 and scores["Q1"]["key_points_hit"] is None


def data_set(count):
    rows = tuple(
        BenchmarkRow(f"r{at}", "t1_success", "t1", (), {}, TRUTH, {"q1": ("a",), "q3": ("a",)}) for at in range(count)
    )
    return Benchmark("made", rows, (), {"t1": get_family("t1").fields}, "0")


def test_entries_without_responses_are_dropped_officially_and_count_zero_strictly():
    answered = {"id": "r0", "responses": {"fit_reliability": {"answer": None, "error": "x"}}}
    results = {"mode": "zeroshot", "results": [answered, {"id": "r1", "responses": {}}, {"id": "other"}]}
    official = scored_rows(results, data_set(3), "official")
    assert [row.id for row, _ in official] == ["r0"] and official[0][1] == dict.fromkeys(QUESTIONS)
    strict = scored_rows(results, data_set(3), "strict")
    assert [row.id for row, _ in strict] == ["r0", "r1", "r2"]


def test_quirk_6_nothing_to_score_is_a_named_error():
    with pytest.raises(EvaluationError, match="name the data set that was asked"):
        scored_rows({"mode": "zeroshot", "results": [{"id": "other"}]}, data_set(1), "official")
