"""Every block of the README does what it says: Python blocks run, shell lines run or are checked against the tools."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loopback_hub import USER, LoopbackHub
from riverone_hf.calibration import draw, render
from riverone_hf.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
SHELL = [line.split("#")[0].strip() for language, code in BLOCKS if language == "sh" for line in code.splitlines()]


@pytest.fixture(scope="module")
def calibration_data(tmp_path_factory):
    """The data set of the README's own command."""
    out = tmp_path_factory.mktemp("readme") / "calibration-data"
    line = next(line for line in SHELL if line.startswith("riverone data build calibration"))
    words = [word if word != "calibration-data" else str(out) for word in shlex.split(line)[1:]]
    done = run([sys.executable, "-m", "riverone_hf", *words], out.parent)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def desk(tmp_path, smoke_folder, calibration_data):
    """A folder with what the README's reader has: a figure, a model, a data set."""
    (tmp_path / "my-model").symlink_to(smoke_folder)
    (tmp_path / "calibration-data").symlink_to(calibration_data)
    (tmp_path / "text.txt").write_text("\n".join(f"T1 is {n} us, the fit is good." for n in range(200)))
    (tmp_path / "benchmark").mkdir()
    render(draw("gmm", 5).figures[0]).save(tmp_path / "benchmark" / "figure.png")
    render(draw("t1", 3).figures[0]).save(tmp_path / "figure.png")
    return tmp_path


def run(command, desk, **environment):
    return subprocess.run(
        command,
        cwd=desk,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "HF_HOME": str(desk / "hf"), **environment},
        check=False,
    )


def run_here(words, desk, monkeypatch):
    """The same in this process, for commands that never meet the hub: starting Python costs more than most of them."""
    monkeypatch.chdir(desk)
    return CliRunner().invoke(app, words)


def test_all_blocks_are_known():
    assert {language for language, _ in BLOCKS} == {"python", "sh"}
    assert len(PYTHON) == 5 and len(SHELL) >= 20


@pytest.mark.parametrize("code", PYTHON, ids=lambda code: code.split("\n")[0])
def test_python_block_runs(code, desk):
    done = run([sys.executable, "-c", code], desk)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("line", SHELL)
def test_shell_line(line, desk, monkeypatch):
    words = shlex.split(line)
    if words[0] == "make":
        done = subprocess.run(["make", "-n", words[1]], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0
        assert {"demo": "riverone read", "test": "pytest"}[words[1]] in done.stdout
        return
    assert words[0] == "riverone"
    command = [sys.executable, "-m", "riverone_hf", *words[1:]]
    if words[1:4] == ["data", "build", "calibration"]:
        assert (desk / "calibration-data" / "README.md").is_file()
    elif words[1] == "build":
        # Training for a quarter of an hour is not a test: here the finished folder of another recipe is refused.
        done = run_here(words[1:], desk, monkeypatch)
        assert done.exit_code == 2 and "not empty" in done.stderr, done.stderr
    elif words[1] == "push":
        command = [word.replace("your-name", USER) for word in command]
        if words[2] == "dataset":
            build = next(line for line in SHELL if line.startswith("riverone data build drift"))
            assert run([sys.executable, "-m", "riverone_hf", *shlex.split(build)[1:]], desk).returncode == 0
        with LoopbackHub(desk / "hub").serve() as hub:
            environment = {**hub.client_env(desk / "hf"), "HF_HUB_OFFLINE": "0"}
            done = run(command, desk, **environment)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip().endswith(words[4].replace("your-name", USER))
    elif words[1] in ("demo", "serve"):
        done = run_here([*words[1:], "--help"], desk, monkeypatch)
        assert done.exit_code == 0 and {"demo": "--model", "serve": "MODEL"}[words[1]] in done.stdout
    else:
        short = {
            "train": ["steps=1", "batch_size=2", "warmup_steps=1"],
            "eval": ["--limit", "2"],
            "compress": ["--samples", "4", "--length", "64"],
            "share": ["distill.steps=2", "probe_batches=1", "--batch-size", "4"],
        }
        done = run_here([*words[1:], *short.get(words[1], [])], desk, monkeypatch)
        assert done.exit_code == 0, f"{done.stderr}{done.exception!r}"
        if "--out" in words:
            assert any((desk / words[words.index("--out") + 1]).iterdir())
        if "--json" in words:
            assert json.loads(done.stdout)[0]["family"] == "t1"


def test_numbers_are_those_of_the_results_file():
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "render_numbers.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_top_says_two_commands_then_shows_a_verdict():
    top = README.split("\n## ")[0]
    assert top.index("make demo") < top.index("make test") < top.index("![")
    for path in re.findall(r"\]\(((?!https?:|#)[^)]+)\)", README):
        assert (ROOT / path).is_file(), f"README links to {path}, which is not there"
