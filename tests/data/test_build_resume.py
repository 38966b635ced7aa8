"""The same bytes whatever happens on the way, and one named error for every folder that cannot be built in."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import riverone_hf
from riverone_hf.cli import app
from riverone_hf.data import Plan, build_calibration_data
from riverone_hf.errors import BuildError, QuestionError


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_processes_do_not_change_the_data(built, plan, tmp_path):
    build_calibration_data(plan, tmp_path / "two", processes=2)
    assert digests(tmp_path / "two") == digests(built)


def test_another_seed_gives_other_data(built, tmp_path):
    build_calibration_data(Plan(48, seed=2, families=("t1", "ramsey_t2star", "gmm"), shard_rows=20), tmp_path / "set")
    ours, theirs = digests(built), digests(tmp_path / "set")
    same = {name for name in ours if name.endswith(".parquet") and ours[name] == theirs[name]}
    assert set(ours) == set(theirs) and not same


def test_a_killed_build_goes_on_to_the_same_data(built, plan, tmp_path):
    out = tmp_path / "set"
    code = (
        "from pathlib import Path; from riverone_hf.data import Plan, build_calibration_data\n"
        f"build_calibration_data(Plan(48, 1, families={plan.families!r}, shard_rows=20), Path({str(out)!r}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(riverone_hf.__file__).parents[1])}
    child = subprocess.Popen([sys.executable, "-c", code], env=environment)
    deadline = time.monotonic() + 60
    while not list(out.glob(".building/train-*")) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (out / "README.md").exists()
    finished = {path.name: path.stat().st_mtime_ns for path in out.glob(".building/train-*/stats.json")}
    assert finished
    told = []
    build_calibration_data(plan, out, advance=told.append)
    assert sum(told) == plan.rows and digests(out) == digests(built)


def test_finished_shards_are_not_drawn_again(plan, tmp_path, monkeypatch):
    out = tmp_path / "set"
    fail_after(monkeypatch, writes=6)
    with pytest.raises(BuildError):
        build_calibration_data(plan, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("stats.json")}
    assert len(before) == 2
    fail_after(monkeypatch, writes=3)
    with pytest.raises(BuildError):
        build_calibration_data(plan, out)
    after = {path: path.stat().st_mtime_ns for path in out.rglob("stats.json")}
    assert len(after) == 3 and before.items() <= after.items()


def fail_after(monkeypatch, writes: int) -> None:
    """A disk that is full after so many files."""
    real, count = pq.ParquetWriter, [0]

    def write_table(table, where, **options):
        count[0] += 1
        if count[0] > writes:
            Path(where).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", str(where))
        with real(where, table.schema) as writer:
            writer.write_table(table)

    monkeypatch.setattr(pq, "write_table", write_table)


def test_full_disk_leaves_nothing_half_written(plan, tmp_path, monkeypatch):
    out = tmp_path / "set"
    fail_after(monkeypatch, writes=4)
    with pytest.raises(BuildError, match="No space left on device") as caught:
        build_calibration_data(plan, out)
    assert "run the same command again" in str(caught.value)
    assert [path.name for path in out.glob(".building/*-*")] == ["train-00000"]
    assert not [path for path in out.rglob("*.parquet") if path.read_bytes() == b"half"]
    assert not (out / "README.md").exists()


def test_a_finished_build_is_left_alone(plan, built):
    before = {path: path.stat().st_mtime_ns for path in built.rglob("*")}
    build_calibration_data(plan, built)
    assert {path: path.stat().st_mtime_ns for path in built.rglob("*")} == before


def test_other_arguments_are_refused(built):
    with pytest.raises(BuildError, match="seed 1 instead of 7"):
        build_calibration_data(Plan(48, seed=7, families=("t1", "ramsey_t2star", "gmm"), shard_rows=20), built)


def test_foreign_folders_are_refused_and_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(BuildError, match="is not empty and is no data set"):
        build_calibration_data(Plan(3), tmp_path)
    with pytest.raises(BuildError, match="is a file"):
        build_calibration_data(Plan(3), tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_two_builds_at_once_are_refused(plan, tmp_path):
    from filelock import FileLock

    out = tmp_path / "set"
    with pytest.raises(BuildError, match="0 processes"):
        build_calibration_data(plan, out, processes=0)
    (out / ".building").mkdir(parents=True)
    with FileLock(str(out / ".building" / "lock")), pytest.raises(BuildError, match="is not empty"):
        build_calibration_data(plan, out)
    (out / ".building" / "lock").unlink(missing_ok=True)
    (out / ".building").rmdir()

    def build_again(done: int) -> None:
        with pytest.raises(BuildError, match="another process is building"):
            build_calibration_data(plan, out)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_calibration_data(plan, out, advance=build_again)


def test_bad_arguments():
    for arguments in (
        {"rows": 0},
        {"rows": 5, "seed": -1},
        {"rows": 5, "backend": "slow"},
        {"rows": 5, "families": ()},
    ):
        with pytest.raises(BuildError):
            Plan(**arguments)
    with pytest.raises(QuestionError, match="no simulator for family 'pong'"):
        Plan(5, families=("pong",))


def test_command_line(tmp_path):
    runner = CliRunner()
    words = ["data", "build", "calibration", "--rows", "3", "--family", "t1", "--processes", "1", "--out"]
    done = runner.invoke(app, [*words, str(tmp_path / "set")])
    assert done.exit_code == 0 and done.stdout == f"{tmp_path / 'set'}\n"
    bad = runner.invoke(app, ["data", "build", "calibration", "--rows", "0", "--out", str(tmp_path / "no")])
    assert bad.exit_code == 2 and bad.stderr.count("\n") == 1 and bad.stderr.startswith("error: got 0 rows")
    assert not (tmp_path / "no").exists()
