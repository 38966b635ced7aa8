"""The shape of the circuit, and its CNOTs as a linear map of basis indices.

One layer is RX(a) RY(b) RZ(c) on every wire (an operator product: RZ acts first; R_s(t) = exp(-i t s / 2)), then the
entangler. Wire 0 is the most significant bit of a basis index. CNOTs permute basis states, and the permutation is
linear over bits, so n integers (the images of the n unit vectors) hold all of it and nothing is ever multiplied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from ..errors import CircuitError

Entangler = Literal["chain", "ring", "none"]
ENTANGLERS: tuple[str, ...] = get_args(Entangler)
MAX_WIRES = 30
"""A register of 30 wires already holds 4 GiB per float32 plane."""


@dataclass(frozen=True)
class Ansatz:
    """The circuit of the paper's Eq 13: `n_layers` times (three rotations on each of `n_wires`, then the entangler).

    Raises CircuitError for sizes below one, more than 30 wires, or an unknown entangler.
    """

    n_wires: int
    n_layers: int = 2
    entangler: str = "chain"

    def __post_init__(self) -> None:
        if not 1 <= self.n_wires <= MAX_WIRES:
            raise CircuitError(f"a circuit of {self.n_wires} wires: expected 1 to {MAX_WIRES}. Remedy: smaller tiles")
        if self.n_layers < 1:
            raise CircuitError(f"a circuit of {self.n_layers} layers: expected at least 1")
        if self.entangler not in ENTANGLERS:
            raise CircuitError(f"entangler {self.entangler!r}: expected one of {', '.join(ENTANGLERS)}")

    def shape(self) -> tuple[int, int, int]:
        """Shape of the angles of one circuit: (n_layers, n_wires, 3), the last axis being the angles of RX, RY, RZ."""
        return (self.n_layers, self.n_wires, 3)

    @property
    def n_parameters(self) -> int:
        """Angles of one circuit, 3 n L."""
        return 3 * self.n_layers * self.n_wires

    @property
    def n_effective(self) -> int:
        """Rank of the Jacobian of p by the angles for the chain, 3nL - n - 2(L-1) (measured, at general angles).

        The last layer's phases do not reach p (n), and the entangler lets two rotations pass at each layer boundary.
        Without an entangler all layers merge into one rotation per wire, of which two angles are seen: 2n.
        """
        if self.entangler == "none":
            return 2 * self.n_wires
        return self.n_parameters - self.n_wires - 2 * (self.n_layers - 1)

    @property
    def n_states(self) -> int:
        """Basis states of the register, 2^n."""
        return 1 << self.n_wires


def cnots(n_wires: int, entangler: str) -> list[tuple[int, int]]:
    """(control, target) of one layer's CNOTs in order: 0->1, 1->2, ..., and n-1->0 as well for a ring."""
    pairs = [(wire, wire + 1) for wire in range(n_wires - 1)] if entangler != "none" else []
    return [*pairs, (n_wires - 1, 0)] if entangler == "ring" and n_wires > 1 else pairs


def images(n_wires: int, entangler: str, power: int) -> list[int]:
    """Where `power` layers of CNOTs send the basis states 1, 2, 4, ... (negative: the inverse permutation)."""
    gates = cnots(n_wires, entangler)
    gates = gates if power >= 0 else gates[::-1]
    out = []
    for bit in range(n_wires):
        index = 1 << bit
        for control, target in gates * abs(power):
            index ^= (index >> (n_wires - 1 - control) & 1) << (n_wires - 1 - target)
        out.append(index)
    return out


def index_map(image: list[int], device: torch.device | str = "cpu") -> torch.Tensor:
    """The whole permutation, (2^n,) int64: entry m is the xor of the images of the bits of m."""
    index = torch.zeros(1, dtype=torch.int64, device=device)
    for value in image:
        index = torch.cat([index, index ^ value])
    return index


def readout_power(n_layers: int, align: bool) -> int:
    """Power of the entangler that leads from an index of p to the state before the last entangler.

    p[T k] = |chi[k]|^2, with chi the state before the last entangler T. Aligned, entry j is read at T^L j instead.
    """
    return n_layers - 1 if align else -1
