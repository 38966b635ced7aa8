"""What has been done already? Finished Linears and the activations between blocks, on disk, safe against a kill.

Every file appears by a rename when it is complete, so a run that was killed at any moment goes on from what is there
and ends with the same bytes as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ..errors import CompressError
from ..model.codes_riverone import AdditiveScheme, pack_codes, unpack_codes

Code = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Codes (out/out_group, in/in_group, K) int32, codebooks and scales, both float16."""


class WorkFolder:
    """A folder of half-done work that belongs to one model, calibration set and recipe.

    Args:
        fingerprint: names of what the work depends on -> digest or value; all must be as in the folder.

    Raises:
        CompressError: the folder holds work of something else; the text names what differs.
    """

    def __init__(self, path: Path, fingerprint: dict[str, Any]):
        self.path = path
        self.fingerprint = json.loads(json.dumps(fingerprint))
        mark = path / "fingerprint.json"
        if mark.is_file():
            before = json.loads(mark.read_text(encoding="utf-8"))
            differ = [k for k in {**before, **self.fingerprint} if before.get(k) != self.fingerprint.get(k)]
            if differ:
                raise CompressError(
                    f"{path} holds unfinished work of another {' and '.join(sorted(differ))}. "
                    "Remedy: repeat the first command, name another folder, or delete this one"
                )
        elif path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise CompressError(f"{path} exists and is not the work of a compression. Remedy: name another folder")
        else:
            path.mkdir(parents=True, exist_ok=True)
            _write_json(mark, self.fingerprint)
        for name in ("layers", "acts"):
            (path / name).mkdir(exist_ok=True)

    def layer_path(self, name: str) -> Path:
        """File of one finished Linear."""
        return self.path / "layers" / f"{name}.safetensors"

    def save_layer(self, name: str, scheme: AdditiveScheme, code: Code, facts: dict[str, Any]) -> None:
        """Store one coded Linear: packed codes, float16 codebooks and scales, and what was measured."""
        codes, codebooks, scales = (tensor.detach().cpu() for tensor in code)
        tensors = {
            "codes": pack_codes(codes, scheme.nbits_per_codebook),
            "codebooks": codebooks.to(torch.float16),
            "scales": scales.to(torch.float16),
        }
        for part in ("codebooks", "scales"):
            if not torch.isfinite(tensors[part]).all():
                raise CompressError(
                    f"{name}: the {part} do not fit float16. Remedy: --exclude it, or rescale the model"
                )
        metadata = {"scheme": str(scheme), "shape": json.dumps(list(codes.shape)), "facts": json.dumps(facts)}
        target = self.layer_path(name)
        fresh = target.with_suffix(f".{os.getpid()}.new")
        save_file({k: v.contiguous() for k, v in tensors.items()}, fresh, metadata)
        fresh.replace(target)

    def load_layer(self, name: str) -> tuple[Code, dict[str, Any]]:
        """(code, measured facts) of a finished Linear."""
        with safe_open(self.layer_path(name), "pt") as file:
            metadata = file.metadata()
            # Cloned: mapped tensors may be unaligned, and products of unaligned tensors may differ in the last bit.
            packed, codebooks, scales = (file.get_tensor(k).clone() for k in ("codes", "codebooks", "scales"))
        shape = json.loads(metadata["shape"])
        nbits = AdditiveScheme.parse(metadata["scheme"]).nbits_per_codebook
        return (unpack_codes(packed, nbits, tuple(shape)), codebooks, scales), json.loads(metadata["facts"])

    def has_layer(self, name: str) -> bool:
        """Is this Linear finished?"""
        return self.layer_path(name).is_file()

    def save_trees(self, name: str, trees: Iterator[Any]) -> None:
        """Store a list of nested dicts, lists and tuples of tensors and plain values, one file per entry."""
        final, fresh = self.path / "acts" / name, self.path / "acts" / f"{name}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        for index, tree in enumerate(trees):
            tensors: dict[str, torch.Tensor] = {}
            outline = _outline(tree, tensors)
            tensors = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
            save_file(tensors, fresh / f"{index}.safetensors", {"outline": json.dumps(outline)})
        fresh.replace(final)

    def load_tree(self, name: str, index: int) -> Any:
        """Entry `index` of a stored list."""
        with safe_open(self.path / "acts" / name / f"{index}.safetensors", "pt") as file:
            outline = json.loads(file.metadata()["outline"])
            return _inflate(outline, {key: file.get_tensor(key).clone() for key in file.keys()})  # noqa: SIM118

    def has_trees(self, name: str) -> bool:
        """Was this list stored completely?"""
        return (self.path / "acts" / name).is_dir()

    def drop_trees(self, name: str) -> None:
        """Delete a stored list."""
        target = self.path / "acts" / name
        if target.is_dir():
            # Renamed first: a half-deleted list must not look complete.
            target.replace(target.with_name(name + ".old"))
        shutil.rmtree(target.with_name(name + ".old"), ignore_errors=True)

    def save_json(self, name: str, content: Any) -> None:
        """Store a small JSON file."""
        _write_json(self.path / name, content)

    def load_json(self, name: str) -> Any:
        """Content of a JSON file, None when it is not there."""
        path = self.path / name
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def digest(*parts: Any) -> str:
    """Short sha256 of tensors, strings and JSON values."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.Tensor):
            total.update(f"{part.dtype}{tuple(part.shape)}".encode())
            total.update(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        else:
            total.update(json.dumps(part, sort_keys=True, default=str).encode())
        total.update(b"|")
    return total.hexdigest()[:24]


def sample(tensor: torch.Tensor, rows: int = 4) -> torch.Tensor:
    """A few evenly spaced rows of a tensor, enough to tell two models apart."""
    if tensor.ndim < 2 or len(tensor) <= rows:
        return tensor
    return tensor[:: len(tensor) // rows]


def _write_json(path: Path, content: Any) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.write_text(json.dumps(content, indent=1), encoding="utf-8")
    fresh.replace(path)


def _outline(tree: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """JSON form of a tree; its tensors go to `tensors`. Raises `CompressError` for values of other kinds."""
    if isinstance(tree, torch.Tensor):
        key = str(len(tensors))
        tensors[key] = tree
        return {"tensor": key}
    if isinstance(tree, dict):
        return {"dict": [[key, _outline(value, tensors)] for key, value in tree.items()]}
    if isinstance(tree, (list, tuple)):
        return {type(tree).__name__: [_outline(value, tensors) for value in tree]}
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return {"value": tree}
    raise CompressError(f"a model passes a {type(tree).__name__} to its decoder, which cannot be stored")


def _inflate(outline: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Any:
    kind, content = next(iter(outline.items()))
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _inflate(value, tensors) for key, value in content}
    if kind == "value":
        return content
    items = [_inflate(value, tensors) for value in content]
    return tuple(items) if kind == "tuple" else items
