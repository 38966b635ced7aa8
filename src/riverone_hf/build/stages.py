"""What does each stage do? model -> model functions that the build calls in order."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainingArguments, set_seed

from ..data import PlotSource
from ..errors import BuildError
from .mixing import training_rows
from .progress import ProgressCallback, StageProgress
from .recipe import Recipe, SftSpec, WarmupSpec
from .training import plot_source, run_trainer, training_arguments

if TYPE_CHECKING:
    from datasets import Dataset

    from ..model import RiverOneForConditionalGeneration, RiverOneProcessor

WARMUP_PROBE = 40
"""Plots per family that are drawn to learn the names of the regression targets."""
ICL_FIRST = 200_000_000
"""In-context rows begin here, so that leaving this stage out changes no plot of another."""


def build_model(recipe: Recipe) -> tuple[RiverOneForConditionalGeneration, RiverOneProcessor]:
    """Stage 0: train the tokenizer and make the randomly initialised model of the recipe."""
    from ..model import RiverOneForConditionalGeneration, RiverOneImageProcessor, RiverOneProcessor
    from ..train.tokenizer import train_tokenizer

    spec = recipe.model
    if spec.tokenizer is None:
        raise BuildError(f"recipe {recipe.name} has no tokenizer to train ({spec.status}): it cannot be built here")
    set_seed(spec.seed)
    tokenizer = train_tokenizer(
        spec.families, spec.tokenizer.vocab_size, spec.tokenizer.plots, spec.seed, spec.tokenizer.max_length
    )
    processor = RiverOneProcessor(_image_processor(recipe, RiverOneImageProcessor), tokenizer)
    config = model_config(recipe, tokenizer)
    model = RiverOneForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model, processor


def _image_processor(recipe: Recipe, kind: Any) -> Any:
    spec, image = recipe.model, recipe.model.image
    return kind(
        patch_size=spec.vision.get("patch_size", 16),
        downsample_factor=spec.downsample_factor,
        size={"height": image.image_size, "width": image.image_size},
        crop_to_patches=image.crop_to_patches,
        min_patches=image.min_patches,
        max_patches=image.max_patches,
    )


def model_config(recipe: Recipe, tokenizer: Any = None) -> Any:
    """The RiverOneConfig of the recipe; the tokenizer gives vocabulary size and token ids."""
    from ..model import RiverOneConfig

    spec = recipe.model
    text: dict[str, Any] = {"model_type": "qwen3", **spec.text}
    special: dict[str, Any] = {}
    if tokenizer is not None:
        text |= {
            "vocab_size": len(tokenizer),
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": None,
        }
        special["image_token_id"] = tokenizer.convert_tokens_to_ids(tokenizer.image_token)
    return RiverOneConfig(
        vision_config={"image_size": spec.image.image_size, **spec.vision},
        text_config={**text, "tie_word_embeddings": spec.tie_word_embeddings},
        projector_hidden_size=spec.projector_hidden_size,
        vision_feature_layers=spec.vision_feature_layers,
        downsample_factor=spec.downsample_factor,
        tie_word_embeddings=spec.tie_word_embeddings,
        families=spec.families,
        **special,
    )


def warm_up(
    model: RiverOneForConditionalGeneration,
    processor: RiverOneProcessor,
    recipe: Recipe,
    folder: Path,
    progress: StageProgress,
) -> list[dict[str, Any]]:
    """Stage 1: train vision tower and projector on the simulator's labels, in place. Returns the log."""
    from ..train.freeze import frozen
    from ..train.warmup import WarmupCollator, WarmupHeads, WarmupTrainer, warmup_types

    assert recipe.warmup is not None
    spec, source = recipe.warmup, plot_source(recipe, recipe.warmup)
    types, targets = warmup_types(recipe.model.families), target_names(recipe)
    set_seed(recipe.model.seed + 1)
    model.model.vision_tower.set_attn_implementation(spec.vision_attention)
    heads = WarmupHeads(model, types, targets, spec.target_weight, spec.fit_weights, **marks(spec, processor))
    with frozen(model, spec.freeze or ()):
        trainer = WarmupTrainer(
            model=heads,
            args=TrainingArguments(**training_arguments(spec, recipe.model.seed, folder)),
            data_collator=WarmupCollator(processor, types, targets),
            train_dataset=source.dataset(0, spec.steps * spec.batch_size),
            callbacks=[ProgressCallback(progress, "ViT warm-up")],
        )
        trainer.muon_lr = spec.muon_lr
        log = run_trainer(trainer, spec, folder)
    model.model.vision_tower.set_attn_implementation("sdpa")
    return log


def marks(spec: WarmupSpec, processor: RiverOneProcessor) -> dict[str, Any]:
    """Arguments of `WarmupHeads` for the recipe's `marks`. Raises BuildError when the grid does not fit the tiles."""
    if spec.marks is None:
        return {}
    images = processor.image_processor
    side = math.isqrt(images.tokens_per_tile())
    if images.crop_to_patches or spec.marks.cells % side:
        raise BuildError(
            f"marks.cells={spec.marks.cells}, crop_to_patches={images.crop_to_patches}: expected one tile an image and "
            f"a multiple of its {side} tokens a side. Remedy: another number of cells, or leave marks out"
        )
    return {"mark_cells": spec.marks.cells, "mark_weight": spec.marks.weight}


def fine_tune_icl(
    model: RiverOneForConditionalGeneration,
    processor: RiverOneProcessor,
    recipe: Recipe,
    folder: Path,
    progress: StageProgress,
    rows: Dataset | None = None,
) -> list[dict[str, Any]]:
    """Before `fine_tune`: the same on questions with solved examples before them. Returns the log."""
    assert recipe.sft_icl is not None
    return _fine_tune(model, processor, recipe, recipe.sft_icl, folder, progress, ICL_FIRST, rows)


def fine_tune(
    model: RiverOneForConditionalGeneration,
    processor: RiverOneProcessor,
    recipe: Recipe,
    folder: Path,
    progress: StageProgress,
    rows: Dataset | None = None,
) -> list[dict[str, Any]]:
    """Stage 2: supervised fine-tuning on packed plots, in place. Returns the log.

    `rows` replace the simulator's. With `peft` only an adapter is trained; it is written to `folder`/../adapter and
    merged into the model.
    """
    assert recipe.sft is not None
    # Rows continue behind those of the warm-up, so that no plot is seen twice.
    first = recipe.warmup.steps * recipe.warmup.batch_size if recipe.warmup else 0
    return _fine_tune(model, processor, recipe, recipe.sft, folder, progress, first, rows)


def _fine_tune(
    model: RiverOneForConditionalGeneration,
    processor: RiverOneProcessor,
    recipe: Recipe,
    spec: SftSpec,
    folder: Path,
    progress: StageProgress,
    first: int,
    rows: Dataset | None,
) -> list[dict[str, Any]]:
    from trl import SFTConfig

    from ..data import InContextSource
    from ..train.attention import text_attention
    from ..train.collator import PackedCollator
    from ..train.freeze import frozen
    from ..train.sft import FreezeVision, PackedSFTTrainer
    from .training import adapter_config, auxiliary_losses, finish_adapter, validation

    source: PlotSource | InContextSource = plot_source(recipe, spec)
    set_seed(recipe.model.seed + 2)
    model.model.vision_tower.set_attn_implementation(spec.vision_attention)
    model.model.language_model.set_attn_implementation(text_attention(spec.text_attention))
    if spec.in_context is not None:
        shown = spec.in_context
        source = InContextSource(plot_source(recipe, spec), shown.share, shown.full_share, shown.pool)
    name = "fine-tuning" if spec.stage == "sft" else "in-context fine-tuning"
    thaws = not spec.peft and "vision_tower" not in (spec.freeze or ())
    with frozen(model, spec.freeze or ()):
        trainer = PackedSFTTrainer(
            model=model,
            args=SFTConfig(**training_arguments(spec, recipe.model.seed, folder, rows is not None), max_length=None),
            processing_class=processor,
            data_collator=PackedCollator(processor, spec.loss_weighting, spec.label_weight or 1.0, spec.answer_weights),
            train_dataset=training_rows(recipe, spec, source, first) if rows is None else rows,
            callbacks=[
                ProgressCallback(progress, name),
                *([FreezeVision(int(spec.freeze_vision_share * spec.steps))] if thaws else []),
            ],
            muon_lr=None if spec.peft else spec.muon_lr,
            auxiliary_losses=auxiliary_losses(model, spec),
            peft_config=adapter_config(spec, model),
        )
        log = run_trainer(trainer, spec, folder, validation(recipe, spec, processor))
    finish_adapter(trainer.model, model, folder)
    model.model.vision_tower.set_attn_implementation("sdpa")
    model.model.language_model.set_attn_implementation("sdpa")
    return log


def target_names(recipe: Recipe) -> list[str]:
    """The continuous facts that the plots of the recipe's families have, by name."""
    source = PlotSource(tuple(recipe.model.families), seed=recipe.model.seed)
    count = WARMUP_PROBE * len(recipe.model.families)
    return sorted({name for index in range(count) for name in source.plot(index).truth.targets})
