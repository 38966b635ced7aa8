"""A Trainer around live generators: its checkpoints resume, what it saves at the end is frozen."""

from __future__ import annotations

import json

import pytest
import torch
from attached import Q, pixels, shared_model
from transformers import Trainer, TrainingArguments

from riverone_hf.errors import FrozenResumeError
from riverone_hf.model import RiverOneVisionModel
from riverone_hf.qgp import attach, generators, live_checkpoints, regularizer


class Squares(Trainer):
    """Makes the last states small, with a weight on how far the generators go."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss = model(inputs["pixel_values"]).last_hidden_state.square().mean() + 0.1 * regularizer(model)
        return (loss, {}) if return_outputs else loss


def trainer(folder, steps):
    tower = attach(shared_model().model.vision_tower, Q)
    arguments = TrainingArguments(
        str(folder),
        max_steps=steps,
        per_device_train_batch_size=2,
        learning_rate=0.05,
        lr_scheduler_type="constant",
        save_steps=1,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        use_cpu=True,
    )
    return Squares(tower, arguments, train_dataset=[{"pixel_values": image} for image in pixels(6)])


def angles(model):
    return torch.cat([generator.angles.flatten() for generator in generators(model).values()])


def test_checkpoints_are_live_and_the_end_is_frozen(tmp_path):
    whole = trainer(tmp_path / "whole", 3)
    with live_checkpoints(whole.model):
        whole.train()
    whole.save_model(str(tmp_path / "end"))

    assert json.loads((tmp_path / "whole" / "checkpoint-1" / "config.json").read_text())["riverone_frozen"] is False
    assert json.loads((tmp_path / "end" / "config.json").read_text())["riverone_frozen"] is True
    frozen = RiverOneVisionModel.from_pretrained(tmp_path / "end")
    assert torch.equal(frozen(pixels()).last_hidden_state, whole.model.eval()(pixels()).last_hidden_state)

    resumed = trainer(tmp_path / "resumed", 3)
    with live_checkpoints(resumed.model):
        resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-1"))
    torch.testing.assert_close(angles(resumed.model), angles(whole.model))
    assert not torch.equal(angles(whole.model), angles(trainer(tmp_path / "new", 1).model))

    # Without the context every checkpoint is frozen, and no training goes on from one.
    careless = trainer(tmp_path / "careless", 1)
    careless.train()
    with pytest.raises(FrozenResumeError, match="live_checkpoints"):
        trainer(tmp_path / "careless", 2).train(resume_from_checkpoint=str(tmp_path / "careless" / "checkpoint-1"))
