"""Small models to put generators on: RiverOne with shared blocks, a Llama, and fused q/k/v."""

from __future__ import annotations

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from riverone_hf.qgp import QGPConfig
from tiny import tiny_config, tiny_model

SHARED = {"num_hidden_layers": 4, "layer_map": [0, 1, 1, 0], "qkv_map": [0, 1, 1, 0]}
Q = QGPConfig(modules=("*qkv.*.q_proj",))


def shared_model(**vision):
    return tiny_model(tiny_config(vision={**SHARED, **vision}, vision_feature_layers=[0, 3]))


def pixels(tiles=2):
    return torch.randn(tiles, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def features(model):
    return model.get_image_features(pixels()).pooler_output


def llama(**changes):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=32, num_key_value_heads=2, **{**sizes, **changes})).eval()


class Fused(nn.Module):
    """A block with one Linear for queries, keys and values, as many vision models have."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.ModuleDict({"qkv": nn.Linear(8, 24)}) for _ in range(2))


def fused() -> Fused:
    torch.manual_seed(0)
    return Fused()
