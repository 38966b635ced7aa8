"""How does the ViT learn to see before it learns to talk? A Trainer on the simulator's labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import Trainer

from ..data.marks import CHANNELS
from ..questions import ASSESSMENTS, get_family
from .distributed import mean_over_processes
from .guard import FiniteLoss
from .optimizer import muon_adamw

if TYPE_CHECKING:
    from ..model import RiverOneForConditionalGeneration, RiverOneProcessor


class WarmupHeads(nn.Module):
    """Vision tower and projector under throw-away heads: type and fit classes, and the plot's continuous facts.

    The tokens of all images of a plot are pooled by `n_queries` learned attention queries, so the heads see where
    things are. Only the vision tower and the projector survive (they are the live modules of `model`).
    With `mark_cells` every token also says what lies in its part of a grid of that many cells a side
    (`data.marks`): the label of a whole figure teaches much more slowly to see a thin curve than its place does.
    `fit_weights` (assessment -> weight in the loss, 1 by default) help a rare assessment.
    """

    fit_weights: torch.Tensor

    def __init__(
        self,
        model: RiverOneForConditionalGeneration,
        types: Sequence[str],
        targets: Sequence[str],
        target_weight: float = 4.0,
        fit_weights: Mapping[Any, float] | None = None,
        n_queries: int = 4,
        mark_cells: int = 0,
        mark_weight: float = 1.0,
    ):
        super().__init__()
        self.vision_tower = model.model.vision_tower
        self.projector = model.model.multi_modal_projector
        # Not a submodule: the language model must not be trained, saved or counted here.
        self._features = [model.model.get_image_features]
        width = model.config.text_config.hidden_size
        self.types, self.targets = list(types), list(targets)
        self.target_weight = target_weight
        weights = [(fit_weights or {}).get(name, 1.0) for name in ASSESSMENTS]
        self.register_buffer("fit_weights", torch.tensor(weights), persistent=False)
        self.norm = nn.LayerNorm(width)
        self.queries = nn.Parameter(torch.randn(n_queries, width) * width**-0.5)
        self.type_head = nn.Linear(n_queries * width, len(types))
        self.fit_head = nn.Linear(n_queries * width, len(ASSESSMENTS))
        self.target_head = nn.Linear(n_queries * width, len(targets)) if targets else None
        self.mark_weight = mark_weight
        self.mark_head = None
        if mark_cells:
            part = mark_cells // math.isqrt(model.config.tokens_per_tile)
            self.mark_head = nn.Linear(width, len(CHANNELS) * part**2)

    def forward(
        self,
        pixel_values: torch.Tensor,
        plot_index: torch.Tensor,
        type_labels: torch.Tensor,
        fit_labels: torch.Tensor,
        target_values: torch.Tensor,
        target_mask: torch.Tensor,
        marks: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """pixel_values (tiles, 3, H, W), plot_index (tiles,) -> loss and logits (plots, classes).

        `target_values`, `target_mask` (plots, targets) hold the regressed facts and which of them a plot has; `marks`
        (tiles, 3, cells, cells) what is where.
        """
        tokens = self.norm(_tiles(self._features[0](pixel_values), len(pixel_values)))
        scores = torch.einsum("qd,tnd->tqn", self.queries, tokens)
        plots = len(type_labels)
        # Softmax over all tokens of a plot, whichever tiles they come from.
        scores = (scores - scores.max()).exp()
        weighted = torch.einsum("tqn,tnd->tqd", scores, tokens)
        total = tokens.new_zeros(plots, *weighted.shape[1:]).index_add_(0, plot_index, weighted.to(tokens.dtype))
        norm = tokens.new_zeros(plots, scores.shape[1]).index_add_(0, plot_index, scores.sum(-1).to(tokens.dtype))
        pooled = (total / norm.clamp_min(1e-6)[..., None]).flatten(1)
        type_logits, fit_logits = self.type_head(pooled), self.fit_head(pooled)
        loss = F.cross_entropy(type_logits, type_labels)
        loss = loss + F.cross_entropy(fit_logits.float(), fit_labels, self.fit_weights)
        if self.target_head is not None:
            error = (self.target_head(pooled) - target_values).square() * target_mask
            loss = loss + self.target_weight * error.sum() / mean_over_processes(target_mask.sum()).clamp_min(1)
        if self.mark_head is not None and marks is not None:
            logits = mark_logits(self.mark_head(tokens), marks.shape[-1]).float()
            errors = F.binary_cross_entropy_with_logits(logits, marks, reduction="none").mean((1, 2, 3))
            tiles = mean_over_processes(errors.new_tensor(float(len(errors))))
            loss = loss + self.mark_weight * errors.sum() / tiles
        return {"loss": loss, "type_logits": type_logits, "fit_logits": fit_logits}


def mark_logits(states: torch.Tensor, cells: int) -> torch.Tensor:
    """(tiles, tokens, 3 * part * part) -> (tiles, 3, cells, cells): every token's square of cells put in its place."""
    side = math.isqrt(states.shape[1])
    part = cells // side
    squares = states.reshape(len(states), side, side, len(CHANNELS), part, part)
    return squares.permute(0, 3, 1, 4, 2, 5).reshape(len(states), len(CHANNELS), cells, cells)


def _tiles(features: Any, tiles: int) -> torch.Tensor:
    features = getattr(features, "pooler_output", features)
    if isinstance(features, (list, tuple)):
        features = torch.cat(list(features), dim=0)
    return features.reshape(tiles, -1, features.shape[-1])


class WarmupCollator:
    """Rows {images, labels} -> inputs of `WarmupHeads`."""

    def __init__(self, processor: RiverOneProcessor, types: Sequence[str], targets: Sequence[str]):
        self.processor = processor
        self.types = {name: index for index, name in enumerate(types)}
        self.targets = list(targets)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        images = [image for row in rows for image in row["images"]]
        features = self.processor.image_processor(images, return_tensors="pt")
        counts = [int(n) for n in features["num_patches"]]
        owners = [index for index, row in enumerate(rows) for _ in row["images"]]
        labels = [row["labels"] for row in rows]
        values = [[float(label.get(name, 0.0)) for name in self.targets] for label in labels]
        mask = [[float(name in label) for name in self.targets] for label in labels]
        batch = {
            "pixel_values": features["pixel_values"],
            "plot_index": torch.tensor(owners).repeat_interleave(torch.tensor(counts)),
            "type_labels": torch.tensor([self.types[label["experiment_type"]] for label in labels]),
            "fit_labels": torch.tensor([ASSESSMENTS.index(label["reliability"]) for label in labels]),
            "target_values": torch.tensor(values),
            "target_mask": torch.tensor(mask),
        }
        if "marks" in labels[0]:
            grids = np.stack([grid for label in labels for grid in label["marks"]])
            batch["marks"] = torch.from_numpy(grids).float()
        return batch


class WarmupTrainer(FiniteLoss, Trainer):
    """Trainer with our optimizer and with accuracies in its logs."""

    muon_lr = 0.02

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """MuonAdamW with the recipe's rates."""
        if self.optimizer is None:
            assert self.model is not None
            self.optimizer = muon_adamw(self.model, self.args.learning_rate, self.muon_lr, self.args.weight_decay)
        return self.optimizer

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The heads' own loss; logs type and fit accuracy of the batch."""
        outputs = model(**inputs)
        with torch.no_grad():
            for name in ("type", "fit"):
                hits = outputs[f"{name}_logits"].argmax(-1) == inputs[f"{name}_labels"]
                self._hits.setdefault(name, []).append(hits.float().mean().item())
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the mean accuracies since the last log."""
        logs |= {f"{name}_accuracy": sum(values) / len(values) for name, values in self._hits.items() if values}
        self._hits.clear()
        super().log(logs, *args, **kwargs)

    @property
    def _hits(self) -> dict[str, list[float]]:
        return self.__dict__.setdefault("_hit_lists", {})


def warmup_types(families: Sequence[str]) -> list[str]:
    """The type classes of the warm-up: all full type names of `families`, in order."""
    return [name for family in families for name in get_family(family).types]
