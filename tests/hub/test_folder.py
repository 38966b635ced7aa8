"""A folder is published only when it is complete, is ours, and holds nothing that runs code when loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from riverone_hf.errors import ModelFolderError
from riverone_hf.hub import publishable_files


def edit(name: str, **changes: object) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        data = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(data | changes))

    return apply


def write(name: str, text: str | bytes) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)

    return apply


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])


def other_code(folder: Path) -> None:
    data = json.loads((folder / "config.json").read_text())
    data["auto_map"]["AutoConfig"] = "someone/else--configuration_riverone.RiverOneConfig"
    (folder / "config.json").write_text(json.dumps(data))


REFUSALS = {
    "no weights": (remove("model.safetensors"), "lacks the weights model.safetensors"),
    "cut weights": (cut, "header promises"),
    "weights that are no safetensors": (write("model.safetensors", b"\xff" * 40), "not a readable safetensors"),
    "pickle": (write("optimizer.pt", b"x"), "optimizer.pt"),
    "pickle deep inside": (write("checkpoint/Training_Args.BIN", b"x"), "Training_Args.BIN"),
    "other model": (edit("config.json", model_type="qwen3"), "'qwen3', expected 'riverone'"),
    "no config": (remove("config.json"), "no config.json"),
    "broken config": (write("config.json", "{"), "not readable JSON"),
    "config is a list": (write("config.json", "[]"), "holds list"),
    "no tokenizer": (remove("tokenizer.json"), "no tokenizer.json"),
    "no processor": (remove("processor_config.json"), "no processor_config.json"),
    "processor without auto_map": (write("processor_config.json", "{}"), "AutoProcessor"),
    "named code missing": (remove("modeling_riverone.py"), "modeling_riverone.py"),
    "nested auto_map": (
        edit("processor_config.json", image_processor={"auto_map": {"AutoImageProcessor": "images_riverone.Images"}}),
        "images_riverone.py",
    ),
    "imported code missing": (remove("vision_riverone.py"), "vision_riverone.py"),
    "code that cannot load": (write("vision_riverone.py", "from .. import x\n"), "vision_riverone.py:1"),
    "code of another repository": (other_code, "another repository"),
    "shards missing": (
        write("model.safetensors.index.json", json.dumps({"weight_map": {"a": "model-00001-of-00001.safetensors"}})),
        "model-00001-of-00001.safetensors",
    ),
    "index leaves the folder": (
        write("model.safetensors.index.json", json.dumps({"weight_map": {"a": "../model.safetensors"}})),
        "not a file of the model folder",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_name_the_file_and_the_remedy(folder: Path, case: str):
    spoil, says = REFUSALS[case]
    spoil(folder)
    with pytest.raises(ModelFolderError) as caught:
        publishable_files(folder)
    assert says in str(caught.value)
    assert "Remedy:" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_folder(tmp_path: Path):
    with pytest.raises(ModelFolderError, match="no folder"):
        publishable_files(tmp_path / "none")


def test_only_allow_listed_files_are_named(folder: Path):
    (folder / "notes.txt").write_text("private")
    (folder / ".env").write_text("SECRET=1")
    (folder / "scratch.py").write_text("")
    (folder / "metrics.json").write_text("{}")
    names = publishable_files(folder)
    assert {"config.json", "model.safetensors", "vision_riverone.py", "metrics.json", "tokenizer.json"} <= set(names)
    assert not {"notes.txt", ".env", "scratch.py"} & set(names)


def test_sharded_weights(folder: Path):
    (folder / "model.safetensors").unlink()
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for index, name in enumerate(names):
        save_file({f"w{index}": np.zeros(3, np.float32)}, folder / name)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w0": names[0], "w1": names[1]}}))
    assert {*names, index.name} <= set(publishable_files(folder))

    index.write_text(json.dumps({"weight_map": {"w0": names[0], "w1": names[1], "w2": names[1]}}))
    with pytest.raises(ModelFolderError, match="w2"):
        publishable_files(folder)
