"""Is this folder a complete RiverONE model, and which of its files may be published?"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import ModelFolderError

MODEL_TYPE = "riverone"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
"""Loading such a file can run code that nobody reviewed, so a folder that holds one is refused, not filtered."""

REQUIRED_CLASSES = ("AutoConfig", "AutoModelForImageTextToText", "AutoProcessor")
PROCESSOR_CONFIGS = ("processor_config.json", "preprocessor_config.json")
CONFIGS = ("config.json", "tokenizer_config.json", *PROCESSOR_CONFIGS)
OPTIONAL = (
    "generation_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "metrics.json",
    "compression.json",
    "training.json",
    "build.json",
    "LICENSE",
)
REBUILD = "Remedy: rebuild it with `riverone build --recipe <name> --out DIR`, or save it again with save_pretrained."


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; `ModelFolderError` if it is missing, not JSON, or not an object."""
    if not path.is_file():
        raise ModelFolderError(f"{path.parent} has no {path.name}, so it is not a complete model folder. {REBUILD}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFolderError(f"{path} is not readable JSON ({error}). {REBUILD}") from error
    if not isinstance(data, dict):
        raise ModelFolderError(f"{path} holds {type(data).__name__}, expected a JSON object. {REBUILD}")
    return data


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json; `ModelFolderError` unless the folder exists and its `model_type` is riverone."""
    if not folder.is_dir():
        raise ModelFolderError(f"no folder {folder}. Remedy: give the folder that `riverone build --out` wrote.")
    config = read_json(folder / "config.json")
    if config.get("model_type") != MODEL_TYPE:
        got = config.get("model_type")
        raise ModelFolderError(
            f"{folder} holds a model of type {got!r}, expected {MODEL_TYPE!r}. "
            "Remedy: give a RiverONE folder; other models push with their own `push_to_hub`."
        )
    return config


def read_safetensors_header(path: Path) -> dict[str, dict[str, Any]]:
    """Tensor name -> {dtype, shape, data_offsets} of one safetensors file, without reading a weight.

    Raises `ModelFolderError` when the file is absent, cut short, longer than its header says, or holds no tensor.
    """
    if not path.is_file():
        raise ModelFolderError(f"{path.parent} lacks the weights {path.name}. {REBUILD}")
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(length)) if 8 + length <= size else None
        except ValueError:
            header = None
    if not isinstance(header, dict):
        raise ModelFolderError(f"{path} is not a readable safetensors file ({size} bytes). {REBUILD}")
    header.pop("__metadata__", None)
    if not header:
        raise ModelFolderError(f"{path} holds no tensors. {REBUILD}")
    expected = 8 + length + max(int(tensor["data_offsets"][1]) for tensor in header.values())
    if expected != size:
        raise ModelFolderError(f"{path} has {size} bytes, its header promises {expected}. {REBUILD}")
    return header


def weight_files(folder: Path) -> tuple[str, ...]:
    """Names of the weight files, the index first when sharded; each is checked to be there in full."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        read_safetensors_header(folder / "model.safetensors")
        return ("model.safetensors",)
    weight_map = read_json(index).get("weight_map") or {}
    shards = sorted(set(weight_map.values()))
    stored: set[str] = set()
    for shard in shards:
        stored |= read_safetensors_header(folder / _plain_name(shard, index)).keys()
    missing = sorted(weight_map.keys() - stored)
    if not shards or missing:
        what = f"{len(missing)} tensors, {missing[0]} first" if missing else "every shard"
        raise ModelFolderError(f"{folder}: the index names weights that the shards lack: {what}. {REBUILD}")
    return (index.name, *shards)


def code_files(folder: Path, configs: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    """The remote-code files: every module named by an `auto_map`, and what those import relatively, all present."""
    entries = [entry for config in configs.values() for entry in _auto_map_entries(config)]
    named = {name for name, _ in entries}
    absent = [name for name in REQUIRED_CLASSES if name not in named]
    if absent:
        raise ModelFolderError(
            f"{folder}: no auto_map entry for {', '.join(absent)}, so nobody could load the model without riverone_hf. "
            "Remedy: save model and processor with save_pretrained; riverone_hf registers both for auto classes."
        )
    queue = [reference for _, value in entries for reference in _references(value)]
    found: set[str] = set()
    while queue:
        module = queue.pop()
        if "--" in module:
            raise ModelFolderError(
                f"{folder}: auto_map points into another repository ({module}). "
                "Remedy: save again with riverone_hf imported, so that the code is copied into the folder."
            )
        path = folder / f"{_plain_name(module, folder / 'auto_map')}.py"
        if path.name in found:
            continue
        if not path.is_file():
            raise ModelFolderError(f"{folder} lacks the remote code {path.name} that it names. {REBUILD}")
        found.add(path.name)
        queue += _relative_imports(path)
    return tuple(sorted(found))


def publishable_files(folder: str | Path) -> tuple[str, ...]:
    """Check that `folder` is a complete RiverONE model and name the files of it that a push may send, sorted.

    Checked without loading anything: config.json of type riverone, safetensors weights present in full, tokenizer and
    processor, remote code of every `auto_map` with what it imports, and no pickle anywhere. Files that are not on the
    allow-list (optimizer states, logs, notes) are not named. Raises `ModelFolderError` with the remedy.
    """
    root = Path(folder)
    read_config(root)
    pickles = sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.suffix.lower() in PICKLES)
    if pickles:
        raise ModelFolderError(
            f"{root} holds pickle files, which can run code when loaded: {', '.join(pickles[:5])}. "
            "Remedy: keep weights as safetensors only and move or delete these files."
        )
    weights = weight_files(root)
    if not any((root / name).is_file() for name in PROCESSOR_CONFIGS):
        raise ModelFolderError(
            f"{root} has no {PROCESSOR_CONFIGS[0]}. Remedy: save the processor beside the model, "
            "`processor.save_pretrained(DIR)`."
        )
    for name in ("tokenizer.json", "tokenizer_config.json"):
        read_json(root / name)
    configs = {name: read_json(root / name) for name in CONFIGS if (root / name).is_file()}
    code = code_files(root, configs)
    optional = [name for name in OPTIONAL if (root / name).is_file()]
    return tuple(sorted({*configs, "tokenizer.json", *weights, *code, *optional}))


def _plain_name(name: str, source: Path) -> str:
    """`name` if it is a file name of this folder; a path that leaves the folder is refused."""
    if not re.fullmatch(r"[\w\-]+(\.[\w\-]+)*", name):
        raise ModelFolderError(f"{source} names {name!r}, which is not a file of the model folder. {REBUILD}")
    return name


def _auto_map_entries(config: object) -> Iterator[tuple[str, object]]:
    """(auto class, value) of every `auto_map` at any depth: processor_config.json nests the image processor's."""
    if isinstance(config, dict):
        for key, value in config.items():
            if key == "auto_map" and isinstance(value, dict):
                yield from value.items()
            else:
                yield from _auto_map_entries(value)
    elif isinstance(config, list):
        for value in config:
            yield from _auto_map_entries(value)


def _references(value: object) -> Iterator[str]:
    """Module names in one auto_map value: `module.Class`, or a list of such (slow and fast tokenizer)."""
    for item in value if isinstance(value, list | tuple) else [value]:
        if isinstance(item, str):
            yield item.rsplit(".", 1)[0]


def _relative_imports(path: Path) -> list[str]:
    """Modules that `path` imports with `from .x import y`; any other relative form cannot work as remote code."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise ModelFolderError(f"{path} is not valid Python ({error}). {REBUILD}") from error
    modules = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            if node.level > 1 or not node.module or "." in node.module:
                raise ModelFolderError(
                    f"{path}:{node.lineno} imports relatively in a form that remote code cannot resolve. "
                    "Remedy: use `from .module import name` with a module of the same folder."
                )
            modules.append(node.module)
    return modules
