"""The SFT trainer: its loss is the weighted answer likelihood, auxiliary losses count, the ViT thaws on time."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F
from trl import SFTConfig

from riverone_hf.data import PlotSource
from riverone_hf.train.collator import PackedCollator
from riverone_hf.train.ema import EmaCallback
from riverone_hf.train.sft import FreezeVision, PackedSFTTrainer


def make_trainer(tiny, folder, callbacks=(), auxiliary=None, steps=3):
    model, processor = tiny
    return PackedSFTTrainer(
        model=copy.deepcopy(model),
        args=SFTConfig(
            output_dir=str(folder),
            max_steps=steps,
            per_device_train_batch_size=2,
            learning_rate=1e-3,
            max_length=None,
            bf16=False,
            use_cpu=True,
            activation_checkpointing=False,
            dataloader_pin_memory=False,
            remove_unused_columns=False,
            report_to="none",
            disable_tqdm=True,
            save_strategy="no",
            logging_steps=1,
        ),
        processing_class=processor,
        data_collator=PackedCollator(processor),
        train_dataset=PlotSource(("t1", "drag")).dataset(0, 8),
        callbacks=list(callbacks),
        muon_lr=1e-3,
        auxiliary_losses=auxiliary,
    )


def test_loss_is_the_weighted_likelihood_of_answers(tiny, tmp_path):
    trainer = make_trainer(tiny, tmp_path)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(2)])
    logits = trainer.model(**{k: v for k, v in batch.items() if k not in ("labels", "loss_weights")}).logits
    each = F.cross_entropy(logits[:, :-1].transpose(1, 2), batch["labels"][:, 1:], reduction="none", ignore_index=-100)
    weights = batch["loss_weights"][:, 1:]
    expected = (each * weights).sum() / weights.sum()
    torch.testing.assert_close(trainer.compute_loss(trainer.model, batch), expected)


def test_auxiliary_loss_is_added_and_logged(tiny, tmp_path):
    trainer = make_trainer(tiny, tmp_path, auxiliary={"norm": lambda model: torch.tensor(2.0)})
    plain = make_trainer(tiny, tmp_path)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(2)])
    difference = trainer.compute_loss(trainer.model, batch) - plain.compute_loss(plain.model, batch)
    assert difference.item() == pytest.approx(2.0, abs=1e-4)
    trainer.train()
    assert trainer.state.log_history[0]["norm_loss"] == 2.0


def test_vision_thaws_after_the_frozen_steps(tiny, tmp_path):
    ema = EmaCallback(0.5)
    trainer = make_trainer(tiny, tmp_path, [FreezeVision(2), ema], steps=2)
    before = copy.deepcopy(trainer.model.state_dict())
    trainer.train()
    after = copy.deepcopy(trainer.model.state_dict())
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not [name for name in moved if "vision_tower" in name]
    assert [name for name in moved if "language_model" in name]
    assert all(parameter.requires_grad for parameter in trainer.model.model.vision_tower.parameters())
    ema.copy_to(trainer.model)
    name = "model.language_model.layers.0.mlp.up_proj.weight"
    averaged = trainer.model.state_dict()[name]
    assert not torch.equal(averaged, after[name]) and not torch.equal(averaged, before[name])
