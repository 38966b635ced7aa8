from __future__ import annotations

import pytest
from transformers import AutoConfig

from riverone_hf.model import RiverOneConfig, RiverOneVisionConfig
from tiny import tiny_config


def test_defaults_are_filled_and_consistent():
    config = RiverOneConfig()
    assert config.vision_config.layer_map == list(range(27)) == config.vision_config.qkv_map
    assert config.vision_feature_layers == [26]
    assert config.tokens_per_tile == 196
    assert config.text_config.model_type == "qwen3"
    assert config.projector_hidden_size == config.text_config.hidden_size


def test_qkv_map_follows_layer_map_unless_given():
    assert RiverOneVisionConfig(num_hidden_layers=3, layer_map=[0, 0, 1]).qkv_map == [0, 0, 1]
    both = RiverOneVisionConfig(num_hidden_layers=3, layer_map=[0, 0, 1], qkv_map=[0, 1, 2])
    assert (both.num_stored_blocks, both.num_stored_qkv) == (2, 3)


def test_round_trip_on_disk(tmp_path):
    config = tiny_config(vision={"layer_map": [0, 0, 1], "rotary": True, "position_embedding": "sincos"})
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(loaded, RiverOneConfig)
    ours, theirs = config.to_dict(), loaded.to_dict()
    del ours["_name_or_path"], theirs["_name_or_path"]
    assert theirs == ours


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision": {"layer_map": [0, 1]}}, "one entry per layer: got 2"),
        ({"vision": {"layer_map": [0, 0, 2]}}, "without gaps"),
        ({"vision": {"qkv_map": [1, 1, 1]}}, "qkv_map must use every stored index"),
        ({"vision": {"num_attention_heads": 5}}, "multiple of num_attention_heads: got 32 and 5"),
        ({"vision": {"image_size": 33}}, "image_size must be a multiple of patch_size"),
        ({"vision": {"position_embedding": "none"}}, "got 'none'"),
        ({"vision": {"patch_stem": "deep"}}, "got 'deep'"),
        ({"vision": {"patch_stem": "conv", "patch_size": 2}}, "4 times a power of two"),
        ({"vision": {"num_position_embeddings": 15}}, "square number: got 15"),
        ({"vision": {"rotary": True, "num_attention_heads": 16}}, "head size"),
        ({"vision": {"hidden_size": 18, "num_attention_heads": 3, "position_embedding": "sincos"}}, "multiple of 4"),
        ({"vision": {"merger_out_size": 16, "merge_size": 4}}, "must agree: got 4 and 2"),
        ({"vision_feature_layers": [0, 3]}, "from 0 to 2"),
        ({"vision_feature_layers": [-1]}, "from 0 to 2"),
        ({"downsample_factor": 3}, "must divide the 4 patches per side"),
        ({"image_token_id": 300}, "vocabulary of 262"),
    ],
)
def test_wrong_values_are_refused_with_what_was_got(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(**changes)
