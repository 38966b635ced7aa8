"""Does sharing beat having fewer layers? Controls: the same blocks dropped, and a small tower from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import set_seed

from ..errors import MultiplexError
from .maps import check_map, members
from .share import rebuild
from .tower import Tower


def drop_blocks(model: nn.Module, layer_map: Sequence[int]) -> Any:
    """A copy of a RiverONE that keeps only the first layer of every group of `layer_map`, with its own block.

    Features that the projector reads come from the layer that stands for their group.
    """
    tower = Tower(model)
    if not tower.is_riverone:
        raise MultiplexError("drop_blocks is a control for RiverONE models")
    old = tower.vision.config
    given = check_map(layer_map, old.num_hidden_layers)
    kept = [group[0] for group in members(given)]
    changes: dict[str, Any] = {
        "num_hidden_layers": len(kept),
        "layer_map": None,
        "qkv_map": None,
        "head_mixing": [new for new, layer in enumerate(kept) if layer in old.head_mixing],
        "local_conv": [new for new, layer in enumerate(kept) if layer in old.local_conv],
    }
    sources = {}
    for new, layer in enumerate(kept):
        sources[f"layers.{new}."] = f"layers.{layer}."
        sources[f"blocks.{new}."] = f"blocks.{old.layer_map[layer]}."
        sources[f"qkv.{new}."] = f"qkv.{old.qkv_map[layer]}."
    features = getattr(model.config, "vision_feature_layers", None)
    top = {"vision_feature_layers": [given[layer] for layer in features]} if features is not None else None
    return rebuild(model, changes, sources, top)


def fresh_blocks(model: nn.Module, layer_map: Sequence[int], seed: int) -> Any:
    """As `drop_blocks`, but the vision tower is initialised at random; the projector and the rest are kept."""
    small = drop_blocks(model, layer_map)
    set_seed(seed)
    vision = Tower(small).vision
    fresh = type(vision)(vision.config)
    with torch.no_grad():
        for target, source in zip(vision.parameters(), fresh.parameters(), strict=True):
            target.copy_(source)
    return small


def control_targets(layer_map: Sequence[int]) -> dict[str, list[int]]:
    """Which layers of the original a control's layers are distilled to: q/k/v of a group's first, states of its last.

    For `distill(..., **control_targets(layer_map))`.
    """
    found = members(layer_map)
    return {"qkv_targets": [group[0] for group in found], "hidden_targets": [group[-1] for group in found]}
