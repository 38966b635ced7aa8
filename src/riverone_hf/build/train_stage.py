"""How is a single stage run on any RiverONE model? One recipe file, one model in, one model or adapter out."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from ..data import mixed_dataset
from ..errors import AdapterError, BuildError, RecipeError, TrainingDataError
from ..questions import FAMILIES
from ..train.distributed import is_main, wait_for_all, world_size
from . import stages
from .mixing import check_mixtures
from .processes import TRAININGS
from .progress import StageProgress
from .recipe import Recipe, load_stage, recipes_folder
from .run import claim_work, preflight_packages, save_state, versions, write_json, write_model
from .training import keep_logs, plot_source, quiet_libraries

_VIEW = {"sft_icl": "sft_icl", "sft": "sft_zero_shot", "mpo": "preference"}


def train_stage(
    file: Path,
    out: Path,
    model: str | None = None,
    data: Path | None = None,
    overrides: list[str] | None = None,
    peft: bool = False,
    merge: bool = False,
    resume: bool = True,
    quiet: bool = False,
    allow_contaminated: bool = False,
) -> Path:
    """Run the stage of `file` (a recipe's YAML) on `model`, write the result to `out` and return that folder.

    A `file` that is not there is looked for among the shipped recipes (`nano/3_sft.yaml`).
    `data` replaces the simulator: a folder with labels.jsonl (see `data.lab_rows`) or a built data set. `overrides`
    are `key=value` of the stage, or `seed=N`. With `peft` (or `peft: true`) `out` holds an adapter, with `merge` too
    the merged model. A stage that was killed goes on where it was. Runs alike under torchrun: every process trains,
    the first writes. Rows of `data` that `riverone data decontaminate` flagged are refused unless
    `allow_contaminated`. Raises ContaminationError, RecipeError, BuildError, ModelFolderError, AdapterError,
    TrainingDataError.
    """
    preflight_packages()
    quiet_libraries()
    _connect()
    out = out.absolute()
    if not file.exists() and (recipes_folder() / file).is_file():
        file = recipes_folder() / file
    seed, overrides = _seed(file, list(overrides or ()))
    if not file.is_file() or file.stem.partition("_")[2] == "model":
        return _untrained(file, out, overrides, seed)
    if model is None:
        raise BuildError(f"{file} trains a model that exists. Remedy: --model DIR (stage 0, 0_model.yaml, makes one)")
    from ..reader.loading import load_model

    network, processor = load_model(model, device="cpu")
    network.config._name_or_path = model
    plan, spec = stage_spec(file, overrides, network, processor, seed)
    stage = spec.stage
    _ask_adapter(spec, stage, peft, merge, network)
    check_mixtures(plan)
    rows, learned = (None, set()) if data is None else _rows(data, stage, spec.batch_size, allow_contaminated)
    own_share = getattr(spec, "own_share", None)
    if rows is not None and own_share is not None and own_share < 1:
        rows = mixed_dataset(rows, plot_source(plan, spec), own_share, spec.steps * spec.batch_size)
    work = out.with_name(out.name + ".work")
    if is_main():
        state = claim_work(_fingerprint(plan, model, data), out, work, resume)
    wait_for_all()
    began = time.monotonic()
    with StageProgress(quiet or not is_main()) as progress:
        given = {} if rows is None else {"rows": rows}
        log = TRAININGS[stage](network, processor, plan, work / stage / "trainer", progress, **given)
    # A reader looks for the families that its model knows: those of own plots are among them now.
    network.config.families = [*plan.model.families, *sorted(learned - set(plan.model.families))]
    if is_main():
        state["seconds"][stage] = round(time.monotonic() - began, 1)
        state["log"][stage] = log
        save_state(work, state)
        _write(plan, state, model, out, work, network, processor, adapter_only=bool(spec_peft(spec)) and not merge)
    wait_for_all()
    return out


def stage_spec(
    file: Path, overrides: list[str], network: Any, processor: Any, seed: int | None = None
) -> tuple[Recipe, Any]:
    """(recipe of this one stage for the model `network`, the stage's part of it). Raises RecipeError."""
    if seed is None:
        seed, overrides = _seed(file, overrides)
    plan = load_stage(file, overrides, _model_spec(network.config, processor, seed))
    stage = plan.stages[-1]
    if stage not in TRAININGS:
        raise RecipeError(f"{file}: stage {stage} is no training. Expected one of: {', '.join(TRAININGS)}")
    return plan, getattr(plan, stage)


def spec_peft(spec: Any) -> bool:
    """Whether a stage trains an adapter."""
    return bool(getattr(spec, "peft", None))


def _connect() -> None:
    if world_size() > 1:
        import torch
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available())


def _seed(file: Path, overrides: list[str]) -> tuple[int, list[str]]:
    """(seed, other overrides): `seed=N`, else that of the 0_model.yaml beside the file, else 0."""
    import yaml

    given = [text for text in overrides if text.startswith("seed=")]
    rest = [text for text in overrides if not text.startswith("seed=")]
    beside = file.parent / "0_model.yaml"
    try:
        if given:
            return int(given[-1].removeprefix("seed=")), rest
        return int(yaml.safe_load(beside.read_text(encoding="utf-8"))["seed"]) if beside.is_file() else 0, rest
    except (ValueError, KeyError, TypeError, yaml.YAMLError):
        raise RecipeError(f"seed is no number ({given[-1] if given else beside}). Expected e.g. seed=1") from None


def _model_spec(config: Any, processor: Any, seed: int) -> dict[str, Any]:
    """Stage 0 of a model that exists: what the training stages need to know of it."""
    images = processor.image_processor
    return {
        "stage": "model",
        "status": "run",
        "use": "",
        "families": list(getattr(config, "families", None) or ()),
        "seed": seed,
        "dtype": "float32",
        "tokenizer": None,
        "image": {"image_size": int(images.size["height"])},
        "vision": {},
        "text": {},
        "projector_hidden_size": config.projector_hidden_size or 0,
        "vision_feature_layers": list(config.vision_feature_layers),
        "downsample_factor": config.downsample_factor,
        "tie_word_embeddings": config.tie_word_embeddings,
    }


def _ask_adapter(spec: Any, stage: str, peft: bool, merge: bool, network: Any) -> None:
    from ..train.adapter import is_coded

    if peft:
        if "peft" not in type(spec).model_fields:
            raise RecipeError(f"--peft: the {stage} stage trains the vision tower, an adapter is of the language model")
        spec.peft = True
    if merge and not spec_peft(spec):
        raise BuildError("--merge merges an adapter, but none is trained. Remedy: give --peft too")
    if merge and is_coded(network):
        raise AdapterError(
            "--merge: this model is coded (its config has a quantization_config), an adapter cannot be merged into its "
            "codes. Remedy: leave out --merge and keep the adapter beside the model, or train the dense model"
        )
    if not spec_peft(spec) and is_coded(network):
        raise BuildError("this model is coded: its weights do not train. Remedy: --peft trains an adapter beside them")


def _rows(data: Path, stage: str, batch_size: int, allow_contaminated: bool) -> tuple[Any, set[str]]:
    """(training rows of own data, their families)."""
    from ..data import lab_dataset, lab_rows
    from ..data.contamination import refuse_flagged
    from ..data.lab import LABELS
    from ..data.mixture import load_view

    if stage not in _VIEW:
        raise TrainingDataError(f"the {stage} stage learns from the simulator's own facts. Remedy: leave out --data")
    if (data / LABELS).is_file():
        if stage != "sft":
            raise TrainingDataError(f"{data / LABELS} holds single plots; the {stage} stage needs more. Remedy: sft")
        rows, ids = lab_dataset(data), None
        families = {row["family"] for row in lab_rows(data)}
    else:
        try:
            rows = load_view(str(data), _VIEW[stage])
            # What data from elsewhere calls a family is none that a reader could look for.
            families, ids = set(rows["family"]) & set(FAMILIES), rows["id"]
        except (ValueError, FileNotFoundError, OSError) as error:
            raise TrainingDataError(
                f"{data}: neither {LABELS} nor a data set with a view {_VIEW[stage]} "
                f"({' '.join(str(error).split())[:120]}). Remedy: `riverone data build calibration --out {data}`, or "
                "see docs/adapt_to_your_lab.md"
            ) from None
    refuse_flagged(data, ids, allow_contaminated)
    if len(rows) < batch_size:
        raise TrainingDataError(
            f"{data} has {len(rows)} rows, less than one batch of {batch_size}. Remedy: batch_size={len(rows)}"
        )
    return rows, families


def _fingerprint(plan: Recipe, model: str, data: Path | None) -> str:
    folder = Path(model)
    files = sorted(folder.glob("*.safetensors")) + sorted(data.glob("labels.jsonl") if data else [])
    said = [plan.fingerprint(), model, str(data)]
    said += [f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _untrained(file: Path, out: Path, overrides: list[str], seed: int) -> Path:
    """Stage 0: tokenizer and random weights."""
    plan = load_stage(file, [*overrides, f"seed={seed}"])
    if not is_main():
        return out
    work = out.with_name(out.name + ".work")
    state = claim_work(plan.fingerprint(), out, work, resume=False)
    model, processor = stages.build_model(plan)
    _write(plan, state, None, out, work, model, processor, adapter_only=False)
    return out


def _write(
    plan: Recipe,
    state: dict[str, Any],
    base: str | None,
    out: Path,
    work: Path,
    model: Any,
    processor: Any,
    **how: bool,
) -> None:
    """Put the result together in `work` and give it its name with one rename."""
    final, adapter = work / "final", work / plan.stages[-1] / "adapter"
    shutil.rmtree(final, ignore_errors=True)
    if how["adapter_only"]:
        shutil.copytree(adapter, final)
    else:
        write_model(model, processor, final)
        if adapter.is_dir():
            shutil.copytree(adapter, final / "adapter")
    keep_logs(work, final)
    stated = _stated(base)
    write_json(
        final / "build.json",
        {
            "fingerprint": state["fingerprint"],
            "recipe": plan.model_dump(exclude_none=True),
            "seed": plan.model.seed,
            "base": base,
            "versions": versions(),
            "seconds": state["seconds"],
        },
    )
    write_json(final / "training.json", state["log"])
    # The base model's scores are no longer this model's; what it is for, and not for, still holds.
    command = f"riverone train --recipe {plan.name}"
    write_json(final / "metrics.json", {"command": command, "use": stated or plan.model.use, "rows": []})
    if not how["adapter_only"]:
        from ..hub import model_card

        model_card(final).save(final / "README.md")
    if out.exists():
        out.rmdir()
    final.rename(out)
    shutil.rmtree(work, ignore_errors=True)
    print(f"written: {out}", file=sys.stderr)


def _stated(base: str | None) -> str:
    try:
        said = json.loads((Path(base or "") / "metrics.json").read_text(encoding="utf-8")).get("use", "")
    except (OSError, ValueError, AttributeError):
        return ""
    return str(said)
