"""A small coded model, rows that it can learn, and arguments of a Trainer, for tests of tuning."""

from __future__ import annotations

import torch
from tiny_lms import batches, simple_coder, tiny_lm
from torch.utils.data import Dataset
from transformers import TrainingArguments

from riverone_hf.additive.quantize import quantize


def coded_lm(scheme: str = "2x3g4"):
    model = tiny_lm()
    quantize(model, scheme, batches(2), say=lambda line: None, coder=simple_coder)
    return model


class Tokens(Dataset):
    """Rows of 10 tokens with labels; the answers are the tokens of a fixed pattern, so they can be learnt."""

    def __init__(self, count: int = 32):
        generator = torch.Generator().manual_seed(3)
        start = torch.randint(3, 20, (count, 1), generator=generator)
        self.ids = 3 + (start + 7 * torch.arange(10)) % 50

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.ids[index], "labels": self.ids[index], "attention_mask": torch.ones(10).long()}


def arguments(folder, steps: int, **changes) -> TrainingArguments:
    options = {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": 8,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_steps": 1,
        "lr_scheduler_type": "cosine",
        "dataloader_num_workers": 0,
        "seed": 0,
    }
    return TrainingArguments(**options | changes)
