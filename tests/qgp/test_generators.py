"""Every generator: the identity at the start, slots that differ after training, honest counts, no state of others."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from riverone_hf.circuits import probabilities
from riverone_hf.errors import GeneratorError
from riverone_hf.qgp import (
    BitMaskConfig,
    KroneckerConfig,
    LoRAConfig,
    MLPConfig,
    ParamGenConfig,
    QGPConfig,
    RowColumnConfig,
    config_of,
)

ALL = [
    QGPConfig(),
    QGPConfig(entangler="ring", n_layers=3),
    QGPConfig(register="tiled", tile_wires=4),
    QGPConfig(register="tiled", tile_wires=4, tile_circuits=3, readout="sign"),
    QGPConfig(readout="sign", row_col=True),
    QGPConfig(readout="low_rank", readout_rank=2),
    QGPConfig(readout="kronecker"),
    ParamGenConfig(n_wires=4, latent=8),
    ParamGenConfig(n_wires=4, latent=8, head="dense", noise_prob=0.5),
    RowColumnConfig(),
    KroneckerConfig(terms=2),
    BitMaskConfig(),
    MLPConfig(),
    LoRAConfig(),
    LoRAConfig(rank=8, frozen_factors=True),
]
IDS = [
    "-".join(str(value) for key, value in config.model_dump(exclude_defaults=True).items()) or config.method
    for config in ALL
]
SHAPE = (12, 20)


def stored(dtype=torch.float32, shape=SHAPE, trains=False, seed=0) -> nn.Parameter:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return nn.Parameter(values.to(dtype), requires_grad=trains)


def train(generator, weight, steps=3):
    """A few steps towards a target per slot."""
    targets = torch.randn(generator.slots, *weight.shape, generator=torch.Generator().manual_seed(5))
    optimizer = torch.optim.Adam([*generator.parameters(), *([weight] if weight.requires_grad else [])], lr=0.02)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (generator(weight) - targets).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("config", ALL, ids=IDS)
@pytest.mark.parametrize("trains", [False, True])
def test_identity_is_bitwise_before_training(config, trains):
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        weight = stored(dtype, trains=trains)
        generator = config.build(SHAPE, 3, seed=1)
        for context in (torch.enable_grad(), torch.no_grad()):
            with context:
                made = generator(weight)
            assert made.dtype == dtype and made.shape == (3, *SHAPE)
            assert all(torch.equal(slot, weight) for slot in made)
    assert generator.deviation().item() == 0


@pytest.mark.parametrize("config", ALL, ids=IDS)
def test_slots_differ_after_training_and_the_loss_falls(config):
    weight = stored()
    generator = config.build(SHAPE, 2, seed=1)
    generator.eval()  # no noise: the loss is to fall in few steps
    losses = train(generator, weight, steps=12)
    assert losses[-1] < losses[0]
    first, second = generator(weight)
    assert not torch.equal(first, second) and not torch.equal(first, weight)
    assert generator.deviation().item() > 0


@pytest.mark.parametrize("config", ALL, ids=IDS)
def test_count_is_the_number_of_trained_parameters(config):
    generator = config.build(SHAPE, 3, seed=1)
    assert config.count(SHAPE, 3) == sum(parameter.numel() for parameter in generator.parameters())


@pytest.mark.parametrize("config", ALL, ids=IDS)
def test_same_seed_same_generator_and_no_global_random_state(config):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, second = config.build(SHAPE, 2, seed=7), config.build(SHAPE, 2, seed=7)
    weight = stored()
    for generator in (first, second):
        train(generator, weight)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first(weight), second(weight))
    if config.method != "row_col":
        other = config.build(SHAPE, 2, seed=8)
        train(other, weight)
        assert not torch.equal(first.eval()(weight), other.eval()(weight))


@pytest.mark.parametrize("config", ALL[:7], ids=IDS[:7])
def test_first_step_moves_angles_or_gates(config):
    """Exactly zero angles would leave RX and RZ without gradient; gates at zero delay it by one step."""
    weight = stored()
    generator = config.build(SHAPE, 2, seed=1)
    train(generator, weight, steps=2)
    moved = (generator.angles - generator.start).abs()
    last_rz = torch.zeros_like(moved, dtype=torch.bool)
    last_rz[..., -1, :, 2] = True
    assert (moved[~last_rz] > 0).float().mean() > 0.9


def test_ratio_readout_is_its_formula():
    weight, config = stored(), QGPConfig()
    generator = config.build(SHAPE, 2, seed=1)
    train(generator, weight)
    flat = nn.functional.pad(weight.flatten(), (0, 256 - 240))
    state = flat / flat.norm()
    with torch.no_grad():
        p = probabilities(state, generator.angles[:, 0], align=True)[:, :240] * 256
        start = probabilities(state, generator.start, align=True)[:, :240] * 256
        expected = weight * (1 + generator.gate * ((p - start) / (start + 1)).view(-1, *SHAPE))
    torch.testing.assert_close(generator(weight), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("entangler", ["chain", "ring"])
def test_near_zero_angles_read_the_same_entry(entangler):
    """The mean-one probabilities follow W^2 at the same index, in full and in tiled registers."""
    weight = stored(shape=(16, 16))
    for options in ({}, {"register": "tiled", "tile_wires": 5}):
        generator = QGPConfig(entangler=entangler, n_layers=3, **options).build((16, 16), 1, seed=0)
        states, rms = generator._amplitudes(weight)
        small = torch.full_like(generator.angles, 1e-4)
        p = generator._probabilities(states, small).view(16, 16)
        expected = (states * generator.plan.size**0.5).square().view(16, 16)
        torch.testing.assert_close(p, expected, rtol=1e-2, atol=2e-3)
        torch.testing.assert_close(states * rms * generator.plan.size**0.5, weight.view(states.shape))


def test_gradients_by_finite_differences():
    weight = stored(torch.float64, shape=(4, 6))
    generator = QGPConfig(readout="sign", row_col=True).build((4, 6), 2, seed=0).double()
    # A generator keeps its own dtype under model.to(...), so the parameters are replaced.
    for name, parameter in list(generator.named_parameters()):
        setattr(generator, name, nn.Parameter(parameter.detach().double() + 0.05))
    probe = torch.randn(2, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (generator.generate(weight, None) * probe).sum().backward()
    for parameter in generator.parameters():
        index = tuple(size - 1 for size in parameter.shape)
        values = []
        with torch.no_grad():
            for step in (1e-3, -2e-3):
                parameter[index] += step
                values.append(float((generator.generate(weight, None) * probe).sum()))
            parameter[index] += 1e-3
        assert float(parameter.grad[index]) == pytest.approx((values[0] - values[1]) / 2e-3, rel=2e-2, abs=2e-3)


def test_reference_is_kept_while_the_weight_is_frozen_and_follows_it(monkeypatch):
    import riverone_hf.qgp.circuit_generator as room

    calls = []
    monkeypatch.setattr(
        room,
        "probabilities",
        lambda states, angles, **options: calls.append(len(angles)) or probabilities(states, angles, **options),
    )
    weight = stored()
    generator = QGPConfig().build(SHAPE, 3, seed=1)
    generator(weight), generator(weight)
    assert calls == [3, 3, 3]  # the reference once, then one call per step
    with torch.no_grad():
        weight.mul_(1.5)
    assert all(torch.equal(slot, weight) for slot in generator(weight))
    assert calls == [3] * 5
    trained = stored(trains=True)
    generator(trained)
    assert calls[-1] == 4  # the reference rides along
    generator(trained).sum().backward()
    assert trained.grad is not None and torch.isfinite(trained.grad).all()


def test_zero_tiles_and_zero_weights_stay_zero():
    weight = stored(shape=(8, 8))
    with torch.no_grad():
        weight[4:] = 0
    for config in (QGPConfig(register="tiled", tile_wires=4), QGPConfig(readout="sign")):
        generator = config.build((8, 8), 2, seed=0)
        train(generator, weight)
        made = generator(weight)
        assert torch.isfinite(made).all() and made[:, 4:].abs().max() == 0


def test_half_precision_of_the_model_leaves_the_generator_in_float32():
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.generator = nn.Linear(3, 3), QGPConfig().build(SHAPE, 1, seed=0)

    holder = Holder().to(torch.bfloat16)
    assert holder.linear.weight.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in holder.generator.parameters()} == {torch.float32}


def test_autocast_changes_nothing():
    weight, generator = stored(), QGPConfig().build(SHAPE, 2, seed=1)
    train(generator, weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = generator(weight)
    assert torch.equal(inside, generator(weight))


def test_copies_and_pickles_keep_no_reference_of_the_original():
    weight, generator = stored(), QGPConfig().build(SHAPE, 2, seed=1)
    train(generator, weight)
    for twin in (copy.deepcopy(generator), pickle.loads(pickle.dumps(generator))):
        assert twin._reference is None
        assert torch.equal(twin(weight), generator(weight))


def test_effective_angles_are_the_rank_of_the_jacobian():
    weight = stored(shape=(8, 8))
    for layers in (1, 2):
        generator = QGPConfig(n_layers=layers).build((8, 8), 1, seed=0)
        states = generator._amplitudes(weight)[0].double()
        angles = (
            torch.rand(generator.angles[0].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 6
        )
        jacobian = []
        for entry in range(angles.numel()):
            step = torch.zeros(angles.numel(), dtype=torch.float64)
            step[entry] = 1e-4
            step = step.view_as(angles)
            difference = generator._probabilities(states, torch.stack([angles + step, angles - step]))
            jacobian.append((difference[0] - difference[1]) / 2e-4)
        values = torch.linalg.svdvals(torch.stack(jacobian))
        assert generator.circuits()["angles"] == 18 * layers
        assert (
            int((values > values[0] * 1e-6).sum())
            == generator.circuits()["effective"]
            == 18 * layers - 6 - 2 * (layers - 1)
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "qgp", "n_layer": 3}, "n_layer"),
        ({"method": "qgp", "readout": "raw"}, "readout"),
        ({"method": "lora", "rank": 0}, "rank"),
        ({"method": "vera"}, "method"),
        ({"method": "paramgen", "noise_prob": 1.5}, "noise_prob"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValidationError, match=message):
        config_of(settings)


def test_settings_survive_a_round_trip():
    for config in ALL:
        assert config_of(config.model_dump(mode="json", by_alias=True)) == config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (QGPConfig(register="tiled", tile_wires=4, tile_circuits=16), "tile_circuits=16 for 15 tiles"),
        (QGPConfig(readout="low_rank", readout_rank=9), "needs 288 probabilities but there are 240"),
    ],
)
def test_settings_that_do_not_fit_a_weight(config, message):
    with pytest.raises(GeneratorError, match=message):
        config.build(SHAPE, 1, seed=0)
