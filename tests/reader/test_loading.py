from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from riverone_hf.errors import ModelFolderError
from riverone_hf.reader import PlotReader, load_model
from riverone_hf.reader.loading import pick_device, resolve


@pytest.fixture
def folder(saved_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved_model, tmp_path / "model"))


def edit_config(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(folder: Path, change) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def cut(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def pickle_instead(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


def lose_shard(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


DOWN = "model.language_model.layers.0.mlp.down_proj.weight"

FAULTS = {
    "no config": (lambda f: (f / "config.json").unlink(), "no config.json"),
    "config cut short": (lambda f: cut(f / "config.json", 0.5), "not readable JSON"),
    "config is a list": (lambda f: (f / "config.json").write_text("[]"), "expected a JSON object"),
    "other model": (lambda f: edit_config(f, model_type="llava"), "model_type is 'llava', expected 'riverone'"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "no model.safetensors"),
    "pickle only": (pickle_instead, "pickle and is never loaded"),
    "lost shard": (lose_shard, "2 of 2 weight files are missing"),
    "empty weights": (lambda f: (f / "model.safetensors").write_bytes(b""), "corrupt or cut short"),
    "weights cut short": (lambda f: cut(f / "model.safetensors", 0.7), "corrupt or cut short"),
    "header garbage": (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 4000), "corrupt or cut short"),
    "missing weight": (
        lambda f: edit_weights(f, lambda t: t.pop("model.language_model.layers.0.mlp.down_proj.weight")),
        "1 missing weight",
    ),
    "unexpected weight": (lambda f: edit_weights(f, lambda t: t.update(extra=torch.ones(2))), "1 unexpected weight"),
    "wrong shape": (
        lambda f: edit_weights(f, lambda t: t.update({k: torch.ones(3, 3) for k in sorted(t)[:1]})),
        "Remedy",
    ),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "missing tokenizer.json"),
    "tokenizer garbage": (lambda f: (f / "tokenizer.json").write_text("{}"), "cannot be loaded"),
    "no processor": (lambda f: (f / "processor_config.json").unlink(), "missing preprocessor_config.json or processor"),
    "illegal config": (lambda f: edit_config(f, vision_feature_layers=[99]), "Remedy"),
    "foreign image token": (lambda f: edit_config(f, image_token_id=7), "does not belong to the model"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_one_line_with_its_remedy(fault: str, folder: Path) -> None:
    spoil, part = FAULTS[fault]
    spoil(folder)
    with pytest.raises(ModelFolderError) as caught:
        load_model(folder, device="cpu")
    message = str(caught.value)
    assert part in message and str(folder) in message and "Remedy" in message and "\n" not in message


def test_whole_folder_loads_with_the_same_weights(saved_model: Path, model, capfd) -> None:
    loaded, processor = load_model(saved_model, device="cpu")
    assert not loaded.training and processor.tokenizer.eos_token == "<|im_end|>"
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    assert capfd.readouterr().out == ""


def test_code_in_the_folder_is_never_run(folder: Path, tmp_path: Path) -> None:
    trap = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    for path in folder.glob("*.py"):
        path.write_text(trap)
    load_model(folder, device="cpu")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["nowhere", "./a/b", "/no/such/folder", "a/b/c", ".."])
def test_names_that_are_no_model(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelFolderError, match=r"no such model folder|no config\.json"):
        load_model(name, device="cpu")


def test_a_file_is_not_a_folder(saved_model: Path) -> None:
    with pytest.raises(ModelFolderError, match="is a file"):
        resolve(saved_model / "config.json")


def test_a_hub_that_does_not_answer(monkeypatch, tmp_path: Path) -> None:
    import huggingface_hub

    def refuse(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ModelFolderError, match=r"the Hub does not give it \(no route to host\)"):
        load_model("owner/name", device="cpu")


def test_hub_downloads_no_code_and_names_the_commit(monkeypatch, tmp_path: Path) -> None:
    import huggingface_hub

    asked = {}

    def fake(repo_id, revision, allow_patterns):
        asked.update(repo=repo_id, revision=revision, patterns=allow_patterns)
        return str(tmp_path / "0123abcd")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake)
    assert resolve("owner/name", "v1") == (tmp_path / "0123abcd", "0123abcd")
    assert asked["revision"] == "v1" and not any(p.endswith((".py", ".bin", "*")) for p in asked["patterns"])


def test_devices() -> None:
    assert pick_device("cpu").type == "cpu"
    for bad in ("toaster", "cuda:99"):
        with pytest.raises(ModelFolderError, match="--device cpu"):
            pick_device(bad)


def test_reader_from_a_folder_names_it(saved_model: Path, make_figure) -> None:
    reader = PlotReader.from_pretrained(saved_model, device="cpu", threshold=0.0, budgets={q: 2 for q in ("q1", "q5")})
    assert reader.read(make_figure(), family="t1").provenance.model == str(saved_model)
