"""What trains? Named groups of a vision tower's parameters, and orthogonal head mixing while it trains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from ..errors import MultiplexError
from ..model.transforms_riverone import RiverOneHeadMixing, RiverOneLocalConv
from .foreign import SharedLayers
from .tower import Tower

GROUPS = ("transforms", "norms", "blocks", "qkv", "generators", "projector")
"""transforms: head mixing and local convolutions; norms: the vectors that each layer keeps for itself; blocks: stored
linears except q/k/v; qkv: stored query, key and value linears; generators: circuits and classical generators of
weights; projector: what follows the tower in a RiverONE."""


def parameter_groups(model: nn.Module, blocks: str | None = None) -> dict[str, list[nn.Parameter]]:
    """Group -> its parameters, each parameter in one group at most. Embeddings and final norms are in none."""
    tower = Tower(model, blocks)
    found: dict[str, list[nn.Parameter]] = {name: [] for name in GROUPS}
    seen: set[int] = set()

    def add(group: str, module: nn.Module) -> None:
        for parameter in module.parameters():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                found[group].append(parameter)

    for module in tower.vision.modules():
        if isinstance(module, RiverOneHeadMixing | RiverOneLocalConv):
            add("transforms", module)
        elif _is_generator(module):
            add("generators", module)
    for layer in tower.layers:
        for child in layer.modules():
            if all(parameter.ndim == 1 for parameter in child.parameters(recurse=False)):
                for parameter in child.parameters(recurse=False):
                    if id(parameter) not in seen and not isinstance(child, nn.Linear):
                        seen.add(id(parameter))
                        found["norms"].append(parameter)
    if tower.is_riverone:
        add("qkv", tower.vision.qkv)
        add("blocks", tower.vision.blocks)
        if tower.core is not tower.vision:
            if tower.vision.merger is not None:
                add("projector", tower.vision.merger)
            add("projector", tower.core.multi_modal_projector)
    else:
        stack = getattr(tower.core, "shared", None)
        for holder in stack.stored if isinstance(stack, SharedLayers) else tower.layers:
            for name, child in holder.named_modules():
                if name.rpartition(".")[2] in ("q_proj", "k_proj", "v_proj", "query", "key", "value", "qkv"):
                    add("qkv", child)
            add("blocks", holder)
    return found


def _is_generator(module: nn.Module) -> bool:
    """Known by the interface of what makes weights: a number of slots, and a deviation to regularize."""
    return hasattr(module, "slots") and hasattr(module, "deviation")


def set_trainable(model: nn.Module, train: Sequence[str], blocks: str | None = None) -> list[nn.Parameter]:
    """Let exactly the groups named in `train` require gradients; the trained parameters, in a fixed order.

    Raises MultiplexError for unknown groups and for a group that this model does not have.
    """
    found = parameter_groups(model, blocks)
    for name in train:
        if name not in found:
            raise MultiplexError(f"cannot train {name!r}; expected some of {', '.join(GROUPS)}")
        if not found[name]:
            raise MultiplexError(f"this model has no {name} to train. Remedy: add them first, or leave {name!r} out")
    model.requires_grad_(False)
    trained = [parameter for name in GROUPS if name in train for parameter in found[name]]
    for parameter in trained:
        parameter.requires_grad_(True)
    return trained


@contextmanager
def orthogonal_mixing(model: nn.Module) -> Iterator[None]:
    """Keep all head-mixing matrices orthogonal (matrix exponential) while this is open; plain tensors afterwards.

    A model saved inside is written with plain tensors too.
    """
    mixers = [module for module in model.modules() if isinstance(module, RiverOneHeadMixing)]
    for mixer in mixers:
        for name in ("before", "after"):
            parametrizations.orthogonal(mixer, name, orthogonal_map="matrix_exp")
            mixer.parametrizations[name][0].freezes_on_save = True  # type: ignore[union-attr, index]
    try:
        yield
    finally:
        for mixer in mixers:
            for name in ("before", "after"):
                parametrize.remove_parametrizations(mixer, name)


@torch.no_grad()
def is_orthogonal(mix: torch.Tensor, tolerance: float = 1e-4) -> bool:
    """Whether mix @ mix.T is the identity within `tolerance`."""
    return bool((mix @ mix.t() - torch.eye(len(mix), dtype=mix.dtype, device=mix.device)).abs().max() < tolerance)
