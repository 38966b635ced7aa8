"""Both engines agree with the circuit simulated gate by gate, in chances and gradients."""

from __future__ import annotations

import pytest
import torch
from gate_by_gate import KINDS, assert_same, case, reference, with_gradients

from riverone_hf.circuits import Ansatz, expectations, probabilities

ENGINES = [(n, "portable", torch.float64, 1e-12) for n in range(1, 11)]
ENGINES += [(n, "portable", torch.float32, 1e-5) for n in (3, 6)]
ENGINES += [(n, "numba", torch.float32, 1e-5) for n in (8, 9, 10)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("entangler", ["chain", "ring", "none"])
@pytest.mark.parametrize(("n", "engine", "dtype", "tolerance"), ENGINES)
def test_parity_with_the_gate_by_gate_circuit(n, engine, dtype, tolerance, entangler, kind):
    amplitudes, angles, weight = case(n, kind)
    align = kind == "random"
    expected = with_gradients(lambda a, t: reference(a, t, entangler, align), amplitudes, angles, weight)
    got = with_gradients(lambda a, t: probabilities(a, t, entangler, align, engine), amplitudes, angles, weight, dtype)
    assert_same(got, expected, tolerance)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("entangler", ["chain", "ring"])
@pytest.mark.parametrize("n", [14, 15, 16])
def test_parity_of_registers_larger_than_a_chunk(n, entangler, layers):
    """From 15 wires on the compiled engine takes two passes per layer."""
    amplitudes, angles, weight = case(n, "random", layers=layers)
    engines = [("portable", torch.float64), ("numba", torch.float32)]
    expected, got = [
        with_gradients(lambda a, t: probabilities(a, t, entangler, True, engine), amplitudes, angles, weight, dtype)  # noqa: B023
        for engine, dtype in engines
    ]
    scale = [x.abs().max() for x in expected]
    assert_same([x / s for x, s in zip(got, scale)], [x / s for x, s in zip(expected, scale)])


@pytest.mark.parametrize("engine", ["portable", "numba"])
def test_one_register_shared_by_all_circuits(engine):
    amplitudes, angles, weight = case(9, "random", batch=3)
    expected = with_gradients(lambda a, t: reference(a, t, "chain"), amplitudes[0], angles, weight)
    got = with_gradients(lambda a, t: probabilities(a, t, engine=engine), amplitudes[0], angles, weight, torch.float32)
    assert got[1].shape == (512,)
    assert_same(got, expected, 3e-5)


@pytest.mark.parametrize(("engine", "dtype"), [("portable", torch.float64), ("numba", torch.float32)])
@pytest.mark.parametrize("entangler", ["chain", "ring", "none"])
def test_aligned_and_unturned_the_chances_are_the_squares_in_order(engine, dtype, entangler):
    amplitudes, angles, _ = case(8, "zero", layers=3)
    p = probabilities(amplitudes.to(dtype), angles.to(dtype), entangler, True, engine)
    torch.testing.assert_close(p, amplitudes.to(dtype) ** 2, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("engine", ["portable", "numba"])
def test_chances_sum_to_one(engine):
    amplitudes, angles, _ = case(12, "random", layers=4)
    p = probabilities(amplitudes.float(), angles.float(), engine=engine)
    assert (p >= 0).all()
    torch.testing.assert_close(p.double().sum(1), torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-5)


def test_expectations_are_the_mean_signs_of_the_wires():
    amplitudes, angles, _ = case(5, "random", batch=3)
    p = reference(amplitudes, angles, "ring")
    bits = torch.arange(32)[:, None] >> torch.arange(4, -1, -1) & 1
    torch.testing.assert_close(expectations(amplitudes, angles, "ring"), p @ (1 - 2 * bits).double())


@pytest.mark.parametrize(("n", "layers"), [(6, 2), (6, 3)])
def test_effective_parameters_are_the_rank_of_the_jacobian(n, layers):
    amplitudes, angles, _ = case(n, "random", batch=1, layers=layers)
    for entangler in ("chain", "none"):
        jacobian = torch.autograd.functional.jacobian(lambda t: probabilities(amplitudes, t, entangler), angles)  # noqa: B023
        rank = torch.linalg.matrix_rank(jacobian.reshape(2**n, -1), rtol=1e-9)
        assert rank == Ansatz(n, layers, entangler).n_effective
