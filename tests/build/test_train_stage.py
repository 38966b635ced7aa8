"""One stage at a time: two processes give the losses of one, a killed stage resumes, adapters, own plots, refusals."""

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

from riverone_hf.additive import quantize
from riverone_hf.build.recipe import recipes_folder
from riverone_hf.build.run import write_model
from riverone_hf.build.train_stage import train_stage
from riverone_hf.calibration import draw, render
from riverone_hf.data import PlotSource, lab_rows
from riverone_hf.errors import (
    AdapterError,
    BuildError,
    ContaminationError,
    ModelFolderError,
    NonFiniteLossError,
    TrainingDataError,
)
from riverone_hf.reader.loading import load_model
from riverone_hf.train.adapter import load_adapter, merge_adapter

SMOKE = recipes_folder() / "smoke"
LITTLE = ["batch_size=4", "log_steps=1", "save_steps=2", "data.workers=0"]
STAGES = {
    "1_warmup": ["steps=3"],
    # Groups with and without examples; the vision tower thaws half-way.
    "2_sft_icl": ["steps=4", "in_context.share=0.5", "in_context.pool=8", "freeze=[]", "freeze_vision_share=0.5"],
    "4_mpo": ["steps=3", "mining.plots=3"],
}
TWO = """
import json, sys
from pathlib import Path
from riverone_hf.build.train_stage import train_stage
for file, out, model, overrides in json.loads(sys.argv[1]):
    train_stage(Path(file), Path(out), model, None, overrides, quiet=True)
"""
CODED = """
import sys
import torch
from pathlib import Path
from riverone_hf.reader.loading import load_model
from riverone_hf.train.adapter import load_adapter

coded, adapter, inputs, out = sys.argv[1:]
model = load_adapter(load_model(coded, device="cpu")[0], Path(adapter))
with torch.no_grad():
    torch.save(model(**torch.load(inputs)).logits, out)
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """Stage 0 of the smoke recipe, smaller."""
    out = tmp_path_factory.mktemp("base") / "model"
    small = ["tokenizer.plots=20", "image.image_size=64", "families=[t1, gmm]"]
    return train_stage(SMOKE / "0_model.yaml", out, overrides=small, quiet=True)


@pytest.fixture(scope="module")
def coded(base) -> Path:
    """The same with a language model in codebooks."""
    model, processor = load_model(str(base), device="cpu")
    ids = torch.arange(10, 74).view(2, 32)
    quantize(model, "1x4g8", [{"input_ids": ids}], preset="quick", held_out=1, say=lambda line: None)
    out = base.with_name("coded")
    write_model(model, processor, out)
    return out


def losses(folder: Path) -> list[float]:
    (log,) = json.loads((folder / "training.json").read_text()).values()
    return [entry["loss"] for entry in log if "loss" in entry]


def test_two_processes_give_the_losses_of_one(base, tmp_path):
    jobs = [
        (str(SMOKE / f"{stage}.yaml"), str(tmp_path / f"two-{stage}"), str(base), [*LITTLE, *more])
        for stage, more in STAGES.items()
    ]
    script = tmp_path / "two.py"
    script.write_text(TWO)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*launch, str(script), json.dumps(jobs)], env=environment, stderr=subprocess.PIPE)
    for file, out, model, overrides in jobs:
        train_stage(Path(file), Path(out.replace("two-", "one-")), model, None, overrides, quiet=True)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 0, told.decode()[-3000:]
    for stage in STAGES:
        one, two = losses(tmp_path / f"one-{stage}"), losses(tmp_path / f"two-{stage}")
        assert len(one) == int(STAGES[stage][0].removeprefix("steps="))
        assert two == pytest.approx(one, abs=1e-3), stage
        assert len(set(one)) == len(one), "the losses must differ from step to step, or the test shows nothing"


def test_sigkill_in_preference_training_resumes_to_the_same_curve(base, tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    more = [*LITTLE, "steps=6", "mining.plots=4", "batch_size=2"]
    train_stage(SMOKE / "4_mpo.yaml", straight, str(base), overrides=more, quiet=True)
    command = [sys.executable, "-m", "riverone_hf", "train", "--recipe", str(SMOKE / "4_mpo.yaml"), *more]
    command += ["--model", str(base), "--out", str(killed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    mark = tmp_path / "killed.work" / "mpo" / "trainer" / "checkpoint-2" / "ema.safetensors"
    deadline = time.monotonic() + 200
    while not mark.is_file() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not killed.exists()
    mined = (tmp_path / "killed.work" / "mpo" / "mistakes.jsonl").read_text()
    train_stage(SMOKE / "4_mpo.yaml", killed, str(base), overrides=more, quiet=True)
    assert losses(killed) == pytest.approx(losses(straight), rel=1e-4)
    assert mined.count("\n") >= 1
    one, other = (load_file(folder / "model.safetensors") for folder in (straight, killed))
    for name in one:
        torch.testing.assert_close(other[name], one[name], rtol=1e-3, atol=2e-5, msg=name)


def test_accumulated_parts_weigh_as_one_step(base, tmp_path):
    """A mean over equal parts: the loss of a step stays about the same, and is not added up."""
    values = {}
    for parts in (1, 2):
        folder = tmp_path / f"recipe{parts}"
        shutil.copytree(SMOKE, folder)
        (folder / "3_sft.yaml").write_text((folder / "3_sft.yaml").read_text() + f"accumulate: {parts}\n")
        out = train_stage(folder / "3_sft.yaml", tmp_path / f"m{parts}", str(base), overrides=[*LITTLE, "steps=2"])
        values[parts] = losses(out)
    assert values[2] == pytest.approx(values[1], rel=0.05) and values[2] != values[1]


@pytest.mark.parametrize("peft", [False, True])
def test_validation_keeps_the_best_weights(base, tmp_path, peft):
    folder = tmp_path / "recipe"
    shutil.copytree(SMOKE, folder)
    text = (folder / "3_sft.yaml").read_text()
    (folder / "3_sft.yaml").write_text(text + "validation: {every_steps: 2, plots: 2}\n")
    overrides = [*LITTLE, "steps=4"]
    out = train_stage(folder / "3_sft.yaml", tmp_path / "m", str(base), overrides=overrides, peft=peft, quiet=True)
    (log,) = json.loads((out / "training.json").read_text()).values()
    scores = [entry["validation_score"] for entry in log if "validation_score" in entry]
    assert len(scores) == 2 and all(0 <= score <= 100 for score in scores)


def test_own_plots_become_an_adapter_or_a_merged_model(base, tmp_path):
    """docs/adapt_to_your_lab.md at tiny scale: label, train an adapter, merge, load."""
    lab = tmp_path / "lab"
    lab.mkdir()
    labels = []
    for seed in range(8):
        plot = draw("t1", seed)
        render(plot.figures[0], size=(64, 48)).save(lab / f"{seed}.png")
        labels.append({"source": f"{seed}.png", "family": "t1", "outcome": "Apparatus issue", "status": "NO_SIGNAL"})
    (lab / "labels.jsonl").write_text("\n".join(map(json.dumps, labels)))
    assert len(lab_rows(lab)) == 8
    file = tmp_path / "1_sft.yaml"
    file.write_text((SMOKE / "3_sft.yaml").read_text() + "own_share: 0.75\n")
    more = [*LITTLE, "steps=12", "batch_size=8", "ema_decay=0.0", "lora.learning_rate=1.0e-2"]
    merged = train_stage(file, tmp_path / "merged", str(base), lab, more, peft=True, merge=True, quiet=True)
    adapter = merged / "adapter"
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {path.name for path in adapter.iterdir()}
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
    values = losses(merged)
    assert values[-1] < 0.9 * values[0], "eight plots with one label are learned by heart"
    model, processor = load_model(str(merged), device="cpu")
    plain, _ = load_model(str(base), device="cpu")
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, plain.get_parameter(n))}
    assert moved and all("language_model.layers" in name and "_proj" in name for name in moved)
    text = "[status] t1"
    content = [{"type": "image", "image": render(draw("t1", 99).figures[0])}, {"type": "text", "text": text}]
    batch = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    with torch.no_grad():
        expected = model(**batch).logits
        torch.testing.assert_close(load_adapter(plain, adapter)(**batch).logits, expected, rtol=1e-3, atol=1e-3)
    assert model.config.families == ["t1", "gmm"] and (merged / "README.md").is_file()
    build = json.loads((merged / "build.json").read_text())
    assert build["base"] == str(base) and build["recipe"]["sft"]["peft"] is True


def test_adapter_alone_is_small_and_mpo_trains_one_too(base, tmp_path):
    more = [*LITTLE, "steps=2", "mining.plots=0"]
    out = train_stage(SMOKE / "4_mpo.yaml", tmp_path / "adapter", str(base), overrides=more, peft=True, quiet=True)
    assert not (out / "model.safetensors").exists() and not (out / "config.json").exists()
    stored = load_file(out / "adapter_model.safetensors")
    assert any(value.abs().max() > 0 for name, value in stored.items() if "lora_B" in name)
    assert not Path(f"{out}.work").exists()


def test_a_built_data_set_is_trained_on(base, tmp_path):
    from datasets import load_dataset

    from riverone_hf.data import Plan, build_calibration_data
    from riverone_hf.data.contamination import MARKER

    build_calibration_data(Plan(18, families=("t1", "gmm")), tmp_path / "data")
    for stage, more in (("3_sft", []), ("2_sft_icl", ["in_context.pool=4"]), ("4_mpo", [])):
        out = tmp_path / stage
        overrides = [*LITTLE, "steps=2", "batch_size=2", *more]
        train_stage(SMOKE / f"{stage}.yaml", out, str(base), tmp_path / "data", overrides, quiet=True)
        assert len(losses(out)) == 2
    # One of its training rows repeats a benchmark: nothing is trained unless the user says so.
    rows = load_dataset(str(tmp_path / "data"), "sft_zero_shot", split="train")
    marker = {"flagged": [{"id": rows[0]["id"]}], "against": ["bench"]}
    (tmp_path / "data" / MARKER).write_text(json.dumps(marker))
    sft, out, overrides = SMOKE / "3_sft.yaml", tmp_path / "flagged", [*LITTLE, "steps=1", "batch_size=2"]
    with pytest.raises(ContaminationError, match=r"1 rows repeat the benchmark bench.*Remedy"):
        train_stage(sft, out, str(base), tmp_path / "data", overrides, quiet=True)
    assert not out.exists()
    train_stage(sft, out, str(base), tmp_path / "data", overrides, quiet=True, allow_contaminated=True)
    assert len(losses(out)) == 1


def test_a_loss_that_is_not_finite_stops_with_the_remedy(base, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(base, broken)
    weights = load_file(broken / "model.safetensors")
    name = next(name for name in weights if "language_model" in name and "norm" in name)
    weights[name].fill_(float("nan"))
    from safetensors.torch import save_file

    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(NonFiniteLossError, match=r"the loss is nan at step 1.*Remedy"):
        train_stage(SMOKE / "3_sft.yaml", tmp_path / "m", str(broken), overrides=[*LITTLE, "steps=2"], quiet=True)
    assert not (tmp_path / "m").exists()


def test_refusals_name_the_remedy(base, tmp_path, monkeypatch):
    sft, out = SMOKE / "3_sft.yaml", tmp_path / "out"
    with pytest.raises(BuildError, match="--model DIR"):
        train_stage(sft, out)
    with pytest.raises(ModelFolderError):
        train_stage(sft, out, str(tmp_path))
    with pytest.raises(BuildError, match=r"--merge.*--peft"):
        train_stage(sft, out, str(base), merge=True)
    with pytest.raises(TrainingDataError, match=r"neither labels.jsonl nor a data set"):
        train_stage(sft, out, str(base), tmp_path)
    (tmp_path / "labels.jsonl").write_text('{"source": "x.png", "family": "t1", "status": "SUCCESS"}')
    with pytest.raises(TrainingDataError, match="no such figure"):
        train_stage(sft, out, str(base), tmp_path)
    render(PlotSource(("t1",)).plot(0).figures[0]).save(tmp_path / "x.png")
    with pytest.raises(TrainingDataError, match=r"less than one batch of 16. Remedy: batch_size=1"):
        train_stage(sft, out, str(base), tmp_path)
    with pytest.raises(TrainingDataError, match="the warmup stage"):
        train_stage(SMOKE / "1_warmup.yaml", out, str(base), tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "3")
    from riverone_hf.build.recipe import load_recipe
    from riverone_hf.build.training import training_arguments

    with pytest.raises(BuildError, match="batch_size 16 cannot be shared by 3 processes"):
        training_arguments(load_recipe("smoke").sft, 0, tmp_path)
    assert not out.exists() and not Path(f"{out}.work").exists()


@pytest.mark.parametrize("stage", ["3_sft", "4_mpo"])
def test_an_adapter_is_trained_on_a_really_coded_language_model(coded, tmp_path, stage):
    more = [*LITTLE, "steps=4", "batch_size=2", "ema_decay=0.0", "lora.learning_rate=3.0e-2"]
    more += ["mining.plots=0"] if stage == "4_mpo" else []
    file, before = SMOKE / f"{stage}.yaml", load_file(coded / "model.safetensors")
    with pytest.raises(BuildError, match=r"coded.*--peft"):
        train_stage(file, tmp_path / "m", str(coded), overrides=more, quiet=True)
    with pytest.raises(AdapterError, match=r"coded.*leave out --merge and keep the adapter"):
        train_stage(file, tmp_path / "m", str(coded), overrides=more, peft=True, merge=True, quiet=True)
    assert not list(tmp_path.iterdir())
    adapter = train_stage(file, tmp_path / "adapter", str(coded), overrides=more, peft=True, quiet=True)
    assert len(set(losses(adapter))) == 4
    assert all(torch.equal(value, before[name]) for name, value in load_file(coded / "model.safetensors").items())

    model, processor = load_model(str(coded), device="cpu")
    content = [{"type": "image", "image": render(draw("t1", 99).figures[0])}, {"type": "text", "text": "[status] t1"}]
    batch = dict(
        processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
    )
    with torch.no_grad():
        plain = model(**batch).logits
        adapted = load_adapter(model, adapter)
        here = adapted(**batch).logits
    assert not torch.allclose(here, plain, atol=1e-2)
    layer = adapted.get_base_model().model.language_model.layers[0].self_attn.q_proj
    assert type(layer.base_layer).__name__ == "AdditiveLinear" and layer.lora_B["default"].weight.abs().max() > 0
    torch.save(batch, tmp_path / "batch.pt")
    said = [str(path) for path in (coded, adapter, tmp_path / "batch.pt", tmp_path / "logits.pt")]
    done = subprocess.run(
        [sys.executable, "-c", CODED, *said], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), here, rtol=1e-4, atol=1e-4)
    with pytest.raises(AdapterError, match=r"coded.*Remedy: keep the adapter beside the model"):
        merge_adapter(adapted)
    with pytest.raises(AdapterError, match=r"coded Linear.*Remedy: keep it beside the model"):
        adapted.merge_adapter()
    assert "cannot be merged" in (adapter / "README.md").read_text()


def test_loggers_of_the_recipe(monkeypatch, tmp_path):
    from riverone_hf.build.recipe import load_recipe
    from riverone_hf.build.training import training_arguments
    from riverone_hf.errors import MissingExtraError

    spec = load_recipe("smoke").sft
    assert training_arguments(spec, 0, tmp_path)["report_to"] == "none"
    spec = spec.model_copy(update={"log_to": "tensorboard"})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "tensorboard" else object())
    with pytest.raises(MissingExtraError, match=r"tensorboard is not installed.*riverone-hf\[logs\]"):
        training_arguments(spec, 0, tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert training_arguments(spec, 0, tmp_path)["report_to"] == "tensorboard"
