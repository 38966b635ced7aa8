"""How is a vision tower compressed in one call? Share its blocks, generate attention weights, distil, freeze."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import RecipeError
from .recipe import recipes_folder

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ..data import PlotSource
    from ..multiplex.tower import Batch

Group = Literal["transforms", "norms", "blocks", "qkv", "generators", "projector"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DistillSpec(_Strict):
    """See `multiplex.DistillConfig`; `regularizer_weight` is that of the paper's L_reg on generators."""

    steps: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    generator_learning_rate: float = Field(gt=0)
    warmup_steps: int = Field(ge=0)
    weight_decay: float = Field(ge=0)
    max_grad_norm: float = Field(gt=0)
    qkv_weight: float = Field(ge=0)
    hidden_weight: float = Field(ge=0)
    output_weight: float = Field(ge=0)
    regularizer_weight: float = Field(ge=0)
    relation_heads: int = Field(ge=1)
    train: list[Group]
    orthogonal: bool
    bf16: bool
    gradient_checkpointing: bool
    save_steps: int = Field(ge=1)


class CompressVisionSpec(_Strict):
    """One way to compress a vision tower, as in `recipes/multiplex/compress_vision.yaml`.

    `layer_map` is a list, a name of `multiplex.named_map` or `search`; `stored` is the number of blocks for `groups`
    and `search`. `qkv_map` is null (as `layer_map`), a name, or a list. `generator` is null or the settings of a
    generator of the qgp room by its `method`.
    """

    layer_map: list[int] | str
    stored: int | None = None
    init: Literal["first", "mean", "lstsq"]
    probe_batches: int = Field(ge=1)
    qkv_map: list[int] | str | None = None
    head_mixing: list[int] | bool
    local_conv: list[int] | bool
    local_conv_size: int = Field(ge=1)
    generator: dict[str, Any] | None = None
    distill: DistillSpec


@dataclass
class CompressVisionResult:
    """`model` is frozen: plain tensors only. `report` holds sizes and errors before and after, `losses` every step."""

    model: Any
    report: dict[str, Any]
    losses: list[dict[str, float]] = field(default_factory=list)


def compress_vision(
    model: nn.Module,
    images: Iterable[Batch],
    spec: CompressVisionSpec,
    folder: str | Path | None = None,
    on_step: Callable[[int, dict[str, float]], None] | None = None,
) -> CompressVisionResult:
    """Compress the vision tower of `model` (RiverONE, or a ViT of transformers) on `images`; `model` stays as it is.

    Share -> attach generators, if any -> distil from `model` -> freeze. Freezing un-shares generated weights, so the
    report gives the stored sizes of all three states. `folder` keeps a checkpoint of the distillation: the same call
    goes on after an interruption. Raises MultiplexError, GeneratorError or RecipeError with the remedy.
    """
    import itertools

    from .. import qgp
    from ..multiplex import DistillConfig, distill, layer_errors, output_error, share_blocks, share_report, stored_size
    from ..train.precision import bf16_here

    probe = list(itertools.islice(iter(images), spec.probe_batches))
    generator = None if spec.generator is None else _generator(spec.generator)
    layer_map, qkv_map = _maps(model, spec, probe)
    student = share_blocks(
        model,
        layer_map,
        spec.init,
        qkv_map=qkv_map,
        head_mixing=spec.head_mixing,
        local_conv=spec.local_conv,
        local_conv_size=spec.local_conv_size,
        images=probe,
        grid=_grid(model, probe) if spec.local_conv else None,
    )
    report: dict[str, Any] = {"share": share_report(student, model, probe)}
    penalty = None
    if generator is not None:
        qgp.attach(student, generator, restart=True)
        report["generators"] = qgp.report(student).as_dict()
        weight = spec.distill.regularizer_weight
        if weight > 0:
            penalty = lambda: weight * qgp.regularizer(student)  # noqa: E731
    settings = spec.distill.model_dump(exclude={"regularizer_weight"})
    settings |= {"train": tuple(spec.distill.train), "bf16": bf16_here(spec.distill.bf16)}
    config = DistillConfig(**settings)
    losses = distill(student, model, images, config, folder=folder, penalty=penalty, on_step=on_step)
    if generator is not None:
        qgp.freeze(student)
    report |= {
        "original": stored_size(model),
        "frozen": stored_size(student),
        "output_error": output_error(student, model, probe),
        "layer_error": layer_errors(student, model, probe),
    }
    return CompressVisionResult(student, report, losses)


def _generator(settings: dict[str, Any]) -> Any:
    from ..qgp import config_of

    try:
        return config_of(settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"generator: {where}: {first['msg']} (got {first.get('input')!r:.80})") from None


def _maps(model: nn.Module, spec: CompressVisionSpec, probe: list[Batch]) -> tuple[list[int], list[int] | None]:
    from ..multiplex import Tower, named_map, search_map

    count = len(Tower(model).layers)

    def of(given: list[int] | str) -> list[int]:
        if given == "search":
            if spec.stored is None:
                raise RecipeError("layer_map: search needs `stored`, the number of blocks to keep")
            return search_map(model, spec.stored, probe)
        return named_map(given, count, spec.stored) if isinstance(given, str) else given

    return of(spec.layer_map), None if spec.qkv_map is None else of(spec.qkv_map)


def _grid(model: nn.Module, probe: list[Batch]) -> tuple[int, int] | None:
    """Rows and columns of the patches, where the images say so; a RiverONE finds them by itself."""
    import torch

    size = getattr(getattr(model, "config", None), "patch_size", None)
    batch = probe[0]
    if not isinstance(size, int) or not isinstance(batch, torch.Tensor):
        return None
    return batch.shape[2] // size, batch.shape[3] // size


def load_compress_spec(path: str | Path | None = None, changes: dict[str, Any] | None = None) -> CompressVisionSpec:
    """A YAML file of this form (default: the shipped one), with `changes` like {"distill": {"steps": 100}} merged in.

    Raises RecipeError for files that are missing or not YAML, unknown keys and values out of range.
    """
    import yaml

    file = Path(path) if path is not None else recipes_folder() / "multiplex" / "compress_vision.yaml"
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{file} is not a readable YAML file: {' '.join(str(error).split())}") from None
    merged = dict(content) if isinstance(content, dict) else {}
    for key, value in (changes or {}).items():
        merged[key] = {**merged.get(key, {}), **value} if key == "distill" else value
    try:
        return CompressVisionSpec(**merged)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"{file}: {where}: {first['msg']} (got {first.get('input')!r:.80})") from None


def distillation_plots(families: tuple[str, ...], side: int, seed: int) -> PlotSource:
    """Simulated plots to distil on, drawn for tiles of `side` pixels as models are trained, a fifth by matplotlib.

    Plots drawn straight at the tile's size are easier to reproduce, and what is learnt there does not carry over.
    """
    from ..data import PlotSource

    return PlotSource(
        families,
        seed=seed,
        direct_size=side,
        direct_share=0.97,
        direct_zoom=4.0,
        matplotlib_share=0.2,
        single_share=0.2,
    )


class PlotBatches:
    """Batches of `pixel_values` of simulated plots: batch i is made of rows i*size.. of `source` when it is asked for.

    All tiles of the plots are given, so batches of families with two figures are a little larger.
    """

    def __init__(self, source: PlotSource, image_processor: Any, batch_size: int, batches: int, first: int = 0):
        self.source, self.image_processor = source, image_processor
        self.batch_size, self.batches, self.first = batch_size, batches, first

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> torch.Tensor:
        if not 0 <= index < self.batches:
            raise IndexError(f"batch {index} of {self.batches}")
        start = self.first + index * self.batch_size
        images = [image for row in range(start, start + self.batch_size) for image in self.source.row(row)["images"]]
        return self.image_processor(images, return_tensors="pt")["pixel_values"]
