"""`riverone env`: what a bug report needs, ready to paste. Never prints tokens or paths."""

from __future__ import annotations

import typer


def env() -> None:
    """Print versions, cores, memory and device, to paste into a bug report."""
    from riverone_hf.reader.environment import environment

    for name, value in environment().items():
        typer.echo(f"{name}: {value}")
