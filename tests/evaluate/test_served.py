"""A model behind `riverone serve` gets the scores that it gets in this process."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from riverone_hf.evaluate import Options, run_evaluation
from riverone_hf.evaluate.chat import ChatClient
from riverone_hf.evaluate.endpoint import EndpointBackend


@pytest.fixture
def served(smoke_folder):
    """Base address of the smoke model, served by a process of its own with answers of at most 24 tokens."""
    command = [sys.executable, "-m", "riverone_hf", "serve", str(smoke_folder), "--port", "0", "--device", "cpu"]
    process = subprocess.Popen([*command, "--max-answer-tokens", "24"], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        lines = [process.stderr.readline(), process.stderr.readline()]
        found = re.search(r"(http://127\.0\.0\.1:\d+/v1)/chat/completions", "".join(lines))
        assert found, lines
        yield found.group(1)
    finally:
        process.kill()
        process.wait(10)


def test_eight_requests_at_a_time_give_the_scores_of_this_process(
    served, benchmark, smoke_backend, short_answers, tmp_path
):
    waits: list[float] = []
    backend = EndpointBackend(ChatClient(served, wait=waits.append), concurrency=8)
    options = Options(prompt="full", references=False, limit=4)
    there = run_evaluation(backend, benchmark, options, tmp_path / "there")
    here = run_evaluation(smoke_backend, benchmark, options, tmp_path / "here")
    assert not waits and there.facts["failed_answers"] == 0
    answers = [[entry["responses"] for entry in run.results["results"]] for run in (there, here)]
    assert answers[0] == answers[1] and any(answers[0])
    for scoring in ("official", "strict"):
        assert [score.flat for score in there.scores[scoring]] == [score.flat for score in here.scores[scoring]]
