"""How does a model learn which of two answers is right? TRL's DPOTrainer with the three losses of MPO."""

from __future__ import annotations

from typing import Any

import torch
from trl import DPOTrainer

from .distributed import mean_over_processes, together
from .guard import FiniteLoss
from .optimizer import muon_adamw
from .sft import AuxiliaryLoss, add_auxiliary

LOSS_TYPES = ("sigmoid", "bco_pair", "sft")
"""Preference (DPO), quality (BCO) and generation (likelihood of the chosen answer), as TRL names them.

Source: mixed preference optimization, arXiv 2411.10442; SPEC 1.7. TRL's BCO has no running shift of the reward. With a
policy equal to its reference and weights (p, q, g) the loss is p ln 2 + 2 q ln 2 + g NLL.
"""


class MpoTrainer(FiniteLoss, DPOTrainer):
    """DPOTrainer with our optimizer, the hook for auxiliary losses, and a stop when the loss is not finite.

    Without adapter give `ref_model`, a copy of the model; with `peft_config` none: the adapter switched off is the
    reference.
    """

    def __init__(
        self,
        *args: Any,
        muon_lr: float | None = None,
        auxiliary_losses: dict[str, AuxiliaryLoss] | None = None,
        **kwargs: Any,
    ):
        self.muon_lr = muon_lr
        self.auxiliary_losses = auxiliary_losses or {}
        super().__init__(*args, **kwargs)
        self._given_weights = list(self.loss_weights)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """MuonAdamW when the recipe gives `muon_lr`, else the optimizer of the arguments."""
        if self.muon_lr is None:
            return super().create_optimizer()
        if self.optimizer is None:
            assert self.model is not None
            self.optimizer = muon_adamw(self.model, self.args.learning_rate, self.muon_lr, self.args.weight_decay)
        return self.optimizer

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
        loss = add_auxiliary(self.auxiliary_losses, model, loss, self._metrics["train" if model.training else "eval"])
        return (loss, result[1]) if return_outputs else loss
