"""Generators on whole models: RiverOne's shared q/k/v sets, Linears of other models, fused q/k/v."""

from __future__ import annotations

import copy

import pytest
import torch
from attached import Q, features, fused, llama, pixels, shared_model
from transformers import SiglipVisionConfig, SiglipVisionModel

from riverone_hf.circuits import probabilities
from riverone_hf.errors import GeneratorError
from riverone_hf.qgp import (
    LoRAConfig,
    QGPConfig,
    attach,
    frozen_state_dict,
    generators,
    matched,
    regularizer,
    report,
    shapes,
    trained_parameters,
)


@pytest.mark.parametrize("config", [QGPConfig(), Q, QGPConfig(layers=(1, 3)), LoRAConfig(), QGPConfig(row_col=True)])
def test_model_is_bitwise_the_same_before_training(config):
    model = shared_model()
    before = features(model)
    assert attach(model, config) is model
    assert torch.equal(features(model), before)
    assert regularizer(model).item() == 0


def test_layers_of_one_stored_set_get_weights_of_their_own():
    model = attach(shared_model(), QGPConfig(layers=(1, 2, 3)))
    before = features(model).detach()
    optimizer = torch.optim.Adam(trained_parameters(model), lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        (-(features(model) - before).square().mean() + features(model).square().mean()).backward()
        optimizer.step()
    plain = frozen_state_dict(model)
    weights = [plain[f"model.vision_tower.qkv.{index}.q_proj.weight"] for index in range(4)]
    live = {name: module.weight for name, module in model.named_modules() if name.endswith("q_proj") and "qkv" in name}
    assert torch.equal(weights[0], live["model.vision_tower.qkv.0.q_proj"])  # layer 0 keeps the stored weight
    for one in range(4):
        for other in range(one):
            assert not torch.equal(weights[one], weights[other])
    assert not any(weight.requires_grad for weight in live.values())
    assert regularizer(model).item() > 0


def test_one_circuit_call_per_weight_and_step(monkeypatch):
    import riverone_hf.qgp.circuit_generator as room

    batches = []

    def counted(states, angles, **options):
        batches.append(len(angles))
        return probabilities(states, angles, **options)

    model = attach(shared_model(), QGPConfig())
    features(model)
    monkeypatch.setattr(room, "probabilities", counted)
    features(model)
    assert batches == [2] * 6  # two stored sets, three projections, two layers each


def test_gradient_checkpointing_gives_the_same_gradients():
    plain, saving = attach(shared_model(), QGPConfig()), attach(shared_model(), QGPConfig())
    saving.model.vision_tower.activation_checkpointing_enable()
    for model in (plain, saving):
        model.train()
        features(model).square().mean().backward()
    for one, other in zip(trained_parameters(plain), trained_parameters(saving)):
        torch.testing.assert_close(one.grad, other.grad)
    assert all(part.angles.grad.abs().max() > 0 for part in generators(saving).values())
    assert all(layer.gradient_checkpointing for layer in saving.model.vision_tower.layers)


def test_trained_shared_weights_get_gradients():
    model = attach(shared_model(), QGPConfig(train_shared=True, modules=("*qkv.0.v_proj",)))
    features(model).square().mean().backward()
    weight = model.model.vision_tower.qkv[0].v_proj.weight
    assert weight.requires_grad and weight.grad.abs().max() > 0


def test_other_models_by_pattern():
    model = llama()
    ids = torch.arange(6)[None]
    before = model(ids).logits
    attach(model, QGPConfig(modules=("*self_attn.q_proj", "*mlp.up_proj"), layers=(1,)))
    assert sorted(generators(model)) == ["model.layers.1.mlp.up_proj", "model.layers.1.self_attn.q_proj"]
    assert torch.equal(model(ids).logits, before)
    model(ids, labels=ids).loss.backward()
    assert all(part.angles.grad.abs().max() > 0 for part in generators(model).values())


def test_vision_model_of_others_in_bfloat16():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = SiglipVisionModel(SiglipVisionConfig(image_size=16, patch_size=8, **sizes)).to(torch.bfloat16).eval()
    before = model(pixels()[..., :16, :16].bfloat16()).last_hidden_state
    attach(model, QGPConfig(modules=("*k_proj",)))
    after = model(pixels()[..., :16, :16].bfloat16()).last_hidden_state
    assert torch.equal(before, after) and after.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in trained_parameters(model)} == {torch.float32}


@pytest.mark.parametrize(("slices", "changed"), [(3, range(24)), (((0, 8), (16, 24)), [*range(8), *range(16, 24)])])
def test_fused_rows_have_generators_of_their_own(slices, changed):
    model = attach(fused(), QGPConfig(modules=("*.qkv",), row_slices=slices))
    linear = model.blocks[0]["qkv"]
    original = linear.parametrizations.weight.original
    assert torch.equal(linear.weight, original)
    optimizer = torch.optim.Adam(trained_parameters(model), lr=0.05)
    (linear.weight * torch.randn(24, 8)).sum().backward()
    optimizer.step()
    rows = (linear.weight != original).any(1).nonzero().flatten().tolist()
    assert rows == list(changed)
    parts = generators(model)["blocks.0.qkv"].parts
    assert [part.shape for part in parts] == [(8, 8)] * (len(changed) // 8)
    assert not torch.equal(parts[0].start, parts[1].start)


def test_report_counts():
    model = shared_model()
    total = sum(tensor.numel() for tensor in {t.data_ptr(): t for t in model.state_dict().values()}.values())
    attach(model, QGPConfig())
    counts = report(model)
    angles = 3 * 10 * 2  # 32 x 32 entries: 10 wires, 2 layers
    assert (counts.weights, counts.slots) == (6, 12)
    assert counts.circuit_angles == 12 * angles and counts.trained == 12 * (angles + 1)
    assert counts.effective_angles == 12 * (angles - 10 - 2)
    assert counts.stored_before == total
    assert counts.stored_live == total + 12 * (angles + 1) + 6 * angles
    # Layers 0 and 3, and 1 and 2, shared a set of three weights and biases; freezing stores two more.
    assert counts.stored_frozen == total + 2 * 3 * (32 * 32 + 32)
    assert counts.bytes_frozen == 4 * counts.stored_frozen
    assert counts.step_share is None and "frozen" in str(counts)


def test_report_times_the_share_of_a_step():
    model = attach(shared_model(), Q)
    steps = []

    def step():
        steps.append(features(model).square().mean().backward())

    counts = report(model, step)
    assert len(steps) == 4 and counts.generate_ms > 0 and 0 < counts.step_share == counts.generate_ms / counts.step_ms


def test_copies_train_apart():
    model = attach(llama(), QGPConfig(modules=("*q_proj",)))
    twin = copy.deepcopy(model)
    with torch.no_grad():
        trained_parameters(twin)[0].add_(0.3)
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(frozen_state_dict(twin)[name], frozen_state_dict(model)[name])


def test_matched_counts():
    weights = shapes(shared_model(), QGPConfig())
    assert weights == [((32, 32), 2)] * 6
    budget = sum(QGPConfig().count(*weight) for weight in weights)
    frozen = matched(weights, LoRAConfig(frozen_factors=True), budget)
    assert frozen.matched and frozen.config.rank == 61
    # One rank of LoRA is 64 numbers per weight, five percent over 61: as close as it comes.
    assert matched(weights, LoRAConfig(), budget).trained == 64 * 12
    assert not matched(weights, LoRAConfig(), budget // 2).matched
    deep = matched(weights, QGPConfig(), 3 * budget)
    assert deep.matched and deep.config.n_layers == 6
    tiles = matched(weights, QGPConfig(register="tiled", tile_wires=4), 10 * budget)
    assert tiles.matched


ERRORS = {
    "no match": (QGPConfig(modules=("*nothing*",)), "no module matches .* Linears of this model are .*qkv.*.q_proj"),
    "not a Linear": (QGPConfig(modules=("*norm1",)), "is a LayerNorm"),
    "no such layer": (QGPConfig(layers=(0, 9)), r"layers \[9\]"),
    "no layer at all": (QGPConfig(layers=(9,)), "none in layers"),
    "rows": (QGPConfig(row_slices=5), "not a multiple of row_slices=5"),
    "pairs": (QGPConfig(row_slices=((0, 9), (8, 40))), "disjoint"),
    "tied": (QGPConfig(modules=("lm_head",)), "shares its weight with"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_leave_the_model_as_it_was(name):
    config, message = ERRORS[name]
    model = shared_model()
    names = list(model.state_dict())
    with pytest.raises(GeneratorError, match=message):
        attach(model, config)
    assert list(model.state_dict()) == names and all(p.requires_grad for p in model.parameters())


def test_second_generator_and_meta_weights_are_refused():
    model = attach(shared_model(), QGPConfig())
    with pytest.raises(GeneratorError, match="already has a generator"):
        attach(model, QGPConfig())
    foreign = attach(llama(), QGPConfig(modules=("*q_proj",)))
    with pytest.raises(GeneratorError, match="already has a parametrized weight"):
        attach(foreign, QGPConfig(modules=("*q_proj",)))
    with torch.device("meta"):
        empty = llama()
    with pytest.raises(GeneratorError, match="meta"):
        attach(empty, QGPConfig(modules=("*q_proj",)))
    for call in (regularizer, report):
        with pytest.raises(GeneratorError, match="no generator"):
            call(llama())
