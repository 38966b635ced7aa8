"""The card quotes results files and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from riverone_hf.data import DATA_VERSION
from riverone_hf.errors import ModelFolderError
from riverone_hf.evaluate import score_table
from riverone_hf.hub.card import EXAMPLE_QUESTION, MARK, example_card, is_rendered, is_smoke, model_card
from riverone_hf.questions import short_prompt

REPO = Path(__file__).resolve().parents[2]


def metrics(name: str = "nano", command: str = "riverone build --recipe nano --out m") -> dict:
    scores = {"q1_enums": 97.12, "q2": 91.37, "q4": 90.5, "q5": 55.25, "q5_values": None, "q6": 93.0, "mean": 85.45}
    floor = dict.fromkeys(scores, 21.5) | {"q5_values": None}
    return {
        "command": command,
        "date": "2026-01-02",
        "machine": "a test machine",
        "versions": {"torch": "2"},
        "rows": [
            {"name": name, "seed": 3, "scores": scores, "n": 811, "ci95": [84.1, 86.8], "data_version": DATA_VERSION},
            {"name": f"{name}, blank image", "scores": floor, "n": 811, "ci95": None},
            {"name": "majority class of the family", "scores": floor, "n": 811, "ci95": None},
        ],
    }


def test_numbers_come_from_metrics_json(folder: Path):
    (folder / "metrics.json").write_text(json.dumps(metrics()))
    card = model_card(folder, repo_id="tester/nano", revision="abc123")
    text = str(card)
    row = next(line for line in text.splitlines() if line.startswith("| nano (seed 3)"))
    assert [cell.strip() for cell in row.strip("|").split("|")][1:] == [
        "97.1", "91.4", "90.5", "55.2", "93.0", "85.5", "84.1 to 86.8", "811",
    ]  # fmt: skip
    assert "| nano, blank image |" in text
    assert "| majority class of the family |" in text
    assert "Q5 values" not in text, "a column that nobody measured is not shown"
    for stated in ("riverone build --recipe nano --out m", "2026-01-02", "a test machine"):
        assert stated in text
    assert 'revision = "tester/nano", "abc123"' in text
    assert "smoke" not in text


def test_rows_of_an_older_simulator_are_called_stale(folder: Path):
    old = metrics()
    old["rows"][0]["data_version"] = "0"
    (folder / "metrics.json").write_text(json.dumps(old))
    said = f"(stale: data version 0, now {DATA_VERSION})"
    assert f"| nano (seed 3) {said} |" in str(model_card(folder))
    row = {"name": "nano", "n": 5, "scores": {}, "ci95": {}, "data_version": "0"}
    assert f"| nano {said} |" in score_table([row])
    assert "stale" not in score_table([row | {"data_version": DATA_VERSION}])


def test_metadata_is_what_the_hub_reads(folder: Path):
    card = ModelCard(str(model_card(folder, metrics())))
    data = card.data.to_dict()
    assert data["license"] == "apache-2.0"
    assert data["library_name"] == "transformers"
    assert data["pipeline_tag"] == "image-text-to-text"
    declared = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert declared["Q2 outcome"] == 91.37
    assert len(card.data.eval_results) == 6, "the floors are not results of the model"


def test_without_metrics_nothing_is_claimed(folder: Path):
    card = model_card(folder)
    assert "Not measured" in str(card)
    assert not card.data.eval_results
    assert "12 in 1 tensors (F32)" in str(card)


@pytest.mark.parametrize(
    "given",
    [
        metrics("smoke"),
        metrics(command="riverone build --recipe smoke --out m"),
        metrics() | {"use": "smoke: not for use"},
    ],
)
def test_smoke_says_that_it_is_not_for_use(folder: Path, given: dict):
    card = model_card(folder, given)
    assert "smoke: not for use" in str(card)
    assert not card.data.eval_results
    (folder / "metrics.json").write_text(json.dumps(given))
    assert is_smoke(folder)


@pytest.mark.parametrize(
    "rows", [None, [{}], [{"name": "a", "scores": {"q2": 140}}], [{"name": "a", "scores": {"q2": "good"}}]]
)
def test_malformed_results_are_refused(folder: Path, rows: object):
    (folder / "metrics.json").write_text(json.dumps({"rows": rows}))
    with pytest.raises(ModelFolderError, match="Remedy"):
        model_card(folder)


def test_every_card_states_what_a_user_must_know(folder: Path):
    text = " ".join(str(model_card(folder)).split())
    for sentence in (
        "Advisory only.",
        "were not used for training",
        "Apache-2.0",
        "trust_remote_code=True",
        "pinned `revision` makes sure that these are the files you looked at",
    ):
        assert sentence in text
    assert is_rendered(str(model_card(folder)))
    assert not is_rendered(str(model_card(folder)).replace(MARK, ""))


def test_the_snippet_compiles_and_asks_a_real_question(folder: Path):
    snippet = str(model_card(folder)).split("```python\n")[1].split("```")[0]
    compile(snippet, "card", "exec")
    assert short_prompt("rabi", "q2") == EXAMPLE_QUESTION


def test_the_card_beside_the_readme_is_current():
    results = REPO / "results" / "base.json"
    given = json.loads(results.read_text()) if results.is_file() else None
    assert (REPO / "model_card.md").read_text() == str(example_card(given)), (
        "render it again: python -c 'from riverone_hf.hub.card import example_card as c; print(c(RESULTS), end=\"\")'"
    )
