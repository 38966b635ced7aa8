"""`riverone data build chartqa ...` and `data report`: one line of errors, resumable, checked against a benchmark."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "data"))

from stand_ins import (
    CHARTQA,
    SCIENCEQA,
    chartqa_rows,
    png,
    scienceqa_rows,
    write_mmpr,
    write_plotqa_release,
    write_table,
)

from chat_stand_in import ChatStandIn


@pytest.fixture
def chartqa(tmp_path: Path) -> Path:
    write_table(tmp_path / "ChartQA" / "train-0.parquet", chartqa_rows(9), CHARTQA)
    return tmp_path / "ChartQA"


def test_build_check_and_report(run, chartqa, tmp_path):
    benchmark = tmp_path / "benchmark"
    benchmark.mkdir()
    (benchmark / "seen.png").write_bytes(png(4))
    words = ("data", "build", "chartqa", "--rows", 5, "--source", chartqa, "--out", tmp_path / "set")
    done = run(*words, "--against", benchmark)
    assert done.exit_code == 0 and done.stdout == f"{tmp_path / 'set'}\n", done.stderr
    assert "5 rows of 8 looked at; left out: broken_image 1, duplicate 1, empty_answer 1" in done.stderr
    assert "1 rows repeat the benchmark: training refuses them" in done.stderr
    assert run(*words).exit_code == 0
    told = run("data", "report", tmp_path / "set", "--out", tmp_path / "report.json")
    assert "| set | sft_zero_shot | train | 5 | 5 |" in told.stdout
    assert json.loads((tmp_path / "report.json").read_text())["data_sets"][0]["flagged"] == 1


def test_other_builders(run, tmp_path):
    write_plotqa_release(tmp_path / "PlotQA")
    write_mmpr(tmp_path / "MMPR-v1.2")
    for name, folder, more in (("plotqa", "PlotQA", ()), ("mmpr", "MMPR-v1.2", ("--subset", "scienceqa"))):
        out = tmp_path / name
        done = run("data", "build", name, "--rows", 9, "--source", tmp_path / folder, "--out", out, *more)
        assert done.exit_code == 0 and "2 rows of" in done.stderr, done.stderr
    done = run("data", "build", "preference", "--rows", 2, "--family", "t1", "--out", tmp_path / "preference")
    assert done.exit_code == 0 and "2 rows of 2 looked at; left out: nothing" in done.stderr


def test_an_endpoint_chooses_science_questions(run, tmp_path):
    write_table(tmp_path / "ScienceQA" / "train-0.parquet", scienceqa_rows(), SCIENCEQA)
    words = ("data", "build", "scienceqa", "--rows", 9, "--source", tmp_path / "ScienceQA", "--out")
    stand_in = ChatStandIn(lambda content: "Yes" if "mammal" in content else "No.")
    with stand_in.serve():
        done = run(*words, tmp_path / "set", "--endpoint", stand_in.url)
    assert done.exit_code == 0 and "image_not_needed 1" in done.stderr, done.stderr
    assert len(stand_in.bodies) == 4 and all("image_url" not in str(body) for body in stand_in.bodies)
    assert json.loads((tmp_path / "set" / "build.json").read_text())["rule"] == "stand-in"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("chartqa", "--source", "nowhere/at-all"), "error: nowhere/at-all: neither a folder nor a Hub data set"),
        (("plotqa", "--source", "."), "error: .: no parquet, jsonl or json file of the split train"),
        (("mmpr", "--source", ".", "--split", "dev"), "error: unknown split 'dev'"),
        (("preference", "--mistakes", "none.jsonl"), "error: none.jsonl: no such file"),
        (("preference", "--family", "pong"), "error: no simulator for family 'pong'"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, monkeypatch, words, said):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    done = run("data", "build", *words, "--rows", 2, "--out", tmp_path / "out")
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.exit_code == 2 and len(errors) == 1 and errors[0].startswith(said), done.stderr
    assert not (tmp_path / "out").exists()
