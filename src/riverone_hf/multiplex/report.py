"""What did sharing cost? Parameters and bytes saved, the error of every layer, and whether the layers mattered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from .tower import Batch, Tower, pass_on


def relative_error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """|got - wanted| / |wanted| in the Frobenius norm."""
    return float((got.float() - wanted.float()).norm() / wanted.float().norm())


@torch.no_grad()
def output_error(model: nn.Module, original: nn.Module, images: Iterable[Batch]) -> float:
    """Mean relative error over batches of the model's output (see `Tower`)."""
    mine, theirs = Tower(model), Tower(original)
    errors = [relative_error(mine.output(batch), theirs.output(batch)) for batch in images]
    return sum(errors) / len(errors)


@torch.no_grad()
def skip_cost(
    model: nn.Module, images: Iterable[Batch], score: Callable[[nn.Module], float] | None = None
) -> list[float]:
    """Per layer, what it costs to leave it out; near zero means that sharing it proves nothing.

    The cost is the relative error of the model's output, or with `score` (a function of the model, such as the mean
    score on plots) the loss of score.
    """
    tower = Tower(model)
    if score is not None:
        full, losses = score(model), []
        for layer in tower.layers:
            handle = layer.register_forward_hook(pass_on, with_kwargs=True)
            try:
                losses.append(full - score(model))
            finally:
                handle.remove()
        return losses
    batches = list(images)
    wanted = [tower.output(batch) for batch in batches]
    costs = []
    for index in range(len(tower.layers)):
        errors = [relative_error(tower.run(b, skip=index).output, w) for b, w in zip(batches, wanted, strict=True)]
        costs.append(sum(errors) / len(errors))
    return costs


@torch.no_grad()
def layer_errors(model: nn.Module, original: nn.Module, images: Iterable[Batch]) -> list[float]:
    """Per layer, |its output - the original layer's| over |what the original layer adds|, on the original's inputs.

    1 means: as wrong as leaving the layer out.
    """
    mine, theirs = Tower(model), Tower(original)
    sums = torch.zeros(len(theirs.layers), 2, dtype=torch.float64)
    for batch in images:
        wanted = theirs.run(batch, states=True)
        got = mine.run(batch, states=True, forced=wanted.inputs)
        for index, (a, b, x) in enumerate(zip(got.states, wanted.states, wanted.inputs, strict=True)):
            sums[index, 0] += (a.float() - b.float()).square().sum().item()
            sums[index, 1] += (b.float() - x.float()).square().sum().item()
    return (sums[:, 0] / sums[:, 1]).sqrt().tolist()


def stored_size(model: nn.Module) -> dict[str, int]:
    """{"parameters", "bytes"} of a vision tower (of a whole model: its tower only), each tensor counted once."""
    tensors = list(Tower(model).vision.parameters())
    return {
        "parameters": sum(tensor.numel() for tensor in tensors),
        "bytes": sum(tensor.numel() * tensor.element_size() for tensor in tensors),
    }


def share_report(model: nn.Module, original: nn.Module, images: Iterable[Batch]) -> dict[str, Any]:
    """What a shared `model` saves and costs against the `original`, as plain data for a results file."""
    batches = list(images)
    tower, before, after = Tower(model), stored_size(original), stored_size(model)
    return {
        "layers": len(tower.layers),
        "stored_blocks": max(tower.layer_map) + 1,
        "layer_map": tower.layer_map,
        "parameters": [before["parameters"], after["parameters"]],
        "bytes": [before["bytes"], after["bytes"]],
        "saved_parameters": before["parameters"] - after["parameters"],
        "saved_bytes": before["bytes"] - after["bytes"],
        "output_error": output_error(model, original, batches),
        "layer_error": layer_errors(model, original, batches),
        "skip_cost": skip_cost(original, batches),
    }
