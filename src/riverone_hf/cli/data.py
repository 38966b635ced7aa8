"""`riverone data ...`: look at the simulated plots that models are trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(name="data", help="Simulated calibration plots.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def main() -> None:
    """Simulated calibration plots."""


@app.command()
def show(
    out: Annotated[Path, typer.Option(help="Folder for the figures and truth.json.")],
    plots: Annotated[int, typer.Option(min=1, max=10_000, help="How many plots.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Other seeds give other plots.")] = 0,
    family: Annotated[str | None, typer.Option(help="Only this family; by default all families in turn.")] = None,
    backend: Annotated[str, typer.Option(help="fast or matplotlib.")] = "fast",
) -> None:
    """Draw plots of the test split, with their true answers in truth.json."""
    from riverone_hf.data.show import show_plots

    written = show_plots(out, plots, seed, family, backend)
    typer.echo(f"{len(written)} figures and truth.json in {out}", err=True)
