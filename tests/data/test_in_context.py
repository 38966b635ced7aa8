"""In-context rows and preference pairs drawn on the fly: reproducible, disjoint, of the right shape."""

from __future__ import annotations

import pytest

from riverone_hf.data import InContextSource, Mistake, PlotSource, PreferenceSource
from riverone_hf.data.in_context import pool_plots
from riverone_hf.questions import get_family, parse_q6, write_answers

PLOTS = PlotSource(("t1", "ramsey_t2star", "gmm"), direct_size=48, direct_share=1.0, question_group=4)


def texts(row, role):
    return [p["text"] for m in row["messages"] if m["role"] == role for p in m["content"] if p["type"] == "text"]


def test_status_rows_show_one_example_per_status():
    source = InContextSource(PLOTS, pool=32)
    for index in range(6):
        row = source.shown_row(index, "q6")
        *shown, asked = texts(row, "user")
        codes = [parse_q6(text, row["family"]).status for text in shown]
        assert len(set(codes)) == len(codes) >= 2 and set(codes) <= set(get_family(row["family"]).statuses)
        assert asked == f"[status] {row['family']}"
        marks = sum(part["type"] == "image" for part in row["messages"][0]["content"])
        assert marks == len(row["images"])
        assert texts(row, "assistant") == [write_answers(PLOTS.plot(index).truth)["q6"]]


def test_parameters_have_one_example():
    assert len(texts(InContextSource(PLOTS).shown_row(0, "q5"), "user")) == 2


def test_groups_ask_alike_and_shares_hold():
    source = InContextSource(PLOTS, share=0.5, full_share=0.5, pool=8)
    shown = [len(source.row(4 * group)["messages"]) == 2 for group in range(40)]
    assert 10 <= sum(shown) <= 30
    for group in range(8):
        kinds = {source.row(4 * group + k)["id"].rpartition("-")[2] for k in range(4)}
        assert len(kinds) == (1 if shown[group] else 4)
    assert source.row(5) == source.row(5)


def test_examples_are_of_the_split_and_never_training_rows():
    for split in ("train", "validation"):
        source = PlotSource(PLOTS.families, split=split)
        pool = pool_plots(source, "gmm", 5, 8)
        rows = {source.plot(index).seed for index in range(60)}
        assert len({plot.seed for plot in pool}) == 8 and not rows & {plot.seed for plot in pool}
        assert all(plot.truth.family == "gmm" and plot.seed % 3 == pool[0].seed % 3 for plot in pool)
        assert pool_plots(source, "gmm", 10_000, 8)[0].seed != pool[0].seed
    seeds = {plot.seed for plot in pool_plots(PlotSource(PLOTS.families), "gmm", 5, 8)}
    assert not seeds & {plot.seed for plot in pool}


def test_data_set_makes_rows_when_read():
    rows = InContextSource(PLOTS, share=0.5, pool=8).dataset(0, 12)
    assert len(rows) == 12 and {"images", "messages"} <= set(rows[3])
    assert len(rows[0:8]["images"]) == 8


def test_pairs_are_right_and_wrong():
    source = PreferenceSource(PLOTS)
    questions = set()
    for index in range(30):
        row = source.row(index)
        question = row["id"].rpartition("-")[2]
        questions.add(question)
        right = write_answers(PLOTS.plot(index).truth)[question]
        assert row["chosen"][0]["content"][0]["text"] == right != row["rejected"][0]["content"][0]["text"]
        kinds = [part["type"] for part in row["prompt"][0]["content"]]
        assert kinds == ["image"] * len(row["images"]) + ["text"]
    assert questions == {"q1", "q2", "q3", "q4", "q5", "q6"}
    assert source.row(3) == source.row(3)


def test_own_mistakes_take_their_share():
    mistakes = (Mistake(900, "q2", "mine a"), Mistake(901, "q6", "mine b"))
    source = PreferenceSource(PLOTS, mistakes, 0.5)
    rejected = [source.row(index)["rejected"][0]["content"][0]["text"] for index in range(60)]
    own = [text for text in rejected if text.startswith("mine")]
    assert 18 <= len(own) <= 42 and set(own) == {"mine a", "mine b"}
    row = PreferenceSource(PLOTS, mistakes[:1], 1.0).row(7)
    assert row["chosen"][0]["content"][0]["text"] == write_answers(PLOTS.plot(900).truth)["q2"]
    assert row["family"] == PLOTS.plot(900).truth.family


@pytest.mark.parametrize("question", ["q1", "q2", "q4"])
def test_other_questions_have_no_examples(question):
    from riverone_hf.errors import QuestionError

    with pytest.raises(QuestionError, match="no in-context form"):
        InContextSource(PLOTS, pool=4).shown_row(0, question)
