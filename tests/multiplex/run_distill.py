"""Distils a shared tiny tower in its own process: python run_distill.py FOLDER OUT [slow]. Run by the tests."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from multiplex_models import noise, six_layers

from riverone_hf.multiplex import DistillConfig, distill, share_blocks

SETTINGS = DistillConfig(
    steps=12,
    learning_rate=3e-3,
    warmup_steps=2,
    weight_decay=0.01,
    qkv_weight=1.0,
    hidden_weight=0.1,
    output_weight=1.0,
    train=("transforms", "norms", "blocks", "qkv"),
    orthogonal=True,
    save_steps=2,
)


def run(folder: Path, on_step=None) -> dict:
    """Losses and one trained matrix."""
    teacher = six_layers()
    student = share_blocks(teacher, "pairs", head_mixing=[1], local_conv=[3], local_conv_size=3)
    losses = distill(student, teacher, noise(5), SETTINGS, folder=folder, on_step=on_step)
    return {"losses": losses, "mixing": student.model.vision_tower.layers[1].mixing.before.tolist()}


def main() -> None:
    # A slow step lets the parent kill the process in the middle.
    pause = 0.3 if sys.argv[3:] == ["slow"] else 0.0
    result = run(Path(sys.argv[1]), on_step=lambda *_: time.sleep(pause))
    if int(os.environ.get("RANK", "0")) == 0:
        Path(sys.argv[2]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
