"""The compiled engine's passes over the register, each once through memory in cache-sized pieces.

A register of n bits lies in planes that take turns, sixteen float32 each: real and imaginary part of the state, and on
the way back those of its gradient as well. The low pass takes contiguous chunks of 2^low entries: it fetches them
through the CNOT permutation, multiplies the phases and turns the low bits. The high pass takes tiles of all 2^(n-low)
rows by 2^wide columns and turns the other bits. Units (chunks, tiles) are independent: [start, stop) may be split over
threads, and sums come out per unit, so that results do not depend on the split.

Within a unit the first bits are turned in blocks that fit the first-level cache, right after they are fetched.

Arguments in common: sizes (n, low, split); fetch (upper, lower, whole, shift): an index (u << split) + j is read at
upper[u] ^ lower[j] ^ shift[circuit]; phase: upper and lower planes of `phases.Tables`, with the number of the lower
table for each u; table: tangents of the half turns by bit, n per circuit.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .lanes import LANE_BITS, LANES, load, pick, splat, store, turn, turn_lanes, unturn, unturn_lanes

STATE, BOTH = 2, 4
"""Planes of a state alone, and of a state with its gradient."""
KEEP, AMPLITUDES, NOTHING = 0, 1, 2
"""What the backward high pass leaves behind."""
STATE_BLOCK, BOTH_BLOCK = 8, 10
"""Bits of a block of the first-level cache; the remaining bits of a chunk are turned in passes over all of it."""


@njit(nogil=True)
def aligned(count):
    """Float32 scratch at a multiple of 64 bytes: a vector across two cache lines costs twice."""
    raw = np.empty(count + LANES, np.float32)
    skip = -(raw.ctypes.data >> 2) & (LANES - 1)
    return raw[skip : skip + count]


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
def low_forward(encode, source, step, x, sizes, fetch, phase, table, start, stop):
    """x = turned(phases * permuted source) by chunks; `encode`: the source is one real plane in order.

    step: floats from one circuit's source to the next (0 when all share it).
    """
    n, low, split = sizes
    upper, lower, whole, shift = fetch
    ure, uim, lre, lim, variant, variants = phase
    block = min(low, max(split, STATE_BLOCK))
    for unit in range(start, stop):
        circuit = unit >> (n - low)
        chunk = unit - (circuit << (n - low))
        turns = circuit * n
        base = (unit << low) * STATE
        for part in range(1 << (low - split)):
            row = (chunk << (low - split)) + part
            hr, hi = splat(ure[(circuit << (n - split)) + row]), splat(uim[(circuit << (n - split)) + row])
            phases = (circuit * variants + variant[row]) << split
            to = base + (part << split) * STATE
            above = upper[row] ^ shift[circuit]
            for j in range(0, 1 << split, LANES):
                lr, li = load(lre, phases + j), load(lim, phases + j)
                fr, fi = hr * lr - hi * li, hr * li + hi * lr
                if encode:
                    v = load(source, circuit * step + (row << split) + j)
                    fr, fi = fr * v, fi * v
                else:
                    v = pick(source, circuit * step, above, lower, j, whole, 2, 0)
                    w = pick(source, circuit * step, above, lower, j, whole, 2, 1)
                    fr, fi = fr * v - fi * w, fr * w + fi * v
                store(turn_lanes(fr, table, turns), x, to + STATE * j)
                store(turn_lanes(fi, table, turns), x, to + STATE * j + LANES)
            done = (part + 1) << split
            if not done & ((1 << block) - 1):
                first = base + (done - (1 << block)) * STATE
                turn_bits(x, first, LANE_BITS + 1, block + 1, block + 1, table, turns + LANE_BITS)
        turn_bits(x, base, block + 1, low + 1, low + 1, table, turns + block)


@njit(nogil=True)
def high_forward(x, sizes, wide, table, start, stop):
    """Turns the bits low..n-1 by tiles, in place."""
    n, low, _ = sizes
    size = n - low + wide + 1
    tile = aligned(1 << size)
    for unit in range(start, stop):
        circuit = unit >> (low - wide)
        base = ((circuit << n) + ((unit - (circuit << (low - wide))) << wide)) * STATE
        copy_tile(x, base, STATE << low, tile, 1 << (n - low), STATE << wide, True)
        turn_bits(tile, 0, wide + 1, size, size, table, circuit * n + low)
        copy_tile(x, base, STATE << low, tile, 1 << (n - low), STATE << wide, False)


@njit(nogil=True)
def measure(x, p, sizes, fetch, start, stop):
    """p = |permuted x|^2 for rows of 2^split entries."""
    n, _, split = sizes
    upper, lower, whole, shift = fetch
    for unit in range(start, stop):
        circuit = unit >> (n - split)
        above = upper[unit - (circuit << (n - split))] ^ shift[circuit]
        for j in range(0, 1 << split, LANES):
            v = pick(x, STATE * (circuit << n), above, lower, j, whole, 2, 0)
            w = pick(x, STATE * (circuit << n), above, lower, j, whole, 2, 1)
            store(v * v + w * w, p, (unit << split) + j)


@njit(nogil=True)
def low_backward(seed, source, grad, x, sizes, fetch, phase, table, out, signed, start, stop):
    """x = state and gradient with the turns of the low bits undone, by chunks.

    seed: the source is the final state, in order, and its gradient is 2 p's gradient (permuted `grad`) times it.
    Else the source holds both, and is permuted and freed of the phases.

    out: (units, 2 low) sums of X and Y. signed: (units, low + 1) sums of Z and of the identity, which rotations of other
    bits leave as they are, so that one look at the chunk as fetched gives them all; zeros for a seed.
    """
    n, low, split = sizes
    upper, lower, whole, shift = fetch
    ure, uim, lre, lim, variant, variants = phase
    block = min(low, max(split, BOTH_BLOCK))
    sums = aligned(2 * low * LANES)
    inner, outer = aligned(LANES << (split - LANE_BITS)), aligned(LANES << (low - split))
    folded = aligned(low * LANES)
    two = splat(np.float32(2))
    for unit in range(start, stop):
        circuit = unit >> (n - low)
        chunk = unit - (circuit << (n - low))
        turns = circuit * n
        base = (unit << low) * BOTH
        sums[:], folded[:] = 0, 0
        for part in range(1 << (low - split)):
            row = (chunk << (low - split)) + part
            hr, hi = splat(ure[(circuit << (n - split)) + row]), splat(uim[(circuit << (n - split)) + row])
            phases = (circuit * variants + variant[row]) << split
            above = upper[row] ^ shift[circuit]
            for j in range(0, 1 << split, LANES):
                to = base + BOTH * ((part << split) + j)
                if seed:
                    entry = (unit << low) + (part << split) + j
                    pr, pi = load(source, STATE * entry), load(source, STATE * entry + LANES)
                    g = two * pick(grad, circuit << n, above, lower, j, whole, 1, 0)
                    gr, gi = g * pr, g * pi
                else:
                    old = BOTH * (circuit << n)
                    lr, li = load(lre, phases + j), load(lim, phases + j)
                    fr, fi = hr * lr - hi * li, hr * li + hi * lr
                    v = pick(source, old, above, lower, j, whole, 4, 0)
                    w = pick(source, old, above, lower, j, whole, 4, 1)
                    pr, pi = fr * v + fi * w, fr * w - fi * v
                    v = pick(source, old, above, lower, j, whole, 4, 2)
                    w = pick(source, old, above, lower, j, whole, 4, 3)
                    gr, gi = fr * v + fi * w, fr * w - fi * v
                    store(gr * pi - gi * pr, inner, j)
                store(pr, x, to)
                store(pi, x, to + LANES)
                store(gr, x, to + 2 * LANES)
                store(gi, x, to + 3 * LANES)
                unturn_lanes(x, to, table, turns, sums, 0)
            if not seed:
                fold(inner, 1 << (split - LANE_BITS), folded, LANE_BITS)
                store(load(inner, 0), outer, part * LANES)
            done = (part + 1) << split
            if not done & ((1 << block) - 1):
                first, acc = base + (done - (1 << block)) * BOTH, 2 * LANE_BITS
                unturn_bits(x, first, LANE_BITS + 2, block + 2, block + 2, table, turns + LANE_BITS, sums, acc)
        unturn_bits(x, base, block + 2, low + 2, low + 2, table, turns + block, sums, 2 * block)
        collect(sums, low, LANE_BITS, out, unit)
        signed[unit] = 0
        if not seed:
            fold(outer, 1 << (low - split), folded, split)
            collect_signed(folded, outer, low, signed, unit)


@njit(nogil=True)
def high_backward(leave, x, grad, sizes, wide, phase, table, out, start, stop):
    """Undoes the turns of the bits low..n-1 by tiles, in place; out: (units, 2 (n - low)) sums of X and Y.

    leave: KEEP all planes for the layer below, or AMPLITUDES: their gradient, free of the phases, goes to `grad`.
    """
    n, low, split = sizes
    ure, uim, lre, lim, variant, variants = phase
    h = n - low
    size = h + wide + 2
    # A register of one chunk has no high bits, and is read where it lies.
    tile = aligned(1 << size) if h else x
    sums = aligned(2 * h * LANES)
    for unit in range(start, stop):
        circuit = unit >> (low - wide)
        column = (unit - (circuit << (low - wide))) << wide
        base = ((circuit << n) + column) * BOTH
        if h:
            sums[:] = 0
            copy_tile(x, base, BOTH << low, tile, 1 << h, BOTH << wide, True)
            unturn_bits(tile, 0, wide + 2, size, size, table, circuit * n + low, sums, 0)
            collect(sums, h, 0, out, unit)
        if leave == KEEP:
            copy_tile(x, base, BOTH << low, tile, 1 << h, BOTH << wide, False)
        if leave != AMPLITUDES:
            continue
        for row in range(1 << h):
            entry = (row << low) + column
            top = entry >> split
            hr, hi = splat(ure[(circuit << (n - split)) + top]), splat(uim[(circuit << (n - split)) + top])
            phases = ((circuit * variants + variant[top]) << split) + (entry & ((1 << split) - 1))
            first = (0 if h else base) + BOTH * (row << wide) + 2 * LANES
            for j in range(0, 1 << wide, LANES):
                lr, li = load(lre, phases + j), load(lim, phases + j)
                at = first + BOTH * j
                real = (hr * lr - hi * li) * load(tile, at) + (hr * li + hi * lr) * load(tile, at + LANES)
                store(real, grad, (circuit << n) + entry + j)


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
    """Adds up the lanes of the signed sums of the bits above the lane number's, and of `total` for those and for all."""
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
