"""What does a recipe say? The schema of `recipes/<name>/<n>_<stage>.yaml`; unknown keys are errors."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import RecipeError


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TokenizerSpec(_Strict):
    """The tokenizer that stage 0 trains; see `train.tokenizer.train_tokenizer`."""

    vocab_size: int = Field(ge=300)
    plots: int = Field(ge=1)
    max_length: int = Field(ge=64)


class ImageSpec(_Strict):
    """Arguments of `RiverOneImageProcessor`."""

    image_size: int = Field(ge=16)
    crop_to_patches: bool = False
    min_patches: int = Field(default=1, ge=1)
    max_patches: int = Field(default=1, ge=1)


class ModelSpec(_Strict):
    """Stage 0: families, seed, tokenizer and architecture. `status` marks recipes that were never run."""

    stage: Literal["model"]
    status: Literal["run", "parsed, never run"]
    use: str
    families: list[str]
    seed: int = Field(ge=0)
    dtype: Literal["float32", "bfloat16"]
    tokenizer: TokenizerSpec | None
    image: ImageSpec
    vision: dict[str, Any]
    text: dict[str, Any]
    projector_hidden_size: int
    vision_feature_layers: list[int]
    downsample_factor: int
    tie_word_embeddings: bool


class DataSpec(_Strict):
    """How training plots are drawn; see `data.PlotSource`."""

    direct_share: float = Field(ge=0, le=1)
    matplotlib_share: float = Field(ge=0, le=1)
    full_share: float = Field(default=0.0, ge=0, le=1)
    single_share: float = Field(default=0.0, ge=0, le=1)
    question_shares: dict[str, float] = Field(default_factory=dict)
    workers: int = Field(ge=0)


class _Training(_Strict):
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    muon_lr: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    warmup_steps: int = Field(ge=0)
    max_grad_norm: float = Field(gt=0)
    ema_decay: float = Field(ge=0, lt=1)
    bf16: bool
    vision_attention: Literal["eager", "sdpa"]
    save_steps: int = Field(ge=1)
    log_steps: int = Field(ge=1)
    data: DataSpec


class WarmupSpec(_Training):
    """Stage 1: the ViT learns the simulator's labels."""

    stage: Literal["warmup"]
    target_weight: float = Field(ge=0)


class SftSpec(_Training):
    """Stage 2: supervised fine-tuning on packed questions."""

    stage: Literal["sft"]
    freeze_vision_share: float = Field(ge=0, le=1)
    loss_weighting: Literal["sqrt", "token"]
    label_weight: float | None = Field(default=None, gt=0)
    text_attention: Literal["sdpa", "sdpa_float32"] | None = None


class EvaluateSpec(_Strict):
    """Last stage: scores on held-out simulated plots beside the baselines."""

    stage: Literal["evaluate"]
    plots: int = Field(ge=1)
    seed: int = Field(ge=0)
    matplotlib_share: float = Field(ge=0, le=1)
    majority_plots: int = Field(ge=1)
    batch_size: int = Field(ge=1)


_SPECS: dict[str, type[_Strict]] = {
    "model": ModelSpec,
    "warmup": WarmupSpec,
    "sft": SftSpec,
    "evaluate": EvaluateSpec,
}


class Recipe(_Strict):
    """All stages of a recipe: `model` first, the others optional."""

    name: str
    model: ModelSpec
    warmup: WarmupSpec | None = None
    sft: SftSpec | None = None
    evaluate: EvaluateSpec | None = None

    @property
    def stages(self) -> list[str]:
        """Names of the stages that run, in order."""
        return [name for name in _SPECS if getattr(self, name) is not None]

    def fingerprint(self) -> str:
        """SHA-256 of everything that decides the result; a build only continues work of the same fingerprint."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


def recipes_folder() -> Path:
    """Where the shipped recipes lie: inside the installed package, or in the source checkout."""
    packaged = Path(str(resources.files("riverone_hf"))) / "_recipes"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[3] / "recipes"


def list_recipes() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.parent.name for path in recipes_folder().glob("*/0_model.yaml"))


def load_recipe(name: str, overrides: list[str] | None = None) -> Recipe:
    """Read a shipped recipe by name, or a folder of stage files, and apply `stage.key=value` overrides.

    Raises RecipeError for unknown recipes, files, keys or values out of range, naming the file and the key.
    """
    import yaml

    folder = Path(name) if Path(name).is_dir() else recipes_folder() / name
    files = sorted(folder.glob("[0-9]_*.yaml")) if folder.is_dir() else []
    if not files:
        raise RecipeError(
            f"no recipe {name!r}. Expected one of {', '.join(list_recipes())}, or a folder with 0_model.yaml in it"
        )
    raw: dict[str, dict[str, Any]] = {}
    for path in files:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
        stage = content.get("stage") if isinstance(content, dict) else None
        if stage not in _SPECS or path.stem.partition("_")[2] != stage:
            raise RecipeError(f"{path}: stage is {stage!r}; expected the file name's, one of {', '.join(_SPECS)}")
        raw[stage] = content
    for override in overrides or []:
        _override(raw, override)
    try:
        return Recipe(name=folder.name, **raw)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"recipe {folder.name}: {where}: {first['msg']} (got {first.get('input')!r:.80})") from None


def _override(raw: dict[str, dict[str, Any]], override: str) -> None:
    import yaml

    path, equals, text = override.partition("=")
    *parents, key = path.split(".")
    target: Any = raw
    for parent in parents:
        target = target.get(parent) if isinstance(target, dict) else None
    if not equals or not parents or not isinstance(target, dict) or (key not in target and parents[0] != "model"):
        raise RecipeError(
            f"override {override!r}: expected stage.key=value with a key of the recipe, e.g. sft.steps=100"
        )
    target[key] = yaml.safe_load(text)
