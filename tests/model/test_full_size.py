"""The full-size model on the meta device: no memory, exact counts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from riverone_hf.model import RiverOneConfig, RiverOneForConditionalGeneration

VISION = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 448,
    "patch_size": 16,
    "temporal_patch_size": 2,
    "num_position_embeddings": 48 * 48,
    "rotary": True,
    "merger_out_size": 2048,
}
TEXT = {
    "model_type": "qwen3",
    "vocab_size": 151936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
}


def build(**vision) -> RiverOneForConditionalGeneration:
    config = RiverOneConfig(
        vision_config={**VISION, **vision}, text_config=TEXT, vision_feature_layers=[24, 26], image_token_id=151671
    )
    with torch.device("meta"):
        return RiverOneForConditionalGeneration(config)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.fixture(scope="module")
def full() -> RiverOneForConditionalGeneration:
    return build()


def test_vision_tower(full):
    tower = full.model.vision_tower
    block = 4 * 1152**2 + 4 * 1152 + 2 * 1152 * 4304 + 4304 + 1152
    norms = 4 * 1152
    merger = 2 * 1152 + 4608 * 4608 + 4608 + 4608 * 2048 + 2048
    patches = 3 * 2 * 16 * 16 * 1152 + 1152
    assert count(tower) == 27 * (block + norms) + merger + 2304 * 1152 + patches
    assert round(count(tower) / 1e6, 1) == 446.6


def test_projector(full):
    projector = full.model.multi_modal_projector
    assert count(projector.linear_1) == 4096 * 2560 + 2560
    assert round(count(projector) / 1e6, 2) == 17.05


def test_language_model_linears(full):
    linears = [m for m in full.model.language_model.modules() if isinstance(m, nn.Linear)]
    assert len(linears) == 252
    assert sum(m.weight.numel() for m in linears) == 3_633_315_840


def test_tokens_per_tile_and_tied_total(full):
    assert full.config.tokens_per_tile == 196
    assert round(count(full) / 1e9, 3) == 4.486


def test_sharing_pairs_removes_thirteen_blocks():
    pairs = build(layer_map=[i // 2 for i in range(27)])
    assert pairs.config.vision_config.num_stored_blocks == 14
    saved = count(build().model.vision_tower) - count(pairs.model.vision_tower)
    assert saved == 13 * 15_234_896
