"""Can a method of a given size reach a given weight? Fits of all methods to fixed targets, at matched counts.

A target is the stored weight changed by some family of changes, each rescaled to the same size. A score says how much
of the change a method reproduces: 100 all of it, 0 none (below 0: it made things worse).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch

from .baselines import BitMaskConfig, KroneckerConfig, LoRAConfig, MLPConfig, RowColumnConfig
from .config import GeneratorConfig, QGPConfig
from .generator import draw
from .methods import Match, matched
from .paramgen import ParamGenConfig

CHANGE = 0.3
"""Size of a target's change over the size of the weight."""
TARGETS = (
    "circuit near",
    "circuit far",
    "row_col",
    "low rank",
    "kronecker",
    "bit_mask",
    "elementwise",
    "sparse",
    "unstructured",
)
"""`near` circuits have angles close to the start, `far` ones uniform angles, which no method here starts from."""
RATES = (0.01, 0.05)
"""Learning rates that every method gets; the better one counts, as the question is what can be reached."""


def study_methods(shape: tuple[int, int], budget: int | None = None) -> dict[str, Match]:
    """Every method at the setting closest to `budget` trained parameters (default: the two-layer full register's)."""
    if budget is None:
        budget = QGPConfig().count(shape, 1)
    both = QGPConfig(row_col=True)
    starting: dict[str, GeneratorConfig] = {
        "circuit": QGPConfig(),
        "circuit, tiled": QGPConfig(register="tiled", tile_wires=max(4, math.ceil(math.log2(math.prod(shape))) - 5)),
        "row_col": RowColumnConfig(),
        "kronecker": KroneckerConfig(),
        "bit_mask": BitMaskConfig(),
        "mlp": MLPConfig(),
        "lora": LoRAConfig(),
        "lora, frozen factors": LoRAConfig(frozen_factors=True),
        "paramgen": ParamGenConfig(n_wires=2, n_layers=1, rank=1, basis_size=2),
    }
    found = {name: matched([(shape, 1)], config, budget) for name, config in starting.items()}
    # The two together cannot match one of them; their row stands beside, as SPEC's third comparison.
    return {**found, "circuit + row_col": Match(both, both.count(shape, 1), budget, False)}


def make_target(name: str, weight: torch.Tensor, seed: int) -> torch.Tensor:
    """The weight (M, D) with a change of relative size `CHANGE` drawn from the family `name`."""
    shape: tuple[int, int] = (weight.shape[0], weight.shape[1])
    if name.startswith("circuit"):
        generator: Any = QGPConfig().build(shape, 1, seed)
        # Another draw of the start than any trained circuit has, so that the fit has to find the angles.
        spread = draw(tuple(generator.angles.shape), seed + 1, 0.3 if name == "circuit near" else 3.0)
        with torch.no_grad():
            generator.angles += spread
            change = generator(weight)[0] - weight
    else:
        change = _change(name, weight, shape, seed)
    return weight + change * (CHANGE * weight.norm() / change.norm())


def _change(name: str, weight: torch.Tensor, shape: tuple[int, int], seed: int) -> torch.Tensor:
    rows, columns = shape
    if name == "row_col":
        factors = (1 + draw((rows, 1), seed, 0.3)) * (1 + draw((1, columns), seed + 1, 0.3))
        return weight * (factors - 1)
    if name == "low rank":
        return draw((rows, 2), seed, 1.0) @ draw((2, columns), seed + 1, 1.0)
    if name == "kronecker":
        small = (math.isqrt(rows), math.isqrt(columns))
        large = (math.ceil(rows / small[0]), math.ceil(columns / small[1]))
        mask = torch.kron(draw(small, seed, 1.0), draw(large, seed + 1, 1.0))
        return weight * mask[:rows, :columns]
    if name == "bit_mask":
        generator: Any = BitMaskConfig(terms=1).build(shape, 1, seed)
        with torch.no_grad():
            generator.factor += draw(tuple(generator.factor.shape), seed + 1, 0.5)
            generator.gate += 1
            return generator(weight)[0] - weight
    if name == "elementwise":
        return torch.tanh(2 * weight / weight.square().mean().sqrt()) * weight.square().mean().sqrt() - weight
    noise = draw(shape, seed, 1.0)
    if name == "sparse":
        return noise * (torch.rand(shape, generator=torch.Generator().manual_seed(seed + 1)) < 0.02)
    if name == "unstructured":
        return noise
    raise ValueError(f"unknown target {name!r}: expected one of {', '.join(TARGETS)}")


@dataclass(frozen=True)
class Fit:
    """`explained` percent of the change, the learning rate that gave it, and seconds of all rates together."""

    explained: float
    rate: float
    seconds: float


def fit(config: GeneratorConfig, weight: torch.Tensor, target: torch.Tensor, steps: int, seed: int) -> Fit:
    """Train a fresh generator of `config` (one slot) towards `target` by Adam with a cosine schedule, per rate."""
    began = time.perf_counter()
    stored = torch.nn.Parameter(weight, requires_grad=False)
    change = (target - weight).square().sum()
    best = (-math.inf, 0.0)
    for rate in RATES:
        generator = config.build((weight.shape[0], weight.shape[1]), 1, seed)
        optimizer = torch.optim.Adam(generator.parameters(), lr=rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            optimizer.zero_grad()
            ((generator(stored)[0] - target).square().sum() / change).backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            left = (generator(stored)[0] - target).square().sum() / change
        best = max(best, (100 * (1 - left.item()), rate))
    return Fit(best[0], best[1], time.perf_counter() - began)
