"""Both engines agree with torchquantum and PennyLane. Collected by `make torchquantum`, where a skip is a failure."""

from __future__ import annotations

import pytest
import torch
from gate_by_gate import KINDS, assert_same, case, with_gradients

from riverone_hf.circuits import probabilities


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("entangler", ["chain", "ring"])
@pytest.mark.parametrize("n", range(3, 11))
@pytest.mark.parametrize("backend", ["torchquantum", "pennylane"])
def test_parity_with_another_package(backend, n, entangler, kind):
    amplitudes, angles, weight = case(n, kind)
    align = n % 2 == 0
    expected = with_gradients(
        lambda a, t: probabilities(a, t, entangler, align, backend=backend), amplitudes, angles, weight
    )
    engines = [("portable", torch.float64), ("portable", torch.float32), ("numba", torch.float32)]
    for engine, dtype in engines if n >= 8 else engines[:2]:
        simulate = lambda a, t: probabilities(a, t, entangler, align, engine)  # noqa: B023, E731
        assert_same(with_gradients(simulate, amplitudes, angles, weight, dtype), expected)
