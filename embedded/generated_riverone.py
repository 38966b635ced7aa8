"""Live weight generators become plain tensors whenever a model is saved.

A generator is a training-time module that makes layer weights from stored ones. This file knows none of them, only two
marks: a stored q/k/v set with `positions` and `frozen_slots(state)`, and a torch parametrization that says
`freezes_on_save = True`.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel


def is_live(model: nn.Module) -> bool:
    """Whether some weight of `model` is made by a generator that is still training."""
    return any(hasattr(module, "frozen_slots") or _generated_tensors(module) for module in model.modules())


def _generated_tensors(module: nn.Module) -> list[str]:
    lists = getattr(module, "parametrizations", None)
    if not isinstance(lists, nn.ModuleDict):
        return []
    found: Any = lists.items()
    return [name for name, steps in found if any(getattr(step, "freezes_on_save", False) for step in steps)]


def below(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Entries of a state dict below `prefix` (which ends in a dot), with the prefix cut off."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def made_from(module: nn.Module, state: dict[str, torch.Tensor]) -> torch.Tensor:
    """What `module()` gives in evaluation mode with the entries of `state` for its own; the module is only read.

    Evaluation, because generators may be noisy in training. Raises ValueError when the state lacks an entry.
    """
    missing = sorted(set(module.state_dict()) - set(state))
    if missing:
        raise ValueError(
            f"The state dict lacks {missing[0]} of a weight generator ({len(missing)} entries in all). Remedy: pass "
            "the state dict of the live model, or none."
        )
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        # Not strict: buffers that are never saved keep their values.
        return torch.func.functional_call(module, state, ()).detach()
    finally:
        for part, training in modes:
            part.training = training


def _check_finite(name: str, weight: torch.Tensor) -> None:
    if not bool(torch.isfinite(weight).all()):
        raise ValueError(
            f"The generated weight {name} holds infinite or NaN entries, so it is not saved as a plain tensor. "
            "Remedy: go back to an earlier live checkpoint and train with a lower learning rate."
        )


@torch.no_grad()
def frozen_state(
    model: nn.Module, state_dict: dict[str, torch.Tensor] | None = None, check_finite: bool = True
) -> tuple[dict[str, torch.Tensor], list[int] | None]:
    """State dict of `model` with every generated weight written as a plain tensor, and the tower's new `qkv_map`.

    The weights are made from the entries of `state_dict` (default: those of the model), so averaged angles give
    averaged weights. A q/k/v set used by S layers becomes up to S sets; the map is None where nothing was un-shared.
    The live model is only read. Raises ValueError for non-finite weights or entries that fit neither form.
    """
    state = dict(model.state_dict() if state_dict is None else state_dict)
    untouched = {id(value) for value in state.values()}
    qkv_map = None
    for name, module in model.named_modules():
        prefix = name + "." if name else ""
        for tensor in _generated_tensors(module):
            steps: Any = module.get_submodule(f"parametrizations.{tensor}")
            inside = f"{prefix}parametrizations.{tensor}."
            given = below(state, inside)
            if not given and prefix + tensor in state:
                continue  # already plain
            weight = made_from(steps, given)
            state = {key: value for key, value in state.items() if not key.startswith(inside)}
            state[prefix + tensor] = weight.detach().clone()
        sets = getattr(module, "qkv", None)
        if isinstance(sets, nn.ModuleList) and any(hasattr(stored, "frozen_slots") for stored in sets):
            state, qkv_map = _unshare(module, sets, prefix + "qkv.", state)
    if check_finite:
        for name, value in state.items():
            if id(value) not in untouched:
                _check_finite(name, value)
    return state, qkv_map


def _unshare(
    tower: Any, sets: nn.ModuleList, prefix: str, state: dict[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], list[int]]:
    """Replace the tower's stored q/k/v sets by one plain set per distinct slot, numbered by first use."""
    made: Any = [stored.positions if hasattr(stored, "frozen_slots") else None for stored in sets]
    taken = [0] * len(made)
    order: dict[tuple[int, int], int] = {}
    first_use: list[tuple[int, int]] = []
    new_map = []
    for index in tower.config.qkv_map:
        slot = (index, -1 if made[index] is None else made[index][taken[index]])
        if slot not in order:
            order[slot] = len(order)
            first_use.append((index, taken[index]))
        taken[index] += 1
        new_map.append(order[slot])
    given = [below(state, f"{prefix}{index}.") for index in range(len(order))]
    # A plain set has entries such as q_proj.weight, a live one deeper ones too.
    if all(given) and all(key.count(".") == 1 for entries in given for key in entries):
        return state, new_map
    slots: list[list[dict[str, torch.Tensor]]] = []
    for index, stored in enumerate(sets):
        entries, make = below(state, f"{prefix}{index}."), getattr(stored, "frozen_slots", None)
        slots.append([entries] * taken[index] if make is None else make(entries))
    state = {key: value for key, value in state.items() if not key.startswith(prefix)}
    for new, (index, use) in enumerate(first_use):
        for key, value in slots[index][use].items():
            state[f"{prefix}{new}.{key}"] = value
    return state, new_map


class FreezingPreTrainedModel(PreTrainedModel):
    """A model whose `save_pretrained` writes plain tensors, whatever generates them while it trains.

    `live_checkpoints` (set by a context manager of the training code) writes the generators as they are instead; such
    a folder says `riverone_frozen: false` and is refused by `from_pretrained`. `live_generators` are the settings that
    rebuild them.
    """

    live_checkpoints = False
    live_generators: list[dict[str, Any]] = []

    def __init__(self, config: Any, *inputs: Any, **kwargs: Any):
        if getattr(config, "riverone_frozen", None) is False:
            raise ValueError(
                "This folder is a live training checkpoint: its weights are still made by a generator. Remedy: "
                "continue it with riverone_hf.qgp.load_live(folder), or save the trained model with save_pretrained, "
                "which writes plain tensors."
            )
        super().__init__(config, *inputs, **kwargs)

    def save_pretrained(  # type: ignore[override]
        self,
        save_directory: Any,
        is_main_process: bool = True,
        state_dict: dict[str, torch.Tensor] | None = None,
        **kwargs: Any,
    ) -> None:
        """As in transformers; generated weights are written as plain tensors and the model goes on training.

        Raises ValueError for non-finite generated weights, before anything is written.
        """
        if not is_live(self):
            return super().save_pretrained(save_directory, is_main_process, state_dict, **kwargs)
        live_config: Any = self.config
        saved_config = copy.deepcopy(live_config)
        saved_config.riverone_frozen = not self.live_checkpoints
        if self.live_checkpoints:
            saved_config.riverone_live = self.live_generators
        else:
            if getattr(self, "hf_quantizer", None) is not None:
                raise ValueError("A coded model cannot hold live generators. Remedy: qgp.freeze(model) before coding.")
            state_dict, qkv_map = frozen_state(self, state_dict)
            if qkv_map is not None:
                getattr(saved_config, "vision_config", saved_config).qkv_map = qkv_map
        self.config = saved_config
        try:
            return super().save_pretrained(save_directory, is_main_process, state_dict, **kwargs)
        finally:
            self.config = live_config


__all__ = ["FreezingPreTrainedModel", "below", "frozen_state", "is_live", "made_from"]
