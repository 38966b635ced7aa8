"""Rows of simulated plots: deterministic, split cleanly, in the columns of the data contract."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from riverone_hf.calibration import SUPPORTED_FAMILIES
from riverone_hf.data import PlotSource
from riverone_hf.data.calibration import LABELLED
from riverone_hf.data.show import show_plots
from riverone_hf.errors import QuestionError
from riverone_hf.questions import QUESTIONS, parse_q1, parse_q2, write_answers

FAMILIES = tuple(SUPPORTED_FAMILIES)


def test_rows_are_deterministic():
    first, second = (PlotSource(FAMILIES, seed=3).row(5) for _ in range(2))
    assert first["messages"] == second["messages"]
    assert all(np.array_equal(a, b) for a, b in zip(first["images"], second["images"], strict=True))


def test_splits_and_seeds_never_share_a_draw():
    seen = set()
    for split in ("train", "validation", "test"):
        for seed in range(3):
            seeds = {PlotSource(("t1",), seed=seed, split=split).plot(index).seed for index in range(50)}
            assert len(seeds) == 50 and not seeds & seen
            seen |= seeds


def test_unknown_split_is_a_named_error():
    with pytest.raises(QuestionError, match="unknown split 'dev'"):
        PlotSource(("t1",), split="dev").plot(0)


def test_families_take_turns():
    source = PlotSource(FAMILIES)
    assert [source.plot(index).truth.family for index in range(len(FAMILIES))] == list(FAMILIES)


def test_conversation_columns():
    row = PlotSource(("ramsey_t2star",)).row(0)
    assert set(row) == {"id", "family", "experiment_type", "images", "messages", "labels", "brief"}
    first = row["messages"][0]["content"]
    assert [part["type"] for part in first] == ["image", "image", "text"]
    assert [part["text"] is None for part in first] == [True, True, False]
    assert [message["role"] for message in row["messages"]] == ["user", "assistant"] * 7


def test_full_share_asks_one_question():
    source = PlotSource(("t1",), full_share=1.0)
    for index in range(12):
        messages = source.row(index)["messages"]
        assert len(messages) == 2 and "<image>" in messages[0]["content"][-1]["text"]


def test_brief_groups_ask_for_labels_alone():
    source = PlotSource(("t1",), full_share=0.2, brief_share=0.5, question_group=2)
    rows = [source.row(index) for index in range(60)]
    brief = [row for row in rows if row["brief"]]
    assert 10 < len(brief) < 40
    assert all(rows[i]["brief"] == rows[i - i % 2]["brief"] for i in range(60))
    assert {len(row["messages"]) for row in brief} == {2 * len(LABELLED)}
    assert {len(row["messages"]) for row in rows if not row["brief"]} == {2, 14}
    assert not any(row["brief"] for row in (PlotSource(("t1",)).row(index) for index in range(20)))


def test_question_group_asks_the_same_questions():
    shares = tuple((question, 0.5) for question in QUESTIONS)
    source = PlotSource(("t1",), question_shares=shares, question_group=4)
    asked = [[m["content"][-1]["text"] for m in source.row(i)["messages"][::2]] for i in range(40)]
    assert all(asked[i] == asked[i - i % 4] for i in range(40))
    assert len({tuple(texts) for texts in asked}) > 1


def test_missing_image_changes_the_description_only():
    source = PlotSource(("ramsey_t2star",), single_share=1.0)
    for index in range(5):
        row = source.row(index)
        answers = [m["content"][0]["text"] for m in row["messages"][1::2]]
        truth = source.plot(index).truth
        assert len(row["images"]) == 1 and len(truth.panels) == 2
        assert len(parse_q1(answers[1])) == 1
        assert parse_q2(answers[2]) == truth.outcome


def test_direct_rows_have_the_tile_size():
    row = PlotSource(("t1",), direct_size=96, direct_share=1.0).row(0)
    assert row["images"][0].size == (96, 96)


def test_dataset_renders_when_read():
    dataset = PlotSource(FAMILIES).dataset(10, 14)
    assert len(dataset) == 4
    assert dataset[0]["id"] == "train-0-10"
    assert dataset[0]["images"][0].mode == "RGB"


def test_show_writes_figures_with_their_truth(tmp_path):
    written = show_plots(tmp_path, 4, seed=0)
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert {path.name for path in written} == set(truth)
    source = PlotSource(FAMILIES, seed=0, split="test")
    assert next(iter(truth.values()))["answers"] == write_answers(source.plot(0).truth)
    with pytest.raises(QuestionError, match="no simulator for family 'pong'"):
        show_plots(tmp_path, 1, 0, family="pong")


def test_zoomed_rows_look_like_reduced_figures():
    def mean_difference(zoom):
        near = PlotSource(FAMILIES, direct_size=128, direct_share=1.0, direct_zoom=zoom)
        own = PlotSource(FAMILIES)
        differences = []
        for index in range(2 * len(FAMILIES)):
            reduced = own.row(index)["images"][0].resize((128, 128), Image.Resampling.BICUBIC)
            drawn = near.row(index)["images"][0]
            assert drawn.size == (128, 128)
            differences.append(np.abs(np.asarray(drawn, float) - np.asarray(reduced, float)).mean())
        return np.mean(differences)

    assert mean_difference(4.0) < 0.8 * mean_difference(1.0)


def test_families_come_as_often_as_their_shares():
    source = PlotSource(("t1", "drag", "gmm"), family_shares=(("drag", 0.25),))
    met = Counter(source.plot(index).truth.family for index in range(450))
    assert met["drag"] == pytest.approx(50, abs=25) and min(met["t1"], met["gmm"]) > 150
    assert source.plot(7).seed == PlotSource(("t1", "drag", "gmm"), family_shares=(("drag", 0.25),)).plot(7).seed
    with pytest.raises(QuestionError, match="rabi"):
        PlotSource(("t1",), family_shares=(("rabi", 2.0),)).plot(0)


def test_repeats_serve_every_row_again_without_drawing_it_again(monkeypatch):
    monkeypatch.setattr("riverone_hf.data.calibration.STRETCH", 4)
    source = PlotSource(("t1", "rabi"), direct_size=32, direct_share=1.0, repeats=2)
    drawn = []
    monkeypatch.setattr(PlotSource, "row", lambda self, index: drawn.append(index) or {"index": index})
    rows = source.dataset(10, 24)
    assert [rows[k]["index"] for k in range(14)] == [10, 11, 12, 13] * 2 + [14, 15, 16, 17, 14, 15]
    assert drawn == list(range(10, 18))
    assert dataclasses.replace(source, repeats=1).dataset(0, 3)[2]["index"] == 2
