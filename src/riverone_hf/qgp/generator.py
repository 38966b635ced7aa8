"""The interface of everything that makes several weights from one stored weight."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class WeightGenerator(nn.Module):
    """One stored weight (M, D) -> `slots` weights (slots, M, D) of the same dtype, equal to it before training."""

    def __init__(self, shape: tuple[int, int], slots: int):
        super().__init__()
        self.shape, self.slots = shape, slots

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        keep = weight if isinstance(weight, nn.Parameter) else None
        with torch.autocast(weight.device.type, enabled=False):
            # In bfloat16 the small changes of a weight would be rounded away before they are summed.
            return self.generate(weight.to(torch.promote_types(weight.dtype, torch.float32)), keep).to(weight.dtype)

    def _apply(self, fn: Any, recurse: bool = True) -> WeightGenerator:
        # `model.to(bfloat16)` moves a generator but leaves it in float32: its steps are too small for 8 bits.
        def keep_dtype(tensor: torch.Tensor) -> torch.Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(keep_dtype, recurse)

    def generate(self, weight: torch.Tensor, keep: nn.Parameter | None) -> torch.Tensor:
        """As `forward`, in float32 (or float64) and outside of autocast.

        `keep` is the stored parameter that `weight` comes from: results that depend on nothing else may be kept as
        long as it is the same one and unchanged. None when there is no such parameter.
        """
        raise NotImplementedError

    def deviation(self) -> torch.Tensor:
        """Squared L2 distance of the trained parameters from their start, a scalar; 0 before training."""
        raise NotImplementedError

    def circuits(self) -> dict[str, int]:
        """`angles` and their `effective` number (independent directions of the output); empty without a circuit."""
        return {}


class RowBlocks(WeightGenerator):
    """One generator per block of rows of a fused weight; rows of no block stay as they are."""

    def __init__(self, shape: tuple[int, int], slots: int, blocks: list[tuple[int, int]], parts: list[WeightGenerator]):
        super().__init__(shape, slots)
        self.blocks, self.parts = blocks, nn.ModuleList(parts)

    def generate(self, weight: torch.Tensor, keep: nn.Parameter | None) -> torch.Tensor:
        pieces, done = [], 0
        for (start, stop), part in zip(self.blocks, self.parts):
            if start > done:
                pieces.append(weight[done:start].expand(self.slots, -1, -1))
            pieces.append(part.generate(weight[start:stop], keep))  # type: ignore[operator]
            done = stop
        if done < self.shape[0]:
            pieces.append(weight[done:].expand(self.slots, -1, -1))
        return torch.cat(pieces, dim=1)

    def deviation(self) -> torch.Tensor:
        return torch.stack([part.deviation() for part in self.parts]).sum()  # type: ignore[operator]

    def circuits(self) -> dict[str, int]:
        counts = [part.circuits() for part in self.parts]  # type: ignore[operator]
        return {key: sum(count[key] for count in counts) for key in counts[0]}

    def extra_repr(self) -> str:
        return f"rows={self.blocks}"


def draw(shape: tuple[int, ...], seed: int, scale: float) -> torch.Tensor:
    """Normal numbers times `scale` from a generator of their own: float32 on the CPU, equal on every machine."""
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
