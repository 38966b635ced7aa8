"""Key points: what the judge is told, how its marks are read, and what happens when it fails."""

from __future__ import annotations

import json
import re

import pytest

from chat_stand_in import ChatStandIn
from riverone_hf.errors import EvaluationError
from riverone_hf.evaluate.chat import ChatClient
from riverone_hf.evaluate.judge import ATTEMPTS, ChatJudge, judge_prompt, mark_all, read_marks


@pytest.mark.parametrize(
    ("reply", "marks"),
    [
        ("[1, 0.5, 0]", [1, 0.5, 0]),
        ("Scores: [1, 1, 1] because [0]", [1, 1, 1]),
        ("```json\n[1]\n```", [1, 0, 0]),  # filled up
        ("[1, 1, 1, 1, 1]", [1, 1, 1]),  # cut
        ("[7, -2, 0.5]", [1, 0, 0.5]),  # clamped
        ("[NaN, true, false]", [0, 1, 0]),
        ("[]", [0, 0, 0]),
    ],
)
def test_marks_are_read(reply, marks):
    assert read_marks(reply, 3) == marks


@pytest.mark.parametrize("reply", ["", "all fine", '["good", 1, 1]', "[[1], 1]", "[1, 1"])
def test_other_replies_are_refused(reply):
    with pytest.raises(EvaluationError, match="no list of scores"):
        read_marks(reply, 3)


def test_the_judge_is_told_everything_but_the_image(benchmark):
    row = benchmark.rows[0]
    text = judge_prompt(row, "q3", "my answer")
    for part in (row.experiment_type, row.answers["q1"], row.answers["q3"], "my answer", *row.key_points["q3"]):
        assert part in text
    assert "Q3 (Experimental Significance)" in text and "JSON array of 3 scores" in text
    assert "Q1 (Technical Description)" in judge_prompt(row, "q1", "")


def test_requests_to_the_judge(benchmark):
    with ChatStandIn(lambda content: "[1, 0.5, 0]").serve() as server:
        judge = ChatJudge(ChatClient(server.url, attempts=ATTEMPTS))
        assert judge.mark(benchmark.rows[0], "q3", "an answer") == [1, 0.5, 0]
    (body,) = server.bodies
    assert body["max_tokens"] == 4096 and body["temperature"] == 0.0
    assert isinstance(body["messages"][0]["content"], str) and not re.search("image_url|base64", json.dumps(body))


def test_five_attempts_and_429_is_one_of_them(benchmark):
    waits = []
    left = [429, 500, 500, 500]
    with ChatStandIn(lambda content: left.pop(0) if left else "[1, 1, 1]").serve() as server:
        judge = ChatJudge(ChatClient(server.url, attempts=ATTEMPTS, wait=waits.append))
        assert judge.mark(benchmark.rows[0], "q3", "an answer") == [1, 1, 1]
    assert waits == [5.0, 2.0, 4.0, 8.0]


class Plugged:
    """A judge of our own: full marks, except for rows that it cannot mark."""

    model_id = "plugged"

    def __init__(self, fails=()):
        self.fails, self.asked = fails, []

    def mark(self, row, question, answer):
        self.asked.append((row.id, question, answer))
        if row.id in self.fails:
            raise EvaluationError("out of words")
        return [1.0] * len(row.key_points[question])


def marked(judge, benchmark, path, abort):
    rows = [(row, {"q1": "one", "q3": None if at == 1 else "three"}) for at, row in enumerate(benchmark.rows[:3])]
    return mark_all(judge, rows, ("q1", "q2", "q3"), path / "marks.jsonl", {"x": 1}, abort)


def test_officially_the_first_failure_ends_the_run_but_marks_are_kept(benchmark, tmp_path):
    ids = [row.id for row in benchmark.rows[:3]]
    with pytest.raises(EvaluationError, match=r"out of words.*Marks so far are kept"):
        marked(Plugged(fails=(ids[2],)), benchmark, tmp_path, abort=True)
    again = Plugged()
    marks = marked(again, benchmark, tmp_path, abort=True)
    assert set(marks) == {(name, question) for name in ids for question in ("q1", "q3")}
    third = Plugged()
    assert marked(third, benchmark, tmp_path, abort=True) == marks and not third.asked


def test_strictly_a_failure_is_unscored_and_no_answer_is_zero_unasked(benchmark, tmp_path):
    ids = [row.id for row in benchmark.rows[:3]]
    judge = Plugged(fails=(ids[2],))
    marks = marked(judge, benchmark, tmp_path, abort=False)
    assert marks[ids[0], "q1"] == [1.0] * len(benchmark.rows[0].key_points["q1"])
    assert marks[ids[1], "q3"] == [0.0] * 3 and (ids[1], "q3", "") not in judge.asked
    assert marks[ids[2], "q1"] is None and marks[ids[2], "q3"] is None


def test_officially_an_empty_answer_is_judged_too(benchmark, tmp_path):
    judge = Plugged()
    marked(judge, benchmark, tmp_path, abort=True)
    assert (benchmark.rows[1].id, "q3", "") in judge.asked
