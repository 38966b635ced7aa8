"""Models of six layers that do something in every layer, and batches of noise."""

from __future__ import annotations

import pytest
import torch
from transformers import Siglip2VisionConfig, Siglip2VisionModel, SiglipVisionConfig, SiglipVisionModel, set_seed

from tiny import tiny_config, tiny_model

LAYERS = 6


def noise(batches: int = 2, rows: int = 4, side: int = 32, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, 3, side, side, generator=generator) for _ in range(batches)]


def patches(batches: int = 2, rows: int = 4, seed: int = 1) -> list[dict[str, torch.Tensor]]:
    """NaFlex inputs of SigLIP2: 4 x 4 patches of 8 x 8 pixels, the last image of a batch padded from 3 x 4."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(rows, 16, dtype=torch.long)
    mask[-1, 12:] = 0
    shapes = torch.tensor([[4, 4]] * (rows - 1) + [[3, 4]])
    return [
        {
            "pixel_values": torch.randn(rows, 16, 192, generator=generator),
            "pixel_attention_mask": mask,
            "spatial_shapes": shapes,
        }
        for _ in range(batches)
    ]


def siglip(kind: type = Siglip2VisionModel, layers: int = 4, seed: int = 0):
    common = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "patch_size": 8,
        "vision_use_head": False,
    }
    if kind is Siglip2VisionModel:
        config = Siglip2VisionConfig(num_patches=16, **common)
    else:
        config = SiglipVisionConfig(image_size=32, **common)
    set_seed(seed)
    model = kind(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layer_norm" in name or name.endswith("bias"):
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


SIGLIP1 = SiglipVisionModel


def six_layers():
    """A whole RiverONE, 6 vision layers with norms of their own."""
    made = tiny_model(tiny_config(vision={"num_hidden_layers": LAYERS}, vision_feature_layers=[2, 5]))
    with torch.no_grad():
        for name, parameter in made.model.vision_tower.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter.add_(0.1 * torch.randn_like(parameter))
            elif parameter.ndim == 2 and "position" not in name:
                parameter.mul_(0.4)
    return made


@pytest.fixture
def model():
    return six_layers()
