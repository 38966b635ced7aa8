"""What do the generators of a model cost and hold? Counts before and after freezing, and their share of a step."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from ..errors import GeneratorError
from ..model.generated_riverone import frozen_state
from .attach import generators
from .live import GeneratedLinear, GeneratedWeight


def regularizer(model: nn.Module) -> torch.Tensor:
    """L_reg of the paper's Eq 22: the squared L2 norm of what training added to all generators, a float32 scalar.

    The distance is taken from the start, where it is 0: pulled to zero, angles would lose their gradients.
    Raises GeneratorError when the model has no generator.
    """
    found = generators(model)
    if not found:
        raise GeneratorError("this model has no generator to regularize. Remedy: qgp.attach(model, config) first")
    return torch.stack([generator.deviation().float() for generator in found.values()]).sum()


@dataclass(frozen=True)
class Report:
    """Counts of parameters, and bytes as stored. `step_share` is None unless a training step was given."""

    weights: int
    slots: int
    trained: int
    circuit_angles: int
    effective_angles: int
    stored_before: int
    stored_live: int
    stored_frozen: int
    bytes_before: int
    bytes_live: int
    bytes_frozen: int
    generate_ms: float | None = None
    step_ms: float | None = None
    step_share: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"{self.weights} stored weights make {self.slots} generated ones",
            f"trained generator parameters {self.trained:,}, of them {self.circuit_angles:,} angles "
            f"({self.effective_angles:,} effective)",
            f"stored parameters: shared {self.stored_before:,}, live {self.stored_live:,}, "
            f"frozen {self.stored_frozen:,} (freezing un-shares)",
            f"bytes: shared {self.bytes_before:,}, live {self.bytes_live:,}, frozen {self.bytes_frozen:,}",
        ]
        if self.step_share is not None:
            lines.append(
                f"generators take {self.generate_ms:.1f} of {self.step_ms:.1f} ms per step ({self.step_share:.0%})"
            )
        return "\n".join(lines)


def report(model: nn.Module, step: Callable[[], Any] | None = None, repeats: int = 3) -> Report:
    """Count what the generators of `model` train and store, before and after freezing.

    Args:
        step: runs one training step (forward, backward, update); then generation, forward and backward alone, is timed
            against it (medians of `repeats`). It does what it does: give a copy's step if the model must not move.

    Raises GeneratorError when the model has no generator.
    """
    found = generators(model)
    if not found:
        raise GeneratorError("this model has no generator to report on. Remedy: qgp.attach(model, config) first")
    live = _distinct(dict(model.state_dict()))
    owned = {tensor.data_ptr() for generator in found.values() for tensor in generator.state_dict().values()}
    before = [tensor for tensor in live if tensor.data_ptr() not in owned]
    frozen = _distinct(frozen_state(model, check_finite=False)[0])
    counts = [generator.circuits() for generator in found.values()]
    share: dict[str, Any] = {}
    if step is not None:
        generate_ms = _median_ms(lambda: _generate_all(model), repeats)
        step_ms = _median_ms(step, repeats)
        share = {"generate_ms": generate_ms, "step_ms": step_ms, "step_share": generate_ms / step_ms}
    return Report(
        weights=len(found),
        slots=sum(generator.slots for generator in found.values()),
        trained=sum(p.numel() for generator in found.values() for p in generator.parameters() if p.requires_grad),
        circuit_angles=sum(count.get("angles", 0) for count in counts),
        effective_angles=sum(count.get("effective", 0) for count in counts),
        stored_before=_numel(before),
        stored_live=_numel(live),
        stored_frozen=_numel(frozen),
        bytes_before=_bytes(before),
        bytes_live=_bytes(live),
        bytes_frozen=_bytes(frozen),
        **share,
    )


def _distinct(state: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Tied entries count once, as they are stored once."""
    return list({(tensor.data_ptr(), tensor.shape): tensor for tensor in state.values()}.values())


def _numel(tensors: list[torch.Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


def _bytes(tensors: list[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _generate_all(model: nn.Module) -> None:
    """Forward and backward of all generators; gradients that were there stay as they are."""
    with torch.enable_grad():
        for module in model.modules():
            made = None
            if isinstance(module, GeneratedLinear):
                made = module()
            elif isinstance(module, nn.Module) and "weight" in getattr(module, "parametrizations", {}):
                steps: Any = module.parametrizations["weight"]  # type: ignore[index]
                made = steps() if any(isinstance(part, GeneratedWeight) for part in steps) else None
            if made is not None:
                leaves = [parameter for parameter in module.parameters() if parameter.requires_grad]
                torch.autograd.grad(made.float().square().sum(), leaves, allow_unused=True)


def _median_ms(call: Callable[[], Any], repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append((time.perf_counter() - start) * 1000)
    # The first call may compile or fill caches.
    return statistics.median(times[1:])
