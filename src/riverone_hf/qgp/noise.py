"""Depolarizing noise as trajectories: with probability p a random Pauli gate follows the rotations of a wire.

A Pauli gate after RX(a) RY(b) RZ(c) is, up to a phase, the same rotations at other angles, so noise is drawn on the
angles and the simulator knows nothing of it. One trajectory is a sample of the channel, not the channel.
"""

from __future__ import annotations

import math

import torch
from torch import nn


class DepolarizingNoise(nn.Module):
    """Changes angles (B, L, n, 3) in training mode, each circuit with a draw of its own; evaluation is noiseless.

    Draws come from a generator of its own, seeded by `seed` and the number of calls so far, which is saved with the
    model: the global random state is neither read nor moved, and a resumed training goes on where it stopped.
    """

    calls: torch.Tensor

    def __init__(self, probability: float, seed: int = 0):
        super().__init__()
        if not 0 <= probability <= 1:
            raise ValueError(f"noise_prob must lie in 0..1: got {probability}")
        self.probability, self.seed = probability, seed
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, angles: torch.Tensor) -> torch.Tensor:
        if not self.training or self.probability == 0:
            return angles
        generator = torch.Generator().manual_seed((self.seed << 32) + int(self.calls))
        self.calls += 1
        shape = angles.shape[:-1]
        hit = torch.rand(shape, generator=generator) < self.probability
        pauli = torch.randint(1, 4, shape, generator=generator) * hit
        return insert_paulis(angles, pauli.to(angles.device))

    def extra_repr(self) -> str:
        return f"probability={self.probability}"


def insert_paulis(angles: torch.Tensor, pauli: torch.Tensor) -> torch.Tensor:
    """Angles (..., 3) whose rotations equal a Pauli gate after RX(a) RY(b) RZ(c); `pauli` (...): 0 none, 1 X, 2 Y, 3 Z.

    X RX(a) = i RX(a + pi); Y and Z anticommute with X, so they pass RX(a) and leave RX(-a), and so on to the right.
    """
    a, b, c = angles.unbind(-1)
    past_x, past_y = pauli >= 2, pauli == 3
    a = torch.where(past_x, -a, a) + math.pi * (pauli == 1)
    b = torch.where(past_y, -b, b) + math.pi * (pauli == 2)
    return torch.stack([a, b, c + math.pi * past_y], dim=-1)
