"""How are circuit generators kept in bounds while they train? The norm regularizer of the paper's Eq 22."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..errors import TrainingError


def norm_regularizer(model: Any, weight: float) -> dict[str, Callable[[Any], torch.Tensor]]:
    """The auxiliary loss `weight` * L_reg of a model with live generators (see `qgp.regularizer`), by its log name.

    Raises TrainingError for a model without generators: the recipe would silently not do what it says.
    """
    from ..qgp import generators, regularizer

    if not generators(model):
        raise TrainingError(
            "regularizer_weight is set, but this model has no live generators. Remedy: leave it out, or attach "
            "generators first (riverone_hf.qgp.attach)"
        )
    return {"regularizer": lambda module: weight * regularizer(module)}


def live(model: Any) -> Any:
    """A context in which checkpoints keep live generators, so that training can resume; nothing for other models."""
    from ..qgp import live_checkpoints

    return live_checkpoints(model)


def check_resumable(checkpoint: Path) -> None:
    """Raise FrozenResumeError for a checkpoint whose generators were frozen: training would go on with random ones."""
    from ..qgp import refuse_frozen

    if (checkpoint / "config.json").is_file():
        refuse_frozen(checkpoint)
