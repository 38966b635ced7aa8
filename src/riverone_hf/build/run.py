"""How is a recipe run to its end? Preflight, stages that are skipped when done, and one rename at the end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import BuildError, MissingExtraError
from ..train.distributed import world_size
from .mixing import check_mixtures
from .progress import StageProgress
from .recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from ..model import RiverOneForConditionalGeneration, RiverOneProcessor

STATE = "build.json"
_LOG = "training.json"
_FREE_BYTES = 1_000_000_000


def run_recipe(
    recipe: str, out: Path, overrides: list[str] | None = None, resume: bool = True, quiet: bool = False
) -> Path:
    """Build the model of a recipe in `out` and return that folder.

    Work in progress lies in `<out>.work`: a killed build goes on where it stopped when started again with the same
    recipe. `out` appears with one rename when everything is written: model, processor, remote code, card, recipe,
    versions and metrics. Raises RecipeError, BuildError or MissingExtraError with the remedy.
    """
    preflight_packages()
    plan = load_recipe(recipe, overrides)
    out = out.absolute()
    work = out.with_name(out.name + ".work")
    if _finished(out, plan):
        print(f"{out} is already built from this recipe", file=sys.stderr)
        return out
    if world_size() > 1:
        raise BuildError(
            "riverone build starts its own processes (`processes` of a stage). Remedy: run it without torchrun, or its "
            "stages one by one with torchrun and `riverone train --recipe FILE`"
        )
    check_mixtures(plan)
    state = claim_work(plan.fingerprint(), out, work, resume)
    from .training import quiet_libraries

    quiet_libraries()
    with StageProgress(quiet) as progress:
        progress.say(f"recipe {plan.name} ({plan.model.use}): stages {', '.join(plan.stages)}")
        _models(plan, work, state, progress)
        model, processor = _load_last(plan, work, state)
        command = " ".join([f"riverone build --recipe {plan.name} --out DIR", *(overrides or ())])
        finish_build(plan, state, model, processor, work, out, command)
    return out


def finish_build(
    plan: Recipe, state: dict[str, Any], model: Any, processor: Any, work: Path, out: Path, command: str
) -> None:
    """Write model, remote code, card, recipe, versions and metrics; `out` appears with one rename and `work` goes.

    `state` is that of `claim_work`: seconds, log and results rows of the stages. `command` repeats the build.
    """
    from .training import keep_logs

    final = work / "final"
    shutil.rmtree(final, ignore_errors=True)
    write_model(model.to(saved_dtype(plan)), processor, final)
    _write_provenance(plan, state, final, command)
    keep_logs(work, final)
    if out.exists():
        out.rmdir()
    final.rename(out)
    shutil.rmtree(work, ignore_errors=True)


def preflight_packages() -> None:
    """Raise MissingExtraError unless everything that training needs is installed."""
    import importlib.util

    for package in ("trl", "datasets", "accelerate", "yaml"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "train")


def _finished(out: Path, plan: Recipe) -> bool:
    try:
        return json.loads((out / STATE).read_text(encoding="utf-8"))["fingerprint"] == plan.fingerprint()
    except (OSError, ValueError, KeyError):
        return False


def claim_work(fingerprint: str, out: Path, work: Path, resume: bool) -> dict[str, Any]:
    """The state of the work of this fingerprint in `work`: a fresh one, or that of the same work begun before.

    Raises BuildError when `out` or `work` belongs to something else, or the disk is full.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BuildError(f"{out} exists and is not empty. Remedy: name another --out, or remove it first")
    if work.exists() and not resume:
        shutil.rmtree(work)
    fresh = {"fingerprint": fingerprint, "done": [], "seconds": {}, "rows": [], "log": {}}
    if (work / STATE).is_file():
        state = json.loads((work / STATE).read_text(encoding="utf-8"))
        if state["fingerprint"] != fingerprint:
            raise BuildError(
                f"{work} holds an unfinished build of another recipe or other overrides. "
                "Remedy: repeat the first command, use --fresh to discard it, or name another --out"
            )
        return state
    work.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(work).free
    if free < _FREE_BYTES:
        raise BuildError(f"only {free / 1e9:.1f} GB free at {work}, a build needs {_FREE_BYTES / 1e9:.0f} GB")
    save_state(work, fresh)
    return fresh


def save_state(work: Path, state: dict[str, Any]) -> None:
    """Write the state of the work through a temporary file."""
    temporary = work / (STATE + ".new")
    temporary.write_text(json.dumps(state, indent=1), encoding="utf-8")
    temporary.replace(work / STATE)


def _models(plan: Recipe, work: Path, state: dict[str, Any], progress: StageProgress) -> None:
    """Run every stage that is not done yet, in order."""
    from . import stages
    from .measure import measure
    from .processes import run_stage

    for stage in plan.stages:
        if stage in state["done"]:
            continue
        began = time.monotonic()
        if stage == "model":
            progress.stage("tokenizer", 1)
            write_model(*stages.build_model(plan), work / stage / "model")
            progress.advance()
        elif stage == "evaluate":
            model, processor = _load_last(plan, work, state)
            # What is measured is what will be saved.
            model.to(saved_dtype(plan)).float()
            state["rows"] = measure(model, processor, plan, progress, sum(state["seconds"].values()))
        else:
            state["log"][stage] = run_stage(plan, stage, _last(plan, work, state), work / stage, progress)
        # Seconds of this run only: a resumed stage counts what it trained after the resume.
        state["seconds"][stage] = round(time.monotonic() - began, 1)
        state["done"].append(stage)
        save_state(work, state)


def saved_dtype(plan: Recipe) -> Any:
    """The torch dtype of the finished model's weights."""
    import torch

    return getattr(torch, plan.model.dtype)


def _load_last(
    plan: Recipe, work: Path, state: dict[str, Any]
) -> tuple[RiverOneForConditionalGeneration, RiverOneProcessor]:
    from ..reader.loading import load_model

    return load_model(str(_last(plan, work, state)), device="cpu")


def _last(plan: Recipe, work: Path, state: dict[str, Any]) -> Path:
    """The model folder of the last finished stage."""
    last = [stage for stage in plan.stages if stage in state["done"] and stage != "evaluate"][-1]
    return work / last / "model"


def write_model(model: Any, processor: Any, folder: Path) -> None:
    """Save model and processor through a temporary folder, so that a folder that exists is complete."""
    temporary = folder.with_name(folder.name + ".new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(temporary)
    processor.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def _write_provenance(plan: Recipe, state: dict[str, Any], folder: Path, command: str) -> None:
    from ..hub import model_card

    provenance = {
        "fingerprint": state["fingerprint"],
        "recipe": plan.model_dump(),
        "seed": plan.model.seed,
        "versions": versions(),
        "seconds": state["seconds"],
    }
    write_json(folder / STATE, provenance)
    write_json(folder / _LOG, state["log"])
    write_json(
        folder / "metrics.json",
        {
            "command": command,
            "date": date.today().isoformat(),
            "machine": machine(),
            "versions": versions(),
            "use": plan.model.use,
            "rows": state["rows"],
        },
    )
    model_card(folder).save(folder / "README.md")


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON with a newline at its end."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """Versions that decide a result."""
    from importlib.metadata import version

    names = ("torch", "transformers", "trl", "datasets", "tokenizers", "pillow", "numpy")
    return {"riverone-hf": __version__, "python": sys.version.split()[0]} | {name: version(name) for name in names}


def machine() -> str:
    """The machine in words: cores, memory, accelerator."""
    import torch

    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{os.cpu_count()} CPU cores, {pages / 2**30:.0f} GiB memory, {device}"


def commit() -> str | None:
    """The commit of the source checkout that this package runs from, or None for an installed package."""
    here = Path(__file__).resolve().parent
    done = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None if done.returncode == 0 else None
