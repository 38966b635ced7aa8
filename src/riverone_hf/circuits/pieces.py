"""What the compiled engine's passes are made of: several bits of a place turned or turned back, copies and sums.

Tangents of the half turns lie in a table by bit. Sums lie in tables of sixteen columns, lane by lane, until they are
collected.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .lanes import LANE_BITS, LANES, load, store, turn, unturn

STATE, BOTH = 2, 4
"""Planes of a state alone, and of a state with its gradient."""


@njit(nogil=True)
def aligned(count):
    """Float32 scratch at a multiple of 64 bytes: a vector across two cache lines costs twice."""
    raw = np.empty(count + LANES, np.float32)
    skip = -(raw.ctypes.data >> 2) & (LANES - 1)
    return raw[skip : skip + count]


@njit(nogil=True)
def scratch(low, split):
    """What `backward_chunk` works with: sums of X and Y, signed sums, and a row's and a chunk's vectors to add up."""
    inner, outer = aligned(LANES << (split - LANE_BITS)), aligned(LANES << (low - split))
    return aligned(2 * low * LANES), aligned(low * LANES), inner, outer


@njit(nogil=True)
def turn_bits(x, base, first, bits, top, table, row):
    """Rotates the bits first..bits-1 of places in x[base : base + 2^top]; table[row] belongs to bit `first`."""
    bit = first
    while bit < bits:
        # At most four at a time, which are sixteen vectors in registers, and as evenly as may be.
        step = (bits - bit) // ((bits - bit + 3) >> 2)
        at = row + bit - first
        for block in range(base, base + (1 << top), 1 << (bit + step)):
            for offset in range(block, block + (1 << bit), LANES):
                if step == 4:
                    turn(x, offset, 1 << bit, table, at, 4)
                elif step == 3:
                    turn(x, offset, 1 << bit, table, at, 3)
                elif step == 2:
                    turn(x, offset, 1 << bit, table, at, 2)
                else:
                    turn(x, offset, 1 << bit, table, at, 1)
        bit += step


@njit(nogil=True)
def unturn_bits(x, base, first, bits, top, table, row, sums, acc):
    """Undoes `turn_bits` on four planes; Pauli sums from row `acc` of `sums` on."""
    bit = first
    while bit < bits:
        # Two at a time: four planes of four vectors fill the registers.
        step = min(bits - bit, 2)
        at, out = row + bit - first, acc + 2 * (bit - first)
        for block in range(base, base + (1 << top), 1 << (bit + step)):
            for offset in range(block, block + (1 << bit), BOTH * LANES):
                if step == 2:
                    unturn(x, offset, 1 << bit, table, at, sums, out, 2)
                else:
                    unturn(x, offset, 1 << bit, table, at, sums, out, 1)
        bit += step


@njit(nogil=True)
def fold(q, count, sums, acc):
    """Adds up `count` vectors, a power of two, into the first; row acc + k of `sums` gets bit k's signed sum.

    A vector counts with + where the bit of its number is 0.
    """
    while count > 1:
        count >>= 1
        total = load(sums, acc * LANES)
        for i in range(count):
            a, b = load(q, 2 * i * LANES), load(q, (2 * i + 1) * LANES)
            total = total + (a - b)
            store(a + b, q, i * LANES)
        store(total, sums, acc * LANES)
        acc += 1


@njit(nogil=True)
def copy_tile(x, base, row_step, tile, rows, width, into):
    """Copies rows of `width` floats between x and a dense tile."""
    for row in range(rows):
        for j in range(0, width, LANES):
            if into:
                store(load(x, base + row * row_step + j), tile, row * width + j)
            else:
                store(load(tile, row * width + j), x, base + row * row_step + j)


@njit(nogil=True)
def collect(sums, bits, inside, out, unit):
    """Adds up the lanes; the `inside` first bits are those of the lane number, which carries the sign of Y."""
    for bit in range(bits):
        x, y = np.float32(0), np.float32(0)
        for lane in range(LANES):
            at = 2 * bit * LANES + lane
            x += sums[at]
            y += -sums[at + LANES] if bit < inside and not lane >> bit & 1 else sums[at + LANES]
        out[unit, 2 * bit], out[unit, 2 * bit + 1] = x, y


@njit(nogil=True)
def collect_signed(folded, total, low, out, unit):
    """Adds up the lanes of `folded` for the bits above the lane number's, of `total` for those inside, then of all."""
    for bit in range(low + 1):
        z = np.float32(0)
        for lane in range(LANES):
            if bit == low:
                z += total[lane]
            elif bit >= LANE_BITS:
                z += folded[bit * LANES + lane]
            else:
                z += -total[lane] if lane >> bit & 1 else total[lane]
        out[unit, bit] = z
