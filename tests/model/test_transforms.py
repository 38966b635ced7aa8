"""MiniViT transforms of a layer: head mixing and the local convolution."""

from __future__ import annotations

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from riverone_hf.model import RiverOneVisionModel
from riverone_hf.model.transforms_riverone import RiverOneHeadMixing, RiverOneLocalConv
from tiny import tiny_config


def vision_model(seed: int = 0, **changes) -> RiverOneVisionModel:
    torch.manual_seed(seed)
    return RiverOneVisionModel(tiny_config(vision=changes).vision_config).eval()


def tiles(height: int = 32, width: int = 32) -> torch.Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def shake(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "mixing" in name or "local" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))


def test_default_has_no_transforms():
    model = vision_model()
    assert model.config.head_mixing == [] and model.config.local_conv == []
    assert not [name for name, _ in model.named_parameters() if "mixing" in name or "local" in name]


@torch.no_grad()
def test_transforms_start_as_the_identity():
    plain = vision_model()
    model = vision_model(seed=5, head_mixing=[0, 2], local_conv=True)
    model.load_state_dict({**model.state_dict(), **plain.state_dict()})
    for size in ((32, 32), (32, 48)):
        wanted = plain(tiles(*size)).last_hidden_state
        assert torch.allclose(model(tiles(*size)).last_hidden_state, wanted, atol=1e-5)
    shake(model)
    assert not torch.allclose(model(tiles()).last_hidden_state, plain(tiles()).last_hidden_state, atol=1e-2)


@torch.no_grad()
def test_head_mixing_by_its_formula():
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 5, 8, generator=generator)
    mixing = RiverOneHeadMixing(4)
    mixing.before.copy_(torch.randn(4, 4, generator=generator))
    mixing.after.copy_(torch.randn(4, 4, generator=generator))
    scores = torch.einsum("hg,tgnd,tgmd->thnm", mixing.before, query, key) * 0.3
    maps = torch.einsum("hg,tgnm->thnm", mixing.after, scores.softmax(-1))
    output, given = mixing(query, key, value, 0.3)
    assert torch.allclose(given, maps, atol=1e-5)
    assert torch.allclose(output, torch.einsum("thnm,thmd->tnhd", maps, value), atol=1e-5)
    # The first axis mixes: head 0 made of head 3 alone looks where head 3 looked.
    mixing.reset_to_identity()
    alone = mixing(query, key, value, 0.3)[1]
    mixing.before[0] = torch.tensor([0.0, 0, 0, 1])
    assert torch.allclose(mixing(query, key, value, 0.3)[1][:, 0], alone[:, 3])
    seen = torch.ones(2, 1, 1, 5, dtype=torch.bool)
    seen[..., 3:] = False
    masked = mixing(query, key, value, 0.3, seen)[1]
    assert masked[..., 3:].abs().max() == 0
    additive = torch.zeros(2, 1, 1, 5).masked_fill(~seen, torch.finfo(torch.float32).min)
    assert torch.allclose(mixing(query, key, value, 0.3, additive)[1], masked, atol=1e-6)


@torch.no_grad()
def test_local_convolution_by_its_formula():
    torch.manual_seed(0)
    local = RiverOneLocalConv(6, 3, 1e-6)
    local.weight.normal_()
    local.bias.normal_()
    states = torch.randn(1, 1 + 3 * 4, 6)
    output = local(states, (3, 4))
    normed = local.norm(states[0, 1:]).reshape(3, 4, 6)
    for row, col in ((0, 0), (1, 2), (2, 3)):
        expected = local.bias.clone()
        for i in (-1, 0, 1):
            for j in (-1, 0, 1):
                if 0 <= row + i < 3 and 0 <= col + j < 4:
                    expected += local.weight[:, 0, i + 1, j + 1] * normed[row + i, col + j]
        assert torch.allclose(output[0, 1 + row * 4 + col], states[0, 1 + row * 4 + col] + expected, atol=1e-5)
    assert torch.equal(output[:, 0], states[:, 0])
    with pytest.raises(ValueError, match="13 tokens cannot fill a grid of 4x4"):
        local(states, (4, 4))


def test_only_mixing_layers_leave_fused_attention(monkeypatch):
    model = vision_model(head_mixing=[1])
    model.set_attn_implementation("sdpa")
    original, calls = ALL_ATTENTION_FUNCTIONS["sdpa"], []
    monkeypatch.setitem(
        ALL_ATTENTION_FUNCTIONS, "sdpa", lambda module, *args, **kw: calls.append(1) or original(module, *args, **kw)
    )
    model(tiles())
    assert len(calls) == 2


@pytest.mark.parametrize("changes", [{"head_mixing": True}, {"local_conv": [0, 2], "local_conv_size": 3}])
def test_save_and_load(changes, tmp_path):
    model = vision_model(layer_map=[0, 0, 1], **changes)
    shake(model)
    model.save_pretrained(tmp_path)
    loaded, info = RiverOneVisionModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    with torch.no_grad():
        assert torch.equal(loaded(tiles()).last_hidden_state, model(tiles()).last_hidden_state)


def test_initialisation_covers_the_transforms():
    model = vision_model(head_mixing=True, local_conv=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    for module in model.modules():
        model._init_weights(module)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert torch.equal(model.layers[1].mixing.after, torch.eye(4))
    assert model.layers[1].local.weight.abs().max() == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head_mixing": [3]}, "head_mixing must name different layers from 0 to 2"),
        ({"local_conv": [1, 1]}, "local_conv must name different layers"),
        ({"local_conv_size": 4}, "local_conv_size must be odd: got 4"),
    ],
)
def test_wrong_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(vision=changes)
