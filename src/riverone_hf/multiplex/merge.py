"""What does a shared block hold at first? Means of a group's weights, or outputs refitted by least squares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from ..errors import MultiplexError
from .maps import members
from .tower import Batch, Tower

RIDGE = 1e-3
"""Pull towards the first block's weights, relative to the mean square of the inputs."""


def stored_linears(tower: Tower, layer: int) -> dict[str, nn.Linear]:
    """The linears that `layer` uses, by name; shared layers give the same objects."""
    roots: list[tuple[str, nn.Module]]
    if tower.is_riverone:
        config = tower.vision.config
        roots = [("", tower.vision.blocks[config.layer_map[layer]]), ("qkv.", tower.vision.qkv[config.qkv_map[layer]])]
    elif hasattr(tower.core, "shared"):
        roots = [("", tower.core.shared.stored[tower.layer_map[layer]])]
    else:
        roots = [("", tower.layers[layer])]
    return {
        prefix + name: module
        for prefix, root in roots
        for name, module in root.named_modules()
        if isinstance(module, nn.Linear)
    }


@torch.no_grad()
def mean_blocks(original: Tower, shared: Tower, layer_map: Sequence[int]) -> None:
    """Fill every stored linear with the mean over the layers that use it, in place."""
    sums: dict[int, tuple[nn.Linear, list[nn.Linear]]] = {}
    for layer in range(len(layer_map)):
        sources = stored_linears(original, layer)
        for name, linear in stored_linears(shared, layer).items():
            sums.setdefault(id(linear), (linear, []))[1].append(sources[name])
    for linear, group in sums.values():
        for name, target in linear.named_parameters():
            target.copy_(torch.stack([source.get_parameter(name) for source in group]).mean(0))


@torch.no_grad()
def refit_blocks(original: Tower, shared: Tower, layer_map: Sequence[int], images: Iterable[Batch]) -> None:
    """Refit the attention's and the MLP's output linear of every shared block by ridge regression, in place.

    With the inner weights of the group's first layer, the two linears that write into the residual stream are chosen
    to reproduce, in the sum of squares over the group's layers and the images, what the original layers write there.
    Every layer is given the states that the original hands it, so groups do not disturb each other.
    """
    batches = list(images)
    for group in members(layer_map):
        if len(group) < 2:
            continue
        names = _writers(original, group[0])
        # The attention first: what it writes does not reach the MLP's input, which is taken from the original.
        sums: dict[str, Any] = {name: None for name in names}
        for batch in batches:
            trace, wanted = _outputs(original, batch, group, names)
            got = _inputs(shared, batch, group, names, trace)
            for name in names:
                for layer in group:
                    sums[name] = _accumulate(sums[name], got[name, layer], wanted[name, layer])
        linears = stored_linears(shared, group[0])
        for name in names:
            _solve(linears[name], *sums[name])


def _writers(tower: Tower, layer: int) -> list[str]:
    names = [
        name
        for name in stored_linears(tower, layer)
        if name.rpartition(".")[2] in ("out_proj", "o_proj", "proj", "fc2", "down_proj", "w3")
    ]
    if len(names) != 2:
        raise MultiplexError(
            f"expected one output linear of attention and one of the MLP per block, found {names or 'none'}. "
            "Remedy: init='first' or 'mean'"
        )
    return names


def _outputs(tower: Tower, batch: Batch, group: list[int], names: list[str]) -> tuple[Any, dict[Any, torch.Tensor]]:
    """The layers' inputs, what their writers put out, and (under (name, layer, 'in')) the input of each MLP."""
    kept: dict[Any, torch.Tensor] = {}
    trace, events = _watch(tower, batch, group, names, None)
    for (name, layer), (_, output) in events.items():
        kept[name, layer] = output
    return trace, kept


def _inputs(shared: Tower, batch: Batch, group: list[int], names: list[str], trace: Any) -> dict[Any, torch.Tensor]:
    """What the writers of the shared block are given when every layer gets the original's input."""
    _, events = _watch(shared, batch, group, names, trace.inputs)
    return {key: given for key, (given, _) in events.items()}


def _watch(
    tower: Tower, batch: Batch, group: list[int], names: list[str], forced: list[torch.Tensor] | None
) -> tuple[Any, dict[Any, tuple[torch.Tensor, torch.Tensor]]]:
    events: dict[Any, tuple[torch.Tensor, torch.Tensor]] = {}
    calls: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = {}
    handles: list[Any] = []
    users: dict[int, tuple[str, list[int]]] = {}
    for layer in range(len(tower.layers)):
        for name in names:
            linear = stored_linears(tower, layer)[name]
            users.setdefault(id(linear), (name, []))[1].append(layer)
            if id(linear) in calls:
                continue
            seen = calls.setdefault(id(linear), [])
            handles.append(linear.register_forward_hook(lambda _, args, out, seen=seen: seen.append((args[0], out))))
    try:
        trace = tower.run(batch, states=True, forced=forced)
    finally:
        for handle in handles:
            handle.remove()
    for key, (name, layers) in users.items():
        for layer, event in zip(layers, calls[key], strict=True):
            if layer in group:
                events[name, layer] = event
    return trace, events


def _accumulate(sums: Any, given: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
    rows = given.flatten(0, -2).double()
    rows = torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
    target = wanted.flatten(0, -2).double()
    products = (rows.t() @ rows, rows.t() @ target, len(rows))
    return products if sums is None else tuple(a + b for a, b in zip(sums, products))


def _solve(linear: nn.Linear, gram: torch.Tensor, cross: torch.Tensor, rows: int) -> None:
    """weight, bias = argmin |Z w - Y|^2 + ridge |w - w0|^2 from Z'Z and Z'Y."""
    bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias
    start = torch.cat([linear.weight.t(), bias[None]]).double()
    ridge = RIDGE * gram.diagonal()[:-1].mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    solution = start + torch.linalg.solve(gram + ridge, cross - gram @ start)
    linear.weight.copy_(solution[:-1].t())
    if linear.bias is not None:
        linear.bias.copy_(solution[-1])
