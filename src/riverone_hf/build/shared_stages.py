"""How do several recipes share their first stages? A stage runs once, in a folder named after all that decides it."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .processes import run_stage
from .progress import StageProgress
from .recipe import Recipe
from .run import STATE, claim_work, preflight_packages, save_state, write_model
from .training import quiet_libraries


@dataclass(frozen=True)
class FinishedStage:
    """A stage that ran: its model, what its training logged and the seconds it took (since the last resume)."""

    model: Path
    log: list[dict[str, Any]]
    seconds: float
    resumed: bool


def run_shared(plan: Recipe, work: Path, progress: StageProgress) -> dict[str, FinishedStage]:
    """Run the stages of `plan` in order, `evaluate` aside, and return them by name.

    A stage is kept in `work` under a name that holds its seed and the fingerprint of the plan up to it: recipes that
    begin alike share it, a finished one is not run again, and a killed one goes on from its checkpoint. Raises
    BuildError, MissingExtraError or what a stage raises.
    """
    preflight_packages()
    quiet_libraries()
    found: dict[str, FinishedStage] = {}
    start = None
    for stage in plan.stages:
        if stage == "evaluate":
            continue
        part = up_to(plan, stage)
        out = work / f"{stage}-seed{plan.model.seed}-{part.fingerprint()[:8]}"
        if not out.is_dir():
            _run(part, stage, start, out, progress)
        state = json.loads((out / STATE).read_text(encoding="utf-8"))
        start = out / "model"
        found[stage] = FinishedStage(start, state["log"][stage], state["seconds"][stage], state["resumed"])
    return found


def up_to(plan: Recipe, stage: str) -> Recipe:
    """The plan that ends with `stage`."""
    later = plan.stages[plan.stages.index(stage) + 1 :]
    return plan.model_copy(update=dict.fromkeys(later))


def _run(plan: Recipe, stage: str, start: Path | None, out: Path, progress: StageProgress) -> None:
    from .stages import build_model

    work = out.with_name(out.name + ".work")
    state = claim_work(plan.fingerprint(), out, work, resume=True)
    if stage not in state["done"]:
        began, state["resumed"] = time.monotonic(), (work / "trainer").is_dir()
        state["log"][stage] = []
        if start is None:
            progress.stage("tokenizer", 1)
            write_model(*build_model(plan), work / "model")
            progress.advance()
        else:
            state["log"][stage] = run_stage(plan, stage, start, work, progress)
        state["seconds"][stage] = round(time.monotonic() - began, 1)
        save_state(work, {**state, "done": [stage]})
    shutil.rmtree(work / "trainer", ignore_errors=True)
    work.rename(out)
