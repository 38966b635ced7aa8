"""`riverone share`: fewer stored blocks, from plots or own figures; refusals that lose nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from riverone_hf.build.share_folder import FigureBatches, changes_of
from riverone_hf.errors import RecipeError
from riverone_hf.reader.loading import load_model
from tiny import tiny_processor

SHORT = ("stored=2", "probe_batches=1", "distill.steps=4", "distill.warmup_steps=0", "--batch-size", 4)


@pytest.mark.parametrize("own", [False, True], ids=["simulated plots", "own figures"])
def test_share_writes_a_smaller_model_that_reads(run, saved_model, plots, own, tmp_path: Path) -> None:
    out = tmp_path / "shared"
    done = run("share", saved_model, "--out", out, *SHORT, *(("--figures", plots) if own else ()))
    assert done.exit_code == 0 and done.stdout.strip() == str(out), done.output
    # load_model refuses missing and unexpected weights.
    model, _ = load_model(out, device="cpu")
    assert model.config.vision_config.layer_map == [0, 0, 1] and len(model.model.vision_tower.blocks) == 2
    report = json.loads((out / "share.json").read_text())
    assert report["frozen"]["parameters"] < report["original"]["parameters"]
    assert report["recipe"]["distill"]["steps"] == 4 and report["losses"]["last"]["loss"] > 0
    assert not (tmp_path / "shared.work").exists() and not (out / "metrics.json").exists()
    assert json.loads((out / "config.json").read_text())["dtype"] == "float32"
    read = run("read", plots / "a.png", "--model", out, "--family", "t1", "--json")
    assert read.exit_code == 0 and json.loads(read.stdout)[0]["family"] == "t1", read.output


def test_distillation_is_what_changes_the_weights(run, saved_model, tmp_path: Path) -> None:
    weights = []
    for name, steps in (("long", 4), ("again", 4), ("short", 1)):
        words = [f"distill.steps={steps}" if str(w).startswith("distill.steps") else w for w in SHORT]
        assert run("share", saved_model, "--out", tmp_path / name, *words).exit_code == 0
        weights.append(load_file(tmp_path / name / "model.safetensors"))
    name = next(name for name in weights[0] if name.endswith("fc1.weight"))
    assert weights[0][name].equal(weights[1][name]) and not weights[0][name].equal(weights[2][name])


def test_a_killed_run_goes_on_to_the_same_weights(run, saved_model, tmp_path: Path) -> None:
    """SIGKILL in the middle of a real process."""
    words = ["share", str(saved_model), "stored=2", "probe_batches=1", "distill.steps=40", "distill.save_steps=4"]
    words += ["--batch-size", "4", "--out"]
    command = [sys.executable, "-m", "riverone_hf", *words]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1"}
    assert run(*words, tmp_path / "straight").exit_code == 0
    process = subprocess.Popen([*command, tmp_path / "killed"], env=environment, stderr=subprocess.DEVNULL)
    # The name of a complete checkpoint.
    saved = tmp_path / "killed.work" / "distill" / "checkpoint" / "state.json"
    deadline = time.monotonic() + 120
    while not saved.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (tmp_path / "killed").exists()
    done = subprocess.run([*command, tmp_path / "killed"], env=environment, check=True, capture_output=True, text=True)
    assert "distillation: 40/40" in done.stderr and "distillation: 0/40" not in done.stderr
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("straight", "killed"))
    assert one.keys() == other.keys()
    assert all(one[key].sub(other[key]).abs().max() < 1e-5 for key in one)


def test_two_processes_write_the_model_of_one(run, saved_model, tmp_path: Path) -> None:
    # In bfloat16 the order of a sum would show.
    words = [*map(str, SHORT), "distill.bf16=false", "--out"]
    assert run("share", saved_model, *words, tmp_path / "one").exit_code == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "riverone_hf", "share", str(saved_model), *words]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, tmp_path / "two"], env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and done.stdout.split() == [str(tmp_path / "two")], done.stderr[-3000:]
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    # AdamW turns the rounding of a gradient near zero into a step of full size, here and there.
    assert all(one[key].sub(two[key]).abs().mean() < 1e-4 for key in one)
    losses = [
        json.loads((tmp_path / name / "share.json").read_text())["losses"]["last"]["loss"] for name in ("one", "two")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_refusals(run, saved_model, plots, tmp_path: Path) -> None:
    def refused(*words) -> str:
        done = run("share", *words)
        assert done.exit_code == 2, done.output
        return " ".join(done.output.split())

    out = tmp_path / "out"
    assert "not empty" in refused(saved_model, "--out", plots, *SHORT)
    assert sorted(path.name for path in plots.iterdir()) == ["a.png", "b.png", "notes.txt"]
    assert "no such model folder" in refused(tmp_path / "none", "--out", out)
    assert "distill.step: Extra inputs" in refused(saved_model, "--out", out, "distill.step=3")
    assert "3 layers cannot use 9 stored blocks: give 1 to 3" in refused(saved_model, "--out", out, "stored=9")
    assert "no image file" in refused(saved_model, "--out", out, *SHORT, "--figures", tmp_path)
    (plots / "a.png").write_bytes(b"\x89PNG cut short")
    assert "a.png" in refused(saved_model, "--out", out, *SHORT, "--figures", plots)
    for path in saved_model.iterdir():
        (tmp_path / "coded").mkdir(exist_ok=True)
        (tmp_path / "coded" / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "coded" / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "riverone_additive"}
    (tmp_path / "coded" / "config.json").write_text(json.dumps(config))
    assert "is coded. Remedy: share the vision blocks of the dense model" in refused(
        tmp_path / "coded", "--out", out, *SHORT
    )
    # None of these calls stands in the way of the next.
    assert not (tmp_path / "out.work").exists() and not out.exists()


def test_another_model_does_not_go_on_with_unfinished_work(run, saved_model, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "out.work").mkdir()
    (tmp_path / "out.work" / "build.json").write_text('{"fingerprint": "of another call"}')
    done = run("share", saved_model, "--out", out, *SHORT)
    assert done.exit_code == 2 and "unfinished" in done.output
    assert run("share", saved_model, "--out", out, *SHORT, "--fresh").exit_code == 0


def test_own_figures_come_in_turn(plots) -> None:
    batches = FigureBatches(plots, tiny_processor().image_processor, 2, 3, seed=1)
    assert len(batches) == 3 and len(list(batches)) == 3
    # Two figures, two a batch: each is seen once a round.
    assert sorted(batches.order[:2]) == sorted(batches.order[2:4]) == [0, 1]
    assert batches[0].shape[1:] == (3, 32, 32)
    assert batches[0].equal(FigureBatches(plots, tiny_processor().image_processor, 2, 3, seed=1)[0])


def test_overrides() -> None:
    assert changes_of(["stored=3", "distill.steps=10", "generator={method: qgp}", "layer_map=[0, 0, 1]"]) == {
        "stored": 3,
        "distill": {"steps": 10},
        "generator": {"method": "qgp"},
        "layer_map": [0, 0, 1],
    }
    for wrong in ("stored", "other.steps=3", "distill={steps: 3}", "stored=[", "distill.=3"):
        with pytest.raises(RecipeError, match="override"):
            changes_of([wrong])
