"""What do our trainers add to TRL's? The recipe's optimizer, auxiliary losses, a stop when a loss is not finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .guard import FiniteLoss
from .optimizer import muon_adamw

AuxiliaryLoss = Callable[[torch.nn.Module], torch.Tensor]


class RecipeTrainer(FiniteLoss):
    """Put before a TRL trainer class.

    `muon_lr` chooses MuonAdamW (None: the optimizer of the arguments). TRL computes its losses itself and never calls
    the model's: `auxiliary_losses` (name -> function of the model that returns a scalar) are added by `with_auxiliary`.
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

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """MuonAdamW when the recipe gives `muon_lr`, else the optimizer of the arguments."""
        trainer: Any = self
        if self.muon_lr is None:
            return super().create_optimizer()  # type: ignore[misc]
        if trainer.optimizer is None:
            assert trainer.model is not None
            arguments = trainer.args
            trainer.optimizer = muon_adamw(trainer.model, arguments.learning_rate, self.muon_lr, arguments.weight_decay)
        return trainer.optimizer

    def with_auxiliary(self, model: Any, loss: torch.Tensor) -> torch.Tensor:
        """`loss` plus every auxiliary loss of the model, whose values go to the logs."""
        metrics = self._metrics["train" if model.training else "eval"]  # type: ignore[attr-defined]
        for name, auxiliary in self.auxiliary_losses.items():
            value = auxiliary(model)
            metrics[f"{name}_loss"].append(value.item())
            loss = loss + value
        return loss
