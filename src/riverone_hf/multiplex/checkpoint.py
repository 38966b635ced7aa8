"""How does a distillation survive a kill? Parameters, optimizer state and step in one folder, renamed when complete."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ..errors import MultiplexError

_TENSORS, _STATE, _NAME = "state.safetensors", "state.json", "checkpoint"


def _pack(value: Any, tensors: dict[str, torch.Tensor], path: str) -> Any:
    """`value` as plain JSON; its tensors go to `tensors` under their paths. Keys keep their types."""
    if isinstance(value, torch.Tensor):
        tensors[path] = value.detach().contiguous().cpu()
        return {"tensor": path}
    if isinstance(value, dict):
        return {"dict": [[key, _pack(item, tensors, f"{path}.{key}")] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_pack(item, tensors, f"{path}.{index}") for index, item in enumerate(value)]}
    return {"value": value}


def _unpack(packed: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Any:
    (kind, content), *_ = packed.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _unpack(item, tensors) for key, item in content}
    if kind == "list":
        return [_unpack(item, tensors) for item in content]
    return content


def save_checkpoint(
    folder: Path,
    fingerprint: str,
    step: int,
    losses: list[dict[str, float]],
    parameters: Sequence[torch.Tensor],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write everything that the next step depends on; a kill at any moment leaves a complete older checkpoint."""
    tensors = {f"parameter.{index}": value.detach().contiguous().cpu() for index, value in enumerate(parameters)}
    # One tensor object may stand at two places of an optimizer's state; safetensors wants separate memory.
    packed = _pack(optimizer.state_dict(), tensors, "optimizer")
    tensors["rng"] = torch.get_rng_state()
    folder.mkdir(parents=True, exist_ok=True)
    new, old = folder / f"{_NAME}.new", folder / f"{_NAME}.old"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    save_file({name: value.clone() for name, value in tensors.items()}, new / _TENSORS)
    state = {"fingerprint": fingerprint, "step": step, "losses": losses, "optimizer": packed}
    (new / _STATE).write_text(json.dumps(state), encoding="utf-8")
    if (folder / _NAME).exists():
        shutil.rmtree(old, ignore_errors=True)
        (folder / _NAME).rename(old)
    new.rename(folder / _NAME)
    shutil.rmtree(old, ignore_errors=True)


@torch.no_grad()
def load_checkpoint(
    folder: Path, fingerprint: str, parameters: Sequence[torch.Tensor], optimizer: torch.optim.Optimizer
) -> tuple[int, list[dict[str, float]]]:
    """(steps done, their losses) after restoring parameters, optimizer and random state; (0, []) without a checkpoint.

    Raises MultiplexError when the checkpoint belongs to other settings or another model.
    """
    # A kill between the two renames of `save_checkpoint` leaves the older one under its second name.
    source = next((p for p in (folder / _NAME, folder / f"{_NAME}.old") if (p / _STATE).is_file()), None)
    if source is None:
        return 0, []
    state = json.loads((source / _STATE).read_text(encoding="utf-8"))
    if state["fingerprint"] != fingerprint:
        raise MultiplexError(
            f"{folder} holds an unfinished distillation with other settings or of another model. "
            "Remedy: repeat the first settings, or give another folder"
        )
    tensors = load_file(source / _TENSORS)
    for index, parameter in enumerate(parameters):
        parameter.copy_(tensors[f"parameter.{index}"])
    optimizer.load_state_dict(_unpack(state["optimizer"], tensors))
    torch.set_rng_state(tensors["rng"])
    return state["step"], state["losses"]
