"""`riverone train`: arguments reach the stage, a stage runs from file to folder, errors are one line."""

from __future__ import annotations

from pathlib import Path

from riverone_hf.build import train_stage as room
from riverone_hf.build.recipe import recipes_folder

SMOKE = recipes_folder() / "smoke"


def test_arguments_are_passed_on(run, monkeypatch, tmp_path: Path) -> None:
    calls = []

    def train_stage(recipe, out, model, data, overrides, peft, merge, resume, allow_contaminated):
        calls.append((recipe, out, model, data, overrides, peft, merge, resume, allow_contaminated))
        return out

    monkeypatch.setattr(room, "train_stage", train_stage)
    out = tmp_path / "out"
    result = run("train", "--recipe", SMOKE / "3_sft.yaml", "--model", "m", "--out", out, "steps=3", "lora.rank=4")
    assert result.exit_code == 0 and result.stdout == f"{out}\n"
    run(
        "train",
        "--recipe",
        "f",
        "--out",
        out,
        "--data",
        tmp_path,
        "--peft",
        "--merge",
        "--fresh",
        "--allow-contaminated",
    )
    assert calls == [
        (SMOKE / "3_sft.yaml", out, "m", None, ["steps=3", "lora.rank=4"], False, False, True, False),
        (Path("f"), out, None, tmp_path, [], True, True, False, True),
    ]


def test_stages_run_one_after_the_other(run, tmp_path: Path) -> None:
    small = ["tokenizer.plots=10", "image.image_size=64", "families=[t1]", "seed=3"]
    assert run("train", "--recipe", SMOKE / "0_model.yaml", "--out", tmp_path / "m0", *small).exit_code == 0
    steps = ["steps=1", "batch_size=2", "data.workers=0"]
    words = ["train", "--recipe", SMOKE / "1_warmup.yaml", "--model", tmp_path / "m0", "--out", tmp_path / "m1"]
    result = run(*words, *steps)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "m1" / "model.safetensors").is_file() and (tmp_path / "m1" / "tokenizer.json").is_file()
    again = run(*words, *steps)
    assert again.exit_code == 2 and "not empty" in again.stderr


def test_errors_are_one_line(run, tmp_path: Path) -> None:
    for words in (
        ("--recipe", tmp_path / "none.yaml"),
        ("--recipe", SMOKE / "3_sft.yaml"),
        ("--recipe", SMOKE / "3_sft.yaml", "--model", tmp_path / "none"),
        ("--recipe", SMOKE / "0_model.yaml", "seed=x"),
        ("--recipe", SMOKE / "0_model.yaml", "sead=1"),
    ):
        result = run("train", "--out", tmp_path / "out", *words)
        assert result.exit_code == 2 and result.stderr.startswith("error: "), (words, result.output)
        assert result.stderr.count("\n") == 1 and not (tmp_path / "out").exists()
    assert run("train", "--recipe", SMOKE / "3_sft.yaml").exit_code == 2
