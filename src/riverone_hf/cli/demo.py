"""`riverone demo`: the Space, on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from riverone_hf.errors import MissingExtraError, RiverOneError
from riverone_hf.reader.embedded import EMBEDDED

APP = Path("spaces/calibration-reader/app.py")


def demo(
    model: Annotated[
        str, typer.Option(envvar="RIVERONE_MODEL", help="Model folder, Hub id, or the one inside the package.")
    ] = EMBEDDED,
) -> None:
    """Start the Space's app on this machine and print its address (Ctrl-C stops it)."""
    script = find_app()
    if find_spec("gradio") is None:
        raise MissingExtraError("gradio", "space")
    code = subprocess.run(
        [sys.executable, str(script)], env={**os.environ, "RIVERONE_MODEL": model}, check=False
    ).returncode
    raise typer.Exit(code)


def find_app() -> Path:
    """The Space's app in the source tree that this package runs from, or below the current folder.

    Raises:
        RiverOneError: neither has it (the wheel does not ship the Space).
    """
    for root in (Path(__file__).resolve().parents[3], Path.cwd()):
        if (root / APP).is_file():
            return root / APP
    raise RiverOneError(f"{APP} was not found. Remedy: run `riverone demo` in a clone of the repository")
