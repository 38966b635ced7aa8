"""The thin scripts: dependency header, command, banners; each trains from the same files as `riverone train`."""

from __future__ import annotations

import re
import runpy
import sys
import tomllib

import pytest

from riverone_hf.build.recipe import recipes_folder
from riverone_hf.build.train_stage import train_stage
from riverone_hf.reader.loading import load_model

SCRIPTS = {"warmup": "1_warmup", "sft": "3_sft", "mpo": "4_mpo"}
LITTLE = ["steps=2", "batch_size=2", "data.workers=0"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    small = ["tokenizer.plots=10", "image.image_size=64", "families=[t1]"]
    out = tmp_path_factory.mktemp("base") / "model"
    return train_stage(recipes_folder() / "smoke" / "0_model.yaml", out, overrides=small, quiet=True)


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_has_its_header_command_and_banners(name):
    text = (recipes_folder() / f"{name}.py").read_text(encoding="utf-8")
    header = re.search(r"^# /// script\n((?:#.*\n)+?)# ///$", text, re.MULTILINE)
    metadata = tomllib.loads("".join(line[2:] + "\n" for line in header.group(1).splitlines()))
    assert metadata["dependencies"] == ["riverone-hf[train]"] and metadata["requires-python"]
    assert f"python recipes/{name}.py --recipe recipes/smoke/" in text
    assert re.findall(r"^#{16}\n# (\w+)\n#{16}$", text, re.MULTILINE) == ["Model", "Dataset", "Training"]
    assert len(text.splitlines()) < 90


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_trains(name, base, tmp_path, monkeypatch):
    file = recipes_folder() / "smoke" / f"{SCRIPTS[name]}.yaml"
    words = ["--recipe", str(file), "--model", str(base), "--out", str(tmp_path / "m"), *LITTLE]
    monkeypatch.setattr(sys, "argv", [name, *words])
    runpy.run_path(str(recipes_folder() / f"{name}.py"), run_name="__main__")
    trained, _ = load_model(str(tmp_path / "m"), device="cpu")
    plain, _ = load_model(str(base), device="cpu")
    moved = {name for name, value in trained.state_dict().items() if not value.equal(plain.state_dict()[name])}
    assert any(("projector" if name == "warmup" else "language_model") in part for part in moved)
