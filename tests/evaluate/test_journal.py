"""The journal: whole lines survive anything, and it never mixes two evaluations."""

from __future__ import annotations

import pytest

from riverone_hf.errors import EvaluationError
from riverone_hf.evaluate.journal import Journal

MINE = {"model": "a", "limit": None, "tokens": (1, 2)}


def test_rows_come_back(tmp_path):
    path = tmp_path / "j.jsonl"
    with Journal.open(path, MINE) as journal:
        journal.add({"x": {"text": "ü\nline"}, "y": None})
    with Journal.open(path, MINE) as journal:
        assert journal.rows == {"x": {"text": "ü\nline"}, "y": None}
        journal.add({"z": 1})
    assert len(path.read_text(encoding="utf-8").splitlines()) == 4
    assert [file.name for file in tmp_path.iterdir()] == ["j.jsonl"]


@pytest.mark.parametrize("torn", ['{"key": "y", "va', '{"key": "y", "value": 1}', "\x00\xff"])
def test_a_torn_last_line_is_cut_off(tmp_path, torn):
    path = tmp_path / "j.jsonl"
    with Journal.open(path, MINE) as journal:
        journal.add({"x": 1})
    whole = path.read_bytes()
    path.write_bytes(whole + torn.encode("latin-1"))
    with Journal.open(path, MINE) as journal:
        assert journal.rows == {"x": 1} and path.read_bytes() == whole
        journal.add({"y": 2})
    with Journal.open(path, MINE) as journal:
        assert journal.rows == {"x": 1, "y": 2}


def test_a_torn_first_line_begins_anew(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_text('{"fingerpr')
    with Journal.open(path, MINE) as journal:
        journal.add({"x": 1})
    with Journal.open(path, MINE) as journal:
        assert journal.rows == {"x": 1}


def test_another_evaluation_is_refused_and_untouched(tmp_path):
    path = tmp_path / "j.jsonl"
    with Journal.open(path, MINE) as journal:
        journal.add({"x": 1})
    before = path.read_bytes()
    with pytest.raises(EvaluationError, match="model 'a' instead of 'b'"), Journal.open(path, {**MINE, "model": "b"}):
        pass
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ["notes\n", '{"fingerprint": 3}\n{"key": 1}\n', "[]\n"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "j.jsonl"
    path.write_text(content)
    with pytest.raises(EvaluationError, match="choose another --out"), Journal.open(path, MINE):
        pass
    assert path.read_text() == content


def test_two_at_once_are_refused(tmp_path):
    path = tmp_path / "j.jsonl"
    with (
        Journal.open(path, MINE),
        pytest.raises(EvaluationError, match="another process is evaluating"),
        Journal.open(path, MINE),
    ):
        pass


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(number):
        raise OSError(28, "No space left on device")

    path = tmp_path / "j.jsonl"
    with Journal.open(path, MINE) as journal:
        journal.add({"x": 1})
        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(EvaluationError, match="No space left on device"):
            journal.add({"y": 1})
        assert journal.rows == {"x": 1}
