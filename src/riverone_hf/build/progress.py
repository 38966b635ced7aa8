"""How far is it? One bar per stage with a time estimate on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback


class StageProgress:
    """Progress of one stage at a time, on stderr; used as a context manager for the whole build."""

    def __init__(self, quiet: bool = False):
        self.console = Console(stderr=True, quiet=quiet)
        self.live = sys.stderr.isatty() and not quiet
        self.progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.live,
        )
        self.task: Any = None
        self.name, self.total, self.done, self.started, self.printed = "", 0, 0, 0.0, 0.0
        self.first = 0

    def __enter__(self) -> StageProgress:
        self.progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.progress.stop()

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """Begin a stage of `total` steps of which `done` were finished before."""
        self.name, self.total, self.done, self.first = name, total, done, done
        self.started = self.printed = time.monotonic()
        self.task = self.progress.add_task(name, total=total, completed=done, note="")
        self._print("")

    def advance(self, steps: int = 1, note: str = "") -> None:
        """`steps` more are done; `note` is a short text such as the loss."""
        self.update(self.done + steps, note)

    def update(self, done: int, note: str = "") -> None:
        """Set the number of finished steps."""
        self.done = done
        if self.task is not None:
            self.progress.update(self.task, completed=done, note=note)
        if time.monotonic() - self.printed > 15 or done >= self.total:
            self._print(note)

    def say(self, text: str) -> None:
        """Print one line beside the bars."""
        self.console.print(text, highlight=False, markup=False)

    def _print(self, note: str) -> None:
        if self.live:
            return
        now = time.monotonic()
        self.printed = now
        steps = self.done - self.first
        eta = f" ETA {(now - self.started) / steps * (self.total - self.done):.0f} s" if steps else ""
        self.say(f"{self.name}: {self.done}/{self.total}{eta} {note}".rstrip())


class ProgressCallback(TrainerCallback):
    """Reports a Trainer's steps to a `StageProgress` and keeps its logs."""

    def __init__(self, progress: StageProgress, name: str):
        self.progress, self.name = progress, name
        self.note = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the stage's bar at the step that training starts or resumes from."""
        self.progress.stage(self.name, state.max_steps, state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One step more."""
        self.progress.update(state.global_step, self.note)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Remember the loss and the accuracies for the bar."""
        shown = {key: value for key, value in (logs or {}).items() if key == "loss" or key.endswith("accuracy")}
        if shown:
            self.note = " ".join(f"{key} {float(value):.3f}" for key, value in shown.items())
