"""SigLIP and SigLIP2 of transformers, with random weights: shared, saved, loaded, distilled."""

from __future__ import annotations

import copy

import pytest
import torch
from multiplex_models import SIGLIP1, noise, patches, siglip
from safetensors import safe_open
from torch import nn
from transformers import AutoModel, Siglip2VisionModel, ViTConfig, ViTModel, set_seed

from riverone_hf.errors import MultiplexError
from riverone_hf.multiplex import (
    MultiplexedVisionModel,
    Tower,
    layer_errors,
    parameter_groups,
    search_map,
    share_blocks,
    share_report,
    skip_cost,
)

KINDS = [(Siglip2VisionModel, patches), (SIGLIP1, noise)]


@pytest.mark.parametrize(("kind", "images"), KINDS)
@torch.no_grad()
def test_untied_copies_equal_the_original(kind, images):
    model, batch = siglip(kind), images()[0]
    before = copy.deepcopy(model.state_dict())
    untied = share_blocks(model, "identity", head_mixing=True, local_conv=True, grid=(4, 4), local_conv_size=3)
    wanted = Tower(model).output(batch)
    assert torch.allclose(Tower(untied).output(batch), wanted, atol=1e-5)
    assert torch.equal(Tower(share_blocks(model, "identity")).output(batch), wanted)
    for parameter in untied.parameters():
        parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("kind", "images"), KINDS)
@torch.no_grad()
def test_shared_saved_and_loaded(kind, images, tmp_path):
    model, batch = siglip(kind), images()[0]
    shared = share_blocks(model, "pairs", head_mixing=[1], local_conv=[2], grid=(4, 4), local_conv_size=3)
    for name, parameter in shared.named_parameters():
        if "mixing" in name or "local" in name:
            parameter.add_(0.1 * torch.randn_like(parameter))
    shared.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as stored:
        assert set(stored.keys()) == {name for name, _ in shared.named_parameters()}
    loaded, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert isinstance(loaded, MultiplexedVisionModel) and not any(info.values()), info
    assert torch.equal(Tower(loaded).output(batch), Tower(shared).output(batch))
    assert not torch.allclose(Tower(share_blocks(model, "pairs")).output(batch), Tower(shared).output(batch))


def test_blocks_are_stored_once_and_norms_per_layer():
    model = siglip()
    shared = share_blocks(model, [0, 1, 1, 0])
    heavy = sum(
        p.numel() for m in model.encoder.layers[0].modules() if isinstance(m, nn.Linear) for p in m.parameters()
    )
    assert shared.num_parameters() == model.num_parameters() - 2 * heavy
    layers = list(shared.model.encoder.layers)
    assert len(layers) == len(shared.model.encoder.layers) == 4
    assert layers[0].mlp.fc1 is layers[3].mlp.fc1 is not layers[1].mlp.fc1
    assert layers[0].layer_norm1 is not layers[3].layer_norm1
    assert torch.equal(layers[1].self_attn.q_proj.weight, model.encoder.layers[1].self_attn.q_proj.weight)
    assert torch.equal(layers[3].layer_norm2.weight, model.encoder.layers[3].layer_norm2.weight)
    found = parameter_groups(shared)
    assert {name: len(tensors) for name, tensors in found.items() if tensors} == {
        "norms": 4 * 4,
        "blocks": 2 * 6,
        "qkv": 2 * 6,
    }


@torch.no_grad()
def test_a_replaced_stored_module_reaches_every_layer_and_copies_are_independent():
    shared, batch = share_blocks(siglip(), "pairs"), patches()[0]
    wanted = Tower(shared).output(batch)
    other = copy.deepcopy(shared)
    replaced = nn.Linear(48, 32)
    other.shared.stored[0].mlp.fc2 = replaced
    changed = Tower(other).output(batch)
    assert not torch.allclose(changed, wanted) and torch.equal(Tower(shared).output(batch), wanted)
    assert all(layer.mlp.fc2 is replaced for layer in list(other.shared)[:2])


@torch.no_grad()
def test_hidden_states_and_another_attention():
    shared, batch = share_blocks(siglip(), "pairs", head_mixing=[0]), patches()[0]
    states = shared(**batch, output_hidden_states=True).hidden_states
    assert len(states) == 5
    wanted = Tower(shared).output(batch)
    shared.set_attn_implementation("eager")
    assert torch.allclose(Tower(shared).output(batch), wanted, atol=1e-5)
    assert shared.shared.own[0].self_attn.config._attn_implementation == "riverone_head_mixing"


def test_report_merges_and_search():
    model, images = siglip(), patches()
    linears = [name for name in share_report(share_blocks(model, "pairs"), model, images) if "error" in name]
    assert linears == ["output_error", "layer_error"]
    plain, mean = share_blocks(model, "pairs"), share_blocks(model, "pairs", "mean")
    refit = share_blocks(model, "pairs", "lstsq", images=images)
    a, b = (model.encoder.layers[layer].mlp.fc1.weight for layer in (0, 1))
    assert torch.allclose(mean.shared.stored[0].mlp.fc1.weight, (a + b) / 2)
    squares = [sum(e**2 for e in layer_errors(shared, model, images)) for shared in (plain, refit)]
    assert squares[1] < squares[0]
    model.encoder.layers[3].load_state_dict(model.encoder.layers[2].state_dict())
    assert search_map(model, 3, images) == [0, 1, 2, 2]
    assert all(cost > 0 for cost in skip_cost(model, images))


@torch.no_grad()
def test_a_model_with_a_class_token():
    set_seed(0)
    config = ViTConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, image_size=32, patch_size=8
    )
    model = ViTModel(config, add_pooling_layer=False).eval()
    untied = share_blocks(model, "identity", local_conv=True, head_mixing=True, grid=(4, 4))
    batch = noise()[0]
    assert torch.allclose(Tower(untied).output(batch), Tower(model).output(batch), atol=1e-5)
    for parameter in untied.shared.own[0].local_conv.parameters():
        parameter.add_(0.1)
    states = Tower(untied).run(batch, states=True)
    entered = untied.shared.own[0].local_conv(states.inputs[0], (4, 4))
    assert torch.equal(entered[:, 0], states.inputs[0][:, 0]) and not torch.equal(entered, states.inputs[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"qkv_map": [0, 0, 1, 1]}, "qkv_map is for RiverONE"),
        ({"local_conv": True}, "grid"),
        ({"blocks": "encoder.blocks"}, "no module 'encoder.blocks'"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(MultiplexError, match=message):
        share_blocks(siglip(), "pairs", **options)


def test_models_without_one_list_of_blocks():
    with pytest.raises(MultiplexError, match="0 lists of blocks"):
        share_blocks(nn.Linear(2, 2), "pairs")
    two = nn.ModuleDict({name: nn.ModuleList(nn.Linear(2, 2) for _ in range(2)) for name in "ab"})
    with pytest.raises(MultiplexError, match=r"2 lists of blocks \(a, b\)"):
        share_blocks(two, "pairs")
    with pytest.raises(MultiplexError, match="not an unshared model"):
        share_blocks(share_blocks(siglip(), "pairs"), "pairs")
