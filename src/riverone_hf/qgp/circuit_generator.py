"""Generated weights of one stored weight: the weight is the input state, the angles of each slot its circuit."""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..circuits import Ansatz, probabilities
from ..errors import GeneratorError
from . import readouts
from .generator import WeightGenerator, draw

if TYPE_CHECKING:
    from .config import QGPConfig

START_SCALE = 0.1
"""Spread of the initial angles. At exactly zero the gradients of RX and RZ vanish; uniform angles lose the weight."""


@dataclass(frozen=True)
class Plan:
    """How M*D entries fill registers: `tiles` states of `wires` wires, divided over `circuits` angle sets."""

    wires: int
    tiles: int
    circuits: int

    @property
    def size(self) -> int:
        return 2**self.wires


def plan_register(config: QGPConfig, shape: tuple[int, int]) -> Plan:
    """The registers of one weight. Raises GeneratorError when there are more circuits than tiles."""
    entries = shape[0] * shape[1]
    wires = max(1, math.ceil(math.log2(entries)))
    if config.register_kind == "full":
        return Plan(wires, 1, 1)
    wires = min(wires, config.tile_wires)
    tiles = math.ceil(entries / 2**wires)
    if config.tile_circuits > tiles:
        raise GeneratorError(
            f"tile_circuits={config.tile_circuits} for {tiles} tiles of 2^{wires} entries (weight {shape[0]} x "
            f"{shape[1]}). Remedy: lower tile_circuits or tile_wires"
        )
    return Plan(wires, tiles, config.tile_circuits)


class CircuitGenerator(WeightGenerator):
    """See `QGPConfig`. `angles` (S, C, L, n, 3) start at `start` (C, L, n, 3), one draw for all slots."""

    start: torch.Tensor

    def __init__(self, config: QGPConfig, shape: tuple[int, int], slots: int, seed: int):
        super().__init__(shape, slots)
        self.config, self.plan = config, plan_register(config, shape)
        _check_readout(config, shape)
        angles = (self.plan.circuits, *Ansatz(self.plan.wires, config.n_layers, config.entangler).shape())
        self.register_buffer("start", draw(angles, seed, START_SCALE))
        self.angles = nn.Parameter(self.start.repeat(slots, 1, 1, 1, 1))
        gates = readouts.gate_count(config.readout, config.readout_rank)
        # Three axes: optimizers that orthogonalize matrices take every parameter of two axes for one.
        self.gate = nn.Parameter(torch.full((slots, gates, 1), self._gate_start))
        self.row = nn.Parameter(torch.zeros(slots, shape[0], 1)) if config.row_col else None
        self.column = nn.Parameter(torch.zeros(slots, 1, shape[1])) if config.row_col else None
        self._reference: tuple[Any, ...] | None = None

    @property
    def _gate_start(self) -> float:
        return 1.0 if self.config.readout in ("ratio", "sign") else 0.0

    def __getstate__(self) -> dict[str, Any]:
        # The cached reference holds a weak reference, which cannot be pickled, and a copy has another weight.
        return {**self.__dict__, "_reference": None}

    def _amplitudes(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit states (T, N) of the zero-padded entries, and the norm of each over sqrt(N), (T, 1)."""
        padding = self.plan.tiles * self.plan.size - weight.numel()
        tiles = nn.functional.pad(weight.flatten(), (0, padding)).view(self.plan.tiles, -1)
        squares = tiles.square().sum(1, keepdim=True)
        empty = squares == 0
        norms = torch.where(empty, 1, squares).sqrt()
        # An all-zero tile has no direction; any state will do, its entries stay zero.
        first = nn.functional.one_hot(torch.zeros(1, dtype=torch.long, device=weight.device), self.plan.size)
        states = torch.where(empty, first.to(weight.dtype), tiles / norms)
        return states, torch.where(empty, 0, norms) / math.sqrt(self.plan.size)

    def _probabilities(self, states: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
        """(T, N), (B, C, L, n, 3) -> (B, M*D), scaled to mean 1 and each at the entry that it belongs to."""
        batch, tiles = angles.shape[0], self.plan.tiles
        if tiles == 1:
            p = probabilities(states[0], angles[:, 0], entangler=self.config.entangler, align=True)
        else:
            circuit = torch.arange(tiles, device=angles.device) * self.plan.circuits // tiles
            p = probabilities(
                states.repeat(batch, 1),
                angles[:, circuit].flatten(0, 1),
                entangler=self.config.entangler,
                align=True,
            )
        return p.reshape(batch, -1)[:, : self.shape[0] * self.shape[1]] * self.plan.size

    def _both(self, states: torch.Tensor, keep: nn.Parameter | None) -> tuple[torch.Tensor, torch.Tensor]:
        """p (S, M*D) and the same circuit at its initial angles (1 or S, M*D).

        While the weight is frozen the reference is computed once, in a call of the same shape, so that the two agree
        bitwise; while it trains, it is one circuit more in the same call.
        """
        angles, start = self.angles.float(), self.start.float()
        if keep is None or (keep.requires_grad and torch.is_grad_enabled()):
            p = self._probabilities(states, torch.cat([angles, start[None]]))
            return p[:-1], p[-1:]
        mark = (keep._version, self.start._version, keep.data_ptr(), keep.device, keep.dtype)
        if self._reference is None or self._reference[0]() is not keep or self._reference[1] != mark:
            with torch.no_grad():
                p = self._probabilities(states, start.expand_as(angles).contiguous())
                reference = p[:1].clone() if bool((p == p[:1]).all()) else p
            self._reference = (weakref.ref(keep), mark, reference)
        return self._probabilities(states, angles), self._reference[2]

    def generate(self, weight: torch.Tensor, keep: nn.Parameter | None) -> torch.Tensor:
        states, rms = self._amplitudes(weight)
        flat, gate = weight.flatten(), self.gate.float().squeeze(2)
        if self.config.readout in ("ratio", "sign"):
            p, p_start = self._both(states, keep)
            if self.config.readout == "ratio":
                made = readouts.ratio(flat, p, p_start, gate)
            else:
                spread = rms.expand(-1, self.plan.size).flatten()[: flat.numel()]
                made = readouts.sign(flat, p, p_start, gate, spread)
        else:
            p = self._probabilities(states, self.angles.float())
            readout = readouts.low_rank if self.config.readout == "low_rank" else readouts.kronecker
            made = readout(flat, p, gate, self.shape)
        made = made.view(-1, *self.shape)
        if self.row is not None and self.column is not None:
            made = made * (1 + self.row.float()) * (1 + self.column.float())
        return made

    def deviation(self) -> torch.Tensor:
        total = (self.angles.float() - self.start.float()).square().sum()
        total = total + (self.gate.float() - self._gate_start).square().sum()
        for factor in (self.row, self.column):
            if factor is not None:
                total = total + factor.float().square().sum()
        return total

    def circuits(self) -> dict[str, int]:
        ansatz = Ansatz(self.plan.wires, self.config.n_layers, self.config.entangler)
        # All p of one register add up to 1, so 2^n - 1 of them are free.
        each = min(ansatz.n_effective, self.plan.size - 1)
        return {"angles": self.angles.numel(), "effective": self.slots * self.plan.circuits * each}


def _check_readout(config: QGPConfig, shape: tuple[int, int]) -> None:
    rows, columns = shape
    if config.readout == "low_rank":
        needed, remedy = config.readout_rank * (rows + columns), "lower readout_rank"
    elif config.readout == "kronecker":
        (m1, m2), (d1, d2) = readouts.split(rows), readouts.split(columns)
        needed, remedy = m1 * d1 + m2 * d2, 'use readout="ratio"'
    else:
        return
    if needed > rows * columns:
        raise GeneratorError(
            f"the {config.readout} readout of a {rows} x {columns} weight needs {needed} probabilities but there are "
            f"{rows * columns}. Remedy: {remedy}"
        )
