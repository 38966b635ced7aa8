"""The circuit one gate at a time in complex128, differentiated by PyTorch: slow, and plain enough to be believed."""

from __future__ import annotations

import math

import torch

PAULI = torch.tensor([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]], dtype=torch.complex128)
KINDS = ("zero", "pi", "random")


def rotation(axis: int, angle: torch.Tensor) -> torch.Tensor:
    """exp(-i angle sigma / 2)."""
    return torch.cos(angle / 2) * torch.eye(2, dtype=torch.complex128) - 1j * torch.sin(angle / 2) * PAULI[axis]


def cnot(state: torch.Tensor, control: int, target: int) -> torch.Tensor:
    """Flips the target wire of a state of shape (2,) * n where the control wire is 1."""
    off, on = state.unbind(control)
    return torch.stack([off, on.flip(target - (target > control))], control)


def entangle(state: torch.Tensor, entangler: str) -> torch.Tensor:
    n = state.dim()
    pairs = [(i, i + 1) for i in range(n - 1)] + ([(n - 1, 0)] if entangler == "ring" else [])
    for control, target in pairs if entangler != "none" else []:
        state = cnot(state, control, target)
    return state


def reference(amplitudes: torch.Tensor, angles: torch.Tensor, entangler: str, align: bool = False) -> torch.Tensor:
    """(N,) or (B, N), (B, L, n, 3) -> (B, N) float64."""
    n, rows = angles.shape[2], []
    for state, layers in zip(amplitudes.double().expand(len(angles), -1), angles.double(), strict=True):
        psi = state.to(torch.complex128).reshape([2] * n)
        order = torch.arange(2**n).reshape([2] * n)
        for layer in layers:
            for wire in range(n):
                for axis in (2, 1, 0):
                    turned = torch.tensordot(rotation(axis, layer[wire, axis]), psi, dims=([1], [wire]))
                    psi = turned.movedim(0, wire)
            psi, order = entangle(psi, entangler), entangle(order, entangler)
        p = torch.view_as_real(psi.reshape(-1)).square().sum(-1)
        # order[j] says which basis state the CNOTs alone carry to j.
        rows.append(p[order.reshape(-1).argsort()] if align else p)
    return torch.stack(rows)


def case(n: int, kind: str, batch: int = 2, layers: int = 2, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Amplitudes (B, N), angles (B, L, n, 3) and a gradient of p (B, N), all float64."""
    draw = torch.Generator().manual_seed(seed)
    amplitudes = torch.randn(batch, 2**n, generator=draw, dtype=torch.float64)
    amplitudes /= amplitudes.norm(dim=1, keepdim=True)
    angles = 2 * torch.randn(batch, layers, n, 3, generator=draw, dtype=torch.float64)
    angles = {"zero": 0 * angles, "pi": 0 * angles + math.pi, "random": angles}[kind]
    return amplitudes, angles, torch.randn(batch, 2**n, generator=draw, dtype=torch.float64)


def with_gradients(simulate, amplitudes, angles, weight, dtype=torch.float64):
    """p and the gradients of sum(weight * p) by amplitudes and angles."""
    leaves = [x.to(dtype).requires_grad_() for x in (amplitudes, angles)]
    p = simulate(*leaves)
    return p.detach(), *torch.autograd.grad((p * weight.to(p.dtype)).sum(), leaves)


def assert_same(got, expected, tolerance: float = 1e-5) -> None:
    for name, a, b in zip(("p", "gradient by amplitudes", "gradient by angles"), got, expected, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= tolerance, f"{name}: {(a - b).abs().max():.2e}"
