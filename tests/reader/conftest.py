"""Fixtures of the reader room: a tiny random model in memory and on disk, and small figures."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from riverone_hf.reader import PlotReader
from riverone_hf.reader.generate import Answerer
from tiny import tiny_model, tiny_processor

SHORT = {question: 6 for question in ("q1", "q2", "q3", "q4", "q5", "q6")}


def figure(seed: int = 0, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """An RGB image of noise, (width, height) = size."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="session")
def model():
    return tiny_model()


@pytest.fixture(scope="session")
def processor():
    return tiny_processor(crop_to_patches=True, max_patches=4)


@pytest.fixture(scope="session")
def reader(model, processor):
    return PlotReader(model, processor, threshold=0.0, budgets=SHORT, name="tiny")


@pytest.fixture(scope="session")
def saved_model(model, processor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_figure():
    return figure


@pytest.fixture
def stick(monkeypatch, processor):
    """`stick("9", ",")`: from now on every model says "9", and "," as its second choice."""

    def stick(*texts: str) -> None:
        ids, extend = processor.tokenizer.convert_tokens_to_ids(list(texts)), Answerer._extend

        def stuck(*args, **kwargs):
            logits = torch.zeros_like(extend(*args, **kwargs))
            for rank, token in enumerate(ids):
                logits[..., token] = 9.0 - 4.0 * rank
            return logits

        monkeypatch.setattr(Answerer, "_extend", stuck)

    return stick
