"""Which weights are kept? An exponential moving average of the trained ones, saved and resumed with checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback

_FILE = "ema.safetensors"


class EmaCallback(TrainerCallback):
    """Keeps an average of all parameters, updated after every optimizer step; `copy_to` writes it into a model.

    The decay warms up as min(decay, (1 + t) / (10 + t)) so that early random weights are forgotten. It is written
    beside each checkpoint and read back on resume.
    """

    def __init__(self, decay: float = 0.998):
        self.decay = decay
        self.average: dict[str, torch.Tensor] = {}
        self.resume_from: Path | None = None

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **kwargs: Any
    ) -> None:
        """Start from the model's weights, or from the checkpoint that training resumes from."""
        assert model is not None
        stored = self.resume_from / _FILE if self.resume_from else None
        if stored is not None and stored.is_file():
            self.average = load_file(stored)
        else:
            self.average = {name: value.detach().clone() for name, value in _parameters(model)}

    @torch.no_grad()
    def on_step_end(self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **kwargs: Any) -> None:
        """Move the average towards the present weights."""
        assert model is not None
        step = state.global_step
        weight = 1.0 - min(self.decay, (1.0 + step) / (10.0 + step))
        names, values = zip(*_parameters(model), strict=True)
        torch._foreach_lerp_([self.average[name] for name in names], [value.detach() for value in values], weight)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the average into the checkpoint that was just saved."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero and folder.is_dir():
            save_file(self.average, folder / (_FILE + ".new"))
            (folder / (_FILE + ".new")).rename(folder / _FILE)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Put the averaged weights into `model`."""
        for name, value in _parameters(model):
            value.copy_(self.average[name])


def last_complete_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint below `folder` that was written to its end; unfinished ones are removed.

    Trainer writes a checkpoint file by file and the average comes last, so a kill in between leaves one without it.
    """
    complete = []
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2])):
        if (checkpoint / _FILE).is_file():
            complete.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    return complete[-1] if complete else None


def _parameters(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    inner = getattr(model, "module", model)
    return list(inner.named_parameters())
