"""How is a model folder's vision tower compressed by one command? One model in, one with fewer stored blocks out."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BuildError, RecipeError, RiverOneError
from ..multiplex import stored_size
from ..multiplex.feed import processes
from ..train.distributed import wait_for_all
from .compress_vision import (
    CompressVisionResult,
    CompressVisionSpec,
    PlotBatches,
    compress_vision,
    distillation_plots,
    load_compress_spec,
)
from .progress import StageProgress
from .run import claim_work, versions, write_json, write_model

if TYPE_CHECKING:
    import torch

REPORT = "share.json"
"""In the written folder: what was kept and what it costs."""
STAGE = "distillation"


class FigureBatches:
    """Batches of `pixel_values` of own figures, in an order that `seed` decides, begun anew when all were seen.

    Raises FigureError for a folder without image files, and for a damaged figure when its turn comes.
    """

    def __init__(self, folder: Path, image_processor: Any, batch_size: int, batches: int, seed: int):
        import numpy as np

        from ..reader.figures import figures_in

        self.image_processor, self.batch_size, self.batches = image_processor, batch_size, batches
        self.files = figures_in(folder)
        rounds = -(-batch_size * batches // len(self.files))
        rng = np.random.default_rng(seed)
        self.order = np.concatenate([rng.permutation(len(self.files)) for _ in range(rounds)])

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> torch.Tensor:
        from ..reader.figures import load_figures

        if not 0 <= index < self.batches:
            raise IndexError(f"batch {index} of {self.batches}")
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        images = load_figures([self.files[number] for number in chosen])
        return self.image_processor(images, return_tensors="pt")["pixel_values"]


def share_folder(
    model: str,
    out: Path,
    figures: Path | None = None,
    recipe: Path | None = None,
    overrides: list[str] | None = None,
    batch_size: int = 16,
    seed: int = 0,
    device: str = "auto",
    resume: bool = True,
    quiet: bool = False,
) -> Path:
    """Share the vision blocks of a RiverONE, distil them from the original, write the result to `out` and return it.

    `model` is a folder, a Hub id or `embedded`. Labels are not needed: the images are simulated plots of the model's
    families, or those of the folder `figures`. `recipe` is a YAML file (default: recipes/multiplex), `overrides` are
    `key=value` of it, e.g. `stored=3`, `distill.steps=100`. A killed call goes on; under torchrun processes share each
    batch. The folder holds model, processor and share.json (sizes, errors, losses), no scores of the original.
    `device` is auto, cpu or cuda (cuda: never run).

    Raises BuildError (out is taken; the model is coded), ModelFolderError, RecipeError, MultiplexError, FigureError.
    """
    from ..reader.loading import check_folder, resolve

    spec = load_compress_spec(recipe, changes_of(overrides or []))
    folder, _ = resolve(model)
    config = check_folder(folder)
    if "quantization_config" in config:
        raise BuildError(
            f"{model} is coded. Remedy: share the vision blocks of the dense model first, then compress it"
        )
    out = out.absolute()
    work = out.with_name(out.name + ".work")
    rank, _ = processes()
    weights = [
        [path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in sorted(folder.glob("*.safetensors"))
    ]
    said = [spec.model_dump(), str(folder.resolve()), weights, str(figures), batch_size, seed]
    if rank == 0:
        claim_work(hashlib.sha256(json.dumps(said).encode()).hexdigest(), out, work, resume)
    wait_for_all()
    try:
        with StageProgress(quiet or rank > 0) as progress:
            original, processor, result = _distilled(folder, spec, figures, batch_size, seed, device, work, progress)
            if rank == 0:
                facts = {"recipe": spec.model_dump(), "seed": seed, "versions": versions()}
                _write(original, processor, result, config.get("dtype") or "float32", facts, work, progress)
                if out.exists():
                    out.rmdir()
                (work / "final").rename(out)
                shutil.rmtree(work, ignore_errors=True)
    except RiverOneError:
        # Nothing was trained that another call could go on with, so nothing stands in its way.
        if rank == 0 and not (work / "distill").exists():
            shutil.rmtree(work, ignore_errors=True)
        raise
    wait_for_all()
    return out


def changes_of(overrides: list[str]) -> dict[str, Any]:
    """`key=value` and `distill.key=value` as the changes that `load_compress_spec` takes; values are YAML.

    Raises RecipeError for another form.
    """
    import yaml

    changes: dict[str, Any] = {}
    for text in overrides:
        path, equals, value = text.partition("=")
        part, dot, key = path.partition(".")
        if not equals or not part or (dot and (part != "distill" or not key)):
            raise RecipeError(f"override {text!r}: expected key=value, e.g. stored=3 or distill.steps=100")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise RecipeError(f"override {text!r}: {' '.join(str(error).split())}") from None
        if dot:
            changes.setdefault("distill", {})[key] = parsed
        elif part == "distill":
            raise RecipeError(f"override {text!r}: change single settings, e.g. distill.steps=100")
        else:
            changes[part] = parsed
    return changes


def _distilled(
    folder: Path,
    spec: CompressVisionSpec,
    figures: Path | None,
    batch_size: int,
    seed: int,
    device: str,
    work: Path,
    progress: StageProgress,
) -> tuple[Any, Any, CompressVisionResult]:
    """(original, processor, result) of the whole compression."""
    import torch

    from ..reader.loading import load_model
    from .training import quiet_libraries

    quiet_libraries()
    original, processor = load_model(folder, device=device, dtype=torch.float32)
    torch.manual_seed(seed)
    images = _images(original, processor, figures, batch_size, max(spec.distill.steps, spec.probe_batches), seed)
    progress.say(f"{folder}: {original.config.vision_config.num_hidden_layers} layers, map {spec.layer_map}")

    def tell(step: int, losses: dict[str, float]) -> None:
        if progress.name != STAGE:
            progress.stage(STAGE, spec.distill.steps, step - 1)
        progress.update(step, f"loss {losses['loss']:.3f}")

    return original, processor, compress_vision(original, images, spec, folder=work / "distill", on_step=tell)


def _write(
    original: Any,
    processor: Any,
    result: CompressVisionResult,
    dtype: str,
    facts: dict[str, Any],
    work: Path,
    progress: StageProgress,
) -> None:
    """Write work/final: trained in float32, kept and counted as the original is (`dtype`)."""
    import torch

    for network in (original, result.model):
        network.to(getattr(torch, dtype))
    report = result.report | {"original": stored_size(original), "frozen": stored_size(result.model)}
    for of_masters in ("bytes", "saved_bytes"):
        del report["share"][of_masters]
    write_model(result.model, processor, work / "final")
    losses = {"first": result.losses[0], "last": result.losses[-1]}
    write_json(work / "final" / REPORT, facts | {"losses": losses} | report)
    before, after = (report[key]["bytes"] for key in ("original", "frozen"))
    progress.say(f"vision tower: {before:,} -> {after:,} bytes, output error {report['output_error']:.3f}")


def _images(model: Any, processor: Any, figures: Path | None, batch_size: int, batches: int, seed: int) -> Any:
    from ..questions import FAMILIES

    if figures is not None:
        return FigureBatches(figures, processor.image_processor, batch_size, batches, seed)
    families = tuple(getattr(model.config, "families", None) or FAMILIES)
    source = distillation_plots(families, model.config.vision_config.image_size, seed)
    return PlotBatches(source, processor.image_processor, batch_size, batches)
