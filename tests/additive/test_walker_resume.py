"""A compression that was killed ends with the same bytes; work of something else is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny_lms import batches, simple_coder, tiny_lm

import riverone_hf
from riverone_hf.additive.quantize import compress_folder, quantize
from riverone_hf.errors import CompressError
from riverone_hf.model.quantization_riverone import coded_layers

HERE = Path(__file__).resolve().parent
SCRIPT = """
import os, sys, time
from pathlib import Path
from tiny_lms import batches, simple_coder
from riverone_hf.additive.quantize import compress_folder
from riverone_hf.additive.workfolder import WorkFolder

load_layer = WorkFolder.load_layer

def late(work, name):
    if os.environ.get("RANK") == "1":
        time.sleep(float(os.environ.get("READER_SLEEP", "0")))
    return load_layer(work, name)

WorkFolder.load_layer = late

def slow(*args, **options):
    time.sleep(float(os.environ.get("CODER_SLEEP", "0")))
    return simple_coder(*args, **options)

folder = Path(sys.argv[1])
compress_folder(folder / "model", folder / sys.argv[2], "2x4g4", batches(), seed=5, coder=slow)
"""


def command(*words: str) -> list[str]:
    return [sys.executable, *words]


def environment(**extra: str) -> dict[str, str]:
    paths = os.pathsep.join([str(HERE), str(HERE.parent), str(Path(riverone_hf.__file__).parents[1])])
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **extra}


def everything(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> Path:
    """A folder with `model` and `whole`, its compression without any interruption."""
    folder = tmp_path_factory.mktemp("straight")
    tiny_lm().save_pretrained(folder / "model")
    compress_folder(
        folder / "model", folder / "whole", "2x4g4", batches(), seed=5, coder=simple_coder, say=lambda line: None
    )
    return folder


def test_killed_at_any_moment_it_ends_the_same(straight):
    """SIGKILL in the first block, then in the second, then a run to the end."""
    layers = straight / "killed.work" / "layers"
    for finished in (2, 9):
        process = subprocess.Popen(
            command("-c", SCRIPT, str(straight), "killed"),
            env=environment(CODER_SLEEP="0.3"),
            stderr=subprocess.DEVNULL,
        )
        limit = time.monotonic() + 120
        while len(list(layers.glob("*.safetensors"))) < finished:
            assert process.poll() is None and time.monotonic() < limit
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (straight / "killed").exists()
    lines: list[str] = []
    options = {"seed": 5, "coder": simple_coder, "say": lines.append}
    compress_folder(straight / "model", straight / "killed", "2x4g4", batches(), **options)
    assert any(line.startswith("going on: ") and line.endswith("of 14 Linears are finished") for line in lines)
    assert everything(straight / "killed") == everything(straight / "whole")
    assert not (straight / "killed.work").exists()


def test_two_processes_make_the_same_model(straight):
    script = straight / "team.py"
    script.write_text(SCRIPT)
    words = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script), str(straight), "team")
    # One that reads its files slowly must still find them: the other deletes the work folder at the end.
    env = environment(READER_SLEEP="0.05")
    done = subprocess.run(command(*words), env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("layer 1/2 self_attn.q_proj") == 1  # only one of them talks
    assert everything(straight / "team") == everything(straight / "whole")


class Interrupted(Exception):
    pass


def test_work_of_something_else_is_refused(tmp_path):
    """Also in memory: the work folder keeps what was done, and names what differs."""

    def stop_later(*args, **options):
        calls.append(1)
        if len(calls) > 5:
            raise Interrupted
        return simple_coder(*args, **options)

    calls: list[int] = []
    quiet = {"work": tmp_path, "say": lambda line: None}
    with pytest.raises(Interrupted):
        quantize(tiny_lm(), "2x4g4", batches(), coder=stop_later, **quiet)
    assert len(list((tmp_path / "layers").glob("*.safetensors"))) == 4
    changed = tiny_lm()
    with torch.no_grad():
        changed.model.layers[1].mlp.up_proj.weight[0] += 0.01
    for model, scheme, inputs, what in (
        (changed, "2x4g4", batches(), "another model"),
        (tiny_lm(), "2x4g4", batches(seed=2), "another calibration"),
        (tiny_lm(), "2x3g4", batches(), "another recipe"),
        (tiny_lm(seed=1), "2x4g4", batches(3), "another calibration and model"),
    ):
        with pytest.raises(CompressError, match=what):
            quantize(model, scheme, inputs, coder=simple_coder, **quiet)
    model, whole = tiny_lm(), tiny_lm()
    quantize(model, "2x4g4", batches(), coder=simple_coder, **quiet)
    quantize(whole, "2x4g4", batches(), coder=simple_coder, say=lambda line: None)
    one, two = coded_layers(model), coded_layers(whole)
    assert all(torch.equal(one[name].weight, two[name].weight) for name in one)


def test_a_foreign_folder_is_not_touched(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CompressError, match="not the work of a compression"):
        quantize(tiny_lm(), "2x4g4", batches(), work=tmp_path, coder=simple_coder, say=lambda line: None)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_tuning_of_blocks_helps_and_can_be_resumed(tmp_path, monkeypatch):
    """Interrupted between the files of a tuned block, the run ends with the same bytes."""
    from riverone_hf.additive import workfolder

    tiny_lm().save_pretrained(tmp_path / "model")
    lines: list[str] = []
    options = {"coder": simple_coder, "say": lines.append, "tune_steps": 30, "held_out": 4}
    compress_folder(tmp_path / "model", tmp_path / "whole", "2x4g4", batches(), **options)
    told = [line.rpartition("output ")[2].split(" -> ") for line in lines if "tuned" in line]
    assert len(told) == 2 and all(float(after) < 0.9 * float(before) for before, after in told)

    save, count = workfolder.WorkFolder.save_layer, [0]

    def failing(self, *words):
        count[0] += 1
        if count[0] == 10:  # seven coded, then the third of seven tuned ones
            raise Interrupted
        save(self, *words)

    monkeypatch.setattr(workfolder.WorkFolder, "save_layer", failing)
    with pytest.raises(Interrupted):
        compress_folder(tmp_path / "model", tmp_path / "again", "2x4g4", batches(), **options)
    compress_folder(tmp_path / "model", tmp_path / "again", "2x4g4", batches(), **options)
    assert everything(tmp_path / "again") == everything(tmp_path / "whole")
