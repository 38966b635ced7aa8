"""A loss that is not finite stops training before the weights change; the best averaged weights are kept."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from riverone_hf.errors import NonFiniteLossError
from riverone_hf.train.best import KeepBest
from riverone_hf.train.ema import EmaCallback
from riverone_hf.train.guard import FiniteLoss


class Line(nn.Module):
    """y = w x; its loss is NaN from call `bad` on."""

    def __init__(self, bad: int | None = None):
        super().__init__()
        self.weight, self.calls, self.bad = nn.Parameter(torch.zeros(1)), 0, bad

    def forward(self, x, labels):
        self.calls += 1
        loss = ((self.weight * x - labels) ** 2).mean()
        return {"loss": loss * (float("nan") if self.calls == self.bad else 1.0)}


class GuardedTrainer(FiniteLoss, Trainer):
    pass


def make(folder, model, callbacks=(), steps=6):
    return GuardedTrainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder),
            max_steps=steps,
            per_device_train_batch_size=1,
            learning_rate=0.1,
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            save_strategy="no",
            logging_steps=1,
        ),
        train_dataset=[{"x": torch.ones(1), "labels": torch.ones(1)}] * 16,
        callbacks=list(callbacks),
    )


def test_nan_stops_before_the_weights_change(tmp_path):
    model = Line(bad=4)
    ema = EmaCallback(0.9)
    with pytest.raises(NonFiniteLossError, match=r"loss is nan at step 4.*Remedy: lower learning_rate"):
        make(tmp_path, model, [ema]).train()
    assert torch.isfinite(model.weight).all() and torch.isfinite(ema.average["weight"]).all()
    fine, weights = Line(), []

    class Record(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            weights.append(fine.weight.item())

    make(tmp_path, fine, [Record()]).train()
    assert model.weight.item() == weights[2] != weights[3]


def test_best_averaged_weights_come_back(tmp_path):
    model, ema, seen = Line(), EmaCallback(0.5), []

    def score(network):
        seen.append(network.weight.item())
        assert not network.training
        return -abs(network.weight.item() - 0.25)

    keep = KeepBest(score, 1, ema, tmp_path / "best")
    trainer = make(tmp_path, model, [ema, keep])
    trainer.train()
    assert model.training and len(seen) == 6
    last = model.weight.item()
    assert seen[-1] != last, "the average is scored, not the live weights"
    closest = min(range(6), key=lambda index: abs(seen[index] - 0.25))
    assert closest < 5, "the best is not the last here, or the test shows nothing"
    assert keep.restore(model) == closest + 1
    assert model.weight.item() == pytest.approx(seen[closest], abs=1e-7)
    logged = [entry["validation_score"] for entry in trainer.state.log_history if "validation_score" in entry]
    assert logged == pytest.approx([-abs(value - 0.25) for value in seen])


def test_a_resumed_run_remembers_its_best(tmp_path):
    model, ema = Line(), EmaCallback(0.5)
    ema.average = copy.deepcopy(dict(model.named_parameters()))
    ema.average = {name: value.detach() for name, value in ema.average.items()}
    keep = KeepBest(lambda network: 1.0, 1, ema, tmp_path)
    state, control = TrainerState(max_steps=9, global_step=2), TrainerControl()
    keep.on_train_begin(None, state, control)
    keep.on_step_end(None, state, control, model=model)
    assert json.loads((tmp_path / "best.json").read_text()) == {"step": 2, "score": 1.0}
    for step, best in ((3, 1.0), (1, None)):
        again = KeepBest(lambda network: 0.0, 1, ema, tmp_path)
        again.on_train_begin(None, TrainerState(global_step=step), control)
        assert again.best == best
