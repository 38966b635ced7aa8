"""The whole road with the smoke recipe: build, files, reload, refusals, and going on after SIGKILL."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fresh import run_fresh
from riverone_hf.build import load_recipe, run_recipe
from riverone_hf.calibration import draw, render
from riverone_hf.errors import BuildError
from riverone_hf.reader.loading import load_model

FORMS = ("full prompts", "in context", "constrained answers")
SHORT = [
    "model.tokenizer.plots=20",
    "model.image.image_size=64",
    "sft_icl=off",
    "mpo=off",
    "warmup.steps=6",
    "warmup.batch_size=4",
    "warmup.save_steps=2",
    "warmup.log_steps=1",
    "warmup.data.workers=0",
    "sft.steps=8",
    "sft.batch_size=4",
    "sft.save_steps=2",
    "sft.log_steps=1",
    "sft.data.workers=0",
    "evaluate.plots=6",
    "evaluate.majority_plots=30",
]


def test_smoke_writes_a_whole_model(smoke_folder):
    names = {path.name for path in smoke_folder.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md", "build.json", "metrics.json"} <= names
    assert {"modeling_riverone.py", "processing_riverone.py"} <= names
    assert not Path(f"{smoke_folder}.work").exists()
    build = json.loads((smoke_folder / "build.json").read_text())
    assert build["seed"] == load_recipe("smoke").model.seed
    assert build["versions"]["torch"] == torch.__version__
    assert set(build["seconds"]) == {"model", "warmup", "sft_icl", "sft", "mpo", "evaluate"}


def test_smoke_metrics_have_their_floors(smoke_folder):
    metrics = json.loads((smoke_folder / "metrics.json").read_text())
    rows = {row["name"]: row for row in metrics["rows"]}
    others = {f"smoke, {form}": rows.pop(f"smoke, {form}") for form in FORMS}
    assert set(rows) == {"smoke", "smoke, blank image", "majority class", "majority class of the family"}
    assert "not for use" in metrics["use"]
    spec = load_recipe("smoke").evaluate
    counts = [spec.full_form_plots, spec.in_context_plots, spec.constrained_plots]
    assert [row["n"] for row in others.values()] == counts
    shown = others["smoke, in context"]["scores"]
    assert shown["q2"] is shown["mean"] is None and shown["q5"] is not None and shown["q6"] is not None
    for row in rows.values():
        assert row["n"] == spec.plots
        assert set(row["scores"]) == {"q1_enums", "q2", "q4", "q5", "q5_values", "q6", "mean"}


def test_smoke_has_learned_something(smoke_folder):
    """Training moves: the fine-tuning loss halves. That it looks at the image is not claimed of a smoke model."""
    log = json.loads((smoke_folder / "training.json").read_text())["sft"]
    losses = [float(entry["loss"]) for entry in log if "loss" in entry]
    assert losses[-1] < 0.5 * losses[0]


def test_smoke_prefers_right_answers(smoke_folder):
    """Preference training starts from its reference, and then right answers gain on wrong ones."""
    log = json.loads((smoke_folder / "training.json").read_text())["mpo"]
    margins = [entry["rewards/margins"] for entry in log if "rewards/margins" in entry]
    assert len(margins) == 4 and margins[-1] > margins[0]


def test_finished_build_is_left_alone(smoke_folder):
    before = (smoke_folder / "model.safetensors").stat().st_mtime_ns
    run_recipe("smoke", smoke_folder, quiet=True)
    assert (smoke_folder / "model.safetensors").stat().st_mtime_ns == before


def test_foreign_folders_are_refused(tmp_path, smoke_folder):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BuildError, match="not empty"):
        run_recipe("smoke", tmp_path, quiet=True)
    with pytest.raises(BuildError, match="not empty"):
        run_recipe("smoke", smoke_folder, ["sft.steps=61"], quiet=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_unfinished_build_of_another_recipe_is_refused(tmp_path):
    work = tmp_path / "out.work"
    work.mkdir()
    (work / "build.json").write_text(json.dumps({"fingerprint": "x", "done": [], "seconds": {}, "rows": []}))
    with pytest.raises(BuildError, match=r"another recipe.*--fresh"):
        run_recipe("smoke", tmp_path / "out", SHORT, quiet=True)


@pytest.mark.parametrize("stage", ["warmup", "sft"])
def test_sigkill_resumes_to_the_same_losses_and_weights(tmp_path, stage):
    command = [sys.executable, "-m", "riverone_hf", "build", "--recipe", "smoke", *SHORT]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    subprocess.run([*command, "--out", str(straight)], check=True, capture_output=True, env=environment, timeout=300)

    process = subprocess.Popen(
        [*command, "--out", str(killed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    trainer = tmp_path / "killed.work" / stage / "trainer"
    deadline = time.monotonic() + 200
    while not (trainer / "checkpoint-4" / "trainer_state.json").is_file() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not killed.exists(), "nothing may be half-written under the final name"

    subprocess.run([*command, "--out", str(killed)], check=True, capture_output=True, env=environment, timeout=300)
    losses = []
    for folder in (straight, killed):
        log = json.loads((folder / "training.json").read_text())
        losses.append([entry["loss"] for name in ("warmup", "sft") for entry in log[name] if "loss" in entry])
    # Not bitwise: reloaded weights lie elsewhere in memory, and vector kernels round by alignment.
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    one, other = (load_file(folder / "model.safetensors") for folder in (straight, killed))
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(other[name], one[name], rtol=1e-3, atol=2e-5, msg=name)


def test_weights_are_saved_and_counted_as_the_recipe_says(tmp_path):
    out = run_recipe("smoke", tmp_path / "out", [*SHORT, "model.dtype=bfloat16"], quiet=True)
    weights = load_file(out / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    row = json.loads((out / "metrics.json").read_text())["rows"][0]
    assert row["bits_per_weight"] == 16.0
    assert row["bytes"] == sum(weight.nbytes for weight in weights.values())


def test_built_model_loads_without_complaint(smoke_folder):
    model, processor = load_model(str(smoke_folder), device="cpu")
    assert processor.tokenizer.convert_tokens_to_ids(processor.image_token) == model.config.image_token_id
    assert model.config.families == load_recipe("smoke").model.families


def test_built_model_works_without_this_package(smoke_folder, tmp_path):
    folder, figure = tmp_path / "model", tmp_path / "figure.png"
    shutil.copytree(smoke_folder, folder)
    picture = render(draw("t1", 3).figures[0])
    picture.save(figure)
    report, warnings = run_fresh(folder, figure, tmp_path, "[status] t1")
    assert not any(report["info"].values()), report["info"]
    assert not report["loaded"] and not warnings.strip(), warnings
    model, processor = load_model(str(smoke_folder), device="cpu")
    content = [{"type": "image", "image": picture}, {"type": "text", "text": "[status] t1"}]
    batch = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    with torch.no_grad():
        logits = model(**batch).logits
    torch.testing.assert_close(torch.load(f"{folder}-logits.pt"), logits, rtol=1e-4, atol=1e-4)
    assert report["piped"] == report["written"] != ""


def test_reading_with_a_smoke_model_says_so(smoke_folder, tmp_path):
    render(draw("t1", 3).figures[0]).save(tmp_path / "figure.png")
    command = [sys.executable, "-m", "riverone_hf", "read", str(tmp_path / "figure.png"), "--model", str(smoke_folder)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True, timeout=120)
    assert "smoke: not for use" in done.stderr
    assert json.loads(done.stdout)[0]["error"] is None
