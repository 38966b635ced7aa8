"""How does one stage of a build use all cores? Processes that train and draw side by side, each on a core of its own.

Two processes with one thread each finish a step sooner than two threads: small operations do not wait for each other,
and drawing is spread like training.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import multiprocessing

from ..errors import BuildError, RiverOneError
from ..train.distributed import is_main, wait_for_all
from . import preference, stages
from .progress import StageProgress
from .recipe import Recipe

TRAININGS: dict[str, Callable[..., Any]] = {
    "warmup": stages.warm_up,
    "sft_icl": stages.fine_tune_icl,
    "sft": stages.fine_tune,
    "mpo": preference.prefer,
}
"""The stages that train, by name."""
_LOG = "log.json"


def processes_for(spec: Any) -> int:
    """How many processes train a stage here: as many as its recipe asks for and the machine has cores; 1 on a GPU."""
    if torch.cuda.is_available():
        return 1
    return min(spec.processes or 1, os.cpu_count() or 1)


def run_stage(plan: Recipe, stage: str, start: Path, folder: Path, progress: StageProgress) -> list[dict[str, Any]]:
    """Train `stage` on the model in `start`, in as many processes as it asks for, and return the log.

    The trained model is written to `folder`/model; checkpoints lie in `folder`/trainer, and a killed run goes on from
    them. Raises BuildError.
    """
    from ..reader.loading import load_model
    from .run import write_model

    if processes_for(getattr(plan, stage)) > 1:
        return train_in_processes(plan, stage, start, folder, progress)
    model, processor = load_model(str(start), device="cpu")
    log: list[dict[str, Any]] = TRAININGS[stage](model, processor, plan, folder / "trainer", progress)
    write_model(model, processor, folder / "model")
    return log


def train_in_processes(
    plan: Recipe, stage: str, start: Path, folder: Path, progress: StageProgress
) -> list[dict[str, Any]]:
    """Train `stage` on the model in `start`, write the result to `folder`/model and return the log.

    The processes end with this one. Raises BuildError with the message of a process that failed.
    """
    spec = getattr(plan, stage)
    count, cores = processes_for(spec), os.cpu_count() or 1
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    failures = multiprocessing.get_context("spawn").SimpleQueue()
    folder.mkdir(parents=True, exist_ok=True)
    # Only the first process shows a bar.
    progress.progress.stop()
    said = (count, max(1, cores // count), port, plan.model_dump_json(), stage, str(start), str(folder), failures)
    try:
        multiprocessing.start_processes(_train, (*said, progress.console.quiet), nprocs=count, start_method="spawn")
    except (multiprocessing.ProcessRaisedException, multiprocessing.ProcessExitedException) as error:
        if failures.empty():
            raise BuildError(f"a process of the {stage} stage ended: {str(error).strip().splitlines()[-1]}") from error
        raise BuildError(failures.get()) from None
    finally:
        progress.progress.start()
    return json.loads((folder / _LOG).read_text(encoding="utf-8"))


def _train(
    rank: int,
    count: int,
    threads: int,
    port: int,
    recipe: str,
    stage: str,
    start: str,
    folder: str,
    failures: Any,
    quiet: bool,
) -> None:
    """One of the processes."""
    # Linux sends SIGINT when the parent dies; a build put in the background by a shell would ignore it and train on.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(count)}
    from accelerate import PartialState

    from ..reader.loading import load_model
    from .run import write_json, write_model
    from .training import quiet_libraries

    quiet_libraries()
    PartialState(cpu=True)
    torch.set_num_threads(threads)
    plan, out = Recipe.model_validate_json(recipe), Path(folder)
    try:
        model, processor = load_model(start, device="cpu")
        with StageProgress(quiet or not is_main()) as progress:
            log = TRAININGS[stage](model, processor, plan, out / "trainer", progress)
    except RiverOneError as error:
        failures.put(str(error))
        raise
    if is_main():
        write_model(model, processor, out / "model")
        write_json(out / _LOG, log)
    wait_for_all()
