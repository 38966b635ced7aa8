"""The compiled engine's passes over the register, each once through memory in cache-sized pieces.

A register of n bits lies in planes that take turns, sixteen float32 each: real and imaginary part of the state, and on
the way back those of its gradient as well. The low pass takes contiguous chunks of 2^low entries: it fetches them
through the CNOT permutation, multiplies the phases and turns the low bits. The high pass takes tiles of all 2^(n-low)
rows by 2^wide columns and turns the other bits. Units (chunks, tiles) are independent: [start, stop) may be split over
threads, and sums come out per unit, so that results do not depend on the split.

Arguments in common: sizes (n, low, split); fetch (upper, lower, whole): an index (u << split) + j is read at
upper[u] ^ lower[j]; phase: upper and lower planes of `phases.Tables`, with the number of the lower table for each u;
table: cosines and sines of the half turns by bit, 2 n per circuit.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .lanes import LANE_BITS, LANES, load, pick, splat, store, turn, turn_lanes, unturn, unturn_lanes

STATE, BOTH = 2, 4
"""Planes of a state alone, and of a state with its gradient."""
KEEP, AMPLITUDES, NOTHING = 0, 1, 2
"""What the backward high pass leaves behind."""


@njit(nogil=True)
def aligned(count):
    """Float32 scratch at a multiple of 64 bytes: a vector across two cache lines costs twice."""
    raw = np.empty(count + LANES, np.float32)
    skip = -(raw.ctypes.data >> 2) & (LANES - 1)
    return raw[skip : skip + count]


@njit(nogil=True)
def turn_bits(x, base, first, bits, table, row):
    """Rotates the bits first..bits-1 of places in x[base : base + 2^bits]; table[row] belongs to bit `first`."""
    bit = first
    while bit < bits:
        # Three at a time keep eight vectors in registers; four left go as two and two.
        left = bits - bit
        step = 3 if left == 3 or left > 4 else min(left, 2)
        at = row + 2 * (bit - first)
        for block in range(base, base + (1 << bits), 1 << (bit + step)):
            for offset in range(block, block + (1 << bit), LANES):
                if step == 3:
                    turn(x, offset, 1 << bit, table, at, 3)
                elif step == 2:
                    turn(x, offset, 1 << bit, table, at, 2)
                else:
                    turn(x, offset, 1 << bit, table, at, 1)
        bit += step


@njit(nogil=True)
def unturn_bits(x, base, first, bits, table, row, sums, acc):
    """Undoes `turn_bits` on four planes; Pauli sums from row `acc` of `sums` on."""
    bit = first
    while bit < bits:
        # Two at a time: four planes of four vectors fill the registers.
        step = min(bits - bit, 2)
        at, out = row + 2 * (bit - first), acc + 3 * (bit - first)
        for block in range(base, base + (1 << bits), 1 << (bit + step)):
            for offset in range(block, block + (1 << bit), BOTH * LANES):
                if step == 2:
                    unturn(x, offset, 1 << bit, table, at, sums, out, 2)
                else:
                    unturn(x, offset, 1 << bit, table, at, sums, out, 1)
        bit += step


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
def low_forward(encode, source, step, x, sizes, fetch, phase, table, start, stop):
    """x = turned(phases * permuted source) by chunks; `encode`: the source is one real plane in order.

    step: floats from one circuit's source to the next (0 when all share it).
    """
    n, low, split = sizes
    upper, lower, whole = fetch
    ure, uim, lre, lim, variant, variants = phase
    for unit in range(start, stop):
        circuit = unit >> (n - low)
        chunk = unit - (circuit << (n - low))
        turns = circuit * 2 * n
        for part in range(1 << (low - split)):
            row = (chunk << (low - split)) + part
            hr, hi = splat(ure[(circuit << (n - split)) + row]), splat(uim[(circuit << (n - split)) + row])
            phases = (circuit * variants + variant[row]) << split
            to = ((unit << low) + (part << split)) * STATE
            for j in range(0, 1 << split, LANES):
                lr, li = load(lre, phases + j), load(lim, phases + j)
                fr, fi = hr * lr - hi * li, hr * li + hi * lr
                if encode:
                    v = load(source, circuit * step + (row << split) + j)
                    fr, fi = fr * v, fi * v
                else:
                    v = pick(source, circuit * step, upper[row], lower, j, whole, 2, 0)
                    w = pick(source, circuit * step, upper[row], lower, j, whole, 2, 1)
                    fr, fi = fr * v - fi * w, fr * w + fi * v
                store(turn_lanes(fr, table, turns), x, to + STATE * j)
                store(turn_lanes(fi, table, turns), x, to + STATE * j + LANES)
        turn_bits(x, (unit << low) * STATE, LANE_BITS + 1, low + 1, table, turns + 2 * LANE_BITS)


@njit(nogil=True)
def high_forward(x, sizes, wide, table, start, stop):
    """Turns the bits low..n-1 by tiles, in place."""
    n, low, _ = sizes
    tile = aligned(STATE << (n - low + wide))
    for unit in range(start, stop):
        circuit = unit >> (low - wide)
        base = ((circuit << n) + ((unit - (circuit << (low - wide))) << wide)) * STATE
        copy_tile(x, base, STATE << low, tile, 1 << (n - low), STATE << wide, True)
        turn_bits(tile, 0, wide + 1, n - low + wide + 1, table, circuit * 2 * n + 2 * low)
        copy_tile(x, base, STATE << low, tile, 1 << (n - low), STATE << wide, False)


@njit(nogil=True)
def measure(x, p, sizes, fetch, start, stop):
    """p = |permuted x|^2 for rows of 2^split entries."""
    n, _, split = sizes
    upper, lower, whole = fetch
    for unit in range(start, stop):
        circuit = unit >> (n - split)
        row = unit - (circuit << (n - split))
        for j in range(0, 1 << split, LANES):
            v = pick(x, STATE * (circuit << n), upper[row], lower, j, whole, 2, 0)
            w = pick(x, STATE * (circuit << n), upper[row], lower, j, whole, 2, 1)
            store(v * v + w * w, p, (unit << split) + j)


@njit(nogil=True)
def low_backward(seed, source, grad, x, sizes, fetch, phase, table, out, start, stop):
    """x = state and gradient with the turns of the low bits undone, by chunks; out: (units, 3 low) Pauli sums.

    seed: the source is the final state, in order, and its gradient is 2 p's gradient (permuted `grad`) times it.
    Else the source holds both, and is permuted and freed of the phases.
    """
    n, low, split = sizes
    upper, lower, whole = fetch
    ure, uim, lre, lim, variant, variants = phase
    sums = aligned(3 * low * LANES)
    two = splat(np.float32(2))
    for unit in range(start, stop):
        circuit = unit >> (n - low)
        chunk = unit - (circuit << (n - low))
        turns = circuit * 2 * n
        sums[:] = 0
        for part in range(1 << (low - split)):
            row = (chunk << (low - split)) + part
            hr, hi = splat(ure[(circuit << (n - split)) + row]), splat(uim[(circuit << (n - split)) + row])
            phases = (circuit * variants + variant[row]) << split
            entry = (unit << low) + (part << split)
            for j in range(0, 1 << split, LANES):
                to = BOTH * (entry + j)
                if seed:
                    pr, pi = load(source, STATE * (entry + j)), load(source, STATE * (entry + j) + LANES)
                    g = two * pick(grad, circuit << n, upper[row], lower, j, whole, 1, 0)
                    gr, gi = g * pr, g * pi
                else:
                    base = BOTH * (circuit << n)
                    lr, li = load(lre, phases + j), load(lim, phases + j)
                    fr, fi = hr * lr - hi * li, hr * li + hi * lr
                    v = pick(source, base, upper[row], lower, j, whole, 4, 0)
                    w = pick(source, base, upper[row], lower, j, whole, 4, 1)
                    pr, pi = fr * v + fi * w, fr * w - fi * v
                    v = pick(source, base, upper[row], lower, j, whole, 4, 2)
                    w = pick(source, base, upper[row], lower, j, whole, 4, 3)
                    gr, gi = fr * v + fi * w, fr * w - fi * v
                store(pr, x, to)
                store(pi, x, to + LANES)
                store(gr, x, to + 2 * LANES)
                store(gi, x, to + 3 * LANES)
                unturn_lanes(x, to, table, turns, sums, 0)
        unturn_bits(x, (unit << low) * BOTH, LANE_BITS + 2, low + 2, table, turns + 2 * LANE_BITS, sums, 3 * LANE_BITS)
        collect_lanes(sums, low, LANE_BITS, out, unit)


@njit(nogil=True)
def high_backward(leave, x, grad, sizes, wide, phase, table, out, start, stop):
    """Undoes the turns of the bits low..n-1 by tiles, in place; out: (units, 3 (n - low)) Pauli sums.

    leave: KEEP all planes for the layer below, or AMPLITUDES: their gradient, free of the phases, goes to `grad`.
    """
    n, low, split = sizes
    ure, uim, lre, lim, variant, variants = phase
    h = n - low
    tile = aligned(BOTH << (h + wide))
    sums = aligned(3 * h * LANES)
    for unit in range(start, stop):
        circuit = unit >> (low - wide)
        column = (unit - (circuit << (low - wide))) << wide
        base = ((circuit << n) + column) * BOTH
        sums[:] = 0
        copy_tile(x, base, BOTH << low, tile, 1 << h, BOTH << wide, True)
        unturn_bits(tile, 0, wide + 2, h + wide + 2, table, circuit * 2 * n + 2 * low, sums, 0)
        collect_lanes(sums, h, 0, out, unit)
        if leave == KEEP:
            copy_tile(x, base, BOTH << low, tile, 1 << h, BOTH << wide, False)
        if leave != AMPLITUDES:
            continue
        for row in range(1 << h):
            entry = (row << low) + column
            top = entry >> split
            hr, hi = splat(ure[(circuit << (n - split)) + top]), splat(uim[(circuit << (n - split)) + top])
            phases = ((circuit * variants + variant[top]) << split) + (entry & ((1 << split) - 1))
            for j in range(0, 1 << wide, LANES):
                lr, li = load(lre, phases + j), load(lim, phases + j)
                at = BOTH * ((row << wide) + j) + 2 * LANES
                real = (hr * lr - hi * li) * load(tile, at) + (hr * li + hi * lr) * load(tile, at + LANES)
                store(real, grad, (circuit << n) + entry + j)


@njit(nogil=True)
def collect_lanes(sums, bits, inside, out, unit):
    """Adds up the lanes; the `inside` first bits are those of the lane number, which carries the signs of Y and Z."""
    for bit in range(bits):
        x, y, z = np.float32(0), np.float32(0), np.float32(0)
        for lane in range(LANES):
            at = 3 * bit * LANES + lane
            sign = np.float32(1)
            if bit < inside and not lane >> bit & 1:
                sign = np.float32(-1)
            x += sums[at]
            y += sign * sums[at + LANES]
            z += (-sign if bit < inside else sign) * sums[at + 2 * LANES]
        out[unit, 3 * bit], out[unit, 3 * bit + 1], out[unit, 3 * bit + 2] = x, y, z
