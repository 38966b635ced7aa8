"""How does a coded model learn from its original? A Trainer whose loss is the divergence from a teacher's answers."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from transformers import Trainer

from ..errors import CompressError


def divergence(
    student: torch.Tensor,
    teacher: torch.Tensor,
    labels: torch.Tensor | None,
    mask: torch.Tensor | None = None,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean KL(teacher || student) in nats per token.

    Args:
        student, teacher: logits (B, S, V).
        labels: (B, S), where -100 does not count; shifted here as in a causal language model. None: every position.
        mask: (B, S) attention mask, used when there are no labels.
        weights: (B, S), how much each token counts; None: all alike.

    Positions without any label give 0 with a gradient of 0, never NaN.
    """
    student, teacher = student[:, :-1].float(), teacher[:, :-1].float()
    if labels is not None:
        wanted = labels[:, 1:] != -100
    else:
        wanted = torch.ones(student.shape[:2], dtype=torch.bool) if mask is None else mask[:, 1:].bool()
    wanted = wanted.to(student.device)
    if not wanted.any():
        return student.sum() * 0.0
    log_student = functional.log_softmax(student[wanted], -1)
    log_teacher = functional.log_softmax(teacher[wanted], -1)
    each = functional.kl_div(log_student, log_teacher, log_target=True, reduction="none").sum(-1)
    return _mean(each, weights, wanted)


def _mean(values: torch.Tensor, weights: torch.Tensor | None, wanted: torch.Tensor) -> torch.Tensor:
    """Weighted mean of the values (n,) of the wanted positions (B, S - 1)."""
    if weights is None:
        return values.mean()
    chosen = weights[:, 1:].to(values)[wanted]
    return (values * chosen).sum() / chosen.sum().clamp_min(1e-6)


class DistillTrainer(Trainer):
    """Loss = share * KL(teacher || student) + (1 - share) * task loss; `teacher` is frozen.

    `loss_weights` (B, S) of a batch, if it has them, say how much each token counts in both parts. `unlabelled` counts
    batches without any label to learn; they teach nothing.
    """

    def __init__(self, *args: Any, teacher: Any, share: float = 1.0, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if not 0 < share <= 1:
            raise CompressError(f"got share={share}, expected a share of the divergence above 0 and up to 1")
        self.teacher, self.share, self.unlabelled = teacher.eval().requires_grad_(False), share, 0

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """See `divergence`; raises `CompressError` after 8 batches of which none had a label."""
        labels, weights = inputs.get("labels"), inputs.get("loss_weights")
        plain = {key: value for key, value in inputs.items() if key not in ("labels", "loss_weights")}
        with torch.no_grad():
            wished = self.teacher.to(model.device)(**plain).logits
        outputs = model(**plain)
        loss = divergence(outputs.logits, wished, labels, inputs.get("attention_mask"), weights)
        empty = labels is not None and not bool((labels[:, 1:] != -100).any())
        self.unlabelled += empty
        if self.unlabelled == 8 and self.state.global_step < 8:
            raise CompressError("8 batches without any label to learn. Remedy: look at lengths and label masks")
        if self.share < 1 and labels is not None and not empty:
            wanted = labels[:, 1:] != -100
            logits = outputs.logits[:, :-1][wanted].float()
            task = _mean(functional.cross_entropy(logits, labels[:, 1:][wanted], reduction="none"), weights, wanted)
            loss = self.share * loss + (1 - self.share) * task
        if self.args.gradient_accumulation_steps > 1 and self.model_accepts_loss_kwargs:
            # Trainer leaves the division to losses that know the number of items; this one is a mean.
            loss = loss / self.args.gradient_accumulation_steps
        return (loss, outputs) if return_outputs else loss
