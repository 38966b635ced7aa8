"""Where do the weights come from? From a model in memory, or block by block from a folder of safetensors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from ..errors import CompressError
from .workfolder import digest, sample


class LoadedModel:
    """A model whose weights are all in memory already."""

    def __init__(self, model: Any):
        self.model = model.eval()

    def load(self, *prefixes: str) -> None:
        """Nothing to do."""

    def free(self, *prefixes: str) -> None:
        """Nothing to do: the caller owns the model."""

    def digest(self) -> str:
        """Digest of the config and of some rows of every weight."""
        parts = [[name, sample(value)] for name, value in self.model.state_dict().items()]
        return digest(_plain_config(self.model.config), *[item for part in parts for item in part])


class FolderModel:
    """A skeleton without weights; those of a module are read from its folder when asked for.

    Args:
        folder: a saved model whose tensor names are those of its modules (`readable` tells).
        dtype, device: of the loaded weights.
    """

    def __init__(self, folder: Path, dtype: torch.dtype, device: Any, trust_remote_code: bool = False):
        self.folder, self.dtype, self.device = folder, dtype, torch.device(device)
        auto, config = model_class(folder, trust_remote_code)
        self.model = skeleton(auto, config, dtype, trust_remote_code)
        self.files = stored_tensors(folder)
        tied = getattr(self.model, "all_tied_weights_keys", None) or {}
        self.tied = dict(tied)
        for name, buffer in self.model.named_buffers():
            if name not in self.files:
                _put(self.model, name, buffer.to(self.device))

    def readable(self) -> bool:
        """Do the stored names match the modules? Otherwise transformers must convert them and loads everything."""
        wanted = set(self.model.state_dict())
        return wanted - set(self.tied) <= set(self.files) and set(self.files) <= wanted

    def load(self, *prefixes: str) -> None:
        """Read the weights of the modules with these full names ("" is the whole model)."""
        for name in self._below(prefixes):
            source = name if name in self.files else self.tied[name]
            with safe_open(self.files[source], "pt") as file:
                tensor = file.get_tensor(source)
            # Cloned even when nothing changes: see WorkFolder.load_layer on alignment.
            _put(
                self.model, name, tensor.to(self.device, self.dtype if tensor.is_floating_point() else None, copy=True)
            )

    def free(self, *prefixes: str) -> None:
        """Drop the weights of these modules again."""
        for name in self._below(prefixes):
            _put(self.model, name, _get(self.model, name).to("meta"))

    def _below(self, prefixes: tuple[str, ...]) -> list[str]:
        names = self.model.state_dict()
        return [n for n in names if any(not p or n == p or n.startswith(p + ".") for p in prefixes)]

    def digest(self) -> str:
        """Digest of the config and of some rows of every stored weight."""
        parts: list[Any] = [_plain_config(self.model.config)]
        for name, path in sorted(self.files.items()):
            with safe_open(path, "pt") as file:
                view = file.get_slice(name)
                rows = view.get_shape()[0] if view.get_shape() else 0
                parts += [name, view[:: max(1, rows // 4)] if rows else file.get_tensor(name)]
        return digest(*parts)


def skeleton(auto: Any, config: Any, dtype: torch.dtype, trust_remote_code: bool = False) -> Any:
    """A model of this config without weights."""
    options = {"trust_remote_code": True} if trust_remote_code else {}
    with _parameters_on_meta():
        return auto.from_config(config, dtype=dtype, **options).eval()


def model_class(folder: Path, trust_remote_code: bool = False, coded: bool = False) -> tuple[Any, Any]:
    """(auto class, config) of a model folder; `coded` accepts a quantized one and drops its quantization.

    Raises `CompressError` when it is neither a causal language model nor an image-text model.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    from .. import model as riverone  # registers our own classes

    assert riverone
    if not (folder / "config.json").is_file():
        raise CompressError(f"{folder}: no config.json, so this is not a model folder. Remedy: a folder or Hub id")
    try:
        config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (ValueError, OSError, KeyError) as error:
        raise CompressError(f"{folder}: its config cannot be read ({' '.join(str(error).split())[:200]})") from None
    if coded and hasattr(config, "quantization_config"):
        del config.quantization_config
    if getattr(config, "quantization_config", None) is not None:
        raise CompressError(f"{folder} is quantized already. Remedy: give the model it was made from")
    autos = [AutoModelForImageTextToText, AutoModelForCausalLM]
    remote = getattr(config, "auto_map", None) or {}
    for auto in autos:
        mapping: Any = auto._model_mapping
        if type(config) in mapping or (trust_remote_code and auto.__name__ in remote):
            return auto, config
    raise CompressError(f"{folder}: a {config.model_type} is neither a causal language model nor an image-text model")


def stored_tensors(folder: Path) -> dict[str, Path]:
    """Tensor name -> safetensors file. Raises `CompressError` when there are none (pickles are never read)."""
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if index.is_file():
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return {name: folder / Path(file).name for name, file in weight_map.items()}
    if not single.is_file():
        raise CompressError(f"{folder}: no model.safetensors. Remedy: save the model with save_pretrained")
    with safe_open(single, "pt") as file:
        return dict.fromkeys(file.keys(), single)


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Modules built inside have no weights, but real buffers: rotary tables are computed, not stored."""
    register = nn.Module.register_parameter

    def patched(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        register(self, name, param if param is None else nn.Parameter(param.to("meta"), requires_grad=False))

    nn.Module.register_parameter = patched  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def _put(model: nn.Module, name: str, value: torch.Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    if leaf in module._parameters:
        module._parameters[leaf] = nn.Parameter(value, requires_grad=False)
    else:
        module._buffers[leaf] = value


def _plain_config(config: Any) -> dict[str, Any]:
    """The config without what changes from one load to the next."""
    return {k: v for k, v in config.to_dict().items() if k not in ("_name_or_path", "transformers_version", "dtype")}


def _get(model: nn.Module, name: str) -> torch.Tensor:
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    value: torch.Tensor | None = module._parameters.get(leaf)
    value = module._buffers.get(leaf) if value is None else value
    assert value is not None
    return value
