"""MPO: the first loss is what the formula says, the adapter switched off is the reference, auxiliary losses count."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.nn import functional as F
from trl import DPOConfig

from riverone_hf.data import PlotSource, PreferenceSource
from riverone_hf.train.adapter import lora_config
from riverone_hf.train.mpo import LOSS_TYPES, MpoTrainer

WEIGHTS = (0.8, 0.2, 1.0)


def make_trainer(tiny, folder, weights=WEIGHTS, peft=False, steps=2, auxiliary=None):
    model, processor = copy.deepcopy(tiny[0]), tiny[1]
    return MpoTrainer(
        model=model,
        ref_model=None if peft else copy.deepcopy(tiny[0]),
        args=DPOConfig(
            output_dir=str(folder),
            max_steps=steps,
            per_device_train_batch_size=2,
            learning_rate=1e-3,
            max_length=None,
            beta=0.1,
            loss_type=list(LOSS_TYPES),
            loss_weights=list(weights),
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
        train_dataset=PreferenceSource(PlotSource(("t1", "drag"))).dataset(0, 8),
        muon_lr=None if peft else 1e-3,
        auxiliary_losses=auxiliary,
        peft_config=lora_config(4, 8, 0.0) if peft else None,
    )


def batch_of(trainer):
    return trainer.data_collator([trainer.train_dataset[i] for i in range(2)])


def chosen_nll(model, processor, trainer):
    """Mean negative log-likelihood of the tokens of the right answers, computed without TRL."""
    total, count = 0.0, 0
    for index in range(2):
        row = trainer.train_dataset[index]
        images = [{"type": "image", "image": image} for image in row["images"]]
        text = [part for part in row["prompt"][0]["content"] if part["type"] == "text"]
        question = [{"role": "user", "content": images + text}]
        ids = [
            processor.apply_chat_template(
                messages, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=asks
            )
            for messages, asks in ((question, True), (question + row["chosen"], False))
        ]
        start = ids[0]["input_ids"].shape[1]
        with torch.no_grad():
            logits = model(**ids[1]).logits[0]
        labels = ids[1]["input_ids"][0, start:]
        total += F.cross_entropy(logits[start - 1 : -1], labels, reduction="sum").item()
        count += len(labels)
    return total / count


@pytest.mark.parametrize("peft", [False, True])
def test_first_loss_is_that_of_the_formula(tiny, tmp_path, peft):
    trainer = make_trainer(tiny, tmp_path, peft=peft)
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model, batch_of(trainer)).item()
    expected = 0.8 * math.log(2) + 0.2 * 2 * math.log(2) + chosen_nll(*tiny, trainer)
    assert loss == pytest.approx(expected, abs=1e-4)


def test_each_weight_counts(tiny, tmp_path):
    values = []
    for weights in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)):
        trainer = make_trainer(tiny, tmp_path, weights)
        with torch.no_grad():
            values.append(trainer.compute_loss(trainer.model, batch_of(trainer)).item())
    assert values[:2] == pytest.approx([math.log(2), 2 * math.log(2)], abs=1e-5)
    assert values[2] == pytest.approx(chosen_nll(*tiny, trainer), abs=1e-4)


def test_it_learns_the_preference_and_leaves_the_reference(tiny, tmp_path):
    trainer = make_trainer(tiny, tmp_path, steps=4, auxiliary={"norm": lambda model: torch.tensor(2.0)})
    before = copy.deepcopy(trainer.ref_model.state_dict())
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "rewards/margins" in entry]
    assert logs[0]["rewards/margins"] == 0 and logs[-1]["rewards/margins"] > 0
    assert logs[0]["norm_loss"] == 2.0
    for name, value in trainer.ref_model.state_dict().items():
        assert torch.equal(value, before[name]), name
    moved = [n for n, p in trainer.model.named_parameters() if not torch.equal(p, tiny[0].get_parameter(n))]
    assert moved


def test_only_the_adapter_learns_with_peft(tiny, tmp_path):
    trainer = make_trainer(tiny, tmp_path, peft=True)
    trainer.train()
    trained = {n for n, p in trainer.model.named_parameters() if p.requires_grad}
    assert trained and all("lora_" in name and "language_model.layers" in name for name in trained)
    base = trainer.model.get_base_model().state_dict()
    for name, value in tiny[0].state_dict().items():
        name = name if name in base else name.replace("_proj.", "_proj.base_layer.")
        assert torch.equal(base[name], value), name
