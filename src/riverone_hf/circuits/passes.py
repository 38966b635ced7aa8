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

from .lanes import LANE_BITS, LANES, load, pick, splat, store, turn_lanes, unturn_lanes
from .pieces import (
    BOTH,
    STATE,
    aligned,
    collect,
    collect_signed,
    copy_tile,
    fold,
    scratch,
    turn_bits,
    unturn_bits,
)

KEEP, AMPLITUDES, NOTHING = 0, 1, 2
"""What the backward high pass leaves behind."""
STATE_BLOCK, BOTH_BLOCK = 8, 10
"""Bits of a block of the first-level cache; the remaining bits of a chunk are turned in passes over all of it."""


@njit(nogil=True)
def forward_chunk(encode, source, old, x, base, circuit, chunk, sizes, fetch, phase, table):
    """x[base...] = turned(phases * permuted source) for one chunk of a circuit, whose source begins at `old`.

    encode: the source is one real plane in order.
    """
    n, low, split = sizes
    upper, lower, whole, shift = fetch
    ure, uim, lre, lim, variant, variants = phase
    turns, block = circuit * n, min(low, max(split, STATE_BLOCK))
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
                v = load(source, old + (row << split) + j)
                fr, fi = fr * v, fi * v
            else:
                v = pick(source, old, above, lower, j, whole, 2, 0)
                w = pick(source, old, above, lower, j, whole, 2, 1)
                fr, fi = fr * v - fi * w, fr * w + fi * v
            store(turn_lanes(fr, table, turns), x, to + STATE * j)
            store(turn_lanes(fi, table, turns), x, to + STATE * j + LANES)
        done = (part + 1) << split
        if not done & ((1 << block) - 1):
            first = base + (done - (1 << block)) * STATE
            turn_bits(x, first, LANE_BITS + 1, block + 1, block + 1, table, turns + LANE_BITS)
    turn_bits(x, base, block + 1, low + 1, low + 1, table, turns + block)


@njit(nogil=True)
def low_forward(encode, source, step, x, sizes, fetch, phase, table, start, stop):
    """`forward_chunk` for all chunks; step: floats from one circuit's source to the next (0 when all share it)."""
    n, low, _ = sizes
    for unit in range(start, stop):
        circuit = unit >> (n - low)
        chunk, base = unit - (circuit << (n - low)), (unit << low) * STATE
        forward_chunk(encode, source, circuit * step, x, base, circuit, chunk, sizes, fetch, phase, table)


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
        old = STATE * (circuit << n)
        for j in range(0, 1 << split, LANES):
            v, w = pick(x, old, above, lower, j, whole, 2, 0), pick(x, old, above, lower, j, whole, 2, 1)
            store(v * v + w * w, p, (unit << split) + j)


@njit(nogil=True)
def backward_chunk(
    seed, source, old, grad, x, base, circuit, chunk, sizes, fetch, phase, table, space, out, signed, unit
):
    """x[base...] = state and gradient with the turns of the low bits undone, for one chunk of a circuit.

    seed: the source is the final state, in order, and its gradient is 2 p's gradient (permuted `grad`) times it.
    Else the source holds both, and is permuted and freed of the phases. It begins at `old`.

    out: (units, 2 low) sums of X and Y. signed: (units, low + 1) sums of Z and of the identity, which rotations of
    other bits leave as they are, so that one look at the chunk as fetched gives them all; zeros for a seed.
    """
    n, low, split = sizes
    upper, lower, whole, shift = fetch
    ure, uim, lre, lim, variant, variants = phase
    sums, folded, inner, outer = space
    turns, block = circuit * n, min(low, max(split, BOTH_BLOCK))
    two = splat(np.float32(2))
    sums[:], folded[:] = 0, 0
    for part in range(1 << (low - split)):
        row = (chunk << (low - split)) + part
        hr, hi = splat(ure[(circuit << (n - split)) + row]), splat(uim[(circuit << (n - split)) + row])
        phases = (circuit * variants + variant[row]) << split
        above = upper[row] ^ shift[circuit]
        for j in range(0, 1 << split, LANES):
            to = base + BOTH * ((part << split) + j)
            if seed:
                at = old + STATE * ((row << split) + j)
                pr, pi = load(source, at), load(source, at + LANES)
                g = two * pick(grad, circuit << n, above, lower, j, whole, 1, 0)
                gr, gi = g * pr, g * pi
            else:
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
def low_backward(seed, source, grad, x, sizes, fetch, phase, table, out, signed, start, stop):
    """`backward_chunk` for all chunks."""
    n, low, split = sizes
    space = scratch(low, split)
    for unit in range(start, stop):
        circuit = unit >> (n - low)
        chunk, base = unit - (circuit << (n - low)), (unit << low) * BOTH
        old = (circuit << n) * (STATE if seed else BOTH)
        backward_chunk(
            seed, source, old, grad, x, base, circuit, chunk, sizes, fetch, phase, table, space, out, signed, unit
        )


@njit(nogil=True)
def free_amplitudes(x, base, grad, circuit, entry, count, sizes, phase):
    """grad = real part of the gradient in x[base...], free of the first phases, for `count` entries of one row."""
    n, _, split = sizes
    ure, uim, lre, lim, variant, variants = phase
    top = entry >> split
    hr, hi = splat(ure[(circuit << (n - split)) + top]), splat(uim[(circuit << (n - split)) + top])
    phases = ((circuit * variants + variant[top]) << split) + (entry & ((1 << split) - 1))
    for j in range(0, count, LANES):
        lr, li = load(lre, phases + j), load(lim, phases + j)
        at = base + BOTH * j + 2 * LANES
        real = (hr * lr - hi * li) * load(x, at) + (hr * li + hi * lr) * load(x, at + LANES)
        store(real, grad, (circuit << n) + entry + j)


@njit(nogil=True)
def high_backward(leave, x, grad, sizes, wide, phase, table, out, start, stop):
    """Undoes the turns of the bits low..n-1 by tiles, in place; out: (units, 2 (n - low)) sums of X and Y.

    leave: KEEP all planes for the layer below, or AMPLITUDES: their gradient, free of the phases, goes to `grad`.
    """
    n, low, _ = sizes
    h = n - low
    size = h + wide + 2
    tile, sums = aligned(1 << size), aligned(2 * h * LANES)
    for unit in range(start, stop):
        circuit = unit >> (low - wide)
        column = (unit - (circuit << (low - wide))) << wide
        base = ((circuit << n) + column) * BOTH
        sums[:] = 0
        copy_tile(x, base, BOTH << low, tile, 1 << h, BOTH << wide, True)
        unturn_bits(tile, 0, wide + 2, size, size, table, circuit * n + low, sums, 0)
        collect(sums, h, 0, out, unit)
        if leave == KEEP:
            copy_tile(x, base, BOTH << low, tile, 1 << h, BOTH << wide, False)
        elif leave == AMPLITUDES:
            for row in range(1 << h):
                entry = (row << low) + column
                free_amplitudes(tile, BOTH * (row << wide), grad, circuit, entry, 1 << wide, sizes, phase)
