"""Can a coded block come nearer to the original? Its codebooks and scales are tuned together on the block's output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from ..model.quantization_riverone import AdditiveLinear
from .targets import Target
from .trainable import TrainableLinear
from .workfolder import Code

Run = Callable[[int], torch.Tensor]


def tune_block(
    model: nn.Module,
    targets: Sequence[Target],
    codes: Mapping[str, Code],
    run: Run,
    wished: Run,
    batches: Sequence[int],
    *,
    steps: int,
    lr: float = 1e-3,
) -> tuple[dict[str, Code], float, float]:
    """Adam on codebooks and scales against the mean squared error of a block's output, relative to its power.

    Args:
        run: output of the block on calibration batch i; gradients reach its Linears.
        wished: output of the original block on the same input.
        batches: those to learn from, taken in turn, one per step.

    Returns:
        (name -> code with other codebooks and scales, error before, error after); the codes as they were when tuning
        did not help. Deterministic. Codebooks that several blocks share are not touched, only their scales.
    """
    linears = {target.name: model.get_submodule(target.name) for target in targets}
    for target in targets:
        layer = _trainable(target, linears[target.name], codes[target.name])
        model.set_submodule(target.name, layer)
    layers = {target.name: model.get_submodule(target.name) for target in targets}
    try:
        wanted = [p for target in targets for p in _parameters(layers[target.name], target)]
        for parameter in wanted:
            parameter.requires_grad_(True)
        optimizer = torch.optim.Adam(wanted, lr=lr, betas=(0.9, 0.95))
        before = _error(run, wished, batches)
        with torch.enable_grad():
            for step in range(steps):
                for group in optimizer.param_groups:
                    group["lr"] = lr * (1 - step / steps)
                index = batches[step % len(batches)]
                wish = wished(index).float()
                loss = (run(index).float() - wish).square().sum() / wish.square().sum()
                for parameter, gradient in zip(wanted, torch.autograd.grad(loss, wanted)):
                    parameter.grad = gradient
                optimizer.step()
        found = {name: _code(layer) for name, layer in layers.items()}
        after = _error(run, wished, batches)
    finally:
        for name, module in linears.items():
            model.set_submodule(name, module)
    return (found, before, after) if after < before else (dict(codes), before, before)


def _trainable(target: Target, module: Any, code: Code) -> TrainableLinear:
    place: Any = {"device": module.weight.device, "dtype": module.weight.dtype, "conv1d": isinstance(module, Conv1D)}
    layer = AdditiveLinear(target.size[1], target.size[0], target.scheme, module.bias is not None, **place)
    if module.bias is not None:
        layer.bias = nn.Parameter(module.bias.detach(), requires_grad=False)
    layer.set_code(*code)
    return TrainableLinear(layer, nn.ParameterDict())


def _parameters(layer: Any, target: Target) -> list[nn.Parameter]:
    layer.requires_grad_(False)
    return [layer.scales] if target.shared is not None else [layer.codebooks, layer.scales]


@torch.no_grad()
def _code(layer: Any) -> Code:
    """The code rounded as it will be stored; the layer is rounded too, so that what is measured is what is kept."""
    layer.codebooks.copy_(layer.codebooks.half().float())
    layer.scales.copy_(layer.scales.half().float())
    return layer.codes, layer.codebooks.half(), layer.scales.half()


@torch.no_grad()
def _error(run: Run, wished: Run, batches: Sequence[int]) -> float:
    lost = power = 0.0
    for index in batches:
        wish = wished(index).float()
        lost += float((run(index).float() - wish).square().sum())
        power += float(wish.square().sum())
    return lost / max(power, 1e-30)
