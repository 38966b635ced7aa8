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
from riverone_hf.build.mixing import training_rows
from riverone_hf.build.train_stage import stage_spec
from riverone_hf.build.training import plot_source, training_arguments
from riverone_hf.data import InContextSource
from riverone_hf.train.attention import text_attention
from riverone_hf.train.collator import PackedCollator
from riverone_hf.train.freeze import frozen
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
model.model.vision_tower.set_attn_implementation(spec.vision_attention)
model.model.language_model.set_attn_implementation(text_attention(spec.text_attention))

################
# Dataset
################
source = plot_source(recipe, spec)
if spec.in_context:
    source = InContextSource(source, spec.in_context.share, spec.in_context.full_share, spec.in_context.pool)
dataset = training_rows(recipe, spec, source, 0)

################
# Training
################
# A tower that the recipe freezes for good must not thaw half-way.
stays = "vision_tower" in (spec.freeze or ())
trainer = PackedSFTTrainer(
    model=model,
    args=SFTConfig(**training_arguments(spec, recipe.model.seed, Path(args.out) / "trainer"), max_length=None),
    processing_class=processor,
    data_collator=PackedCollator(processor, spec.loss_weighting, spec.label_weight or 1.0, spec.answer_weights),
    train_dataset=dataset,
    callbacks=[]
    if "vision_tower" in (spec.freeze or ())
    else [FreezeVision(int(spec.freeze_vision_share * spec.steps))],
    muon_lr=spec.muon_lr,
)
with frozen(model, spec.freeze or ()):
    trainer.train()
if trainer.is_world_process_zero():
    model.save_pretrained(args.out)
    processor.save_pretrained(args.out)
