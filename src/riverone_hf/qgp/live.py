"""Where live generators sit in a model: in place of a stored q/k/v set, or as a parametrization of one Linear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..errors import FrozenResumeError
from ..model.generated_riverone import below, made_from
from .generator import WeightGenerator

RESUME_REMEDY = (
    "Remedy: go on from a checkpoint written inside qgp.live_checkpoints(model), or start a new generator on the "
    "frozen model with qgp.attach(model, config, restart=True)"
)
PROJECTIONS = ("q_proj", "k_proj", "v_proj")


class GeneratedLinear(nn.Module):
    """A stored weight and bias, and the generator of the weights that stand in for it; names as in `nn.Linear`."""

    def __init__(self, linear: nn.Linear, generator: WeightGenerator):
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.generator = generator

    def forward(self) -> torch.Tensor:
        """All generated weights (S, out, in), from one batched call."""
        return self.generator(self.weight)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any, **kwargs: Any) -> None:
        live = any(key.startswith(prefix + "generator.") for key in state_dict)
        if prefix + "weight" in state_dict and not live:
            raise FrozenResumeError(f"{prefix}weight is a plain tensor but the model generates it. {RESUME_REMEDY}")
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class GeneratedQKV(nn.Module):
    """A stored q/k/v set whose `slots` give each of its layers weights of its own.

    Args:
        stored: the set that it replaces.
        generators: per generated projection, its generator with one slot per entry >= 0 of `positions`.
        positions: per layer of the set, in order, its slot of the generators, or -1 for the stored weight itself.
    """

    def __init__(self, stored: nn.Module, generators: dict[str, WeightGenerator], positions: list[int]):
        super().__init__()
        self.positions, self.plain_class = list(positions), type(stored)
        for name in PROJECTIONS:
            linear: Any = getattr(stored, name)
            self.add_module(name, GeneratedLinear(linear, generators[name]) if name in generators else linear)

    def slots(self, uses: int) -> list[Callable[[torch.Tensor], tuple[torch.Tensor, ...]]]:
        """Per layer, what maps its states to queries, keys and values; generated weights are made now, once."""
        if uses != len(self.positions):
            raise ValueError(
                f"This q/k/v set was given generators for {len(self.positions)} layers but qkv_map names it {uses} "
                "times: do not change qkv_map after qgp.attach."
            )
        stacks = {name: module() for name, module in self._projections() if isinstance(module, GeneratedLinear)}
        return [_Slot(dict(self._projections()), stacks, position) for position in self.positions]

    def _projections(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in PROJECTIONS]

    def frozen_slots(self, state: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        """Plain sets per layer from this module's entries of a state dict; layers with the same set get one dict."""
        stacks: dict[str, torch.Tensor] = {}
        stored: dict[str, torch.Tensor] = {}
        for name, module in self._projections():
            own = below(state, name + ".")
            stored |= {f"{name}.{key}": value for key, value in own.items() if key in ("weight", "bias")}
            if isinstance(module, GeneratedLinear):
                stacks[name] = made_from(module, own)
        plain = {-1: stored}
        for position in sorted(set(self.positions) - {-1}):
            made = {f"{name}.weight": stack[position].clone() for name, stack in stacks.items()}
            rest = {key: value.clone() for key, value in stored.items() if key not in made}
            plain[position] = {key: {**made, **rest}[key] for key in stored}
        return [plain[position] for position in self.positions]


class _Slot:
    """The projections of one layer: no module of its own, its weights live in the generators."""

    def __init__(self, projections: dict[str, Any], stacks: dict[str, torch.Tensor], position: int):
        self.projections, self.stacks, self.position = projections, stacks, position

    def __call__(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self._project(name, hidden_states) for name in PROJECTIONS)

    def _project(self, name: str, hidden_states: torch.Tensor) -> torch.Tensor:
        module = self.projections[name]
        if name not in self.stacks:
            return module(hidden_states)
        weight = self.stacks[name][self.position] if self.position >= 0 else module.weight
        return nn.functional.linear(hidden_states, weight, module.bias)


class GeneratedWeight(nn.Module):
    """A torch parametrization: the generated weight of an ordinary Linear, one slot."""

    freezes_on_save = True

    def __init__(self, generator: WeightGenerator):
        super().__init__()
        self.generator = generator

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return self.generator(weight)[0]


def refuse_plain_weight(module: nn.Module, state_dict: dict, prefix: str, *_: Any) -> None:
    """A hook before loading: a plain tensor where the model generates one would leave the generator as it is."""
    if prefix + "weight" in state_dict and prefix + "parametrizations.weight.original" not in state_dict:
        raise FrozenResumeError(f"{prefix}weight is a plain tensor but the model generates it. {RESUME_REMEDY}")
