"""The report: verdict, intervals, pictures or tables, and the Hub's YAML; from scores made by hand."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import yaml
from huggingface_hub import parse_eval_result_entries
from PIL import Image

from riverone_hf.evaluate.benchmark import BenchmarkRow
from riverone_hf.evaluate.entry_scores import EntryScore
from riverone_hf.evaluate.evaluation import Options, Outcome
from riverone_hf.evaluate.page import page, verdict
from riverone_hf.evaluate.report_files import eval_results_yaml, write_report
from riverone_hf.evaluate.summary import confusion, paired_difference, summarise


def score(name, right, want="SUCCESS", got="SUCCESS", judged=None):
    value = 100.0 if right else 0.0
    flat = {"q1_enums": 100.0, "q1": judged, "q2": value, "q3": judged, "q4": 100.0, "q5": value, "q5_values": None}
    flat |= {"q6": 100.0 * (want == got), "mean": 60.0 + 0.4 * value, "overall": judged}
    scores = {
        "Q2": {
            "gt_classification": "Expected behavior",
            "model_classification": "Expected behavior" if right else None,
        },
        "Q4": {"gt_assessment": "Reliable", "model_assessment": "Reliable"},
        "Q6": {"gt_status": want, "model_status": got},
    }
    return EntryScore({"id": name, "experiment_type": "t1_success", "scores": scores}, flat)


def outcome(rights, reference=None, judged=None, **facts):
    rows = [
        BenchmarkRow(f"r{at}", "t1_success", "t1" if at % 2 else "gmm", (), {}, {}, {"q1": (), "q3": ()})
        for at in range(len(rights))
    ]
    scores = [score(row.id, right, judged=judged) for row, right in zip(rows, rights, strict=True)]
    results = {
        "model": "m",
        "dataset": "d",
        "mode": "zeroshot",
        "api_base": "in process",
        "timestamp": "20260102_030405",
    }
    said = {"judge": "j" if judged else None, "dropped": 0, "failed_answers": 0, "cut_answers": 0}
    said |= {"unknown_families": [], "vision_references": True, "unscored": {}, **facts}
    references = {} if reference is None else {"blind": [score("x", right) for right in reference]}
    return Outcome(results, rows, {"official": scores, "strict": scores}, references, said)


def test_the_verdict_says_whether_the_model_is_better():
    good, bad = [True] * 40, [False] * 40
    half = [True, False] * 20
    assert "40.0 points above the best reference, *blind*" in verdict(outcome(good, bad), Options())
    assert "40.0 points below the best reference" in verdict(outcome(bad, good), Options())
    assert "not distinguishable from the best reference" in verdict(outcome(half, half[::-1]), Options())
    assert "reference" not in verdict(outcome(good), Options())


def test_intervals_of_labels_and_of_means():
    rows = [score("x", right).flat for right in [True] * 30 + [False] * 10]
    found = summarise(rows)
    assert found["scores"]["q2"] == 75.0 and found["ci95"]["q2"] == pytest.approx([59.8, 85.8], abs=0.1)
    assert found["scores"]["mean"] == 90.0 and 80 < found["ci95"]["mean"][0] < 87 < 93 < found["ci95"]["mean"][1] < 97
    assert found["scores"]["q3"] is None and "q3" not in found["ci95"] and found["scores"]["q5_values"] is None


def test_a_score_that_one_plot_lacks_is_no_mean():
    rows = [score("x", True, judged=50.0).flat, score("y", True).flat]
    assert summarise(rows)["scores"]["overall"] is None
    assert summarise(rows[:1])["scores"]["overall"] == 50.0


def test_paired_differences_use_the_pairs():
    rng = np.random.default_rng(0)
    base = rng.uniform(0, 100, 200)
    gap, low, high = paired_difference(base + 3 + rng.normal(0, 1, 200), base)
    assert 2.5 < low < gap < high < 3.5


def test_confusions_keep_what_is_no_label():
    scores = [score("a", True), score("b", False), score("c", True, got=None), score("d", True, "NO_SIGNAL", "SUCCESS")]
    assert confusion(scores, "q2") == (["Expected behavior"], ["Expected behavior", "(none)"], [[3, 1]])
    rows, columns, counts = confusion(scores, "q6")
    assert (rows, columns) == (["SUCCESS", "NO_SIGNAL"], ["SUCCESS", "NO_SIGNAL", "(none)"])
    assert counts == [[2, 0, 1], [1, 0, 0]]


def test_the_page_says_what_is_not_scored():
    text = page(outcome([True] * 4, [False] * 4), Options(), [])
    assert "not scored: Q3 and the key points of Q1 (no judge)" in text and "benchmark mean |" not in text
    assert "| gmm | 2 |" in text and "60.0 (blind) |" in text and "100.0 (" in text
    text = page(outcome([True] * 4, judged=50.0, cut_answers=3, dropped=2, unknown_families=["gmm"]), Options(), [])
    for part in ("benchmark mean", "marked by `j`", "3 answers were stopped", "2 rows without", "not trained on: gmm"):
        assert part in text


def test_pictures_are_drawn(tmp_path):
    write_report(outcome([True, False] * 5, [False] * 10), Options(), tmp_path)
    names = {path.name for path in tmp_path.glob("*.png")}
    assert names == {"scores.png", "confusion_q2.png", "confusion_q4.png", "confusion_q6.png"}
    for name in names:
        image = Image.open(tmp_path / name)
        assert image.width > 150 and len(set(image.convert("L").getdata())) > 10
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "](scores.png)" in text and "## Confusions" not in text


def test_without_matplotlib_there_are_tables(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    write_report(outcome([True, False] * 5), Options(), tmp_path)
    assert not list(tmp_path.glob("*.png"))
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| Expected behavior | 5 | 5 |" in text and "matplotlib is not installed" in text


def test_the_hubs_yaml_is_read_back_and_claims_no_mean_without_judge(tmp_path):
    def entries(found, **options):
        return parse_eval_result_entries(yaml.safe_load(eval_results_yaml(found, Options(**options))))

    plain = entries(outcome([True, False]), dataset_id="someone/plots")
    assert {entry.task_id for entry in plain} == {f"zeroshot_{name}" for name in ("q1_enums", "q2", "q4", "q5", "q6")}
    assert {entry.dataset_id for entry in plain} == {"someone/plots"} and plain[1].value == 50.0
    assert plain[0].date == "2026-01-02" and "prompt form short, official rules, judge none, n 2" in plain[0].notes
    judged = entries(outcome([True], judged=40.0))
    assert {"zeroshot_overall", "zeroshot_q3"} <= {entry.task_id for entry in judged}
    write_report(outcome([True]), Options(dataset_id="someone/plots"), tmp_path)
    assert (tmp_path / ".eval_results" / "someone-plots.yaml").is_file()
