"""The same circuit in other people's simulators, to compare with. Nothing here is imported unless it is asked for.

torchquantum 0.1.8 does not import beside current packages: it reaches at import time for qiskit, torchpack,
torchdiffeq, pathos and torchvision, of which its gates use nothing. Empty stand-ins take their places for the moment of
the import and are removed again (`make torchquantum` installs it without its dependencies).
"""

from __future__ import annotations

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch

from ..errors import CircuitError
from .ansatz import Ansatz, cnots, images, index_map

BACKENDS = ("torchquantum", "pennylane")
STAND_INS = {"qiskit", "qiskit_aer", "qiskit_ibm_runtime", "qiskit_ibm_experiment", "torchpack", "torchdiffeq"}
STAND_INS |= {"pathos", "torchvision", "dill", "pyscf", "openfermion", "pylatexenc", "tensorflow"}


def probabilities(
    backend: str, amplitudes: torch.Tensor, angles: torch.Tensor, ansatz: Ansatz, align: bool
) -> torch.Tensor:
    """Chances (B, N) by another package, differentiable; torchquantum computes in float32, PennyLane in float64.

    Raises CircuitError for an unknown backend or one that is not installed.
    """
    if backend not in BACKENDS:
        raise CircuitError(f"backend {backend!r}: expected one of {', '.join(BACKENDS)}")
    if find_spec(backend) is None:
        raise CircuitError(f"backend {backend} is not installed. Remedy: run `make torchquantum`, which installs it")
    simulate = _torchquantum if backend == "torchquantum" else _pennylane
    p = simulate(amplitudes.expand(len(angles), -1), angles, ansatz).to(angles.dtype)
    if align:
        p = p[:, index_map(images(ansatz.n_wires, ansatz.entangler, ansatz.n_layers), p.device)]
    return p


def _torchquantum(amplitudes: torch.Tensor, angles: torch.Tensor, ansatz: Ansatz) -> torch.Tensor:
    tq = import_torchquantum()
    device = tq.QuantumDevice(n_wires=ansatz.n_wires, bsz=len(angles), device=angles.device)
    device.states = amplitudes.to(torch.complex64).reshape(-1, *[2] * ansatz.n_wires)
    for layer in angles.float().unbind(1):
        for wire in range(ansatz.n_wires):
            # RX RY RZ is an operator product: RZ acts first.
            for gate, axis in ((tq.functional.rz, 2), (tq.functional.ry, 1), (tq.functional.rx, 0)):
                gate(device, wires=wire, params=layer[:, wire, axis, None])
        for pair in cnots(ansatz.n_wires, ansatz.entangler):
            tq.functional.cnot(device, wires=list(pair))
    return torch.view_as_real(device.get_states_1d()).square().sum(-1)


def _pennylane(amplitudes: torch.Tensor, angles: torch.Tensor, ansatz: Ansatz) -> torch.Tensor:
    import pennylane as qml

    wires = range(ansatz.n_wires)

    @qml.qnode(qml.device("default.qubit", wires=ansatz.n_wires), interface="torch", diff_method="backprop")
    def circuit(state: torch.Tensor, layers: torch.Tensor) -> Any:
        # Not AmplitudeEmbedding: it would check and divide by the norm in another precision.
        qml.StatePrep(state, wires=wires, validate_norm=False)
        for layer in layers:
            for wire in wires:
                qml.RZ(layer[wire, 2], wires=wire)
                qml.RY(layer[wire, 1], wires=wire)
                qml.RX(layer[wire, 0], wires=wire)
            for pair in cnots(ansatz.n_wires, ansatz.entangler):
                qml.CNOT(wires=list(pair))
        return qml.probs(wires=wires)

    rows = zip(amplitudes.to(torch.complex128), angles.double(), strict=True)
    return torch.stack([circuit(state, layers) for state, layers in rows])


def import_torchquantum() -> ModuleType:
    """The torchquantum package, its missing dependencies replaced by stand-ins while it is imported."""
    if "torchquantum" in sys.modules:
        return sys.modules["torchquantum"]
    finder = _StandInFinder()
    sys.meta_path.append(finder)
    try:
        return importlib.import_module("torchquantum")
    finally:
        sys.meta_path.remove(finder)
        for name in finder.made:
            sys.modules.pop(name, None)


def _anything(name: str) -> Any:
    """An empty class that has every attribute and whose objects take every argument."""
    if name.startswith("__"):
        raise AttributeError(name)
    return _Anything(name, (), {"__init__": lambda self, *args, **kwargs: None})


class _Anything(type):
    def __getattr__(cls, name: str) -> Any:
        return _anything(name)


class _StandIn(ModuleType):
    """A module whose every attribute is an empty class: fit to be imported, inherited from and called."""

    def __init__(self, name: str):
        super().__init__(name)
        self.__path__ = []
        # torchquantum asks where qiskit lies.
        self.__file__ = ""

    def __getattr__(self, name: str) -> Any:
        return _anything(name)


class _StandInFinder(MetaPathFinder, Loader):
    """Asked last of all finders, so that packages which are there are imported as they are."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if fullname.split(".")[0] in STAND_INS else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        self.made.append(spec.name)
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """A stand-in has nothing to run."""
