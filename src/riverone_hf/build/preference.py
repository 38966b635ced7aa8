"""How is the preference stage run? The model's own mistakes are collected first, then MPO learns from pairs."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import set_seed

from ..data import Mistake, PlotSource, PreferenceSource
from ..data.in_context import as_row, row_images
from ..questions import short_prompt, write_answers
from ..train.distributed import is_main
from .mixing import training_rows
from .progress import ProgressCallback, StageProgress
from .recipe import MpoSpec, Recipe
from .training import (
    adapter_config,
    auxiliary_losses,
    finish_adapter,
    plot_source,
    run_trainer,
    training_arguments,
    validation,
)

if TYPE_CHECKING:
    from datasets import Dataset

    from ..model import RiverOneForConditionalGeneration, RiverOneProcessor

MPO_FIRST, MINE_FIRST = 400_000_000, 500_000_000
"""Pairs and mined plots begin here: no other stage sees them."""
_SCORE_OF = {"q1": "q1_enums", "q2": "q2", "q4": "q4", "q5": "q5", "q6": "q6"}


def prefer(
    model: RiverOneForConditionalGeneration,
    processor: RiverOneProcessor,
    recipe: Recipe,
    folder: Path,
    progress: StageProgress,
    rows: Dataset | None = None,
) -> list[dict[str, Any]]:
    """MPO on hard negatives and on mistakes of the model, in place. Returns the log.

    The reference is a frozen copy of the model as it came, or with `peft` the model without its adapter. `rows`
    replace the simulator's pairs (and mining).
    """
    from trl import DPOConfig

    from ..train.freeze import frozen
    from ..train.mpo import LOSS_TYPES, MpoTrainer

    assert recipe.mpo is not None
    spec = recipe.mpo
    set_seed(recipe.model.seed + 3)
    if rows is None:
        mistakes = mined(model, processor, recipe, spec, folder.parent / "mistakes.jsonl", progress)
        source = PreferenceSource(plot_source(recipe, spec), mistakes, spec.mining.share)
        rows = training_rows(recipe, spec, source, MPO_FIRST)
        shuffle = False
    else:
        shuffle = True
    reference = None if spec.peft else copy.deepcopy(model).requires_grad_(False).eval()
    set_seed(recipe.model.seed + 4)
    model.model.vision_tower.set_attn_implementation(spec.vision_attention)
    weights = spec.weights
    with frozen(model, spec.freeze or ()):
        trainer = MpoTrainer(
            model=model,
            ref_model=reference,
            args=DPOConfig(
                **training_arguments(spec, recipe.model.seed, folder, shuffle),
                max_length=None,
                beta=spec.beta,
                loss_type=list(LOSS_TYPES),
                loss_weights=[weights.preference, weights.quality, weights.generation],
            ),
            processing_class=processor,
            train_dataset=rows,
            callbacks=[ProgressCallback(progress, "preference training")],
            muon_lr=None if spec.peft else spec.muon_lr,
            auxiliary_losses=auxiliary_losses(model, spec),
            peft_config=adapter_config(spec, model),
        )
        log = run_trainer(trainer, spec, folder, validation(recipe, spec, processor))
    finish_adapter(trainer.model, model, folder)
    model.model.vision_tower.set_attn_implementation("sdpa")
    return log


def mined(
    model: RiverOneForConditionalGeneration,
    processor: RiverOneProcessor,
    recipe: Recipe,
    spec: MpoSpec,
    path: Path,
    progress: StageProgress,
) -> tuple[Mistake, ...]:
    """Answers that the model samples and the strict scorer does not give the full score; kept in `path`.

    One question of each plot is asked (q3 has no strict score). Read from `path` when an earlier run got so far.
    """
    if path.is_file():
        return tuple(Mistake(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines())
    from ..evaluate import score_answers

    source, questions = plot_source(recipe, spec), list(_SCORE_OF)
    # Plots of one question together: their answers are about equally long. The families' cycle must not meet it.
    share = -(-spec.mining.plots // len(questions))
    asked = [(MINE_FIRST + number, questions[number // share]) for number in range(spec.mining.plots)]
    progress.stage("mining mistakes", spec.mining.plots)
    found = []
    for start in range(0, len(asked), spec.mining.batch_size):
        batch = asked[start : start + spec.mining.batch_size]
        for (index, question), text in zip(batch, _sampled(model, processor, source, batch, spec), strict=True):
            truth = source.plot(index).truth
            right = write_answers(truth)
            score = score_answers(truth.family, {question: text}, right)[_SCORE_OF[question]]
            if text.strip() and text != right[question] and (score or 0.0) < 1.0:
                found.append(Mistake(index, question, text))
        progress.advance(len(batch))
    if is_main():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".new")
        temporary.write_text("".join(json.dumps(asdict(m)) + "\n" for m in found), encoding="utf-8")
        temporary.replace(path)
    return tuple(found)


@torch.inference_mode()
def _sampled(model: Any, processor: Any, source: PlotSource, asked: list[tuple[int, str]], spec: MpoSpec) -> list[str]:
    """One sampled answer to each (plot index, question)."""
    from ..evaluate.simulated import BUDGETS
    from ..reader.generate import render

    texts, images = [], []
    for index, question in asked:
        plot = source.plot(index)
        images.append(row_images(as_row(plot, ""), source))
        parts: list[dict[str, Any]] = [{"type": "image", "text": None}] * len(images[-1])
        parts = [*parts, {"type": "text", "text": short_prompt(plot.truth.family, question)}]
        texts.append(render(processor, parts))
    inputs = processor(
        text=texts, images=images, padding=True, padding_side="left", add_special_tokens=False, return_tensors="pt"
    ).to(model.device)
    was_training = model.training
    model.eval()
    budget = max(BUDGETS[question] * (len(row) if question == "q1" else 1) for (_, question), row in zip(asked, images))
    written = model.generate(
        **inputs, do_sample=True, temperature=spec.mining.temperature, top_k=0, max_new_tokens=budget
    )
    model.train(was_training)
    return processor.tokenizer.batch_decode(written[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
