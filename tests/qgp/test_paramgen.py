"""ParamGen: what it writes, what it really holds, and noise that is its own."""

from __future__ import annotations

import copy
import math
import runpy
from pathlib import Path

import pytest
import torch
from torch import nn

from riverone_hf.circuits import probabilities
from riverone_hf.qgp import VQCGeneratedLinear, VQCWeightGenerator
from riverone_hf.qgp.noise import DepolarizingNoise, insert_paulis


def small(**options) -> VQCGeneratedLinear:
    torch.manual_seed(0)
    return VQCGeneratedLinear(6, 5, n_wires=3, rank=2, latent=8, **options)


def test_original_sizes_expand_eighteen_times():
    with torch.device("meta"):
        counts = VQCWeightGenerator().parameter_count()
        linear = VQCGeneratedLinear(512, 128).parameter_count()
    assert counts["quantum"] == 108 and counts["total"] == 89_809_516 and counts["weights"] == 4_958_208
    assert counts["expansion"] == pytest.approx(18.1, abs=0.02)
    assert linear["weights"] == 65_536 and linear["expansion"] == pytest.approx(40.6, abs=0.1)


def test_small_heads_are_small():
    with torch.device("meta"):
        counts = VQCWeightGenerator(head="basis", rank=16, basis_size=16).parameter_count()
    assert counts["expansion"] < 0.05
    model = small(head="basis", basis_size=3)
    assert model.generator.head_u.linear.out_features == 3 * 2
    assert not any("basis" in key for key in model.state_dict())
    torch.testing.assert_close(model.weight, small(head="basis", basis_size=3).weight)


def test_weight_is_low_rank_and_the_mean_of_the_batch():
    generator = small().generator
    features = torch.randn(4, 7)
    weight = generator(features)
    u, v = generator.factors(features)
    expected = torch.stack([a @ b.T for a, b in zip(u, v)]).mean(0) / math.sqrt(2)
    torch.testing.assert_close(weight, expected)
    assert weight.shape == (5, 6) and torch.linalg.matrix_rank(generator(features[:1])) == 2


def test_scale_of_features_does_not_matter_but_direction_does():
    generator = small().generator
    features = torch.randn(1, 8)
    torch.testing.assert_close(generator(3 * features), generator(features))
    assert not torch.allclose(generator(features), generator(features.flip(1)))


@pytest.mark.parametrize("features", [torch.zeros(1, 8), torch.ones(1, 9)])
def test_features_that_do_not_fit(features):
    with pytest.raises(ValueError, match=r"no direction|raise n_wires"):
        small().generator(features)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_materialized_layer_is_the_generated_one(noise):
    model = small(noise_prob=noise).train()
    nn.init.normal_(model.bias)
    inputs = torch.randn(3, 6)
    plain = model.materialize()
    assert type(plain) is nn.Linear and plain.training and model.training
    assert torch.equal(plain.weight, model.eval().weight)
    torch.testing.assert_close(plain(inputs), model(inputs))


def test_every_part_learns():
    model = small()
    model(torch.randn(4, 6)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.generator.angles.grad.abs().max() > 0 and model.context.grad.abs().max() > 0


def matrix(angles: torch.Tensor) -> torch.Tensor:
    """RX(a) RY(b) RZ(c) by matrix exponentials."""
    paulis = torch.tensor([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]], dtype=torch.complex128)
    product = torch.eye(2, dtype=torch.complex128)
    for angle, pauli in zip(angles, paulis):
        product = product @ torch.linalg.matrix_exp(-0.5j * angle * pauli)
    return product


@pytest.mark.parametrize("index", [0, 1, 2, 3])
def test_pauli_after_the_rotations_is_a_change_of_angles(index):
    paulis = torch.tensor(
        [[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]], dtype=torch.complex128
    )
    angles = torch.tensor([0.7, -1.1, 2.3], dtype=torch.float64)
    with_gate = paulis[index] @ matrix(angles)
    changed = matrix(insert_paulis(angles, torch.tensor(index)))
    # Equal up to a phase: the product with the adjoint is a multiple of the identity.
    phase = changed @ with_gate.conj().T
    torch.testing.assert_close(phase, phase[0, 0] * torch.eye(2, dtype=torch.complex128))
    assert abs(phase[0, 0]) == pytest.approx(1)


def test_average_over_trajectories_is_the_depolarizing_channel():
    """After one layer on one wire, PauliZ shrinks by 1 - 4p/3: X and Y flip it, Z does not."""
    chance, draws = 0.3, 20_000
    noise = DepolarizingNoise(chance, seed=1)
    angles = torch.tensor([0.4, 0.9, 0.2]).expand(draws, 1, 1, 3)
    amplitudes = torch.tensor([0.6, 0.8])
    p = probabilities(amplitudes, noise(angles), entangler="none")
    clean = probabilities(amplitudes, angles[:1], entangler="none")[0]
    mean = (p[:, 0] - p[:, 1]).mean()
    expected = (1 - 4 * chance / 3) * (clean[0] - clean[1])
    assert float(mean) == pytest.approx(float(expected), abs=4 * float(p[:, 0].std()) * 2 / math.sqrt(draws))


def test_noise_is_its_own_and_only_in_training():
    noise = DepolarizingNoise(0.5, seed=3)
    angles = torch.randn(4, 2, 3, 3)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, second = noise(angles), noise(angles)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0] - angles[0], first[1] - angles[1])  # one draw per circuit
    assert noise.eval()(angles) is angles
    # A copy, or one that is loaded, goes on with the draws that follow.
    resumed = DepolarizingNoise(0.5, seed=3)
    resumed.load_state_dict(noise.state_dict())
    assert torch.equal(resumed.train()(angles), copy.deepcopy(noise).train()(angles))
    assert DepolarizingNoise(0.0)(angles) is angles
    with pytest.raises(ValueError, match=r"0\.\.1"):
        DepolarizingNoise(1.5)


@pytest.mark.parametrize("script", ["demo", "transformer"])
def test_recipe_scripts_run(script, capsys):
    main = runpy.run_path(str(Path(__file__).parents[2] / "recipes" / "paramgen" / f"{script}.py"))["main"]
    main(["--steps", "3"])
    printed = capsys.readouterr().out
    assert "expansion" in printed and "plain" in printed
