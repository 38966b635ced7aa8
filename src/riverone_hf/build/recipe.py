"""What does a recipe say? The schema of `recipes/<name>/<n>_<stage>.yaml`; unknown keys are errors."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

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


class MixtureSource(_Strict):
    """One source of a mixture: a built folder or Hub id (`data`), or with `data` None the simulator.

    `weight` None is the number of its rows; the simulator has no end and needs one.
    """

    data: str | None = None
    weight: float | None = Field(default=None, gt=0)


class MixtureSpec(_Strict):
    """Sources by name and the temperature of their weights; see `data.mixture`."""

    temperature: float = Field(default=1.0, gt=0)
    sources: dict[str, MixtureSource] = Field(min_length=1)

    @field_validator("sources")
    @classmethod
    def _weighed(cls, sources: dict[str, MixtureSource]) -> dict[str, MixtureSource]:
        for name, source in sources.items():
            if source.data is None and source.weight is None:
                raise ValueError(f"{name} has no data: it is the simulator, which needs a weight")
        return sources


class DataSpec(_Strict):
    """How training plots are drawn; see `data.PlotSource`."""

    direct_share: float = Field(ge=0, le=1)
    matplotlib_share: float = Field(ge=0, le=1)
    full_share: float = Field(default=0.0, ge=0, le=1)
    single_share: float = Field(default=0.0, ge=0, le=1)
    question_shares: dict[str, float] = Field(default_factory=dict)
    direct_zoom: float | None = Field(default=None, ge=1, le=8)
    family_shares: dict[str, Annotated[float, Field(gt=0)]] | None = None
    mixture: MixtureSpec | None = None
    repeats: int | None = Field(default=None, ge=1)
    brief_share: float | None = Field(default=None, ge=0, le=1)
    workers: int = Field(ge=0)


class InContextSpec(_Strict):
    """Which part of the batches shows solved examples before the question; see `data.InContextSource`."""

    share: float = Field(ge=0, le=1)
    full_share: float = Field(ge=0, le=1)
    pool: int = Field(ge=1)


class ValidationSpec(_Strict):
    """Keep the weights with the best strict score on validation plots, looked at every so many steps."""

    every_steps: int = Field(ge=1)
    plots: int = Field(ge=1)


class LoraSpec(_Strict):
    """Low-rank adapters on the language model, used with `--peft`."""

    rank: int = Field(ge=1)
    alpha: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    learning_rate: float = Field(gt=0)


class _Training(_Strict):
    # Fields that came later are None by default and stay out of fingerprints, so that old builds can go on.
    freeze: list[Literal["vision_tower", "projector", "language_model"]] | None = None
    log_to: Literal["none", "tensorboard", "trackio"] | None = None
    validation: ValidationSpec | None = None
    regularizer_weight: float | None = Field(default=None, ge=0)
    accumulate: int | None = Field(default=None, ge=1)
    processes: int | None = Field(default=None, ge=1)
    """Of a build on a machine without a GPU, as far as it has cores; the losses are those of one process."""
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    muon_lr: float | None = Field(gt=0)
    """None: AdamW for every parameter."""
    weight_decay: float = Field(ge=0)
    warmup_steps: int = Field(ge=0)
    max_grad_norm: float = Field(gt=0)
    ema_decay: float = Field(ge=0, lt=1)
    bf16: bool
    vision_attention: Literal["eager", "sdpa"]
    save_steps: int = Field(ge=1)
    log_steps: int = Field(ge=1)
    data: DataSpec


class MarksSpec(_Strict):
    """The warm-up also learns where curve, points and marks stand, on a grid of `cells` a side; see `data.marks`."""

    cells: int = Field(ge=1)
    weight: float = Field(gt=0)


class WarmupSpec(_Training):
    """Stage 1: the ViT learns the simulator's labels."""

    stage: Literal["warmup"]
    muon_lr: float = Field(gt=0)
    target_weight: float = Field(ge=0)
    marks: MarksSpec | None = None
    fit_weights: dict[Literal["Reliable", "Unreliable", "No fit"], Annotated[float, Field(gt=0)]] | None = None

    @field_validator("data")
    @classmethod
    def _simulator_only(cls, data: DataSpec) -> DataSpec:
        if data.mixture is not None:
            raise ValueError("the warm-up learns from the simulator's own facts: expected no mixture")
        return data


class SftSpec(_Training):
    """Stage 2: supervised fine-tuning on packed questions."""

    stage: Literal["sft"]
    freeze_vision_share: float = Field(ge=0, le=1)
    loss_weighting: Literal["sqrt", "token"]
    label_weight: float | None = Field(default=None, gt=0)
    answer_weights: dict[str, Annotated[float, Field(gt=0)]] | None = None
    text_attention: Literal["sdpa", "sdpa_float32"] | None = None
    in_context: InContextSpec | None = None
    own_share: float | None = Field(default=None, gt=0, le=1)
    peft: bool | None = None
    lora: LoraSpec | None = None


class SftIclSpec(SftSpec):
    """Before `sft`: the same, on questions with solved examples before them."""

    stage: Literal["sft_icl"]  # type: ignore[assignment]
    in_context: InContextSpec


class MpoWeights(_Strict):
    """Weights of the three losses of MPO: DPO, BCO and likelihood of the chosen answer (SPEC 1.7)."""

    preference: float = Field(ge=0)
    quality: float = Field(ge=0)
    generation: float = Field(ge=0)


class MiningSpec(_Strict):
    """Mistakes that the model itself samples before the stage begins; `share` of the pairs use one."""

    plots: int = Field(ge=0)
    share: float = Field(ge=0, le=1)
    temperature: float = Field(gt=0)
    batch_size: int = Field(ge=1)


class MpoSpec(_Training):
    """After `sft`: mixed preference optimization on a right and a wrong answer to the same question."""

    stage: Literal["mpo"]
    muon_lr: float | None = Field(default=None, gt=0)
    beta: float = Field(gt=0)
    weights: MpoWeights
    mining: MiningSpec
    peft: bool | None = None
    lora: LoraSpec | None = None


class EvaluateSpec(_Strict):
    """Last stage: scores on held-out simulated plots beside the baselines."""

    stage: Literal["evaluate"]
    plots: int = Field(ge=1)
    seed: int = Field(ge=0)
    matplotlib_share: float = Field(ge=0, le=1)
    majority_plots: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    full_form_plots: int | None = Field(default=None, ge=1)
    in_context_plots: int | None = Field(default=None, ge=1)
    constrained_plots: int | None = Field(default=None, ge=1)


_SPECS: dict[str, type[_Strict]] = {
    "model": ModelSpec,
    "warmup": WarmupSpec,
    "sft_icl": SftIclSpec,
    "sft": SftSpec,
    "mpo": MpoSpec,
    "evaluate": EvaluateSpec,
}


class Recipe(_Strict):
    """All stages of a recipe: `model` first, the others optional."""

    name: str
    model: ModelSpec
    warmup: WarmupSpec | None = None
    sft_icl: SftIclSpec | None = None
    sft: SftSpec | None = None
    mpo: MpoSpec | None = None
    evaluate: EvaluateSpec | None = None

    @model_validator(mode="after")
    def _known_families(self) -> Recipe:
        for stage in (self.warmup, self.sft_icl, self.sft, self.mpo):
            shares = (stage.data.family_shares if stage else None) or {}
            if unknown := sorted(set(shares) - set(self.model.families)):
                raise ValueError(f"family_shares names {', '.join(unknown)}, which the model does not know")
        return self

    @property
    def stages(self) -> list[str]:
        """Names of the stages that run, in order."""
        return [name for name in _SPECS if getattr(self, name) is not None]

    def fingerprint(self) -> str:
        """SHA-256 of everything that decides the result; a build only continues work of the same fingerprint."""
        said = self.model_dump(exclude_none=True)
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def recipes_folder() -> Path:
    """Where the shipped recipes lie: inside the installed package, or in the source checkout."""
    packaged = Path(str(resources.files("riverone_hf"))) / "_recipes"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[3] / "recipes"


def list_recipes() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.parent.name for path in recipes_folder().glob("*/0_model.yaml"))


def load_recipe(name: str, overrides: list[str] | None = None) -> Recipe:
    """Read a shipped recipe by name, or a folder of stage files, and apply `stage.key=value` overrides.

    `stage=off` leaves a stage out. Raises RecipeError for unknown recipes, files, keys or values out of range, naming
    the file and the key.
    """
    # A model folder that was built under a recipe's name is no recipe.
    folder = Path(name) if (Path(name) / "0_model.yaml").is_file() else recipes_folder() / name
    files = sorted(folder.glob("[0-9]_*.yaml")) if folder.is_dir() else []
    if not files:
        raise RecipeError(
            f"no recipe {name!r}. Expected one of {', '.join(list_recipes())}, or a folder with 0_model.yaml in it"
        )
    raw = dict(_read_stage(path) for path in files)
    for override in overrides or []:
        _override(raw, override)
    return _checked(folder.name, raw)


def load_stage(file: Path, overrides: list[str] | None = None, model: dict[str, Any] | None = None) -> Recipe:
    """The recipe that holds only the stage of one YAML file, with `key=value` overrides of that stage.

    `model` is stage 0 for the others: families, seed and image of the model that is trained. Raises RecipeError.
    """
    if not file.is_file():
        raise RecipeError(f"no recipe file {file}. Expected a stage file, e.g. {recipes_folder() / 'smoke/3_sft.yaml'}")
    stage, content = _read_stage(file)
    raw = {"model": model or {}} | {stage: content}
    for override in overrides or []:
        _override(raw, f"{stage}.{override}")
    return _checked(f"{file.absolute().parent.name}/{file.name}", raw)


def _read_stage(path: Path) -> tuple[str, dict[str, Any]]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    stage = content.get("stage") if isinstance(content, dict) else None
    if stage not in _SPECS or path.stem.partition("_")[2] != stage:
        raise RecipeError(f"{path}: stage is {stage!r}; expected the file name's, one of {', '.join(_SPECS)}")
    return stage, content


def check_stage(file: Path) -> None:
    """Raise RecipeError unless `file` is a valid stage file."""
    stage, content = _read_stage(file)
    try:
        _SPECS[stage](**content)
    except ValidationError as error:
        raise _refusal(str(file), error) from None


def _checked(name: str, raw: dict[str, dict[str, Any]]) -> Recipe:
    try:
        return Recipe(name=name, **raw)  # type: ignore[arg-type]
    except ValidationError as error:
        raise _refusal(f"recipe {name}", error) from None


def _refusal(what: str, error: ValidationError) -> RecipeError:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return RecipeError(f"{what}: {where}: {first['msg']} (got {first.get('input')!r:.80})")


def _override(raw: dict[str, dict[str, Any]], override: str) -> None:
    import yaml

    path, equals, text = override.partition("=")
    *parents, key = path.split(".")
    if text == "off" and path in raw and path != "model":
        del raw[path]
        return
    target: Any = raw
    for parent in parents:
        target = target.get(parent) if isinstance(target, dict) else None
    if not equals or not parents or not isinstance(target, dict) or (key not in target and parents[0] != "model"):
        raise RecipeError(
            f"override {override!r}: expected stage.key=value with a key of the recipe, e.g. sft.steps=100, "
            "or stage=off"
        )
    target[key] = yaml.safe_load(text)
