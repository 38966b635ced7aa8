"""What the compiled engine needs of the angles: real rotations, tables of phases, and the way back to gradients.

RX(a) RY(b) RZ(c) equals RZ(alpha) RY(beta) RZ(gamma). RY is real, so a register turns as two independent real planes,
and phases are left between the layers only: alpha of one layer is carried through the CNOTs and merged with gamma of
the next; the last alpha does not reach p. A phase over n bits is a product of a table over the upper bits and one over
the lower bits; where a CNOT couples the two halves, the lower table exists once per value of the coupling bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .ansatz import images


@dataclass(frozen=True)
class Masks:
    """Signs of the phases of one layer boundary, split at `split` low bits; rows: n of gamma, then n of alpha."""

    lower: np.ndarray
    """(rows, variants, 2^split) of -1/2, 0, 1/2."""
    upper: np.ndarray
    """(rows, 2^(n - split)) of -1/2, 0, 1/2."""
    variant: np.ndarray
    """(2^(n - split),) int64: which lower table belongs to an upper index."""


@dataclass(frozen=True)
class Tables:
    """Phases of one layer boundary for some circuits as float32 planes, flat."""

    lower_re: np.ndarray
    lower_im: np.ndarray
    upper_re: np.ndarray
    upper_im: np.ndarray
    variant: np.ndarray
    variants: int


def euler(angles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """alpha, beta, gamma of angles (..., 3) in float64, beta in 0..pi."""
    half = np.asarray(angles, dtype=np.float64) / 2
    (ca, cb), (sa, sb) = np.cos(half[..., :2]).T, np.sin(half[..., :2]).T
    u00, u10 = (ca * cb - 1j * sa * sb).T, (ca * sb - 1j * sa * cb).T
    total, difference = -np.angle(u00), np.angle(u10)
    beta = 2 * np.arctan2(np.abs(u10), np.abs(u00))
    return total + difference, beta, total - difference + angles[..., 2]


def half_turns(beta: np.ndarray) -> np.ndarray:
    """cos and sin of beta / 2 by bit, (batch, n) with wire 0 first -> (batch, 2 n) float32, lowest bit first."""
    half = beta[:, ::-1] / 2
    return np.stack([np.cos(half), np.sin(half)], axis=-1).reshape(len(beta), -1).astype(np.float32)


@lru_cache(maxsize=16)
def masks(n_wires: int, entangler: str, split: int, before: bool) -> Masks:
    """Which bits each wire's phase reads; indices are those after the boundary's CNOTs, or `before` them.

    gamma reads the wire's own bit after the CNOTs, alpha the wire's own bit before them.
    """
    rows = [
        (mask & (1 << split) - 1, mask >> split)
        for power in (before, before - 1)
        for mask in _parities(n_wires, entangler, power)
    ]
    couplings = sorted({above for below, above in rows if below and above})
    low, high = np.arange(1 << split), np.arange(1 << (n_wires - split))
    numbers = np.arange(1 << len(couplings))
    variant = np.zeros_like(high)
    for i, above in enumerate(couplings):
        variant |= (np.bitwise_count(high & above) & 1).astype(np.int64) << i
    lower = np.zeros((2 * n_wires, len(numbers), len(low)))
    upper = np.zeros((2 * n_wires, len(high)))
    for row, (below, above) in enumerate(rows):
        if below:
            flip = numbers >> couplings.index(above) & 1 if above else 0 * numbers
            lower[row] = (np.bitwise_count(low & below) & 1 ^ flip[:, None]) - 0.5
        else:
            upper[row] = (np.bitwise_count(high & above) & 1) - 0.5
    return Masks(lower, upper, variant)


def _parities(n_wires: int, entangler: str, power: int) -> list[int]:
    """For each wire the bits of m whose parity is the wire's bit after `power` layers of CNOTs on m."""
    image = images(n_wires, entangler, power)
    return [sum(1 << j for j in range(n_wires) if image[j] >> (n_wires - 1 - wire) & 1) for wire in range(n_wires)]


def tables(
    gamma: np.ndarray, alpha: np.ndarray, n_wires: int, entangler: str, split: int, before: bool = False
) -> Tables:
    """exp(i phase) for gamma and the previous layer's alpha, (batch, n) each, wire 0 first; `before` as in masks."""
    signs = masks(n_wires, entangler, split, before)
    phases = np.concatenate([gamma, alpha], axis=1)
    lower = _reduced(phases @ signs.lower.reshape(len(signs.lower), -1))
    upper = _reduced(phases @ signs.upper)
    cosines, sines = (np.cos(lower).ravel(), np.cos(upper).ravel()), (np.sin(lower).ravel(), np.sin(upper).ravel())
    return Tables(cosines[0], sines[0], cosines[1], sines[1], signs.variant, signs.lower.shape[1])


def angle_gradients(sums: np.ndarray, angles: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Gradients of the angles from Im<g|X|p>, Im<g|Y|p>, Im<g|Z|p> taken between RY(beta) and RZ(alpha).

    A small turn about sigma moves p by -i/2 sigma p, so each angle's gradient is half the sum along its own axis. The
    axes of RX, RY and RZ, seen from that place, are x, Rx(a) y and Rx(a) Ry(b) z, all turned by Rz(-alpha).

    Args: sums and angles (..., 3), alpha (...). Returns (..., 3) float64.
    """
    x, y, z = (sums[..., i] / 2 for i in range(3))
    # The sums seen after RZ(alpha) instead, where the first two axes are plain.
    x, y = x * np.cos(alpha) - y * np.sin(alpha), x * np.sin(alpha) + y * np.cos(alpha)
    (ca, cb), (sa, sb) = np.cos(angles[..., :2]).T, np.sin(angles[..., :2]).T
    ca, cb, sa, sb = ca.T, cb.T, sa.T, sb.T
    return np.stack([x, y * ca + z * sa, x * sb - y * sa * cb + z * ca * cb], axis=-1)


def _reduced(phases: np.ndarray) -> np.ndarray:
    """Float32 phases in -pi..pi: float32 cosines are fast, and exact enough once the turns are taken off."""
    return (phases - 2 * np.pi * np.rint(phases / (2 * np.pi))).astype(np.float32)
