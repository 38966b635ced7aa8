"""The circuit on the CPU by compiled passes: float32, eight wires or more, about ten times the portable form's speed.

Import only where Numba is installed. Results are the same bits for any number of threads and any batch.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from . import memory, passes, phases, pieces, small
from .ansatz import Ansatz, images, index_map, readout_power
from .lanes import LANES

CHUNK_BITS = 14
"""A chunk of 2^14 entries in four float32 planes is 256 KiB: it stays in a core's second-level cache."""
TILE_BITS = 6
"""Columns of a tile: 64 entries are four cache lines, enough for the prefetcher."""
ENTRIES_AT_ONCE = 1 << 21
"""Circuits are taken in groups of about this many amplitudes, which bounds the work space to 64 MiB."""


def probabilities(amplitudes: torch.Tensor, angles: torch.Tensor, ansatz: Ansatz, align: bool) -> torch.Tensor:
    """Checked float32 arguments on the CPU: (1 or B, N) and (B, L, n, 3), n >= 8; returns (B, N)."""
    return _Circuit.apply(amplitudes, angles, ansatz, align)


@dataclass(frozen=True)
class _Fetch:
    """A permutation of the basis as two tables: entry (u << split) + j is read at upper[u] ^ lower[j]."""

    upper: np.ndarray
    lower: np.ndarray
    whole: bool
    """Sixteen neighbours come from one aligned block."""

    image: list[int]

    def args(self, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool, np.ndarray]:
        """As the passes take it: read at upper[u] ^ lower[j] ^ shift[circuit]."""
        return self.upper, self.lower, self.whole, shift


@lru_cache(maxsize=32)
def _fetch(ansatz: Ansatz, power: int) -> _Fetch:
    image, split = images(ansatz.n_wires, ansatz.entangler, power), ansatz.n_wires // 2
    lower = index_map(image[:split]).numpy().astype(np.int32)
    upper = index_map(image[split:]).numpy()
    return _Fetch(upper, lower, max(image[:4]) < LANES, image)


class _Group:
    """Some circuits' rotations and phases, layer by layer, and the sizes that all passes take.

    angles: (circuits, L, n, 3) float64.
    """

    def __init__(self, angles: np.ndarray, ansatz: Ansatz):
        self.ansatz, self.circuits, self.depth = ansatz, len(angles), ansatz.n_layers
        self.n = ansatz.n_wires
        self.low, self.split = min(self.n, CHUNK_BITS), self.n // 2
        self.sizes = self.n, self.low, self.split
        self.wide = min(TILE_BITS, self.split)
        self.chunks = len(angles) << (self.n - self.low)
        self.tiles = len(angles) << (self.low - self.wide)
        self.rows = len(angles) << (self.n - self.split)
        self.angles = angles.swapaxes(0, 1)
        self.turned = phases.rotations(self.angles)
        self.turns = phases.by_bit(self.turned.tangent)
        self.flips = self.turned.indices()
        self.scale = self.turned.cosine.prod(-1)

    @cached_property
    def leading(self) -> tuple[Any, ...]:
        """Phases of the boundary that leads into each layer, seen from that layer: one row per layer."""
        alpha = np.zeros_like(self.turned.alpha)
        alpha[1:] = self.turned.alpha[:-1] * phases.signs(self.flips[:-1], self.n)
        return self.tables(self.turned.gamma, alpha, self.scale, before=False)

    @cached_property
    def crossed(self) -> tuple[Any, ...]:
        """Phases of each boundary between layers, seen from the layer below it: one row per boundary."""
        flips = phases.carried(self.flips[:-1], _fetch(self.ansatz, 1).image)
        gamma = self.turned.gamma[1:] * phases.signs(flips, self.n)
        return self.tables(gamma, self.turned.alpha[:-1], self.scale[1:], before=True)

    def tables(self, gamma: np.ndarray, alpha: np.ndarray, scale: np.ndarray, before: bool) -> tuple[Any, ...]:
        t = phases.tables(gamma, alpha, scale, self.n, self.ansatz.entangler, self.split, before)
        return t.upper_re, t.upper_im, t.lower_re, t.lower_im, t.variant, t.variants


class _Circuit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, amplitudes: torch.Tensor, angles: torch.Tensor, ansatz: Ansatz, align: bool) -> torch.Tensor:
        values, shared = angles.detach().double().numpy(), len(amplitudes) < len(angles)
        final = memory.empty(len(angles), pieces.STATE * ansatz.n_states)
        p = memory.empty(len(angles), ansatz.n_states)
        groups = [(part, _Group(values[part], ansatz)) for part in _groups(len(angles), ansatz.n_states)]
        with memory.lock, _Threads() as run:
            for part, group in groups:
                source = _plane(amplitudes if shared else amplitudes[part])
                step = 0 if shared else ansatz.n_states
                _simulate(run, group, source, step, align, final[part].reshape(-1), p[part].reshape(-1))
        ctx.groups, ctx.align = groups, align
        ctx.save_for_backward(amplitudes, angles, torch.from_numpy(final))
        return torch.from_numpy(p)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_p: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        amplitudes, angles, saved = ctx.saved_tensors
        final, shared = saved.numpy(), len(amplitudes) < len(angles)
        grad_angles = np.empty(angles.shape, np.float64)
        wanted = ctx.needs_input_grad[0]
        grad_amplitudes = memory.empty(*amplitudes.shape) if wanted else None
        if grad_amplitudes is not None and shared:
            grad_amplitudes[:] = 0
        with memory.lock, _Threads() as run:
            for part, group in ctx.groups:
                own = grad_amplitudes[part].reshape(-1) if grad_amplitudes is not None and not shared else None
                back = _back_in_cache if group.n == group.low else _back
                sums, each = back(run, group, final[part].reshape(-1), _plane(grad_p[part]), ctx.align, own, wanted)
                if grad_amplitudes is not None and shared:
                    grad_amplitudes[0] += each.reshape(group.circuits, -1).sum(0)
                sums[..., :2] *= group.turned.sum_weights()[..., None]
                grad_angles[part] = phases.angle_gradients(sums, group.angles, group.turned).swapaxes(0, 1)
        by_amplitudes = None if grad_amplitudes is None else torch.from_numpy(grad_amplitudes)
        return by_amplitudes, torch.from_numpy(grad_angles).to(angles.dtype), None, None


def _simulate(
    run: Callable[..., None],
    group: _Group,
    source: np.ndarray,
    step: int,
    align: bool,
    final: np.ndarray,
    p: np.ndarray,
) -> None:
    """Fills the flat states before the last CNOTs (circuits, 2 N) and the flat chances (circuits, N) of a group."""
    depth, sizes, turns = group.depth, group.sizes, group.turns
    disentangle = _fetch(group.ansatz, -1)
    read = _fetch(group.ansatz, readout_power(depth, align)).args(group.flips[-1])
    if group.n == group.low:
        fetch = disentangle.args(group.flips)
        run(small.forward, group.circuits, source, step, final, p, sizes, fetch, read, group.leading, turns)
        return
    for layer in range(depth):
        # Two registers alternate so that the last layer ends in the one that is kept.
        x = final if (depth - layer) % 2 else memory.work_space("a", final.size)
        fetch = disentangle.args(group.flips[layer - 1])
        phase = small.row_of(group.leading, layer)
        run(passes.low_forward, group.chunks, layer == 0, source, step, x, sizes, fetch, phase, turns[layer])
        run(passes.high_forward, group.tiles, x, sizes, group.wide, turns[layer])
        source, step = x, pieces.STATE * group.ansatz.n_states
    run(passes.measure, group.rows, final, p, sizes, read)


def _unread(group: _Group, align: bool) -> tuple[Any, ...]:
    """Where the state before the last CNOTs finds its entries of p."""
    fetch = _fetch(group.ansatz, -readout_power(group.depth, align))
    return fetch.args(phases.carried(group.flips[-1], fetch.image))


def _back_in_cache(
    run: Callable[..., None],
    group: _Group,
    final: np.ndarray,
    grad_p: np.ndarray,
    align: bool,
    grad: np.ndarray | None,
    wanted: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """`_back` for a register of one chunk."""
    target = grad if grad is not None else memory.work_space("a", len(grad_p) if wanted else 0)
    x_y = np.empty((group.depth, group.circuits, 2 * group.n), np.float32)
    signed = np.empty((group.depth, group.circuits, group.n + 1), np.float32)
    entangle = _fetch(group.ansatz, 1)
    around = entangle.args(phases.carried(group.flips, entangle.image))
    lead, turns = small.row_of(group.leading, 0), group.turns
    where = group.sizes, _unread(group, align), around, group.crossed, lead, turns
    run(small.backward, group.circuits, wanted, final, grad_p, target, *where, x_y, signed)
    none = np.empty((group.circuits, 0), np.float32)
    sums = [_by_wire(low, none, z, group.circuits) for low, z in zip(x_y, signed, strict=True)]
    return np.stack(sums), target


def _back(
    run: Callable[..., None],
    group: _Group,
    final: np.ndarray,
    grad_p: np.ndarray,
    align: bool,
    grad: np.ndarray | None,
    wanted: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Pauli sums (L, circuits, n, 3) and, where wanted, the flat gradient of each circuit's amplitudes (circuits, N).

    The latter goes to `grad`, or without one to work space.
    """
    depth, sizes, entries = group.depth, group.sizes, len(grad_p)
    entangle, lead = _fetch(group.ansatz, 1), small.row_of(group.leading, 0)
    sums = np.empty((depth, group.circuits, group.n, 3))
    registers = [memory.work_space("a", pieces.BOTH * entries)]
    # The second register serves the layers below the last, and at the end takes the gradient where no other place is.
    size = pieces.BOTH if depth > 1 else 1
    registers.append(memory.work_space("b", size * entries) if depth > 1 or grad is None else grad)
    source = final
    for layer in reversed(range(depth)):
        seed, x, free = layer == depth - 1, registers[0], registers[1]
        target = free[:entries] if grad is None else grad
        low = np.empty((group.chunks, 2 * group.low), np.float32)
        high = np.empty((group.tiles, 2 * (group.n - group.low)), np.float32)
        signed = np.empty((group.chunks, group.low + 1), np.float32)
        # Between layers the phases are those of the boundary that was crossed; a seed crosses none.
        phase = lead if seed else small.row_of(group.crossed, layer)
        fetch = _unread(group, align) if seed else entangle.args(phases.carried(group.flips[layer], entangle.image))
        turns = group.turns[layer]
        run(passes.low_backward, group.chunks, seed, source, grad_p, x, sizes, fetch, phase, turns, low, signed)
        leave = passes.KEEP if layer else passes.AMPLITUDES if wanted else passes.NOTHING
        run(passes.high_backward, group.tiles, leave, x, target, sizes, group.wide, lead, turns, high)
        sums[layer] = _by_wire(low, high, signed, group.circuits)
        source, registers = x, registers[::-1]
    return sums, target


def _by_wire(low: np.ndarray, high: np.ndarray, signed: np.ndarray, circuits: int) -> np.ndarray:
    """Pauli sums of all units, as the passes leave them -> (circuits, n, 3) with wire 0, the highest bit, first."""

    def total(x: np.ndarray) -> np.ndarray:
        return x.reshape(circuits, len(x) // circuits, x.shape[1]).sum(1, dtype=np.float64)

    bits = high.shape[1] // 2
    x_y = np.concatenate([total(x).reshape(circuits, x.shape[1] // 2, 2) for x in (low, high)], axis=1)
    # The bits above a chunk give all of it one sign.
    by_chunk = signed[:, -1].reshape(circuits, -1).astype(np.float64)
    z = np.concatenate([total(signed[:, :-1]), by_chunk @ phases.signs(np.arange(1 << bits), bits)[:, ::-1]], axis=1)
    return np.concatenate([x_y, z[..., None]], axis=2)[:, ::-1]


def _plane(tensor: torch.Tensor) -> np.ndarray:
    """A flat float32 array of a tensor's entries, in place where it is contiguous."""
    return tensor.detach().contiguous().numpy().reshape(-1)


def _groups(batch: int, n_states: int) -> list[slice]:
    step = max(1, ENTRIES_AT_ONCE // n_states)
    return [slice(first, min(first + step, batch)) for first in range(0, batch, step)]


class _Threads:
    """Runs a pass over its units on as many threads as PyTorch may use; kernels release the interpreter lock."""

    def __enter__(self) -> Callable[..., None]:
        self.count = torch.get_num_threads()
        self.pool = ThreadPoolExecutor(self.count) if self.count > 1 else None
        return self.run

    def __exit__(self, *problem: Any) -> None:
        if self.pool:
            self.pool.shutdown()

    def run(self, kernel: Callable[..., None], units: int, *args: Any) -> None:
        count = min(self.count, units)
        if self.pool is None or count == 1:
            kernel(*args, 0, units)
            return
        edges = [units * i // count for i in range(count + 1)]
        jobs = [self.pool.submit(kernel, *args, a, b) for a, b in pairwise(edges)]
        for job in jobs:
            job.result()
