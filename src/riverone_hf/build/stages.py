"""What does each stage do? model -> model functions that the build calls in order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback, TrainingArguments, set_seed

from ..data import PlotSource
from ..errors import BuildError
from ..train.ema import EmaCallback, last_complete_checkpoint
from .progress import ProgressCallback, StageProgress
from .recipe import Recipe, SftSpec, WarmupSpec

if TYPE_CHECKING:
    from transformers import Trainer

    from ..model import RiverOneForConditionalGeneration, RiverOneProcessor

WARMUP_PROBE = 40
"""Plots per family that are drawn to learn the names of the regression targets."""


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
    from ..train.warmup import WarmupCollator, WarmupHeads, WarmupTrainer, warmup_types

    assert recipe.warmup is not None
    spec, source = recipe.warmup, _source(recipe, recipe.warmup)
    types, targets = warmup_types(recipe.model.families), _target_names(recipe)
    set_seed(recipe.model.seed + 1)
    model.model.vision_tower.set_attn_implementation(spec.vision_attention)
    heads = WarmupHeads(model, types, targets, target_weight=spec.target_weight)
    trainer = WarmupTrainer(
        model=heads,
        args=TrainingArguments(**_arguments(spec, recipe.model.seed, folder)),
        data_collator=WarmupCollator(processor, types, targets),
        train_dataset=source.dataset(0, spec.steps * spec.batch_size),
        callbacks=[ProgressCallback(progress, "ViT warm-up")],
    )
    trainer.muon_lr = spec.muon_lr
    log = _train(trainer, spec, folder)
    model.model.vision_tower.set_attn_implementation("sdpa")
    return log


def fine_tune(
    model: RiverOneForConditionalGeneration,
    processor: RiverOneProcessor,
    recipe: Recipe,
    folder: Path,
    progress: StageProgress,
) -> list[dict[str, Any]]:
    """Stage 2: supervised fine-tuning on packed plots, in place. Returns the log."""
    from trl import SFTConfig

    from ..train.attention import text_attention
    from ..train.collator import PackedCollator
    from ..train.sft import FreezeVision, PackedSFTTrainer

    assert recipe.sft is not None
    spec, source = recipe.sft, _source(recipe, recipe.sft)
    set_seed(recipe.model.seed + 2)
    model.model.vision_tower.set_attn_implementation(spec.vision_attention)
    # Rows continue behind those of the warm-up, so that no plot is seen twice.
    first = recipe.warmup.steps * recipe.warmup.batch_size if recipe.warmup else 0
    model.model.language_model.set_attn_implementation(text_attention(spec.text_attention))
    trainer = PackedSFTTrainer(
        model=model,
        args=SFTConfig(**_arguments(spec, recipe.model.seed, folder), max_length=None),
        processing_class=processor,
        data_collator=PackedCollator(processor, spec.loss_weighting, spec.label_weight or 1.0),
        train_dataset=source.dataset(first, first + spec.steps * spec.batch_size),
        callbacks=[
            ProgressCallback(progress, "fine-tuning"),
            FreezeVision(int(spec.freeze_vision_share * spec.steps)),
        ],
        muon_lr=spec.muon_lr,
    )
    log = _train(trainer, spec, folder)
    model.model.vision_tower.set_attn_implementation("sdpa")
    model.model.language_model.set_attn_implementation("sdpa")
    return log


def _source(recipe: Recipe, spec: WarmupSpec | SftSpec) -> PlotSource:
    return PlotSource(
        families=tuple(recipe.model.families),
        seed=recipe.model.seed,
        direct_size=recipe.model.image.image_size,
        direct_share=spec.data.direct_share,
        matplotlib_share=spec.data.matplotlib_share,
        full_share=spec.data.full_share,
        single_share=spec.data.single_share,
        question_shares=tuple(spec.data.question_shares.items()),
        question_group=spec.batch_size,
    )


def _target_names(recipe: Recipe) -> list[str]:
    source = PlotSource(tuple(recipe.model.families), seed=recipe.model.seed)
    count = WARMUP_PROBE * len(recipe.model.families)
    return sorted({name for index in range(count) for name in source.plot(index).truth.targets})


def _arguments(spec: WarmupSpec | SftSpec, seed: int, folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "max_steps": spec.steps,
        "per_device_train_batch_size": spec.batch_size,
        "learning_rate": spec.learning_rate,
        "weight_decay": spec.weight_decay,
        "lr_scheduler_type": "cosine",
        "warmup_steps": spec.warmup_steps,
        "max_grad_norm": spec.max_grad_norm,
        "bf16": spec.bf16,
        "use_cpu": not torch.cuda.is_available(),
        "activation_checkpointing": False,
        "logging_steps": spec.log_steps,
        "save_steps": spec.save_steps,
        # Two: a kill while the newest is being written must leave a complete one.
        "save_total_limit": 2,
        "dataloader_num_workers": spec.data.workers,
        "dataloader_drop_last": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
        # Rows are independent draws already; their order keeps rows of like length together.
        "train_sampling_strategy": "sequential",
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "report_to": "none",
        "seed": seed,
        "data_seed": seed,
    }


class _StopOnBadLoss(TrainerCallback):
    """Raises when the loss is not finite, instead of training on."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(float(loss)):
            raise BuildError(
                f"the loss is {loss} at step {state.global_step}. Remedy: lower learning_rate or muon_lr and resume"
            )


@contextmanager
def _cores_for_drawing(workers: int) -> Iterator[None]:
    """Leave one core to each drawing process: threads that wait for a core that draws stop all the others."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - workers))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _train(trainer: Trainer, spec: WarmupSpec | SftSpec, folder: Path) -> list[dict[str, Any]]:
    ema = EmaCallback(spec.ema_decay)
    checkpoint = last_complete_checkpoint(folder)
    ema.resume_from = checkpoint
    trainer.add_callback(ema)
    trainer.add_callback(_StopOnBadLoss())
    # Trainer's own console lines would break up the progress display.
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    with _cores_for_drawing(spec.data.workers):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    assert trainer.model is not None
    ema.copy_to(trainer.model)
    trainer.model.to(torch.float32).eval()
    return list(trainer.state.log_history)
