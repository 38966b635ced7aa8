"""Chances and PauliZ means of the circuit: checks the input, then hands it to an engine."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from ..errors import CircuitError, MissingExtraError
from . import portable
from .ansatz import Ansatz

ENGINES = ("auto", "portable", "numba")
COMPILED_FROM = 8
"""Wires from which the compiled engine works: both halves of an index must fill a vector of sixteen lanes."""


def probabilities(
    amplitudes: torch.Tensor,
    angles: torch.Tensor,
    entangler: str = "chain",
    align: bool = False,
    engine: str = "auto",
    backend: str | None = None,
) -> torch.Tensor:
    """Chances p_j = |<j|psi>|^2 of all basis states (the paper's Eq 15), differentiable once in both arguments.

    Args:
        amplitudes: (N,) shared by all circuits, or (B, N); real, of unit norm, N = 2^n_wires.
        angles: (B, n_layers, n_wires, 3), radians; last axis RX, RY, RZ (RZ acts first).
        entangler: CNOTs after each layer: "chain" (0->1, 1->2, ...), "ring" (and n-1->0) or "none".
        align: undo the permutation that the CNOTs alone make of the basis, so that near-zero angles give
            p_j ~ amplitudes_j^2 at the same j.
        engine: "auto" takes the compiled CPU engine where it applies (float32 on the CPU, 8 wires or more, numba
            installed) and else "portable", which is plain PyTorch on any device. "numba" demands the compiled one.
        backend: "torchquantum" or "pennylane" simulates with that package instead, for comparison only.

    Returns:
        (B, N) in float64 if an argument is float64, else float32; rows sum to 1. Autocast does not lower the precision.

    Raises:
        CircuitError: shapes, norms or names do not fit together, or a backend's package is missing.
        MissingExtraError: engine="numba" without Numba.
    """
    ansatz, amplitudes, angles = _checked(amplitudes, angles, entangler)
    if engine not in ENGINES:
        raise CircuitError(f"engine {engine!r}: expected one of {', '.join(ENGINES)}")
    if backend is not None:
        from . import references

        return references.probabilities(backend, amplitudes, angles, ansatz, align)
    fits = angles.device.type == "cpu" and angles.dtype == torch.float32 and ansatz.n_wires >= COMPILED_FROM
    if engine == "numba" and not fits:
        raise CircuitError(
            f"engine 'numba' for {ansatz.n_wires} wires in {angles.dtype} on {angles.device}: expected {COMPILED_FROM} "
            f"wires or more, float32, on the CPU. Remedy: engine='auto'"
        )
    if engine != "portable" and fits and _numba_found(demanded=engine == "numba"):
        from . import compiled

        return compiled.probabilities(amplitudes, angles, ansatz, align)
    with torch.autocast(amplitudes.device.type, enabled=False):
        return portable.probabilities(amplitudes, angles, ansatz, align)


def expectations(
    amplitudes: torch.Tensor, angles: torch.Tensor, entangler: str = "chain", engine: str = "auto"
) -> torch.Tensor:
    """PauliZ mean of every wire, (B, n_wires) in -1..1: the chance of reading 0 less that of reading 1.

    Arguments, precision and errors as for `probabilities`.
    """
    p = probabilities(amplitudes, angles, entangler, engine=engine)
    means = []
    for _ in range(angles.shape[2]):
        # The most significant wire is left: read it, then sum it away.
        halves = p.unflatten(1, (2, -1))
        means.append(halves[:, 0].sum(1) - halves[:, 1].sum(1))
        p = halves.sum(1)
    return torch.stack(means, 1)


def _numba_found(demanded: bool) -> bool:
    """Whether Numba is there; where the caller demands it, its absence is an error."""
    found = find_spec("numba") is not None
    if demanded and not found:
        raise MissingExtraError("numba", "train")
    return found


def _checked(
    amplitudes: torch.Tensor, angles: torch.Tensor, entangler: str
) -> tuple[Ansatz, torch.Tensor, torch.Tensor]:
    """The ansatz that the shapes imply, with both tensors in one real dtype, amplitudes as (1 or B, N)."""
    if angles.dim() != 4 or angles.shape[3] != 3:
        raise CircuitError(f"angles of shape {tuple(angles.shape)}: expected (batch, n_layers, n_wires, 3)")
    ansatz = Ansatz(angles.shape[2], angles.shape[1], entangler)
    batch = angles.shape[0]
    allowed = [(ansatz.n_states,), (batch, ansatz.n_states)]
    if tuple(amplitudes.shape) not in allowed:
        raise CircuitError(
            f"amplitudes of shape {tuple(amplitudes.shape)}: expected {allowed[0]} or {allowed[1]} for "
            f"{ansatz.n_wires} wires and {batch} circuits. Remedy: pad with zeros to 2^n_wires entries"
        )
    if not (amplitudes.is_floating_point() and angles.is_floating_point()):
        raise CircuitError(f"amplitudes in {amplitudes.dtype}, angles in {angles.dtype}: expected real floating point")
    if amplitudes.device != angles.device:
        raise CircuitError(f"amplitudes on {amplitudes.device}, angles on {angles.device}: expected one device")
    dtype = torch.float64 if torch.float64 in (amplitudes.dtype, angles.dtype) else torch.float32
    # reshape, not a view of rows: (N,) becomes one row that all circuits share.
    rows = amplitudes.to(dtype).reshape(-1, ansatz.n_states)
    if rows.device.type == "cpu":
        _check_norms(rows)
    return ansatz, rows, angles.to(dtype)


def _check_norms(rows: torch.Tensor) -> None:
    norms = torch.linalg.vector_norm(rows.detach(), dim=1)
    if not bool(((norms - 1).abs() < 1e-3).all()):
        worst = norms[(norms - 1).abs().nan_to_num(nan=torch.inf).argmax()]
        raise CircuitError(f"amplitudes of norm {worst:.4g}: expected 1. Remedy: divide each row by its norm")
