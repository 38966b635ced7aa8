"""What does the language model of a RiverONE read? Packed conversations about simulated plots, images already encoded.

The vision tower stays as it is while a language model is coded and tuned, so that its features are computed once per
base checkpoint: batches hold them as `pixel_values`, and `features_given` makes models take them for what they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from riverone_hf.data import PlotSource
from riverone_hf.train.collator import PackedCollator

Batch = dict[str, torch.Tensor]
SHARES = (("q0", 0.2), ("q1", 0.2), ("q3", 0.12), ("q5", 0.45))
"""How often a plot is asked what is long to answer, as in the recipe `nano`."""


@contextmanager
def features_given(*models: Any) -> Iterator[None]:
    """Inside, `pixel_values` of these RiverONEs are projected image tokens (tiles, tokens per tile, hidden)."""
    for model in models:
        model.model.get_image_features = _as_given
    try:
        yield
    finally:
        for model in models:
            del model.model.get_image_features


def _as_given(pixel_values: torch.Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
    return BaseModelOutputWithPooling(pooler_output=pixel_values)


class PackedPlots(torch.utils.data.Dataset):
    """Batches of packed conversations with their loss weights, ready for a Trainer with a batch size of 1.

    Args:
        model, processor: of the base checkpoint.
        seed, split: of the plots; matplotlib draws a hundredth of them and figures are reduced as in the recipes.
        batches, size: number of batches, plots per batch (neighbours ask alike).
    """

    def __init__(self, model: Any, processor: Any, seed: int, split: Any, batches: int, size: int):
        side = model.config.vision_config.image_size
        source = PlotSource(
            tuple(model.config.families),
            seed=seed,
            split=split,
            direct_size=side,
            direct_share=0.95,
            direct_zoom=4.0,
            matplotlib_share=0.01,
            single_share=0.2,
            full_share=0.12,
            question_shares=SHARES,
            question_group=size,
        )
        collate = PackedCollator(processor)
        self.items = [
            self._item(model, collate([source.row(index * size + row) for row in range(size)]))
            for index in range(batches)
        ]

    @staticmethod
    @torch.no_grad()
    def _item(model: Any, batch: Batch) -> Batch:
        features = model.get_image_features(batch["pixel_values"], return_dict=True).pooler_output
        # A byte per pair of tokens is most of a batch; hundreds of batches are kept.
        bits = torch.nn.functional.pad(batch["attention_mask"], (0, -batch["attention_mask"].shape[-1] % 8))
        packed = (bits.view(*bits.shape[:-1], -1, 8).to(torch.uint8) << torch.arange(8, dtype=torch.uint8)).sum(-1)
        return {**batch, "pixel_values": features, "attention_mask": packed.to(torch.uint8)}

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Batch:
        item = dict(self.items[index])
        bits = item["attention_mask"][..., None] >> torch.arange(8, dtype=torch.uint8) & 1
        item["attention_mask"] = bits.flatten(-2)[..., : item["input_ids"].shape[1]].bool()
        return item

    def inputs(self, labels: bool = False) -> list[Batch]:
        """All batches without loss weights, with labels if they are wanted."""
        left_out = {"loss_weights"} | (set() if labels else {"labels"})
        return [{key: value for key, value in self[i].items() if key not in left_out} for i in range(len(self))]


def first_of(batches: Sequence[Batch]) -> Batch:
    """Data collator for data sets whose items are batches."""
    return batches[0]
