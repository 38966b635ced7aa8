"""Classical generators of the same weights, to be compared with the circuit at an equal number of trained parameters.

All start at the identity. For foreign models LoRA, LoKr, VeRA and (IA)3 come from peft (`foreign`); here are those that
a shared weight with one slot per layer needs.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from .config import GeneratorConfig
from .generator import WeightGenerator, draw
from .readouts import split


class RowColumnConfig(GeneratorConfig):
    """W (1 + r)(1 + c)^T: one factor per row and one per column. M + D parameters, nothing to choose."""

    method: Literal["row_col"] = "row_col"

    def count(self, shape: tuple[int, int], slots: int) -> int:
        return slots * sum(shape)

    def build(self, shape: tuple[int, int], slots: int, seed: int) -> WeightGenerator:
        return _RowColumn(shape, slots)


class KroneckerConfig(GeneratorConfig):
    """W * (1 + sum_t A_t x B_t): factors that repeat in blocks. At least about 2 sqrt(MD) parameters per term."""

    method: Literal["kronecker"] = "kronecker"
    terms: int = Field(default=1, ge=1)
    """Kronecker products that are added up."""

    def count(self, shape: tuple[int, int], slots: int) -> int:
        (m1, m2), (d1, d2) = split(shape[0]), split(shape[1])
        return slots * self.terms * (m1 * d1 + m2 * d2)

    def build(self, shape: tuple[int, int], slots: int, seed: int) -> WeightGenerator:
        return _Kronecker(shape, slots, self.terms, seed)


class BitMaskConfig(GeneratorConfig):
    """W * (1 + sum_t g_t prod_b f_t[b, bit b of the entry's index]): products over index bits, without phases."""

    method: Literal["bit_mask"] = "bit_mask"
    terms: int = Field(default=3, ge=1)
    """Products that are added up; 2 n + 1 parameters each, n the number of index bits."""

    def count(self, shape: tuple[int, int], slots: int) -> int:
        return slots * self.terms * (2 * math.ceil(math.log2(shape[0] * shape[1])) + 1)

    def build(self, shape: tuple[int, int], slots: int, seed: int) -> WeightGenerator:
        return _BitMask(shape, slots, self.terms, seed)


class MLPConfig(GeneratorConfig):
    """W + rms h(w / rms, row, column): a small network applied to every entry. Work space grows with `hidden`."""

    method: Literal["mlp"] = "mlp"
    hidden: int = Field(default=16, ge=1)
    """Width of the one hidden layer; 5 h + 1 parameters."""

    def count(self, shape: tuple[int, int], slots: int) -> int:
        return slots * (5 * self.hidden + 1)

    def build(self, shape: tuple[int, int], slots: int, seed: int) -> WeightGenerator:
        return _ElementwiseMLP(shape, slots, self.hidden, seed)


class LoRAConfig(GeneratorConfig):
    """W + B A per slot of a shared weight, B zero at the start; r (M + D) parameters.

    `frozen_factors` keeps random A and B and trains only the r numbers between them (as VeRA does): the form that can
    match a small count.
    """

    method: Literal["lora"] = "lora"
    rank: int = Field(default=4, ge=1)
    """Rank of the update."""
    frozen_factors: bool = False
    """Train only a diagonal between frozen random factors."""

    def count(self, shape: tuple[int, int], slots: int) -> int:
        return slots * self.rank * (1 if self.frozen_factors else sum(shape))

    def build(self, shape: tuple[int, int], slots: int, seed: int) -> WeightGenerator:
        return _LoRA(shape, slots, self.rank, self.frozen_factors, seed)


class _RowColumn(WeightGenerator):
    def __init__(self, shape: tuple[int, int], slots: int):
        super().__init__(shape, slots)
        self.row = nn.Parameter(torch.zeros(slots, shape[0], 1))
        self.column = nn.Parameter(torch.zeros(slots, 1, shape[1]))

    def generate(self, weight: torch.Tensor, keep: nn.Parameter | None) -> torch.Tensor:
        return weight * (1 + self.row) * (1 + self.column)

    def deviation(self) -> torch.Tensor:
        return self.row.square().sum() + self.column.square().sum()


class _Kronecker(WeightGenerator):
    start: torch.Tensor

    def __init__(self, shape: tuple[int, int], slots: int, terms: int, seed: int):
        super().__init__(shape, slots)
        (m1, m2), (d1, d2) = split(shape[0]), split(shape[1])
        self.register_buffer("start", 1 + draw((terms, m2, d2), seed, 0.1))
        self.a = nn.Parameter(torch.zeros(slots, terms, m1, d1))
        self.b = nn.Parameter(self.start.repeat(slots, 1, 1, 1))

    def generate(self, weight: torch.Tensor, keep: nn.Parameter | None) -> torch.Tensor:
        mask = torch.einsum("stij,stkl->sikjl", self.a, self.b).reshape(self.slots, *self.shape)
        return weight * (1 + mask)

    def deviation(self) -> torch.Tensor:
        return self.a.square().sum() + (self.b - self.start).square().sum()


class _BitMask(WeightGenerator):
    start: torch.Tensor

    def __init__(self, shape: tuple[int, int], slots: int, terms: int, seed: int):
        super().__init__(shape, slots)
        bits = math.ceil(math.log2(shape[0] * shape[1]))
        self.register_buffer("start", 1 + draw((terms, bits, 2), seed, 0.1))
        self.factor = nn.Parameter(self.start.repeat(slots, 1, 1, 1))
        self.gate = nn.Parameter(torch.zeros(slots, terms, 1))

    def generate(self, weight: torch.Tensor, keep: nn.Parameter | None) -> torch.Tensor:
        mask: torch.Tensor = self.gate
        for bit in range(self.factor.shape[2]):
            # The first bit is the most significant one, as wire 0 is.
            mask = (mask[..., None] * self.factor[:, :, bit, None, :]).flatten(2)
        return weight * (1 + mask.sum(1)[:, : weight.numel()].view(-1, *self.shape))

    def deviation(self) -> torch.Tensor:
        return (self.factor - self.start).square().sum() + self.gate.square().sum()


class _ElementwiseMLP(WeightGenerator):
    start: torch.Tensor

    def __init__(self, shape: tuple[int, int], slots: int, hidden: int, seed: int):
        super().__init__(shape, slots)
        self.register_buffer("start", draw((3, hidden), seed, 1.0))
        self.first = nn.Parameter(self.start.repeat(slots, 1, 1))
        self.bias = nn.Parameter(torch.zeros(slots, 1, hidden))
        self.second = nn.Parameter(torch.zeros(slots, hidden, 1))
        self.shift = nn.Parameter(torch.zeros(slots, 1, 1))

    def generate(self, weight: torch.Tensor, keep: nn.Parameter | None) -> torch.Tensor:
        rms = weight.square().mean().sqrt()
        rows, columns = (torch.linspace(-1, 1, size, device=weight.device, dtype=weight.dtype) for size in self.shape)
        grid = torch.meshgrid(rows, columns, indexing="ij")
        features = torch.stack([weight / rms.clamp_min(1e-12), *grid], dim=-1).view(-1, 3)
        hidden = torch.nn.functional.gelu(features @ self.first.to(weight.dtype) + self.bias)
        update = hidden @ self.second.to(weight.dtype) + self.shift
        return weight + rms * update.view(-1, *self.shape)

    def deviation(self) -> torch.Tensor:
        total = (self.first - self.start).square().sum()
        return total + sum(part.square().sum() for part in (self.bias, self.second, self.shift))


class _LoRA(WeightGenerator):
    start: torch.Tensor
    left: torch.Tensor

    def __init__(self, shape: tuple[int, int], slots: int, rank: int, frozen: bool, seed: int):
        super().__init__(shape, slots)
        rows, columns = shape
        self.register_buffer("start", draw((rank, columns), seed, columns**-0.5))
        self.frozen, self.rank = frozen, rank
        if frozen:
            self.register_buffer("left", draw((rows, rank), seed + 1, 1.0))
            self.middle = nn.Parameter(torch.zeros(slots, rank, 1))
        else:
            self.a = nn.Parameter(self.start.repeat(slots, 1, 1))
            self.b = nn.Parameter(torch.zeros(slots, rows, rank))

    def generate(self, weight: torch.Tensor, keep: nn.Parameter | None) -> torch.Tensor:
        if self.frozen:
            return weight + (self.left @ (self.middle * self.start)) / math.sqrt(self.rank)
        return weight + self.b @ self.a

    def deviation(self) -> torch.Tensor:
        if self.frozen:
            return self.middle.square().sum()
        return self.b.square().sum() + (self.a - self.start).square().sum()
