"""Tune codes, alone or in two processes with the same batches: python run_pv.py WORK OUT.json"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from pv_runs import Tokens, arguments, coded_lm
from transformers import Trainer

from riverone_hf.additive.pv import PVConfig, PVTuning


def run(folder: Path, resume: str | None) -> dict[str, Any]:
    """Codes of every Linear after six steps, and how many changed; checkpoints after three."""
    torch.manual_seed(0)
    pv = PVTuning(coded_lm(), PVConfig(p_steps=1, v_steps=1, collect=3, layers_per_step=14, v_lr=0.5, fraction=0.1))
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    batches = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2 // processes}
    args = arguments(folder, 6, save_strategy="steps", save_steps=3, ddp_find_unused_parameters=False, **batches)
    optimizers = (pv.adamw(1e-3), None)
    trainer = Trainer(model=pv.model, args=args, train_dataset=Tokens(48), callbacks=[pv], optimizers=optimizers)
    trainer.train(resume_from_checkpoint=resume)
    return {"codes": {name: layer.codes.tolist() for name, layer in pv.layers.items()}, "changed": pv.changed}


if __name__ == "__main__":
    work, out = Path(sys.argv[1]), Path(sys.argv[2])
    found = [run(work, None)["codes"], run(work, str(work / "checkpoint-3"))["codes"]]
    if os.environ.get("RANK", "0") == "0":
        out.write_text(json.dumps(found))
