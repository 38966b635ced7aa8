"""Which weights of a run are kept? The averaged ones with the best validation score, found while training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback

from .distributed import is_main
from .ema import EmaCallback, _parameters

_WEIGHTS, _SCORE = "best.safetensors", "best.json"


class KeepBest(TrainerCallback):
    """Every `every` steps and after the last one, scores the averaged weights and keeps the best in `folder`.

    `score` takes the model in eval mode and returns a number, larger is better; it must not draw random numbers.
    Added behind the EMA callback, whose average of the step it reads. `restore` puts the best weights into a model.
    """

    def __init__(self, score: Callable[[Any], float], every: int, ema: EmaCallback, folder: Path):
        self.score, self.every, self.ema, self.folder = score, every, ema, folder
        self.best: float | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Forget an earlier run's best, or remember it when training resumes behind it."""
        self.best = None
        if (self.folder / _SCORE).is_file():
            stored = json.loads((self.folder / _SCORE).read_text(encoding="utf-8"))
            if stored["step"] <= state.global_step:
                self.best = stored["score"]

    @torch.no_grad()
    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Score the average of this step and keep it when it is the best so far."""
        if state.global_step % self.every and state.global_step != state.max_steps:
            return
        inner, training = getattr(model, "module", model), model.training
        live = {name: value.detach().clone() for name, value in _parameters(inner)}
        self.ema.copy_to(inner)
        try:
            score = float(self.score(inner.eval()))
        finally:
            for name, value in _parameters(inner):
                value.copy_(live[name])
            inner.train(training)
        state.log_history.append({"step": state.global_step, "validation_score": score})
        if self.best is None or score > self.best:
            self.best = score
            if is_main():
                self._write(state.global_step, score)

    def _write(self, step: int, score: float) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # The score goes first and comes last: one that is there belongs to the weights beside it.
        (self.folder / _SCORE).unlink(missing_ok=True)
        save_file(self.ema.average, self.folder / (_WEIGHTS + ".new"))
        (self.folder / (_WEIGHTS + ".new")).replace(self.folder / _WEIGHTS)
        temporary = self.folder / (_SCORE + ".new")
        temporary.write_text(json.dumps({"step": step, "score": score}), encoding="utf-8")
        temporary.replace(self.folder / _SCORE)

    @torch.no_grad()
    def restore(self, model: nn.Module) -> int:
        """Put the best weights into `model`; the step they are from."""
        stored = load_file(self.folder / _WEIGHTS)
        for name, value in _parameters(model):
            value.copy_(stored[name])
        return int(json.loads((self.folder / _SCORE).read_text(encoding="utf-8"))["step"])
