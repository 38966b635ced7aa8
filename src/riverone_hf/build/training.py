"""What do all training stages share? Plots, arguments, the run itself with resume, best weights, adapters and logs."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..data import PlotSource
from ..errors import BuildError, MissingExtraError
from ..train.best import KeepBest
from ..train.distributed import is_main, wait_for_all, world_size
from ..train.ema import EmaCallback, last_complete_checkpoint
from ..train.precision import bf16_here
from ..train.regularizer import check_resumable, live, norm_regularizer
from .recipe import MpoSpec, Recipe, SftSpec, WarmupSpec

if TYPE_CHECKING:
    from transformers import Trainer

Spec = WarmupSpec | SftSpec | MpoSpec


def quiet_libraries() -> None:
    """Keep the libraries' own bars and notices out of our progress display, and their telemetry off."""
    import warnings

    from transformers.utils import logging

    # Trainers report their use to the Hub otherwise; training works offline and tells nobody.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # TRL and peft ask transformers for a name that is on its way out, in every step.
    warnings.filterwarnings("ignore", message=".is_gradient_checkpointing. is deprecated", category=FutureWarning)


def plot_source(recipe: Recipe, spec: Spec) -> PlotSource:
    """The training plots of a stage."""
    return PlotSource(
        families=tuple(recipe.model.families),
        seed=recipe.model.seed,
        direct_size=recipe.model.image.image_size,
        direct_share=spec.data.direct_share,
        matplotlib_share=spec.data.matplotlib_share,
        full_share=spec.data.full_share,
        single_share=spec.data.single_share,
        direct_zoom=spec.data.direct_zoom or 1.0,
        family_shares=tuple((spec.data.family_shares or {}).items()),
        question_shares=tuple(spec.data.question_shares.items()),
        question_group=spec.batch_size,
        repeats=spec.data.repeats or 1,
        brief_share=spec.data.brief_share or 0.0,
        mark_cells=spec.marks.cells if isinstance(spec, WarmupSpec) and spec.marks else 0,
    )


def training_arguments(spec: Spec, seed: int, folder: Path, shuffle: bool = False) -> dict[str, Any]:
    """Arguments of a Trainer for `spec`; the batch of the recipe is that of all processes and accumulations together.

    `shuffle` is for a data set that is read more than once. Raises BuildError when the batch cannot be shared out,
    MissingExtraError when the logger of the recipe is not installed.
    """
    parts = world_size() * (spec.accumulate or 1)
    if spec.batch_size % parts:
        raise BuildError(
            f"batch_size {spec.batch_size} cannot be shared by {world_size()} processes times {spec.accumulate or 1} "
            f"accumulations. Remedy: a multiple of {parts}"
        )
    logger = spec.log_to or "none"
    if logger != "none" and importlib.util.find_spec(logger) is None:
        raise MissingExtraError(logger, "logs")
    lora = getattr(spec, "lora", None) if getattr(spec, "peft", None) else None
    return {
        "output_dir": str(folder),
        "max_steps": spec.steps,
        "per_device_train_batch_size": spec.batch_size // parts,
        "gradient_accumulation_steps": spec.accumulate or 1,
        "learning_rate": lora.learning_rate if lora else spec.learning_rate,
        "weight_decay": spec.weight_decay,
        "lr_scheduler_type": "cosine",
        "warmup_steps": spec.warmup_steps,
        "max_grad_norm": spec.max_grad_norm,
        "bf16": bf16_here(spec.bf16),
        "use_cpu": not torch.cuda.is_available(),
        "activation_checkpointing": False,
        "logging_steps": spec.log_steps,
        # Our own check stops at such a loss; the filter would hide it.
        "logging_nan_inf_filter": False,
        "save_steps": spec.save_steps,
        # Two: a kill while the newest is being written must leave a complete one.
        "save_total_limit": 2,
        "dataloader_num_workers": spec.data.workers,
        "dataloader_drop_last": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
        # Rows are independent draws already; their order keeps rows of like length together.
        "train_sampling_strategy": "random" if shuffle else "sequential",
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "report_to": logger,
        # The vision tower is frozen for some steps of later stages: its gradients are then not waited for.
        "ddp_find_unused_parameters": not isinstance(spec, WarmupSpec) if world_size() > 1 else None,
        "seed": seed,
        "data_seed": seed,
    }


@contextmanager
def _cores_for_drawing(workers: int) -> Iterator[None]:
    """Leave one core to each drawing process: threads that wait for a core that draws stop all the others."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - workers))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def run_trainer(
    trainer: Trainer, spec: Spec, folder: Path, score: Callable[[Any], float] | None = None
) -> list[dict[str, Any]]:
    """Train, going on from the last complete checkpoint in `folder`; the log. Its model then holds the kept weights.

    These are the averaged ones of the last step, or of the step with the best `score` (see `validation`).
    """
    ema = EmaCallback(spec.ema_decay)
    wait_for_all()
    checkpoint = last_complete_checkpoint(folder) if is_main() else None
    wait_for_all()
    if not is_main():
        checkpoint = last_complete_checkpoint(folder)
    ema.resume_from = checkpoint
    trainer.add_callback(ema)
    best = None
    if score is not None and spec.validation is not None:
        best = KeepBest(score, spec.validation.every_steps, ema, folder / "best")
        trainer.add_callback(best)
    if spec.accumulate and spec.accumulate > 1:
        # Our losses are means over their batch: accumulated ones are divided by their number.
        trainer.model_accepts_loss_kwargs = False
    # Trainer's own console lines would break up the progress display.
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    model = trainer.model
    assert model is not None
    if checkpoint:
        check_resumable(checkpoint)
    with live(model), _cores_for_drawing(spec.data.workers):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    ema.copy_to(model)
    wait_for_all()
    if best is not None:
        best.restore(model)
    # TRL wraps the forward of the model instance; a later stage's copy of it must not run this one.
    plain: Any = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    plain.__dict__.pop("forward", None)
    model.to(torch.float32).eval()
    return list(trainer.state.log_history)


def keep_logs(work: Path, final: Path) -> None:
    """Copy what TensorBoard or another logger wrote for each stage to `final`/logs."""
    for runs in work.glob("*/trainer/runs"):
        shutil.copytree(runs, final / "logs" / runs.parts[-3], dirs_exist_ok=True)


def validation(recipe: Recipe, spec: Spec, processor: Any) -> Callable[[Any], float] | None:
    """The strict mean score (0..100) of a model on validation plots, as the recipe asks; None when it does not."""
    if spec.validation is None:
        return None
    from ..evaluate import evaluate_answers, model_answers
    from ..questions import write_answers
    from ..reader.generate import Answerer
    from .measure import ASKED

    source = PlotSource(tuple(recipe.model.families), seed=recipe.model.seed, split="validation")
    rows = [source.row(index) for index in range(spec.validation.plots)]
    names = [row["family"] for row in rows]
    references = [write_answers(source.plot(index).truth) for index in range(spec.validation.plots)]

    def score(model: Any) -> float:
        answers = model_answers(Answerer(model, processor), names, [row["images"] for row in rows], ASKED)
        return float(evaluate_answers(names, answers, references)["scores"]["mean"])

    return score


def auxiliary_losses(model: Any, spec: Spec) -> dict[str, Callable[[Any], torch.Tensor]]:
    """Losses of the weights themselves: the norm regularizer of a live QGP model, with the recipe's weight."""
    return norm_regularizer(model, spec.regularizer_weight) if spec.regularizer_weight else {}


def adapter_config(spec: SftSpec | MpoSpec, model: Any) -> Any:
    """peft's configuration for `model` when the recipe (or `--peft`) asks for an adapter, else None.

    Raises BuildError.
    """
    if not spec.peft:
        return None
    if spec.lora is None:
        raise BuildError(f"the {spec.stage} stage has no lora block. Remedy: add one, as in recipes/smoke/3_sft.yaml")
    from ..train.adapter import lora_config

    return lora_config(spec.lora.rank, spec.lora.alpha, spec.lora.dropout, model)


def finish_adapter(trained: Any, model: Any, folder: Path) -> None:
    """Write the adapter, if one was trained, beside `folder`; `model` is then plain again, with the adapter merged in.

    A coded model cannot take it up and stays as it was.
    """
    if trained is model:
        return
    from ..train.adapter import is_coded, merge_adapter, save_adapter

    if is_main():
        save_adapter(trained, str(model.config._name_or_path), folder.parent / "adapter")
    if is_coded(model):
        trained.unload()
    else:
        merge_adapter(trained)
    # peft froze the base model.
    model.requires_grad_(True)
