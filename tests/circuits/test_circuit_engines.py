"""Finite differences, precision under autocast, determinism, memory by depth, and clear refusals."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tracemalloc
import weakref

import pytest
import torch
from gate_by_gate import case
from torch.utils._python_dispatch import TorchDispatchMode

from riverone_hf.circuits import Ansatz, expectations, probabilities
from riverone_hf.circuits.ansatz import images, index_map
from riverone_hf.errors import CircuitError, MissingExtraError


@pytest.mark.parametrize("entangler", ["chain", "ring"])
def test_gradients_by_finite_differences(entangler):
    amplitudes, angles, _ = case(3, "random")
    leaves = amplitudes.requires_grad_(), angles.requires_grad_()
    norm = torch.nn.functional.normalize
    assert torch.autograd.gradcheck(lambda a, t: probabilities(norm(a), t, entangler, True), leaves)
    assert torch.autograd.gradcheck(lambda a, t: expectations(norm(a), t, entangler), leaves)


def test_compiled_gradients_by_finite_differences():
    amplitudes, angles, weight = (x.float() for x in case(9, "random", batch=1))
    loss = lambda t: (probabilities(amplitudes, t, engine="numba").double() * weight).sum()  # noqa: E731
    leaf = angles.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    direction = torch.randn(angles.shape, generator=torch.Generator().manual_seed(1))
    step = 2e-3
    slope = (loss(angles + step * direction) - loss(angles - step * direction)) / (2 * step)
    assert float(slope) == pytest.approx(float((gradient * direction).sum()), rel=1e-3)


@pytest.mark.parametrize("engine", ["portable", "numba"])
def test_autocast_changes_nothing(engine):
    amplitudes, angles, weight = (x.float() for x in case(8, "random"))

    def run():
        leaves = amplitudes.clone().requires_grad_(), angles.clone().requires_grad_()
        p = probabilities(*leaves, engine=engine)
        return p, *torch.autograd.grad((p * weight).sum(), leaves)

    plain = run()
    with torch.autocast("cpu", torch.bfloat16):
        cast = run()
    assert all(torch.equal(a, b) for a, b in zip(plain, cast))
    assert plain[0].dtype == torch.float32


@pytest.mark.parametrize("engine", ["portable", "numba"])
def test_a_second_derivative_is_refused(engine):
    amplitudes, angles, _ = (x.float().requires_grad_() for x in case(8, "random"))
    p = probabilities(amplitudes, angles, engine=engine)
    (gradient,) = torch.autograd.grad(p.square().sum(), angles, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_backward_twice_through_a_kept_graph_gives_the_same():
    amplitudes, angles, weight = (x.float() for x in case(9, "random"))
    p = probabilities(amplitudes, angles.requires_grad_(), engine="numba")
    first, second = [torch.autograd.grad(p, angles, weight, retain_graph=True)[0] for _ in range(2)]
    assert torch.equal(first, second)


def test_results_do_not_depend_on_threads_or_batch():
    amplitudes, angles, weight = (x.float() for x in case(15, "random", batch=5))

    def run(part):
        leaves = amplitudes[part].clone().requires_grad_(), angles[part].clone().requires_grad_()
        p = probabilities(*leaves, engine="numba")
        return p.detach(), *torch.autograd.grad((p * weight[part]).sum(), leaves)

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone, single = run(slice(None)), run(slice(3, 4))
        torch.set_num_threads(3)
        threaded = run(slice(None))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(alone, threaded))
    assert all(torch.equal(a[3:4], b) for a, b in zip(alone, single))


class LiveBytes(TorchDispatchMode):
    """Bytes of tensors made inside and still alive, and their peak."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, function, kinds, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (list, tuple)) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() not in self.seen:
                storage = tensor.untyped_storage()
                self.seen.add(storage.data_ptr())
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self.free, storage.data_ptr(), storage.nbytes())
        return result

    def free(self, pointer, size):
        self.seen.discard(pointer)
        self.now -= size


def test_memory_does_not_grow_with_depth():
    def torch_peak(layers):
        amplitudes, angles, weight = (x.float() for x in case(17, "random", batch=1, layers=layers))
        with LiveBytes() as live:
            p = probabilities(amplitudes, angles.requires_grad_(), engine="portable")
            p.backward(weight)
        return live.peak

    def numpy_peak(layers):
        amplitudes, angles, weight = (x.float() for x in case(16, "random", batch=1, layers=layers))
        tracemalloc.start()
        p = probabilities(amplitudes, angles.requires_grad_(), engine="numba")
        p.backward(weight)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    def saved(layers, engine):
        sizes = []
        pack = lambda x: sizes.append(x.numel()) or x  # noqa: E731
        amplitudes, angles, _ = (x.float() for x in case(10, "random", batch=1, layers=layers))
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            probabilities(amplitudes, angles.requires_grad_(), engine=engine)
        return sum(sizes) - angles.numel()

    numpy_peak(3)
    # One state of 17 wires takes 1 MiB, of 16 wires 512 KiB; only matrices and tables may add up.
    assert torch_peak(2) > 3 * 2**20
    assert torch_peak(10) < torch_peak(2) + 2**20
    assert numpy_peak(10) < numpy_peak(3) + 2**18
    for engine in ("portable", "numba"):
        assert saved(6, engine) == saved(1, engine) > 0


def test_the_permutation_of_the_cnots_and_its_powers():
    index = torch.arange(32)
    assert torch.equal(index_map(images(5, "chain", -1)), index ^ index >> 1)
    forward, back = index_map(images(5, "ring", 3)), index_map(images(5, "ring", -3))
    assert torch.equal(forward[back], index)
    assert not torch.equal(forward, index)


def test_shapes_and_counts():
    ansatz = Ansatz(21, 2)
    assert ansatz.shape() == (2, 21, 3)
    assert (ansatz.n_parameters, ansatz.n_effective, ansatz.n_states) == (126, 103, 2**21)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"amplitudes": torch.ones(7)}, r"expected \(8,\) or \(2, 8\)"),
        ({"amplitudes": torch.ones(8)}, "of norm 2.828: expected 1"),
        ({"amplitudes": torch.full((8,), torch.nan)}, "of norm nan: expected 1"),
        ({"amplitudes": torch.ones(8, dtype=torch.int64)}, "real floating point"),
        ({"angles": torch.zeros(2, 3, 3)}, "batch, n_layers, n_wires, 3"),
        ({"angles": torch.zeros(2, 0, 3, 3)}, "0 layers"),
        ({"entangler": "star"}, "chain, ring, none"),
        ({"engine": "cuda"}, "auto, portable, numba"),
        ({"engine": "numba"}, "8 wires"),
        ({"backend": "qiskit"}, "torchquantum, pennylane"),
    ],
)
def test_bad_input_is_refused(change, message):
    amplitudes = torch.nn.functional.normalize(torch.ones(8), dim=0)
    good = {"amplitudes": amplitudes, "angles": torch.zeros(2, 2, 3, 3)}
    assert probabilities(**good).shape == (2, 8)
    with pytest.raises(CircuitError, match=message):
        probabilities(**{**good, **change})


def test_without_numba_the_portable_form_answers(monkeypatch):
    amplitudes, angles, _ = (x.float() for x in case(8, "random"))
    find = importlib.util.find_spec
    monkeypatch.setattr("riverone_hf.circuits.simulate.find_spec", lambda name: None if name == "numba" else find(name))
    assert torch.equal(probabilities(amplitudes, angles), probabilities(amplitudes, angles, engine="portable"))
    with pytest.raises(MissingExtraError, match="numba"):
        probabilities(amplitudes, angles, engine="numba")


def test_import_and_portable_form_need_no_other_package():
    code = """
import sys, torch
from riverone_hf.circuits import probabilities
probabilities(torch.eye(8)[0], torch.zeros(1, 1, 3, 3))
assert not {"numba", "llvmlite", "torchquantum", "pennylane", "scipy"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
