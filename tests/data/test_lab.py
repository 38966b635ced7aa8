"""Own labelled plots: corrected verdicts become training rows; every mistake in them is named with its line."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from riverone_hf.data import lab_dataset, lab_rows
from riverone_hf.errors import TrainingDataError
from riverone_hf.questions import get_family, parse_q2, parse_q4, parse_q5, parse_q6

GOOD = {
    "source": "a.png",
    "family": "t1",
    "outcome": "Expected behavior",
    "fit_reliability": "Reliable",
    "fit_reason": "The fit follows the points.",
    "status": "SUCCESS",
    "parameters": {"T1_us": 48.2},
}


@pytest.fixture
def folder(tmp_path):
    Image.new("RGBA", (40, 30), (0, 0, 0, 0)).save(tmp_path / "a.png")
    Image.new("RGB", (30, 40)).save(tmp_path / "b.png")

    def write(*lines):
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        (tmp_path / "labels.jsonl").write_text(text + "\n")
        return tmp_path

    return write


def field_of_t1():
    return get_family("t1").fields[0].name


def test_labels_become_answers(folder):
    label = {**GOOD, "parameters": {field_of_t1(): 48.2}}
    (row,) = lab_rows(folder(label, ""))
    questions = [m["content"][-1]["text"] for m in row["messages"][::2]]
    assert questions == ["[experiment]", "[outcome] t1", "[fit] t1", "[parameters] t1", "[status] t1"]
    answers = [m["content"][0]["text"] for m in row["messages"][1::2]]
    assert answers[0] == "Experiment: t1"
    assert parse_q2(answers[1]) == "Expected behavior"
    assert parse_q4(answers[2]) == "Reliable" and "follows the points" in answers[2]
    assert list(parse_q5(answers[3])) == [field.name for field in get_family("t1").fields]
    assert parse_q5(answers[3])[field_of_t1()] == 48.2
    assert parse_q6(answers[4], "t1").status == "SUCCESS"


def test_a_corrected_verdict_is_a_label(folder):
    from riverone_hf.reader.verdict import Parameter, Verdict

    verdict = Verdict(
        source="plots/of/monday/a.png + plots/of/monday/b.png",
        family="t1",
        outcome="Expected behavior",
        status="SUCCESS",
        parameters=[Parameter(name=field_of_t1(), value=50.0, unit="us")],
    )
    (row,) = lab_rows(folder(verdict.model_dump_json()))
    assert [path.name for path in row["images"]] == ["a.png", "b.png"]
    assert parse_q5(row["messages"][5]["content"][0]["text"])[field_of_t1()] == 50.0


def test_only_given_labels_are_asked_and_images_open_on_white(folder):
    data = lab_dataset(folder({"images": ["a.png", "b.png"], "family": "t1", "status": "SUCCESS"}))
    row = data[0]
    assert [m["content"][-1]["text"] for m in row["messages"][::2]] == ["[experiment]", "[status] t1"]
    assert [part["type"] for part in row["messages"][0]["content"]] == ["image", "image", "text"]
    assert row["images"][0].mode == "RGB" and row["images"][0].getpixel((3, 3)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "t9"}, r"family is 't9'; expected one of: .*t1"),
        ({"outcome": "fine"}, r"outcome is 'fine'; expected one of: Expected behavior"),
        ({"fit_reliability": "ok"}, "fit_reliability is 'ok'"),
        ({"status": "GREAT"}, r"status is 'GREAT'; expected one of"),
        ({"parameters": {"T9": 1}}, r"unknown parameters T9. Expected some of"),
        ({"parameters": 5}, "parameters is int"),
        ({"source": "none.png"}, r"no such figure: .*none.png"),
        ({"source": "labels.jsonl"}, ".*cannot be read as an image"),
        ({"colour": "red"}, "unknown keys colour"),
        ({"error": "could not read"}, "this verdict is an error"),
    ],
)
def test_mistakes_name_their_line(folder, change, message):
    good = {"source": "b.png", "family": "t1", "status": "SUCCESS"}
    with pytest.raises(TrainingDataError, match=rf"labels.jsonl, line 2: {message}"):
        lab_rows(folder(good, {**good, **change}))


def test_empty_and_broken_files(folder, tmp_path):
    with pytest.raises(TrainingDataError, match=r"no labels.jsonl"):
        lab_rows(tmp_path)
    with pytest.raises(TrainingDataError, match="is empty"):
        lab_rows(folder(""))
    with pytest.raises(TrainingDataError, match="line 1: Expecting"):
        lab_rows(folder("{"))
    with pytest.raises(TrainingDataError, match="line 1: got list"):
        lab_rows(folder("[]"))
    with pytest.raises(TrainingDataError, match="line 1: no label"):
        lab_rows(folder({"source": "a.png", "family": "t1"}))


def test_own_rows_mix_evenly_with_simulated_ones():
    from riverone_hf.data import PlotSource, mixed_dataset

    own = [{"id": f"own-{k}", "images": [], "messages": []} for k in range(5)]
    rows = mixed_dataset(own, PlotSource(("t1",), direct_size=32, direct_share=1.0), 0.25, 40)
    ids = [rows[index]["id"] for index in range(40)]
    mine = [name for name in ids if name.startswith("own")]
    assert len(mine) == 10 and sorted(mine[:5]) == sorted(mine[5:]) == [f"own-{k}" for k in range(5)]
    assert all(sum(name.startswith("own") for name in ids[start : start + 4]) == 1 for start in range(0, 40, 4))
    assert len(set(ids)) == 35
