"""The whole run: files in the official structure, going on after SIGKILL, in-context, judged and unjudged."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import riverone_hf
from riverone_hf.errors import EvaluationError
from riverone_hf.evaluate import Options, run_evaluation
from riverone_hf.evaluate.benchmark import Picture
from riverone_hf.evaluate.page import verdict
from riverone_hf.questions import RESPONSE_KEYS

REFERENCES = {
    *("the model, blank images", "the model, shuffled images", "majority class", "majority class of the family"),
    *("image-free rule (expects success)", "linear heads on the vision tower"),
    "nearest neighbours in the vision tower",
}


def load(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def done(benchmark, smoke_backend, tmp_path_factory):
    """A finished zero-shot run with all references: (outcome, folder)."""
    from riverone_hf.evaluate import backends

    out = tmp_path_factory.mktemp("done") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backends, "NEW_TOKENS", dict.fromkeys(backends.NEW_TOKENS, 24))
        return run_evaluation(smoke_backend, benchmark, Options(training_plots=10), out), out


def test_results_have_the_official_structure(done, benchmark):
    results = load(done[1] / "results.json")
    official = ["mode", "model", "model_id", "api_base", "dataset", "timestamp", "total_entries", "results"]
    assert list(results)[:8] == official and list(results)[8:] == ["prompt_form", "prompt_version"]
    assert (results["mode"], results["total_entries"], results["prompt_form"]) == ("zeroshot", 9, "short")
    assert [entry["id"] for entry in results["results"]] == [row.id for row in benchmark.rows]
    for entry in results["results"]:
        assert list(entry) == ["id", "experiment_type", "error", "responses"] and entry["error"] is None
        assert list(entry["responses"]) == list(RESPONSE_KEYS.values())
        for response in entry["responses"].values():
            assert list(response) == ["answer", "error"] and isinstance(response["answer"], str)


def test_judged_has_the_official_structure_and_guesses_nothing(done):
    judged = load(done[1] / "judged.json")
    assert list(judged)[:11] == [
        *("judge_model", "judge_model_id", "tested_model", "tested_model_id", "mode", "timestamp", "total_entries"),
        *("aggregate", "overall_mean", "classification_accuracy", "results"),
    ]
    assert judged["judge_model"] == "none" and judged["overall_mean"] is None
    assert judged["unscored"] == {"Q1": 9, "Q3": 9}
    assert judged["aggregate"]["Q1"] == judged["aggregate"]["Q3"] == {"mean": None, "median": None}
    assert set(judged["classification_accuracy"]) == {"Q2", "Q4", "Q6"}
    for entry in judged["results"]:
        assert list(entry) == ["id", "experiment_type", "scores"]
        assert list(entry["scores"]) == ["Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "overall"]
        assert set(entry["scores"]["Q6"]) == {"score", "correct", "gt_status", "model_status"}
        assert set(entry["scores"]["Q5"]) == {"score", "fields"}
    mean = sum(entry["scores"]["Q2"]["score"] for entry in judged["results"]) / 9
    assert judged["aggregate"]["Q2"]["mean"] == pytest.approx(mean, abs=0.01)


def test_every_reference_stands_beside_the_model(done):
    outcome, out = done
    assert set(outcome.references) == REFERENCES
    summary = load(out / "summary.json")
    assert [row["name"] for row in summary["rows"][:2]] == [
        f"{outcome.results['model']}, official rules",
        f"{outcome.results['model']}, strict rules",
    ]
    assert {row["name"] for row in summary["rows"][2:]} == REFERENCES
    for row in summary["rows"]:
        assert row["n"] >= 7 and row["scores"]["overall"] is None and row["scores"]["mean"] is not None
        low, high = row["ci95"]["mean"]
        assert low <= row["scores"]["mean"] <= high
    assert set(summary["families"]) == {"t1", "ramsey_t2star"} and summary["unknown_families"] == []


def test_equal_blank_questions_are_asked_once(done, benchmark):
    _, out = done
    lines = [json.loads(line) for line in (out / "answers.jsonl").read_text(encoding="utf-8").splitlines()[1:]]
    blanks = [line for line in lines if line["key"].startswith("blank ")]
    kinds = {(row.family, len(row.images)) for row in benchmark.rows}
    assert len(blanks) == 5 * len(kinds) < 5 * len(benchmark.rows)


def test_a_finished_run_asks_nothing_again(done, benchmark, smoke_backend, short_answers, monkeypatch):
    outcome, out = done

    def refuse(queries):
        raise AssertionError("asked again")

    monkeypatch.setattr(smoke_backend, "answer", refuse)
    again = run_evaluation(
        smoke_backend, benchmark, Options(training_plots=10, references=False, scoring="strict"), out
    )
    assert again.results == outcome.results
    assert load(out / "judged.json")["scoring"] == "strict"


@pytest.mark.parametrize(
    "change",
    [{"prompt": "full"}, {"icl": True}, {"limit": 3}, {"filter_type": "t1"}],
    ids=lambda change: next(iter(change)),
)
def test_other_arguments_are_refused(done, benchmark, smoke_backend, short_answers, change):
    with pytest.raises(
        EvaluationError, match=f"another evaluation: {'mode' if 'icl' in change else next(iter(change))} "
    ):
        run_evaluation(smoke_backend, benchmark, Options(**change), done[1])


def test_foreign_folders_are_refused_and_untouched(benchmark, smoke_backend, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    for out, said in ((tmp_path, "is not empty"), (tmp_path / "thesis.tex", "is a file")):
        with pytest.raises(EvaluationError, match=said):
            run_evaluation(smoke_backend, benchmark, Options(), out)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


KILLED = """
import sys
from pathlib import Path
from riverone_hf.evaluate import Options, backends, load_benchmark, run_evaluation
backends.NEW_TOKENS = dict.fromkeys(backends.NEW_TOKENS, 24)
model, data, out = sys.argv[1:]
run_evaluation(backends.load_backend(model), load_benchmark(data), Options(batch_size=2, references=False), Path(out))
"""


def test_a_killed_run_goes_on_to_the_same_results(
    smoke_folder, qcaleval, benchmark, smoke_backend, short_answers, tmp_path
):
    options = Options(batch_size=2, references=False)
    whole = run_evaluation(smoke_backend, benchmark, options, tmp_path / "whole")
    out = tmp_path / "run"
    environment = {**os.environ, "PYTHONPATH": str(Path(riverone_hf.__file__).parents[1])}
    words = [sys.executable, "-c", KILLED, str(smoke_folder), str(qcaleval), str(out)]
    child = subprocess.Popen(words, env=environment)
    journal = out / "answers.jsonl"
    deadline = time.monotonic() + 120
    while child.poll() is None and time.monotonic() < deadline:
        if journal.exists() and journal.read_bytes().count(b"\n") >= 4:
            break
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert journal.exists() and not (out / "results.json").exists()
    kept = journal.read_bytes()
    kept = kept[: kept.rfind(b"\n") + 1]
    journal.write_bytes(kept + b'{"key": "half')

    asked = []
    real = smoke_backend.answer

    class Counting:
        fingerprint = staticmethod(smoke_backend.fingerprint)
        model = model_id = smoke_backend.model
        api_base, batched = smoke_backend.api_base, True

        def answer(self, queries):
            asked.append(len(queries))
            return real(queries)

    resumed = run_evaluation(Counting(), benchmark, options, out)
    assert journal.read_bytes().startswith(kept) and sum(asked) < 6 * len(benchmark.rows)
    assert resumed.results["results"] == whole.results["results"]
    assert load(out / "judged.json")["results"] == load(tmp_path / "whole" / "judged.json")["results"]


def test_in_context(benchmark, smoke_backend, short_answers, tmp_path):
    options = Options(icl=True, prompt="short", training_plots=4, limit=6)
    outcome = run_evaluation(smoke_backend, benchmark, options, tmp_path / "run")
    results = load(tmp_path / "run" / "results.json")
    assert results["mode"] == "icl"
    assert list(results["results"][0]["responses"]) == [RESPONSE_KEYS[question] for question in ("q3", "q5", "q6")]
    judged = load(tmp_path / "run" / "judged.json")
    assert list(judged["results"][0]["scores"]) == ["Q3", "Q5", "Q6", "overall"]
    assert list(judged["classification_accuracy"]) == ["Q6"]
    assert "over Q5 and Q6" in verdict(outcome, options)
    page = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "in-context questions" in page and "not scored: Q3 (no judge)" in page and "Q2 outcome" not in page


class Half:
    model_id = "half-marks"

    def mark(self, row, question, answer):
        return [0.5] * len(row.key_points[question])


def test_a_judge_completes_the_benchmarks_mean(benchmark, smoke_backend, short_answers, tmp_path):
    options = Options(references=False, limit=4)
    outcome = run_evaluation(smoke_backend, benchmark, options, tmp_path / "run", judge=Half())
    judged = load(tmp_path / "run" / "judged.json")
    assert judged["judge_model_id"] == "half-marks" and judged["unscored"] == {}
    assert judged["aggregate"]["Q3"]["mean"] == 50.0
    entries = [entry["scores"] for entry in judged["results"]]
    for scores in entries:
        every = [scores[name]["score"] for name in ("Q1", "Q2", "Q3", "Q4", "Q5", "Q6")]
        assert scores["overall"] == pytest.approx(sum(every) / 6, abs=0.051)
    assert judged["overall_mean"] == pytest.approx(sum(scores["overall"] for scores in entries) / 4, abs=0.01)
    page = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "benchmark mean" in page and "marked by `half-marks`" in page and "not scored" not in page
    assert outcome.facts["judge"] == "half-marks"


def test_a_picture_that_cannot_be_read_costs_its_row_only(benchmark, smoke_backend, short_answers, tmp_path):
    rows = list(benchmark.rows[:3])
    rows[1] = dataclasses.replace(rows[1], images=(Picture("broken", b"\x89PNG rubbish"),))
    broken = dataclasses.replace(benchmark, rows=tuple(rows), digest="broken")
    outcome = run_evaluation(smoke_backend, broken, Options(training_plots=4), tmp_path / "run")
    entries = outcome.results["results"]
    assert [bool(entry["error"]) for entry in entries] == [False, True, False]
    assert outcome.facts["failed_answers"] == 6
    for scoring in ("official", "strict"):
        assert len(outcome.scores[scoring]) == 3 and outcome.scores[scoring][1].flat["mean"] == 0.0
    assert "6 questions got no answer and count 0" in (tmp_path / "run" / "report.md").read_text(encoding="utf-8")


def test_a_prompt_that_does_not_fit_is_an_error_of_its_question(benchmark, smoke_backend, monkeypatch, tmp_path):
    monkeypatch.setattr(smoke_backend, "_context", 90)
    outcome = run_evaluation(
        smoke_backend, benchmark, Options(prompt="full", references=False, limit=1), tmp_path / "r"
    )
    (entry,) = outcome.results["results"]
    said = [response["error"] for response in entry["responses"].values() if response["error"]]
    assert said and all("the model reads at most 90" in text for text in said)


def test_the_fingerprint_is_that_of_the_weights(smoke_folder, smoke_backend, tmp_path):
    import shutil

    from riverone_hf.evaluate.backends import load_backend

    moved = Path(shutil.copytree(smoke_folder, tmp_path / "moved"))
    assert load_backend(str(moved)).digest == smoke_backend.digest
    assert load_backend(str(moved)).model == "moved"
    smaller = json.loads((moved / "config.json").read_text())
    smaller["text_config"]["rope_theta"] = 5000.0
    smaller["text_config"]["rope_parameters"] = {"rope_theta": 5000.0, "rope_type": "default"}
    (moved / "config.json").write_text(json.dumps(smaller))
    assert load_backend(str(moved)).digest != smoke_backend.digest
