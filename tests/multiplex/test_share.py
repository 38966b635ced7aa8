from __future__ import annotations

import pytest
import torch
from multiplex_models import LAYERS, noise

from riverone_hf.errors import MultiplexError
from riverone_hf.model import RiverOneForConditionalGeneration
from riverone_hf.multiplex import (
    Tower,
    control_targets,
    drop_blocks,
    fresh_blocks,
    layer_errors,
    output_error,
    pairs,
    repo_map,
    search_map,
    share_blocks,
    share_report,
    skip_cost,
    stored_size,
)
from riverone_hf.multiplex.maps import groups, named_map


def test_named_maps():
    assert pairs(5) == [0, 0, 1, 1, 2] == named_map("paper", 5)
    assert max(named_map("paper", 27)) + 1 == 14
    assert repo_map(27) == [*range(24), 23, 24, 25] and max(repo_map(27)) + 1 == 26
    assert groups(6, 2) == [0, 0, 0, 1, 1, 1] and groups(5, 2) == [0, 0, 0, 1, 1]
    assert named_map("groups", 4, 4) == named_map("identity", 4)
    for name, stored in (("groups", None), ("thirds", None), ("groups", 9), ("repo", None)):
        with pytest.raises(MultiplexError):
            named_map(name, 3, stored)


@torch.no_grad()
def test_untied_copies_equal_the_original(model):
    x = noise()[0]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    untied = share_blocks(model, "identity", head_mixing=True, local_conv=[0, 3], local_conv_size=3)
    assert len([n for n, _ in untied.named_parameters() if "mixing" in n]) == 2 * LAYERS
    wanted, got = model.get_image_features(x), untied.get_image_features(x)
    assert torch.allclose(got.pooler_output, wanted.pooler_output, atol=1e-5)
    plain = share_blocks(model, "identity")
    assert torch.equal(plain.get_image_features(x).pooler_output, wanted.pooler_output)
    with torch.no_grad():
        for parameter in untied.parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("init", ["first", "mean", "lstsq"])
def test_stored_blocks(model, init):
    images = noise()
    shared = share_blocks(model, "pairs", init, images=images)
    old, new = model.model.vision_tower, shared.model.vision_tower
    assert new.config.layer_map == shared.config.vision_config.layer_map == shared.model.config.vision_config.layer_map
    assert len(new.blocks) == len(new.qkv) == 3 and len(new.layers) == LAYERS
    first, second, mine = old.blocks[2].mlp, old.blocks[3].mlp, new.blocks[1].mlp
    if init == "mean":
        assert torch.allclose(mine.fc1.weight, (first.fc1.weight + second.fc1.weight) / 2)
    else:
        assert torch.equal(mine.fc1.weight, first.fc1.weight)
    assert torch.equal(mine.fc2.weight, first.fc2.weight) == (init == "first")
    for layer in range(LAYERS):
        assert torch.equal(new.layers[layer].norm1.weight, old.layers[layer].norm1.weight)


def test_least_squares_beats_first_on_the_layers_it_fits(model):
    images = noise(4, 8)
    first, refit = share_blocks(model, "pairs"), share_blocks(model, "pairs", "lstsq", images=images)
    total = [sum(error**2 for error in layer_errors(shared, model, images)) for shared in (first, refit)]
    assert total[1] < 0.7 * total[0]
    # Alone in its group, a block stays as it is.
    alone = share_blocks(model, [0, 1, 2, 3, 4, 4], "lstsq", images=images)
    errors = layer_errors(alone, model, images)
    assert max(errors[:4]) < 1e-5 < min(errors[4:])


def test_qkv_map_and_tower_alone(model):
    tower = model.model.vision_tower
    shared = share_blocks(tower, "pairs", qkv_map=range(LAYERS))
    assert len(shared.blocks) == 3 and len(shared.qkv) == LAYERS
    assert torch.equal(shared.qkv[3].k_proj.weight, tower.qkv[3].k_proj.weight)
    assert torch.equal(shared.blocks[1].mlp.fc1.weight, tower.blocks[2].mlp.fc1.weight)
    again = share_blocks(shared, [0, 0, 0, 1, 1, 1])
    assert torch.equal(again.blocks[1].mlp.fc1.weight, tower.blocks[2].mlp.fc1.weight)
    assert torch.equal(again.qkv[1].q_proj.weight, tower.qkv[3].q_proj.weight)


def test_saved_and_loaded(model, tmp_path):
    shared = share_blocks(model, "pairs", head_mixing=[1, 3], local_conv=True, local_conv_size=3)
    with torch.no_grad():
        for name, parameter in shared.named_parameters():
            if "mixing" in name or "local" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    shared.save_pretrained(tmp_path)
    loaded, info = RiverOneForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert loaded.config.vision_config.head_mixing == [1, 3]
    x = noise()[0]
    with torch.no_grad():
        wanted = shared.get_image_features(x).pooler_output
        assert torch.equal(loaded.get_image_features(x).pooler_output, wanted)
        assert not torch.allclose(share_blocks(model, "pairs").get_image_features(x).pooler_output, wanted)


def test_report(model):
    images = noise()
    shared = share_blocks(model, "pairs", local_conv=[1], local_conv_size=3)
    report = share_report(shared, model, images)
    assert report["stored_blocks"] == 3 and report["layer_map"] == pairs(LAYERS)
    block = sum(
        p.numel() for part in ("blocks", "qkv") for p in getattr(model.model.vision_tower, part)[0].parameters()
    )
    added = sum(p.numel() for p in shared.model.vision_tower.layers[1].local.parameters())
    assert report["saved_parameters"] == 3 * block - added and report["saved_bytes"] == 4 * report["saved_parameters"]
    assert stored_size(model)["parameters"] == model.model.vision_tower.num_parameters()
    # The first layer of a group still does what it did; the second runs another block.
    assert [error < 1e-5 for error in report["layer_error"]] == [True, False] * 3
    assert report["output_error"] > 1e-3 and output_error(model, model, images) == 0


def test_skip_cost_finds_the_layer_that_does_nothing(model):
    tower = model.model.vision_tower
    with torch.no_grad():
        for linear in (tower.blocks[4].attention.out_proj, tower.blocks[4].mlp.fc2):
            linear.weight.zero_()
            linear.bias.zero_()
    costs = skip_cost(model, noise())
    assert costs[4] == 0 and min(costs[:4] + costs[5:]) > 1e-3
    x = noise()[0]
    with torch.no_grad():
        reference = model.get_image_features(x).pooler_output
        scored = skip_cost(model, [], lambda m: -float((m.get_image_features(x).pooler_output - reference).norm()))
    assert scored[4] == 0 and scored[2] > 0
    assert output_error(model, model, noise()) == 0


def test_search_merges_the_layers_that_are_equal(model):
    tower = model.model.vision_tower
    for a, b in ((1, 2), (4, 5)):
        tower.blocks[b].load_state_dict(tower.blocks[a].state_dict())
        tower.qkv[b].load_state_dict(tower.qkv[a].state_dict())
    assert search_map(model, 4, noise()) == [0, 1, 1, 2, 3, 3]
    assert tower.config.layer_map == list(range(LAYERS))
    found = search_map(model, 2, noise())
    assert max(found) == 1 and sorted(found) == found


def test_dropped_blocks_and_a_tower_from_scratch(model):
    x = noise()[0]
    dropped = drop_blocks(model, pairs(LAYERS))
    assert dropped.config.vision_feature_layers == [1, 2] and model.config.vision_feature_layers == [2, 5]
    assert control_targets(pairs(LAYERS)) == {"qkv_targets": [0, 2, 4], "hidden_targets": [1, 3, 5]}
    with torch.no_grad():
        got = Tower(dropped).run(x, states=True)
        tower, states = model.model.vision_tower, model.model.vision_tower.embeddings(x)
        for layer in (0, 2, 4):
            states = tower.layers[layer](states, tower.blocks[layer], tower.qkv[layer])
        assert torch.equal(got.states[-1], states)
        fresh = fresh_blocks(model, pairs(LAYERS), seed=3)
        assert stored_size(fresh) == stored_size(dropped)
        assert not torch.equal(fresh.model.vision_tower.blocks[0].mlp.fc1.weight, tower.blocks[0].mlp.fc1.weight)
        assert torch.equal(
            fresh.model.multi_modal_projector.linear_1.weight, model.model.multi_modal_projector.linear_1.weight
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer_map": [0, 0, 1]}, "3 entries, expected one for each of 6"),
        ({"layer_map": [0, 0, 2, 2, 3, 3]}, "without gaps"),
        ({"layer_map": "pairs", "init": "median"}, "init is 'median'"),
        ({"layer_map": "pairs", "init": "lstsq"}, "images=None"),
    ],
)
def test_wrong_arguments(model, arguments, message):
    with pytest.raises(MultiplexError, match=message):
        share_blocks(model, **arguments)
