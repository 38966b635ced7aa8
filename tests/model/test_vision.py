from __future__ import annotations

import pytest
import torch

from riverone_hf.model import RiverOneVisionModel
from riverone_hf.model.vision_riverone import apply_rotary, pixel_unshuffle, rotary_positions, sincos_positions
from tiny import tiny_config


def vision_model(seed: int = 0, **changes) -> RiverOneVisionModel:
    torch.manual_seed(seed)
    return RiverOneVisionModel(tiny_config(vision=changes).vision_config).eval()


def tiles(count: int = 2, height: int = 32, width: int = 32) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_unshuffle_joins_neighbouring_patches():
    grid = torch.arange(4 * 6).reshape(1, 24, 1)  # 4 rows, 6 columns
    joined = pixel_unshuffle(grid, (4, 6), 2)
    assert joined.shape == (1, 6, 4)
    assert joined[0, 0].tolist() == [0, 1, 6, 7]
    assert joined[0, 4].tolist() == [14, 15, 20, 21]
    with pytest.raises(ValueError, match="4x6"):
        pixel_unshuffle(grid, (4, 6), 4)


def test_hidden_states_are_block_outputs_and_can_be_selected():
    model, x = vision_model(), tiles()
    every = model(x, output_hidden_states=True)
    assert len(every.hidden_states) == 4
    assert torch.equal(every.hidden_states[-1], every.last_hidden_state)
    some = model(x, output_hidden_states=[2])
    assert some.hidden_states[1] is None
    assert torch.equal(some.hidden_states[2], every.hidden_states[2])
    assert model(x).hidden_states is None


def test_shared_blocks_equal_untied_copies_with_fewer_parameters():
    shared = vision_model(layer_map=[0, 0, 1], qkv_map=[0, 1, 1])
    untied = vision_model(seed=1)
    untied.embeddings.load_state_dict(shared.embeddings.state_dict())
    untied.layers.load_state_dict(shared.layers.state_dict())
    for layer, (block, qkv) in enumerate(zip([0, 0, 1], [0, 1, 1])):
        untied.blocks[layer].load_state_dict(shared.blocks[block].state_dict())
        untied.qkv[layer].load_state_dict(shared.qkv[qkv].state_dict())
    x = tiles()
    assert torch.equal(shared(x).last_hidden_state, untied(x).last_hidden_state)
    state = shared.state_dict()
    pointers = [tensor.data_ptr() for tensor in state.values()]
    assert len(set(pointers)) == len(pointers)
    removed = sum(p.numel() for p in untied.blocks[0].parameters()) + sum(p.numel() for p in untied.qkv[0].parameters())
    assert shared.num_parameters() == untied.num_parameters() - removed


def test_norms_stay_per_layer_when_blocks_are_shared():
    model, x = vision_model(layer_map=[0, 0, 0]), tiles()
    before = model(x, output_hidden_states=True).hidden_states
    with torch.no_grad():
        model.layers[2].norm1.weight.mul_(3)
    after = model(x, output_hidden_states=True).hidden_states
    assert torch.equal(before[2], after[2])
    assert not torch.allclose(before[3], after[3])


@pytest.mark.parametrize(
    "changes",
    [
        {"position_embedding": "learned"},
        {"position_embedding": "learned", "num_position_embeddings": 36},
        {"position_embedding": "sincos"},
        {"position_embedding": "sincos", "rotary": True},
        {"patch_norm": True},
        {"patch_stem": "conv"},
        {"merger_out_size": 20},
        {"merger_out_size": 20, "merger_hidden_size": 24},
        {"temporal_patch_size": 2},
        {"layer_map": [0, 1, 1], "qkv_map": [0, 0, 1]},
    ],
    ids=lambda c: "-".join(f"{k}={v}" for k, v in c.items()),
)
def test_variants_save_and_load(changes, tmp_path):
    model, x = vision_model(**changes), tiles()
    model.save_pretrained(tmp_path)
    loaded, info = RiverOneVisionModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert torch.equal(loaded(x).last_hidden_state, model(x).last_hidden_state)
    # Stored tensors are all there is: nothing computed at construction could go stale on the meta device.
    assert not list(loaded.buffers())


@pytest.mark.parametrize("kind", ["learned", "sincos"])
def test_positions_matter_and_fit_other_grids(kind):
    model = vision_model(position_embedding=kind)
    flat = torch.zeros(1, 3, 32, 32)
    states = model.embeddings(flat)[0]
    assert not torch.allclose(states[0], states[1])
    for height, width in ((64, 64), (32, 48)):
        assert model(tiles(1, height, width)).last_hidden_state.shape == (1, height * width // 64, 32)


def test_learned_positions_are_interpolated_smoothly():
    model = vision_model(hidden_size=4, num_attention_heads=1)
    ramp = torch.linspace(0, 1, 4)
    table = torch.stack([*torch.meshgrid(ramp, ramp, indexing="ij"), torch.ones(4, 4), torch.zeros(4, 4)], dim=-1)
    model.embeddings.position_embedding.data = table.reshape(16, 4)
    large = model.embeddings.positions((8, 8), torch.device("cpu")).reshape(8, 8, 4)
    assert torch.allclose(large[..., 2], torch.ones(8, 8), atol=1e-5)
    assert (large[1:, 0, 0] > large[:-1, 0, 0]).all()
    assert torch.allclose(large[..., 0], large[..., 1].t(), atol=1e-5)
    native = model.embeddings.positions((4, 4), torch.device("cpu"))
    assert torch.equal(native, model.embeddings.position_embedding)


def test_sincos_codes_are_distinct_and_scale_with_the_grid():
    codes = sincos_positions((4, 4), 4, 32, torch.device("cpu"))
    assert torch.cdist(codes, codes).add(torch.eye(16) * 9).min() > 0.1
    larger = sincos_positions((8, 8), 4, 32, torch.device("cpu")).reshape(8, 8, 32)
    assert torch.allclose(larger[::2, ::2].reshape(16, 32), codes, atol=1e-6)


def test_rotary_scores_depend_on_relative_position_only():
    cos, sin = rotary_positions((4, 4), 8, 100.0, torch.device("cpu"))
    query, key = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    turned_q = apply_rotary(query.expand(1, 1, 16, 8), cos, sin)[0, 0]
    turned_k = apply_rotary(key.expand(1, 1, 16, 8), cos, sin)[0, 0]
    scores = (turned_q @ turned_k.t()).reshape(4, 4, 4, 4)
    assert torch.allclose(scores[0, 0, 1, 2], scores[2, 1, 3, 3], atol=1e-5)
    for other in ((2, 1), (1, 1), (0, 2)):
        assert not torch.allclose(scores[0, 0, 1, 2], scores[0, 0, *other], atol=1e-3)


def test_rotary_reaches_attention():
    plain, rotary = vision_model(), vision_model(rotary=True)
    rotary.load_state_dict(plain.state_dict())
    with torch.no_grad():
        for stored in (*plain.qkv, *rotary.qkv):
            stored.q_proj.weight.mul_(20)
            stored.k_proj.weight.mul_(20)
    assert not torch.allclose(plain(tiles()).last_hidden_state, rotary(tiles()).last_hidden_state, atol=1e-3)


def test_attention_is_bidirectional():
    model, x = vision_model(), tiles(1)
    changed = x.clone()
    changed[..., -8:, -8:] += 1  # the last patch
    difference = (model(changed).last_hidden_state - model(x).last_hidden_state)[0].abs().amax(-1)
    assert (difference > 1e-6).all()


def test_sdpa_equals_eager():
    model, x = vision_model(rotary=True), tiles()
    model.set_attn_implementation("sdpa")
    fast = model(x).last_hidden_state
    model.set_attn_implementation("eager")
    assert torch.allclose(model(x).last_hidden_state, fast, atol=1e-5)


def test_initialisation_covers_every_parameter():
    model = vision_model(patch_norm=True, merger_out_size=20)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    for module in model.modules():
        model._init_weights(module)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert 0.5 < model.embeddings.patch_embedding(torch.randn(8, 3, 32, 32)).std() < 1.5
    assert all((p == 0).all() for n, p in model.named_parameters() if n.endswith("bias"))


def test_convolutional_stem_gives_one_vector_a_patch_and_sees_across_borders():
    linear, conv = vision_model(), vision_model(patch_stem="conv")
    size = conv.config.patch_size
    tile = torch.zeros(1, 3, 32, 32)
    spot = tile.clone()
    spot[..., size - 1, size - 1] = 1.0  # the last pixel of the first patch
    for model, overlaps in ((linear, False), (conv, True)):
        change = (model.embeddings(spot) - model.embeddings(tile)).abs().sum(-1)[0]
        assert change.shape == ((32 // size) ** 2,)
        assert change[0] > 0
        assert bool(change[1:].max() > 0) is overlaps


def test_wrong_shapes_are_named():
    model = vision_model()
    with pytest.raises(ValueError, match=r"got \(3, 32, 32\)"):
        model(torch.zeros(3, 32, 32))
    with pytest.raises(ValueError, match="got 30x32"):
        model(torch.zeros(1, 3, 30, 32))
