"""A killed distillation, another number of processes, other settings."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from multiplex_models import noise
from run_distill import SETTINGS, run

from riverone_hf.errors import MultiplexError
from riverone_hf.multiplex import distill, share_blocks

SCRIPT = Path(__file__).with_name("run_distill.py")


def environment() -> dict[str, str]:
    tests = SCRIPT.parents[1]
    paths = [str(SCRIPT.parent), str(tests), str(tests.parent / "src")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The result of one undisturbed run."""
    return run(tmp_path_factory.mktemp("straight"))


def same(a: dict, b: dict, rel: float) -> bool:
    losses = zip(a["losses"], b["losses"], strict=True)
    return all(x == pytest.approx(y, rel=rel, abs=1e-7) for x, y in losses) and torch.allclose(
        torch.tensor(a["mixing"]), torch.tensor(b["mixing"]), atol=1e-4
    )


def test_sigkill_in_the_middle_resumes_to_the_same_losses(straight, tmp_path):
    work, out = tmp_path / "work", tmp_path / "out.json"
    command = [sys.executable, str(SCRIPT), str(work), str(out)]
    victim = subprocess.Popen([*command, "slow"], env=environment())
    state, deadline = work / "checkpoint" / "state.json", time.monotonic() + 120
    while time.monotonic() < deadline:
        if state.is_file() and json.loads(state.read_text() or '{"step": 0}')["step"] >= 4:
            break
        time.sleep(0.05)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL and not out.exists()
    done = json.loads(state.read_text())["step"]  # the newest complete checkpoint
    assert 4 <= done < SETTINGS.steps
    steps: list[int] = []
    resumed = run(work, on_step=lambda step, losses: steps.append(step))
    assert steps == list(range(done + 1, SETTINGS.steps + 1))
    assert same(resumed, straight, rel=1e-4)
    # A third start finds everything done and trains no step more.
    assert run(work, on_step=lambda step, losses: steps.append(step)) == resumed
    assert len(steps) == SETTINGS.steps - done


def test_two_processes_give_the_losses_of_one(straight, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    out = tmp_path / "out.json"
    command = [*torchrun, str(SCRIPT), str(tmp_path / "work"), str(out)]
    subprocess.run(command, env=environment(), check=True, timeout=300, capture_output=True)
    assert same(json.loads(out.read_text()), straight, rel=1e-3)


def test_a_checkpoint_of_other_settings_is_refused(model, tmp_path):
    settings = dataclasses.replace(SETTINGS, steps=2, train=("norms",), orthogonal=False)
    student = share_blocks(model, "pairs")
    distill(student, model, noise(2), settings, folder=tmp_path)
    other = dataclasses.replace(settings, learning_rate=1e-4)
    with pytest.raises(MultiplexError, match="other settings"):
        distill(share_blocks(model, "pairs"), model, noise(2), other, folder=tmp_path)
    with pytest.raises(MultiplexError, match="images is an iterator"):
        distill(student, model, iter(noise(2)), settings, folder=tmp_path)
    with pytest.raises(MultiplexError, match="of another model"):
        distill(share_blocks(model, "identity"), model, noise(2), settings, folder=tmp_path)
    # A kill between the two renames leaves the older checkpoint under its second name.
    (tmp_path / "checkpoint").rename(tmp_path / "checkpoint.old")
    resumed = share_blocks(model, "pairs")
    assert len(distill(resumed, model, noise(2), settings, folder=tmp_path)) == 2
    assert torch.equal(
        resumed.model.vision_tower.layers[1].norm1.weight, student.model.vision_tower.layers[1].norm1.weight
    )
