"""The warm-up's loss: classes, and facts only where a plot has them; weights do what the recipe says."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from riverone_hf.questions import ASSESSMENTS
from riverone_hf.train.warmup import WarmupHeads, mark_logits
from tiny import tiny_model

TYPES, TARGETS = ["a", "b", "c"], ["x", "y"]


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(0)
    return {
        "pixel_values": torch.randn(5, 3, 32, 32, generator=generator),
        "plot_index": torch.tensor([0, 0, 1, 2, 3]),
        "type_labels": torch.tensor([0, 1, 2, 0]),
        "fit_labels": torch.tensor([0, 1, 2, 1]),
        "target_values": torch.rand(4, 2, generator=generator),
        "target_mask": torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 1.0]]),
    }


def heads(**weights) -> WarmupHeads:
    torch.manual_seed(0)
    return WarmupHeads(tiny_model(), TYPES, TARGETS, **weights).eval()


def test_loss_is_the_weighted_sum_of_its_parts(inputs):
    with torch.no_grad():
        out = heads(target_weight=0.0, fit_weights={"No fit": 3.0})(**inputs)
        kind = F.cross_entropy(out["type_logits"], inputs["type_labels"])
        weights = torch.tensor([3.0 if name == "No fit" else 1.0 for name in ASSESSMENTS])
        fit = F.cross_entropy(out["fit_logits"], inputs["fit_labels"], weights)
        assert out["loss"].item() == pytest.approx((kind + fit).item(), rel=1e-5)
        plain = heads(target_weight=0.0)(**inputs)["loss"]
        assert abs(plain - out["loss"]) > 1e-4
        assert heads(target_weight=3.0)(**inputs)["loss"] > heads(target_weight=0.0)(**inputs)["loss"]


def test_a_fact_that_a_plot_has_not_does_not_count(inputs):
    changed = inputs | {"target_values": inputs["target_values"] + 9 * (1 - inputs["target_mask"])}
    with torch.no_grad():
        assert heads()(**inputs)["loss"].item() == pytest.approx(heads()(**changed)["loss"].item(), rel=1e-6)


def test_images_of_a_plot_are_pooled_together_and_of_others_not(inputs):
    changed = inputs | {"pixel_values": inputs["pixel_values"].clone()}
    changed["pixel_values"][1] += 1.0
    with torch.no_grad():
        one, two = heads()(**inputs)["type_logits"], heads()(**changed)["type_logits"]
    assert not torch.allclose(one[0], two[0], atol=1e-5)
    assert torch.allclose(one[1:], two[1:], atol=1e-4)


def test_every_token_answers_for_its_own_square_of_cells():
    states = torch.zeros(1, 4, 3 * 4)
    states[0, 1] = torch.arange(12.0)
    grid = mark_logits(states, 4)
    assert grid.shape == (1, 3, 4, 4)
    assert grid[0, :, :2, 2:].flatten().tolist() == list(range(12))
    assert grid[0, :, 2:].abs().sum() == 0
    assert grid[0, :, :, :2].abs().sum() == 0


def test_marks_are_learned_from(inputs):
    marks = (torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(1)) > 0.8).float()
    model = heads(mark_cells=8, mark_weight=2.0).train()
    with torch.no_grad():
        without = model(**inputs)["loss"]
        first = model(**inputs, marks=marks)["loss"]
    assert first - without == pytest.approx(2 * 0.7, abs=0.4), "about two times ln 2 at the start"
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(30):
        loss = model(**inputs, marks=marks)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        learned = model(**inputs, marks=marks)["loss"] - model(**inputs)["loss"]
    assert learned < 0.8 * (first - without)
    assert heads().mark_head is None
