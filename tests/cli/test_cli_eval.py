"""`riverone eval`: one run of a tiny model, an endpoint, and one line for everything that cannot be evaluated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chat_stand_in import ChatStandIn
from riverone_hf.data import Plan, build_calibration_data
from riverone_hf.evaluate import backends
from riverone_hf.questions import OUTCOMES, RESPONSE_KEYS, parse_q2, parse_q5


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("eval") / "plots"
    build_calibration_data(Plan(40, seed=2, families=("t1",)), out)
    return out


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(backends, "NEW_TOKENS", dict.fromkeys(backends.NEW_TOKENS, 4))


def refused(result, *parts) -> None:
    assert result.exit_code == 2, result.output
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and all(str(part) in last for part in parts), last


def test_a_model_folder(run, saved_model: Path, dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("eval", saved_model, dataset, "--out", out, "--scoring", "strict", "--dataset-id", "me/plots")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1 and "is the mean over Q1 plot kind" in result.stdout
    names = {"results.json", "judged.json", "summary.json", "report.md", "answers.jsonl", "scores.png"}
    assert names <= {path.name for path in out.iterdir()}
    results = json.loads((out / "results.json").read_text())
    assert (results["model"], results["prompt_form"], results["dataset"]) == ("model", "short", "plots")
    assert json.loads((out / "judged.json").read_text())["scoring"] == "strict"
    assert (out / ".eval_results" / "me-plots.yaml").is_file()


def test_an_endpoint_is_asked_the_full_prompts_and_judged(run, dataset: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("RIVERONE_API_KEY", "open sesame")
    monkeypatch.setenv("MY_JUDGE", "your honour")
    with (
        ChatStandIn(lambda content: "Status: SUCCESS").serve() as model,
        ChatStandIn(lambda c: "[1, 1]").serve() as judge,
    ):
        words = ("--judge", judge.url, "--judge-model", "wise", "--judge-key-env", "MY_JUDGE", "--no-references")
        result = run("eval", model.url, dataset, "--out", tmp_path / "out", "--limit", "2", "--no-think", *words)
    assert result.exit_code == 0, result.output
    assert model.keys == {"Bearer open sesame"} and judge.keys == {"Bearer your honour"}
    assert len(model.bodies) == 6 + 2 * 6 and len(judge.bodies) == 2 * 2
    assert model.bodies[0]["chat_template_kwargs"] == {"enable_thinking": False}
    assert {body["model"] for body in judge.bodies} == {"wise"}
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (results["prompt_form"], results["model_id"], results["api_base"]) == ("full", "stand-in", model.url)
    judged = json.loads((tmp_path / "out" / "judged.json").read_text())
    assert judged["judge_model_id"] == "wise" and judged["overall_mean"] is not None


def test_constrained_answers_are_json_and_legal_labels(
    run, saved_model: Path, dataset: Path, tmp_path: Path, monkeypatch
) -> None:
    """Of an untrained model, whose free answers are neither."""
    monkeypatch.setattr(backends, "NEW_TOKENS", backends.NEW_TOKENS | {"q5": 80})
    parsed = {}
    for words in ((), ("--constrained",)):
        out = tmp_path / f"out{len(words)}"
        result = run("eval", saved_model, dataset, *words, "--limit", "2", "--no-references", "--out", out)
        assert result.exit_code == 0, result.output
        results = json.loads((out / "results.json").read_text())
        answers = [
            (entry["responses"][RESPONSE_KEYS["q2"]]["answer"], entry["responses"][RESPONSE_KEYS["q5"]]["answer"])
            for entry in results["results"]
        ]
        parsed[results["api_base"]] = [
            (parse_q2(label) in OUTCOMES, parse_q5(fields) is not None) for label, fields in answers
        ]
    assert parsed == {"in process": 2 * [(False, False)], "in process, answers constrained": 2 * [(True, True)]}


def test_in_context(run, saved_model: Path, dataset: Path, tmp_path: Path) -> None:
    words = ("--icl", "--prompt", "full", "--no-references", "--out", tmp_path / "out")
    assert run("eval", saved_model, dataset, *words).exit_code == 0
    assert json.loads((tmp_path / "out" / "results.json").read_text())["mode"] == "icl"


def test_embedded_names_the_model_inside_the_package(run, dataset: Path, tmp_path: Path) -> None:
    words = ("--limit", "1", "--no-references", "--out", tmp_path / "out")
    result = run("eval", "embedded", dataset, *words)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out" / "results.json").read_text())["model_id"] == "embedded"


def test_what_cannot_be_evaluated_is_one_line(run, saved_model: Path, dataset: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    refused(run("eval", tmp_path / "no", dataset, *out), "no such model folder")
    refused(run("eval", saved_model, tmp_path / "no", *out), "no such folder", "riverone data build calibration")
    refused(run("eval", saved_model, saved_model, *out), "no test-*.parquet")
    refused(run("eval", saved_model, dataset, *out, "--judge", "gpt"), "expected an URL")
    refused(run("eval", saved_model, dataset, *out, "--filter-type", "pong"), "'pong'")
    refused(run("eval", "http://127.0.0.1:9/v1", dataset, *out), "--model-id")
    refused(run("eval", "http://127.0.0.1:9/v1", dataset, *out, "--constrained"), "decodes by its own rules")
    refused(run("eval", saved_model, dataset, "--out", saved_model), "is not empty")
    assert not (tmp_path / "out").exists()
