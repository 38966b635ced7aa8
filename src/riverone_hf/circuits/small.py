"""All layers of a register of one chunk, circuit after circuit: between them it stays in the second-level cache.

Arguments as in `passes`, but for all layers: phases have one row per layer, those crossed on the way back one row per
boundary between layers; tangents and shifts have one row per layer.
"""

from __future__ import annotations

from numba import njit

from .passes import backward_chunk, forward_chunk, free_amplitudes, measure
from .pieces import BOTH, STATE, aligned, scratch


@njit(nogil=True)
def row_of(phase, row):
    """One row of stacked phases."""
    ure, uim, lre, lim, variant, variants = phase
    return ure[row], uim[row], lre[row], lim[row], variant, variants


@njit(nogil=True)
def forward(source, step, final, p, sizes, disentangle, read, phase, table, start, stop):
    """Fills the flat states before the last CNOTs (circuits, 2 N) and the flat chances (circuits, N)."""
    n, _, split = sizes
    upper, lower, whole, shifts = disentangle
    last = len(table) - 1
    spare = aligned(STATE << n), aligned(STATE << n)
    for circuit in range(start, stop):
        x, old = source, circuit * step
        for layer in range(last + 1):
            to, base = (final, (circuit << n) * STATE) if layer == last else (spare[layer & 1], 0)
            # The first layer reads its source in order, so that it has no shift.
            fetch = upper, lower, whole, shifts[max(layer - 1, 0)]
            forward_chunk(layer == 0, x, old, to, base, circuit, 0, sizes, fetch, row_of(phase, layer), table[layer])
            x, old = to, base
        measure(final, p, sizes, read, circuit << (n - split), (circuit + 1) << (n - split))


@njit(nogil=True)
def backward(wanted, final, grad, target, sizes, unread, entangle, crossed, first, table, out, signed, start, stop):
    """Fills sums (layers, circuits, ...) as `backward_chunk` does; `wanted`: the amplitudes' gradients go to `target`.

    first: phases of the boundary that leads into the first layer.
    """
    n, _, split = sizes
    upper, lower, whole, shifts = entangle
    last = len(table) - 1
    space, spare = scratch(n, split), (aligned(BOTH << n), aligned(BOTH << n))
    for circuit in range(start, stop):
        x, old = final, (circuit << n) * STATE
        for layer in range(last, -1, -1):
            seed, to = layer == last, spare[layer & 1]
            fetch = unread if seed else (upper, lower, whole, shifts[layer])
            # A seed crosses no boundary; its phases are not looked at.
            phase = first if seed else row_of(crossed, layer)
            sums = out[layer], signed[layer]
            backward_chunk(
                seed, x, old, grad, to, 0, circuit, 0, sizes, fetch, phase, table[layer], space, *sums, circuit
            )
            x, old = to, 0
        if wanted:
            for row in range(1 << (n - split)):
                entry = row << split
                free_amplitudes(x, BOTH * entry, target, circuit, entry, 1 << split, sizes, first)
