# /// script
# requires-python = ">=3.11"
# dependencies = ["riverone-hf[train]"]
# ///
"""Fine-tune a RiverONE model on simulated plots, in plain TRL. Reads a recipe's sft or sft_icl file.

    python recipes/sft.py --recipe recipes/smoke/3_sft.yaml --model MODEL --out OUT [steps=100 ...]
    torchrun --standalone --nproc_per_node 2 recipes/sft.py --recipe ... --model ... --out ...

`riverone train` does the same and adds what a long run wants: resume, averaged and best weights, own data, adapters.
"""

import argparse
from pathlib import Path

from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import SFTConfig

import riverone_hf.model  # noqa: F401  (registers the classes: no remote code is executed)
from riverone_hf.build.train_stage import stage_spec
from riverone_hf.build.training import plot_source, training_arguments
from riverone_hf.data import InContextSource
from riverone_hf.train.collator import PackedCollator
from riverone_hf.train.sft import FreezeVision, PackedSFTTrainer

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

################
# Dataset
################
source = plot_source(recipe, spec)
if spec.in_context:
    source = InContextSource(source, spec.in_context.share, spec.in_context.full_share, spec.in_context.pool)
dataset = source.dataset(0, spec.steps * spec.batch_size)

################
# Training
################
trainer = PackedSFTTrainer(
    model=model,
    args=SFTConfig(**training_arguments(spec, recipe.model.seed, Path(args.out) / "trainer"), max_length=None),
    processing_class=processor,
    data_collator=PackedCollator(processor, spec.loss_weighting, spec.label_weight or 1.0),
    train_dataset=dataset,
    callbacks=[FreezeVision(int(spec.freeze_vision_share * spec.steps))],
    muon_lr=spec.muon_lr,
)
trainer.train()
if trainer.is_world_process_zero():
    model.save_pretrained(args.out)
    processor.save_pretrained(args.out)
