"""How does a model learn which of two answers is right? TRL's DPOTrainer with the three losses of MPO."""

from __future__ import annotations

from typing import Any

from trl import DPOTrainer

from .distributed import mean_over_processes, together
from .recipe_trainer import RecipeTrainer

LOSS_TYPES = ("sigmoid", "bco_pair", "sft")
"""Preference (DPO), quality (BCO) and generation (likelihood of the chosen answer), as TRL names them.

Source: mixed preference optimization, arXiv 2411.10442; SPEC 1.7. TRL's BCO has no running shift of the reward. With a
policy equal to its reference and weights (p, q, g) the loss is p ln 2 + 2 q ln 2 + g NLL.
"""


class MpoTrainer(RecipeTrainer, DPOTrainer):
    """DPOTrainer with our optimizer, the hook for auxiliary losses, and a stop when the loss is not finite.

    Without adapter give `ref_model`, a copy of the model; with `peft_config` none: the adapter switched off is the
    reference.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._given_weights = list(self.loss_weights)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's weighted sum of the three losses, plus the auxiliary losses."""
        if together():
            # TRL takes each process's own mean over its tokens; weighted so, the average is that of the whole batch.
            tokens = inputs["completion_mask"].chunk(2)[0][:, 1:].sum().float()
            share = float(tokens / mean_over_processes(tokens))
            self.loss_weights = [w * share if t == "sft" else w for t, w in zip(self.loss_types, self._given_weights)]
        result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss = result[0] if return_outputs else result
        loss = self.with_auxiliary(model, loss)
        return (loss, result[1]) if return_outputs else loss
