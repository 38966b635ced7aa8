"""A tiny real model with the tokenizer of stage 0, made once."""

from __future__ import annotations

import pytest
import torch

from riverone_hf.build.recipe import load_recipe
from riverone_hf.build.stages import build_model


@pytest.fixture(scope="session")
def tiny():
    """(model, processor) with random weights; the language model's are scaled up so that logits differ clearly."""
    overrides = ["model.tokenizer.plots=30", "model.image.image_size=64", "model.vision.num_hidden_layers=3"]
    model, processor = build_model(load_recipe("smoke", overrides))
    with torch.no_grad():
        for parameter in model.model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(3)
    return model.eval(), processor
