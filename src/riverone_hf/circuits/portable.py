"""The circuit in plain PyTorch: any device, float32 or float64, memory independent of depth.

Up to five neighbouring wires are turned at once by one 2^k x 2^k matrix, as a batched matrix product that leaves the
register rotated by k bits; after all groups it is back in order. CNOTs are one gather. The backward pass walks the
layers in reverse with the inverse matrices on the state and on its gradient, so no layer's state is kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from .ansatz import Ansatz, images, index_map, readout_power

WIRES_PER_PRODUCT = 5
ENTRIES_AT_ONCE = {"cpu": 1 << 21, "cuda": 1 << 26}
"""Circuits are simulated in slices of about this many amplitudes, which bounds the work space."""


def probabilities(amplitudes: torch.Tensor, angles: torch.Tensor, ansatz: Ansatz, align: bool) -> torch.Tensor:
    """Checked arguments: (1 or B, N) and (B, L, n, 3) of one real dtype on one device; returns (B, N)."""
    return _Circuit.apply(amplitudes, angles, ansatz, align)


class _Circuit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, amplitudes: torch.Tensor, angles: torch.Tensor, ansatz: Ansatz, align: bool) -> torch.Tensor:
        ctx.ansatz, ctx.align = ansatz, align
        layers = _group_matrices(angles)
        entangle = index_map(images(ansatz.n_wires, ansatz.entangler, -1), angles.device)
        final = angles.new_empty((len(angles), ansatz.n_states), dtype=layers[0][0].dtype)
        for part in _slices(final):
            psi = _rows(amplitudes, part).to(final.dtype)
            for depth, groups in enumerate(layers):
                psi = psi if depth == 0 else psi[:, entangle]
                for matrix in groups:
                    psi = _turn(psi, matrix[part])
            final[part] = psi
        ctx.save_for_backward(amplitudes, angles, final)
        read = index_map(images(ansatz.n_wires, ansatz.entangler, readout_power(ansatz.n_layers, align)), angles.device)
        # |psi|^2 by real views: abs() would take a root, and its gradient is undefined at zero.
        return torch.view_as_real(final).square().sum(-1)[:, read]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_p: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        amplitudes, angles, final = ctx.saved_tensors
        ansatz: Ansatz = ctx.ansatz
        name = (ansatz.n_wires, ansatz.entangler)
        with torch.enable_grad():
            leaf = angles.detach().requires_grad_()
            live = _group_matrices(leaf)
        layers = [[matrix.detach() for matrix in groups] for groups in live]
        grads = [[torch.empty_like(matrix) for matrix in groups] for groups in layers]
        unread = index_map(images(*name, -readout_power(ansatz.n_layers, ctx.align)), angles.device)
        disentangle = index_map(images(*name, 1), angles.device)
        grad_amplitudes = torch.zeros_like(amplitudes) if ctx.needs_input_grad[0] else None
        for part in _slices(final):
            psi = final[part]
            # Gradient by the real and the imaginary part, as one complex number: L = g |psi|^2 gives 2 g psi.
            lam = psi * (2 * grad_p[part][:, unread])
            for depth in reversed(range(ansatz.n_layers)):
                for matrix, grad in zip(reversed(layers[depth]), reversed(grads[depth]), strict=True):
                    lam_out = lam.unflatten(1, (-1, matrix.shape[-1])).transpose(1, 2)
                    psi, lam = _unturn(psi, matrix[part]), _unturn(lam, matrix[part])
                    torch.bmm(lam_out, psi.unflatten(1, (matrix.shape[-1], -1)).mH, out=grad[part])
                if depth:
                    psi, lam = psi[:, disentangle], lam[:, disentangle]
            if grad_amplitudes is not None:
                shared = len(amplitudes) < len(final)
                grad_amplitudes[slice(None) if shared else part] += lam.real.sum(0) if shared else lam.real
        flat = [matrix for groups in live for matrix in groups]
        grad_angles = torch.autograd.grad(flat, leaf, [grad for groups in grads for grad in groups])[0]
        return grad_amplitudes, grad_angles, None, None


def wire_matrices(angles: torch.Tensor) -> torch.Tensor:
    """RX(a) RY(b) RZ(c) of every wire: (..., 3) real -> (..., 2, 2) complex, differentiable."""
    half = angles / 2
    (ca, cb, cc), (sa, sb, sc) = half.cos().unbind(-1), half.sin().unbind(-1)
    # RX RY = [[ca cb - i sa sb, -ca sb - i sa cb], [ca sb - i sa cb, ca cb + i sa sb]]; RZ multiplies its columns.
    xy = torch.stack(
        [
            torch.complex(ca * cb, -sa * sb),
            torch.complex(-ca * sb, -sa * cb),
            torch.complex(ca * sb, -sa * cb),
            torch.complex(ca * cb, sa * sb),
        ],
        -1,
    ).unflatten(-1, (2, 2))
    z = torch.stack([torch.complex(cc, -sc), torch.complex(cc, sc)], -1)
    return xy * z[..., None, :]


def _group_matrices(angles: torch.Tensor) -> list[list[torch.Tensor]]:
    """Per layer, the Kronecker products of up to five neighbouring wires: (B, 2^k, 2^k) each, wire 0's group first."""
    single = wire_matrices(angles)
    n_wires = angles.shape[2]
    layers = []
    for layer in single.unbind(1):
        groups = []
        for first in range(0, n_wires, WIRES_PER_PRODUCT):
            matrix = layer[:, first]
            for wire in range(first + 1, min(first + WIRES_PER_PRODUCT, n_wires)):
                matrix = torch.einsum("bij,bkl->bikjl", matrix, layer[:, wire]).flatten(3, 4).flatten(1, 2)
            groups.append(matrix)
        layers.append(groups)
    return layers


def _turn(psi: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Multiplies the k leading bits of (B, N) by (B, 2^k, 2^k) and moves them to the end."""
    return torch.bmm(psi.unflatten(1, (matrix.shape[-1], -1)).mT, matrix.mT).flatten(1)


def _unturn(psi: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """The inverse of `_turn`: multiplies the k trailing bits by the adjoint and moves them to the front."""
    return torch.bmm(matrix.mH, psi.unflatten(1, (-1, matrix.shape[-1])).mT).flatten(1)


def _rows(amplitudes: torch.Tensor, part: slice) -> torch.Tensor:
    """The amplitudes of some circuits, one row being shared by all."""
    return amplitudes.expand(part.stop - part.start, -1) if len(amplitudes) == 1 else amplitudes[part]


def _slices(final: torch.Tensor) -> list[slice]:
    entries = ENTRIES_AT_ONCE.get(final.device.type, ENTRIES_AT_ONCE["cpu"])
    step = max(1, entries // final.shape[1])
    return [slice(start, min(start + step, len(final))) for start in range(0, len(final), step)]
