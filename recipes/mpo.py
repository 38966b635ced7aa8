# /// script
# requires-python = ">=3.11"
# dependencies = ["riverone-hf[train]"]
# ///
"""Preference training (MPO) of a RiverONE model on hard negatives, in plain TRL. Reads a recipe's mpo file.

    python recipes/mpo.py --recipe recipes/smoke/4_mpo.yaml --model MODEL --out OUT [steps=100 ...]
    torchrun --standalone --nproc_per_node 2 recipes/mpo.py --recipe ... --model ... --out ...

`riverone train` does the same and first lets the model sample mistakes of its own, which are rejected as well.
"""

import argparse
import copy
from pathlib import Path

from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import DPOConfig

import riverone_hf.model  # noqa: F401  (registers the classes: no remote code is executed)
from riverone_hf.build.train_stage import stage_spec
from riverone_hf.build.training import plot_source, training_arguments
from riverone_hf.data import PreferenceSource
from riverone_hf.train.freeze import frozen
from riverone_hf.train.mpo import LOSS_TYPES, MpoTrainer

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--recipe", type=Path, required=True)
parser.add_argument("--model", required=True)
parser.add_argument("--out", required=True)
parser.add_argument("overrides", nargs="*", metavar="key=value")
args = parser.parse_args()

################
# Model
################
model = AutoModelForImageTextToText.from_pretrained(args.model, dtype="float32")
processor = AutoProcessor.from_pretrained(args.model)
reference = copy.deepcopy(model).requires_grad_(False).eval()
recipe, spec = stage_spec(args.recipe, args.overrides, model, processor)
model.model.vision_tower.set_attn_implementation(spec.vision_attention)

################
# Dataset
################
dataset = PreferenceSource(plot_source(recipe, spec)).dataset(0, spec.steps * spec.batch_size)

################
# Training
################
trainer = MpoTrainer(
    model=model,
    ref_model=reference,
    args=DPOConfig(
        **training_arguments(spec, recipe.model.seed, Path(args.out) / "trainer"),
        max_length=None,
        beta=spec.beta,
        loss_type=list(LOSS_TYPES),
        loss_weights=[spec.weights.preference, spec.weights.quality, spec.weights.generation],
    ),
    processing_class=processor,
    train_dataset=dataset,
    muon_lr=spec.muon_lr,
)
with frozen(model, spec.freeze or ()):
    trainer.train()
if trainer.is_world_process_zero():
    model.save_pretrained(args.out)
    processor.save_pretrained(args.out)
