"""A build whose stages train in two processes: the losses of one, a kill that leaves nothing running, named errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from test_build import SHORT

from riverone_hf.build import load_recipe, run_recipe
from riverone_hf.build.processes import processes_for
from riverone_hf.errors import BuildError

LITTLE = [*SHORT, "evaluate=off", "warmup.bf16=false", "sft.bf16=false", "sft.freeze_vision_share=0.5"]
TWO = ["warmup.processes=2", "sft.processes=2"]


def losses(folder: Path) -> dict[str, list[float]]:
    log = json.loads((folder / "training.json").read_text())
    return {stage: [entry["loss"] for entry in entries if "loss" in entry] for stage, entries in log.items()}


def test_two_processes_give_the_losses_of_one_and_end_with_the_build(tmp_path):
    one = losses(run_recipe("smoke", tmp_path / "one", LITTLE, quiet=True))
    command = [sys.executable, "-m", "riverone_hf", "build", "--recipe", "smoke", *LITTLE, *TWO]
    command += ["--out", str(tmp_path / "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # As a shell starts what is put in the background: SIGINT is ignored, by all its children too.
    background = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *command]
    process = subprocess.Popen(
        background, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, start_new_session=True
    )
    deadline = time.monotonic() + 300
    while not list((tmp_path / "two.work" / "sft" / "trainer").glob("checkpoint-4/trainer_state.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while alive := _members(process.pid):
        assert time.monotonic() < deadline, f"still running: {alive}"
        time.sleep(0.1)
    assert not (tmp_path / "two").exists()

    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "fine-tuning: 8/8" in done.stderr, "the first process shows how far it is"
    two = losses(tmp_path / "two")
    assert len(two["warmup"]) == 6
    assert len(two["sft"]) == 8
    for stage in ("warmup", "sft"):
        assert two[stage] == pytest.approx(one[stage], rel=1e-3)


def _members(group: int) -> list[int]:
    """Processes of a process group, zombies aside."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = stat.read_text().partition(" ")
        except OSError:
            continue
        state, _, leader = rest.rpartition(")")[2].split()[:3]
        if leader == str(group) and state != "Z":
            found.append(int(pid))
    return found


def test_the_error_of_a_process_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with pytest.raises(BuildError, match="the loss is inf at step 1;"):
        run_recipe("smoke", tmp_path / "out", [*LITTLE, *TWO, "warmup.target_weight=1.0e39"], quiet=True)


def test_no_more_processes_than_cores_and_one_on_a_gpu(monkeypatch):
    spec = load_recipe("smoke", ["sft.processes=3"]).sft
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert processes_for(spec) == 2
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert processes_for(spec) == 3
    assert processes_for(load_recipe("smoke").sft) == 1
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert processes_for(spec) == 1
