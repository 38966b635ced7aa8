"""Will it fit, and how long will it take? Memory, disk and time before the long part, from one timed Linear."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import CompressError
from .targets import Plan, Target

if TYPE_CHECKING:
    from .walker import Coder


def coding_work(target: Target) -> float:
    """Work of coding one target in arbitrary units: products with x x^T, plus the search over code words.

    A fit is about 60 products of (m, n) with (n, n) and 12 searches; a search of one group compares every entry, and
    for two small codebooks every pair.
    """
    rows, inputs = target.size
    scheme = target.scheme
    entries = 2**scheme.nbits_per_codebook
    pairs = entries**2 if scheme.num_codebooks == 2 and entries <= 256 else 0
    search = rows * inputs * entries * scheme.num_codebooks * 2 + rows * inputs / scheme.in_group_size * pairs
    return 60.0 * 2 * rows * inputs * inputs + 12 * search


@dataclass(frozen=True)
class Estimate:
    """What a compression will need; bytes and seconds."""

    memory: int
    disk: int
    seconds: float
    result: int
    bits_per_weight: float
    weights: int

    def __str__(self) -> str:
        minutes = self.seconds / 60
        length = f"{minutes:.0f} min" if minutes >= 2 else f"{self.seconds:.0f} s"
        return (
            f"{self.weights / 1e6:.1f} M weights to {self.bits_per_weight:.2f} bits each ({_size(self.result)}); "
            f"memory about {_size(self.memory)}, disk {_size(self.disk)}, time about {length}"
        )


def estimate(
    model: Any, plan: Plan, batches: list[dict[str, Any]], coder: Coder, *, whole: bool, width: int = 4
) -> Estimate:
    """Estimate from sizes and from one Linear, the smallest one, coded on random data of its size.

    Args:
        whole: the model is in memory as a whole, rather than block by block.
        width: bytes per weight and activation.
    """
    targets = plan.targets
    smallest = min(targets, key=coding_work)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(smallest.size, generator=generator)
    rows = torch.randn(2 * smallest.size[1], smallest.size[1], generator=generator)
    began = time.perf_counter()
    coder(weight, rows.t() @ rows / len(rows), smallest.scheme, n_samples=len(rows), seed=0)
    per_work = (time.perf_counter() - began) / coding_work(smallest)
    tokens = sum(batch["input_ids"].numel() for batch in batches)
    hidden = model.config.get_text_config().hidden_size
    sizes = [sum(p.numel() for p in model.get_submodule(name).parameters()) for name in plan.blocks]
    inside = [p for name in plan.blocks for p in model.get_submodule(name).parameters()]
    everything = sum(p.numel() for p in model.parameters())
    outside = everything - sum(p.numel() for p in inside)
    # The solver holds about six matrices of the weight's size and four of the statistic's, in float32.
    solver = max(4 * (6 * t.weights + 4 * t.size[1] ** 2) + 16 * t.size[1] ** 2 for t in targets)
    widest = max(batch["input_ids"].numel() for batch in batches) * hidden * width * 16
    memory = (everything if whole else outside + max(sizes)) * width + solver + widest
    coded = plan.stored_bytes()
    weights = sum(t.weights for t in targets)
    return Estimate(
        memory=memory,
        # Stored decoder calls, and the activations into and out of a block.
        disk=int(3 * tokens * hidden * width + coded),
        seconds=per_work * sum(coding_work(t) for t in targets),
        result=int(coded),
        bits_per_weight=8 * coded / weights,
        weights=weights,
    )


def check_disk(folder: Path, needed: int) -> None:
    """Raise `CompressError` when the disk under `folder` has less than `needed` bytes free."""
    place = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise CompressError(
            f"{place}: {_size(free)} free, {_size(needed)} needed. Remedy: another --out or --work folder"
        )


def _size(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
