"""When must training stop at once? When the loss is not finite: before the optimizer can spoil the weights."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import NonFiniteLossError


class FiniteLoss:
    """Put before a Trainer class: raises NonFiniteLossError in the step whose loss is NaN or infinite.

    The weights, their average and the last checkpoint are then still good. (Trainer's own logs hide such losses:
    `logging_nan_inf_filter` replaces them by the mean.)
    """

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The trainer's own step, with its loss looked at."""
        loss = super().training_step(*args, **kwargs)  # type: ignore[misc]
        if not torch.isfinite(loss):
            step = self.state.global_step + 1  # type: ignore[attr-defined]
            raise NonFiniteLossError(float(loss), step)
        return loss
