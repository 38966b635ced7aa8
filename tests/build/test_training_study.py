"""The training study with two steps a stage: rows, shared stages, a stopped run, the base checkpoint, a take-over."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path

import pytest

from riverone_hf.build import shared_stages
from riverone_hf.errors import BuildError
from riverone_hf.reader.loading import load_model

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TINY = [
    "model.families=[t1, gmm]",
    "model.tokenizer.plots=20",
    "model.image.image_size=64",
    "sft_icl.in_context.pool=4",
]
TINY += ["mpo.mining.plots=2", "mpo.save_steps=1"]
for stage in ("warmup", "sft_icl", "sft", "mpo"):
    TINY += [f"{stage}.{value}" for value in ("steps=2", "batch_size=2", "log_steps=1", "data.workers=0")]
COUNTS = ["--plots", "4", "--form-plots", "1", "--majority-plots", "20", "--skip-plots", "1"]


@pytest.fixture
def study(monkeypatch):
    """A function that runs the study and returns its results file and the stages that were trained."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module, trained = importlib.import_module("training"), []
    real = shared_stages.run_stage

    def counted(plan, stage, *rest):
        trained.append(stage)
        return real(plan, stage, *rest)

    monkeypatch.setattr(shared_stages, "run_stage", counted)

    def run(work: Path, *more: str, changed: str = "") -> tuple[dict, list[str]]:
        trained.clear()
        out = work / "training.json"
        command = ["training.py", "--work", str(work), "--out", str(out), "--recipe", "smoke", "--seed", "0"]
        monkeypatch.setattr(sys, "argv", [*command, *TINY, *COUNTS, *more, *changed.split()])
        module.main()
        return json.loads(out.read_text()), list(trained)

    run.module = module
    return run


def stopped_in(monkeypatch, stage: str):
    """The study is stopped when `stage` has done one of its two steps."""
    real = shared_stages.run_stage

    def stopped(plan, name, start, folder, progress):
        log = real(plan, name, start, folder, progress)
        if name == stage:
            shutil.rmtree(folder / "trainer" / "checkpoint-2")
            shutil.rmtree(folder / "model")
            raise KeyboardInterrupt
        return log

    monkeypatch.setattr(shared_stages, "run_stage", stopped)


def test_rows_are_trained_once_scored_in_all_forms_and_leave_a_base(study, tmp_path, monkeypatch, capsys):
    work = tmp_path / "work"
    content, trained = study(work, "--rows", "alone")
    assert trained == ["warmup", "sft"]
    row, full, shown = content["rows"]
    assert [row["name"], full["name"], shown["name"]] == [
        *("zero-shot SFT alone", "zero-shot SFT alone, full prompts", "zero-shot SFT alone, in context")
    ]
    assert (row["seed"], row["n"], row["steps"], full["n"], shown["n"]) == (0, 4, 4, 1, 1)
    assert set(row["scores"]) == set(row["ci95"]) == {"q1_enums", "q2", "q4", "q5", "q5_values", "q6", "mean"}
    assert shown["scores"]["q2"] is None and shown["scores"]["q5"] is not None
    assert row["bytes"] == 4 * row["trained_params"] == 4 * row["logical_params"] and row["bits_per_weight"] == 32
    assert row["seconds"] == pytest.approx(sum(row["stage_seconds"].values()), abs=0.1) and "floors" not in row

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stopped_in(patch, "mpo")
        study(work)
    assert not (work / "base-0").exists()
    # The first two rows are finished, and so are all stages but the last.
    content, trained = study(work)
    assert trained == ["mpo"]
    rows = {row["name"]: row for row in content["rows"]}
    assert len(rows) == 3 * 3 + 4
    preferred = rows["+ MPO"]
    assert preferred["seconds_since_the_last_resume"] == ["mpo"] and preferred["steps"] == 8
    assert rows["+ in-context phase"]["steps"] == 6 and "seconds_since_the_last_resume" not in row
    assert len(preferred["skip_cost"]) == len(preferred["skip_cost_points"]) == 3 and min(preferred["skip_cost"]) > 0
    floors = {"+ MPO, blank image", "+ MPO, shuffled images", "majority class", "majority class of the family"}
    assert floors < set(rows) and rows["+ MPO, blank image"]["trained_params"] is None
    assert rows["majority class of the family"]["scores"]["mean"] > 0
    pairs = [(effect["comparison"][0], effect["prompts"]) for effect in content["effects"]]
    assert len(set(pairs)) == len(pairs) == 6

    base = work / "base-0"
    model, _ = load_model(str(base), device="cpu")
    assert model.num_parameters() == preferred["trained_params"]
    measured = json.loads((base / "metrics.json").read_text())
    assert measured["rows"][0]["scores"] == preferred["scores"] and measured["rows"][0]["name"] == "smoke"
    assert "smoke, shuffled images" in {row["name"] for row in measured["rows"]}
    assert set(json.loads((base / "training.json").read_text())) == {"warmup", "sft_icl", "sft", "mpo"}
    assert "smoke" in (base / "README.md").read_text()
    before = (base / "model.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    again, trained = study(work)
    assert again["rows"] == content["rows"] and trained == [] and not capsys.readouterr().out
    assert (base / "model.safetensors").stat().st_mtime_ns == before

    other = tmp_path / "other"
    taken, trained = study(other, "--base", f"0={base}", "--rows", "MPO")
    assert trained == [] and taken["rows"][0]["scores"] == preferred["scores"]
    assert taken["rows"][0]["stage_seconds"] == preferred["stage_seconds"]
    with pytest.raises(BuildError, match=r"--base: .*no finished build of recipe smoke with seed 0.*Remedy"):
        study(tmp_path / "third", "--base", f"0={base}", changed="sft.steps=3")


def test_zero_shot_alone_sees_no_example_and_the_others_share_its_warm_up(study):
    plan = study.module.load_recipe("base")
    alone, shown, preferred = (study.module.plan_of(plan, name) for name in study.module.NAMES)
    assert plan.sft.in_context is not None and preferred == plan
    assert alone.stages == ["model", "warmup", "sft", "evaluate"] and alone.sft.in_context is None
    assert shown.stages == ["model", "warmup", "sft_icl", "sft", "evaluate"] and shown.sft == plan.sft
    prints = [shared_stages.up_to(each, "warmup").fingerprint() for each in (alone, shown, preferred)]
    assert len(set(prints)) == 1
    prints = [shared_stages.up_to(each, "sft").fingerprint() for each in (alone, shown, preferred)]
    assert prints[0] != prints[1] == prints[2]


def test_the_rows_are_listed(study, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["training.py", "--list"])
    study.module.main()
    assert capsys.readouterr().out.splitlines() == ["zero-shot SFT alone", "+ in-context phase", "+ MPO"]
