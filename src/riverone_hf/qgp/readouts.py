"""How do probabilities become a weight again? Four readouts, each the identity at the circuit's initial angles.

p is even in the weight: its sign and norm are gone, so every readout starts from the weight itself. A dense map from
all probabilities would need 2.8e12 parameters for one 1152 x 1152 matrix.
"""

from __future__ import annotations

import math

import torch

SOFTENING = 1e-3
"""Added to p below the square root of the `sign` readout: its slope would be infinite at p = 0."""


def gate_count(readout: str, rank: int) -> int:
    """Trained gates or scales of one weight."""
    return rank if readout == "low_rank" else 1


def ratio(weight: torch.Tensor, p: torch.Tensor, p_start: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    """W (1 + s (p - p_0) / (p_0 + 1)); the +1 keeps small p_0 from blowing up (p / p_0 reached 5e4 after a small step).

    Args:
        weight: (M*D,) float32.
        p, p_start: (S, M*D) and (S or 1, M*D), scaled to mean 1.
        gate: (S, 1), starts at 1.
    """
    return weight * (1 + gate * (p - p_start) / (p_start + 1))


def sign(
    weight: torch.Tensor, p: torch.Tensor, p_start: torch.Tensor, gate: torch.Tensor, rms: torch.Tensor
) -> torch.Tensor:
    """W + s sign(W) (sqrt(p + e) - sqrt(p_0 + e)) ||W|| / sqrt(N); `rms` is the norm of the register over sqrt(N)."""
    change = (p + SOFTENING).sqrt() - (p_start + SOFTENING).sqrt()
    return weight + gate * weight.sign() * change * rms


def low_rank(weight: torch.Tensor, p: torch.Tensor, gate: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """W + rms(W) U diag(g) V^T / sqrt(r), U and V cut from p - 1; g (S, r) starts at 0. Returns (S, M*D)."""
    (rows, columns), rank = shape, gate.shape[1]
    features = p[:, : rank * (rows + columns)] - 1
    left = features[:, : rank * rows].reshape(-1, rows, rank) * gate[:, None]
    right = features[:, rank * rows :].reshape(-1, columns, rank)
    update = torch.einsum("smr,sdr->smd", left, right).flatten(1) / math.sqrt(rank)
    return weight + weight.square().mean().sqrt() * update


def kronecker(weight: torch.Tensor, p: torch.Tensor, gate: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """W + g rms(W) A x B (Kronecker product), A and B cut from p - 1; g (S, 1) starts at 0. Returns (S, M*D)."""
    (m1, m2), (d1, d2) = (split(size) for size in shape)
    features = p[:, : m1 * d1 + m2 * d2] - 1
    a, b = features[:, : m1 * d1].reshape(-1, m1, d1), features[:, m1 * d1 :].reshape(-1, m2, d2)
    update = torch.einsum("sij,skl->sikjl", a, b).flatten(1)
    return weight + gate * weight.square().mean().sqrt() * update


def split(size: int) -> tuple[int, int]:
    """`size` as a product of two factors as equal as possible, the smaller first."""
    small = next(factor for factor in range(math.isqrt(size), 0, -1) if size % factor == 0)
    return small, size // small
