"""How is a model fine-tuned on conversations? TRL's SFTTrainer with packed plots and a hook for auxiliary losses."""

from __future__ import annotations

from typing import Any

from torch.nn import functional as F
from transformers import TrainerCallback
from trl import SFTTrainer

from .distributed import mean_over_processes
from .recipe_trainer import RecipeTrainer


class PackedSFTTrainer(RecipeTrainer, SFTTrainer):
    """SFTTrainer for `PackedCollator` batches.

    Tokens are weighted by the collator's `loss_weights`; see `RecipeTrainer` for the optimizer and auxiliary losses.
    """

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Weighted mean negative log-likelihood of the answer tokens, plus the auxiliary losses."""
        inputs = dict(inputs)
        labels, weights = inputs.pop("labels")[:, 1:], inputs.pop("loss_weights")[:, 1:]
        answered = labels != -100
        # Only answer tokens are scored: about half of the positions, and no (B, S, vocabulary) tensor.
        keep = F.pad(answered, (0, 1), value=False)
        outputs = model(**inputs, use_cache=False, logits_to_keep=keep)
        labels, weights = labels[answered], weights[answered]
        losses = F.cross_entropy(outputs.logits.float(), labels, reduction="none")
        # Each process divides by the mean weight over processes: the average is that of the whole batch.
        loss = (losses * weights).sum() / mean_over_processes(weights.sum()).clamp_min(1e-6)
        metrics = self._metrics["train" if model.training else "eval"]
        metrics["mean_token_accuracy"].append((outputs.logits.argmax(-1) == labels).float().mean().item())
        loss = self.with_auxiliary(model, loss)
        return (loss, outputs) if return_outputs else loss


class FreezeVision(TrainerCallback):
    """Keeps the vision tower fixed for the first `steps` steps, while the language model learns the answer formats."""

    def __init__(self, steps: int):
        self.steps = steps

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Freeze, unless training resumes behind the frozen part."""
        self._set(model, trainable=state.global_step >= self.steps)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Thaw after the last frozen step."""
        if state.global_step == self.steps:
            self._set(model, trainable=True)

    @staticmethod
    def _set(model: Any, trainable: bool) -> None:
        inner = getattr(model, "module", model)
        inner.model.vision_tower.requires_grad_(trainable)
