"""What the compiled engine needs of the angles: real rotations, tables of phases, and the way back to gradients.

RX(a) RY(b) RZ(c) equals RZ(alpha) RY(beta) RZ(gamma). RY is real, so a register turns as two independent real planes,
and phases are left between the layers only: alpha of one layer is carried through the CNOTs and merged with gamma of
the next; the last alpha does not reach p. A phase over n bits is a product of a table over the upper bits and one over
the lower bits; where a CNOT couples the two halves, the lower table exists once per value of the coupling bits.

Half the multiplications of a rotation are saved: cos(beta/2) is left out, so that y0 = x0 - t x1 and y1 = x1 + t x0
with t = tan(beta/2), and the product of all cosines of a layer goes into its tables of phases. For t to stay within
0..1, a wire turned by more than pi/2 is turned by pi - beta instead and then flipped by X, which moves basis indices
only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .ansatz import images


@dataclass(frozen=True)
class Rotations:
    """RX RY RZ of every wire as X^flip RZ(alpha) RY(beta) RZ(gamma), up to a phase; all float64 (..., n_wires)."""

    alpha: np.ndarray
    gamma: np.ndarray
    tangent: np.ndarray
    """tan(beta / 2), in 0..1."""
    cosine: np.ndarray
    """cos(beta / 2)."""
    flip: np.ndarray
    """0 or 1, int64."""

    def indices(self) -> np.ndarray:
        """The flips as one number that is xored to a basis index, (...) int64."""
        places = np.arange(self.flip.shape[-1] - 1, -1, -1)
        return (self.flip << places).sum(-1)

    def sum_weights(self) -> np.ndarray:
        """What X and Y sums of each wire are multiplied with, as the wires below it are undone without their cosines.

        Both the state and its gradient lack them, hence the squares.
        """
        below = np.cumprod(self.cosine[..., :0:-1] ** 2, axis=-1)[..., ::-1]
        return np.concatenate([below, np.ones_like(self.cosine[..., :1])], axis=-1)


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
    """Phases of layer boundaries for some circuits as float32 planes, one row per boundary."""

    lower_re: np.ndarray
    lower_im: np.ndarray
    upper_re: np.ndarray
    upper_im: np.ndarray
    variant: np.ndarray
    variants: int


def rotations(angles: np.ndarray) -> Rotations:
    """Decomposes float64 angles (..., 3)."""
    a, b, c = np.ascontiguousarray(np.moveaxis(angles, -1, 0))
    ca, cb, sa, sb = np.cos(a / 2), np.cos(b / 2), np.sin(a / 2), np.sin(b / 2)
    # The first column of RX RY is (ca cb - i sa sb, ca sb - i sa cb).
    total, difference = np.arctan2(sa * sb, ca * cb), np.arctan2(-sa * cb, ca * sb)
    cosine, sine = np.hypot(ca * cb, sa * sb), np.hypot(sa * cb, ca * sb)
    flipped = sine > cosine
    alpha = np.where(flipped, -1, 1) * (total + difference)
    gamma = total - difference + c + np.pi * flipped
    large, small = np.maximum(cosine, sine), np.minimum(cosine, sine)
    return Rotations(alpha, gamma, small / large, large, flipped.astype(np.int64))


def by_bit(tangent: np.ndarray) -> np.ndarray:
    """(L, batch, n) with wire 0 first -> (L, batch n) float32, lowest bit first."""
    return tangent[..., ::-1].astype(np.float32).reshape(len(tangent), -1)


def carried(index: np.ndarray, image: list[int]) -> np.ndarray:
    """Where the permutation with these images of unit vectors sends basis indices, int64."""
    out = np.zeros_like(index)
    for bit, value in enumerate(image):
        out ^= (index >> bit & 1) * value
    return out


def signs(index: np.ndarray, n_wires: int) -> np.ndarray:
    """-1 where a wire's bit of the index is set, else 1: (...) -> (..., n_wires)."""
    return 1 - 2 * (index[..., None] >> np.arange(n_wires - 1, -1, -1) & 1)


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
    gamma: np.ndarray,
    alpha: np.ndarray,
    scale: np.ndarray,
    n_wires: int,
    entangler: str,
    split: int,
    before: bool = False,
) -> Tables:
    """scale exp(i phase) for gamma and the previous layer's alpha, wire 0 first; `before` as in masks.

    gamma and alpha (boundaries, batch, n), scale (boundaries, batch), which goes into the upper planes.
    """
    halves = masks(n_wires, entangler, split, before)
    phases = np.concatenate([gamma, alpha], axis=-1)
    lower = _reduced(phases @ halves.lower.reshape(len(halves.lower), -1))
    upper = _reduced(phases @ halves.upper)
    factor = scale[..., None].astype(np.float32)

    def flat(plane: np.ndarray) -> np.ndarray:
        return plane.reshape(len(plane), plane.shape[1] * plane.shape[2])

    planes = flat(np.cos(lower)), flat(np.sin(lower)), flat(factor * np.cos(upper)), flat(factor * np.sin(upper))
    return Tables(*planes, halves.variant, halves.lower.shape[1])


def angle_gradients(sums: np.ndarray, angles: np.ndarray, turned: Rotations) -> np.ndarray:
    """Gradients of the angles from Im<g|X|p>, Im<g|Y|p>, Im<g|Z|p> taken between RY(beta) and RZ(alpha).

    A small turn about sigma moves p by -i/2 sigma p, so each angle's gradient is half the sum along its own axis. The
    axes of RX, RY and RZ, seen from that place, are x, Rx(a) y and Rx(a) Ry(b) z, all turned by Rz(-alpha), after the
    signs that the flip gives to y and z.

    Args: sums and angles (..., 3), float64. Returns (..., 3) float64.
    """
    x, y, z = np.ascontiguousarray(np.moveaxis(sums, -1, 0)) / 2
    a, b, _ = np.ascontiguousarray(np.moveaxis(angles, -1, 0))
    # The sums seen after RZ(alpha) and the flip instead, where the first two axes are plain.
    c, s, sign = np.cos(turned.alpha), np.sin(turned.alpha), 1 - 2 * turned.flip
    x, y, z = x * c - y * s, sign * (x * s + y * c), sign * z
    ca, cb, sa, sb = np.cos(a), np.cos(b), np.sin(a), np.sin(b)
    return np.stack([x, y * ca + z * sa, x * sb - y * sa * cb + z * ca * cb], axis=-1)


def _reduced(phases: np.ndarray) -> np.ndarray:
    """Float32 phases in -pi..pi: float32 cosines are fast, and exact enough once the turns are taken off."""
    return (phases - 2 * np.pi * np.rint(phases / (2 * np.pi))).astype(np.float32)
