"""Which weights do the settings of a generator name, and can they be generated?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from ..errors import GeneratorError
from .config import GeneratorConfig
from .live import PROJECTIONS, GeneratedLinear


@dataclass(frozen=True)
class StoredSet:
    """A stored q/k/v set to replace: its matched projections, its generated layers, the slot of each use (or -1)."""

    name: str
    projections: list[str]
    layers: list[int]
    positions: list[int]

    @property
    def slots(self) -> int:
        return len(self.layers)


def plan_attach(modules: dict[str, Any], config: GeneratorConfig) -> tuple[list[str], list[StoredSet]]:
    """Names of the Linears that get a parametrization, and the stored sets that are replaced.

    Raises GeneratorError when nothing matches, a named layer has no match, or a weight cannot be generated.
    """
    towers = {name: module for name, module in modules.items() if _is_tower(module)}
    matches = [name for name in modules if any(fnmatchcase(name, pattern) for pattern in config.modules)]
    linears = [name for name in matches if isinstance(modules[name], nn.Linear)]
    in_towers = {name for name in linears if any(name.startswith(_below(tower) + "qkv.") for tower in towers)}
    plain = [name for name in linears if name not in in_towers and _in_layers(name, config.layers)]
    sets = [stored for tower in towers for stored in _plan_sets(towers[tower], _below(tower), in_towers, config)]
    if not plain and not sets:
        raise GeneratorError(_no_match(modules, matches, linears, config))
    _check_layers(config, plain, [layer for stored in sets for layer in stored.layers])
    for name in [*plain, *(f"{stored.name}.{projection}" for stored in sets for projection in stored.projections)]:
        _check_weight(modules, name)
    return plain, sets


def shapes(model: nn.Module, config: GeneratorConfig) -> list[tuple[tuple[int, int], int]]:
    """(rows, columns) and slots of every weight that `attach(model, config)` would generate, without attaching.

    Raises GeneratorError as `attach` does.
    """
    modules: dict[str, Any] = dict(model.named_modules())
    plain, sets = plan_attach(modules, config)
    found = [(name, 1) for name in plain]
    found += [(f"{stored.name}.{projection}", stored.slots) for stored in sets for projection in stored.projections]
    out = []
    for name, slots in found:
        rows, columns = modules[name].weight.shape
        for start, stop in row_blocks(config.row_slices, rows, name):
            out.append(((stop - start, columns), slots))
    return out


def row_blocks(slices: Any, rows: int, name: str) -> list[tuple[int, int]]:
    """(start, stop) rows of each block of a weight; see `GeneratorConfig.row_slices`."""
    if slices is None:
        return [(0, rows)]
    if isinstance(slices, int):
        if slices < 1 or rows % slices:
            raise GeneratorError(f"{name} has {rows} rows, not a multiple of row_slices={slices}. Remedy: give pairs")
        size = rows // slices
        return [(start, start + size) for start in range(0, rows, size)]
    blocks = sorted((int(start), int(stop)) for start, stop in slices)
    edges = [edge for block in blocks for edge in block]
    if not blocks or edges != sorted(edges) or any(a == b for a, b in blocks) or edges[0] < 0 or edges[-1] > rows:
        raise GeneratorError(f"row_slices {slices} of {name}: expected disjoint (start, stop) pairs within 0..{rows}")
    return blocks


def _below(name: str) -> str:
    return name + "." if name else ""


def _is_tower(module: nn.Module) -> bool:
    return hasattr(module, "projections") and isinstance(getattr(module, "qkv", None), nn.ModuleList)


def _layer_of(name: str) -> int | None:
    """The last number in a module's name."""
    numbers = [part for part in name.split(".") if part.isdigit()]
    return int(numbers[-1]) if numbers else None


def _in_layers(name: str, layers: tuple[int, ...] | None) -> bool:
    return layers is None or _layer_of(name) in layers


def _plan_sets(tower: Any, prefix: str, matched: set[str], config: GeneratorConfig) -> list[StoredSet]:
    plans = []
    for index in range(len(tower.qkv)):
        name = f"{prefix}qkv.{index}"
        projections = [p for p in PROJECTIONS if f"{name}.{p}" in matched]
        uses = [layer for layer, stored in enumerate(tower.config.qkv_map) if stored == index]
        layers = [layer for layer in uses if config.layers is None or layer in config.layers]
        if projections and layers:
            positions = [layers.index(layer) if layer in layers else -1 for layer in uses]
            plans.append(StoredSet(name, projections, layers, positions))
    return plans


def _check_layers(config: GeneratorConfig, plain: list[str], in_towers: list[int]) -> None:
    if config.layers is None:
        return
    missing = sorted(set(config.layers) - {_layer_of(name) for name in plain} - set(in_towers))
    if missing:
        raise GeneratorError(
            f"layers {missing} have no weight that matches {config.modules}. Remedy: name other layers"
        )


def _no_match(modules: dict[str, nn.Module], matches: list[str], linears: list[str], config: GeneratorConfig) -> str:
    if any(isinstance(modules[name], GeneratedLinear) for name in matches):
        return f"{matches[0]} already has a generator. Remedy: qgp.freeze(model) first, or name other modules"
    if linears:
        return f"{len(linears)} Linears match {config.modules} but none in layers {config.layers}. Remedy: other layers"
    if matches:
        kind = type(modules[matches[0]]).__name__
        return f"{matches[0]} matches but is a {kind}; only nn.Linear weights are generated. Remedy: other patterns"
    # Layers repeat, so one example of each kind is enough.
    names = [name for name, module in modules.items() if isinstance(module, nn.Linear)]
    examples = list({re.sub(r"\d+", "*", name): None for name in names})[:8]
    return (
        f"no module matches {config.modules}. Remedy: use shell patterns of full names; Linears of this model are "
        + (", ".join(examples) or "none")
    )


def _check_weight(modules: dict[str, nn.Module], name: str) -> None:
    linear = modules[name]
    if parametrize.is_parametrized(linear, "weight"):
        raise GeneratorError(f"{name} already has a parametrized weight. Remedy: qgp.freeze(model) first")
    weight = linear.weight
    if not isinstance(weight, nn.Parameter) or not weight.is_floating_point():
        raise GeneratorError(f"{name} is coded ({weight.dtype}). Remedy: generate weights before coding them")
    if weight.device.type == "meta":
        raise GeneratorError(f"{name} holds no numbers yet (device meta). Remedy: load the weights first")
    if not bool(torch.isfinite(weight).all()):
        raise GeneratorError(f"{name} holds infinite or NaN entries. Remedy: load other weights")
    others = [other for other, module in modules.items() if getattr(module, "weight", None) is weight and other != name]
    if others:
        raise GeneratorError(f"{name} shares its weight with {others[0]}. Remedy: untie them, or name other modules")
