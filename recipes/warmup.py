# /// script
# requires-python = ">=3.11"
# dependencies = ["riverone-hf[train]"]
# ///
"""Warm up the vision tower and projector on the simulator's own facts. Reads a recipe's warmup file.

    python recipes/warmup.py --recipe recipes/smoke/1_warmup.yaml --model MODEL --out OUT [steps=100 ...]
    torchrun --standalone --nproc_per_node 2 recipes/warmup.py --recipe ... --model ... --out ...

MODEL may be untrained: `riverone train --recipe recipes/smoke/0_model.yaml --out MODEL` makes one.
"""

import argparse
from pathlib import Path

from transformers import AutoModelForImageTextToText, AutoProcessor, TrainingArguments

import riverone_hf.model  # noqa: F401  (registers the classes: no remote code is executed)
from riverone_hf.build.stages import marks, target_names
from riverone_hf.build.train_stage import stage_spec
from riverone_hf.build.training import plot_source, training_arguments
from riverone_hf.train.warmup import WarmupCollator, WarmupHeads, WarmupTrainer, warmup_types

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
recipe, spec = stage_spec(args.recipe, args.overrides, model, processor)
model.model.vision_tower.set_attn_implementation(spec.vision_attention)
types, targets = warmup_types(recipe.model.families), target_names(recipe)
heads = WarmupHeads(model, types, targets, spec.target_weight, spec.fit_weights, **marks(spec, processor))

################
# Dataset
################
dataset = plot_source(recipe, spec).dataset(0, spec.steps * spec.batch_size)

################
# Training
################
trainer = WarmupTrainer(
    model=heads,
    args=TrainingArguments(**training_arguments(spec, recipe.model.seed, Path(args.out) / "trainer")),
    data_collator=WarmupCollator(processor, types, targets),
    train_dataset=dataset,
)
trainer.muon_lr = spec.muon_lr
trainer.train()
# The heads are thrown away; the tower and the projector are those of the model.
if trainer.is_world_process_zero():
    model.save_pretrained(args.out)
    processor.save_pretrained(args.out)
