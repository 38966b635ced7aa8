"""The measurement against the reference algorithm, on matrices too small to say anything."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Calls the benchmark with these arguments and gives what it wrote."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "path", list(sys.path))  # importing it adds folders
    benchmark, out = importlib.import_module("additive"), tmp_path / "benchmark.json"

    def call(*arguments: str) -> dict:
        fixed = ["--presets", "quick", "--repeats", "1", "--schemes", "1x4g8", "--out", str(out)]
        monkeypatch.setattr(sys, "argv", ["additive.py", *fixed, *arguments])
        benchmark.main()
        return json.loads(out.read_text(encoding="utf-8"))

    return call


def test_rows_are_measured_once_and_kept(run):
    first = run("--sizes", "32", "--reference-epochs", "1")["rows"]
    assert [(row["size"], row["tokens"]) for row in first] == [(32, 256), (32, 16)]
    for row in first:
        assert row["reference"]["epochs"] == 1 and row["reference"]["unfinished"]
        assert 0 < row["quick"]["error"] < 1 and 0 < row["reference"]["error"] < 1
        # The last entry of the history is the state that is returned, whose error is measured anew.
        assert row["quick"]["history"][-1][1] == pytest.approx(row["quick"]["error"], rel=0.05)
    results = run("--sizes", "32", "64", "--reference-epochs", "1", "--held-out-up-to", "32")
    both, commands = results["rows"], results["command"].split(" && ")
    assert both[:2] == first and [row["size"] for row in both] == [32, 32, 64]
    assert [("64" in command, "python" in command) for command in commands] == [(False, True), (True, True)]
    # A reference with more epochs is another measurement.
    assert len(run("--sizes", "32", "--reference-epochs", "2", "--held-out-up-to", "0")["rows"]) == 4
