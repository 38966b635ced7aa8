"""`riverone data build drift` and `riverone push dataset`: what is printed, and one line when it cannot be done."""

from __future__ import annotations

from pathlib import Path

from riverone_hf.data.drift_synthetic import synthetic_frame
from riverone_hf.hub import Pushed


def test_build_prints_the_folder_and_what_was_left_out(run, tmp_path: Path):
    done = run("data", "build", "drift", "--rows", "6", "--out", tmp_path / "set")
    assert done.exit_code == 0 and done.stdout == f"{tmp_path / 'set'}\n"
    assert "6 figures" in done.stderr and "repeated snapshot" in done.stderr
    assert (tmp_path / "set" / "README.md").is_file()


def test_bad_input_is_one_line(run, tmp_path: Path):
    frame = synthetic_frame(days=15, qubits=2)[0]
    frame.rename(columns={"calibrated_time": "calibration_time"}).to_parquet(tmp_path / "t.parquet")
    for words, says in (
        (("--rows", "6", "--source", tmp_path / "t.parquet"), "calibrated_time (renamed to calibration_time?)"),
        (("--rows", "1"), "got 1 rows"),
        (("--rows", "6", "--source", tmp_path), "lacks 1 of 19 needed columns"),
    ):
        done = run("data", "build", "drift", "--out", tmp_path / "set", *words)
        assert done.exit_code == 2 and says in done.stderr
        assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == done.stderr.splitlines()[
            -1:
        ]
        assert not (tmp_path / "set").exists()


def test_push_prints_the_address(run, tmp_path: Path, monkeypatch):
    asked = []

    def push_dataset(folder, repo_id, *, private, revision):
        asked.append((folder, repo_id, private, revision))
        return Pushed("me/x", "abc", "http://hub/datasets/me/x", ("README.md",), True)

    monkeypatch.setattr("riverone_hf.hub.push_dataset", push_dataset)
    done = run("push", "dataset", tmp_path, "me/x", "--private", "--revision", "v1")
    assert (
        done.exit_code == 0
        and done.stdout == "http://hub/datasets/me/x\n"
        and "pushed; pin revision abc" in done.stderr
    )
    assert asked == [(tmp_path, "me/x", True, "v1")]
    monkeypatch.undo()
    done = run("push", "dataset", tmp_path, "me/x")
    assert done.exit_code == 2 and done.stderr.startswith(f"error: {tmp_path} has no README.md")
    assert done.stderr.count("\n") == 1
