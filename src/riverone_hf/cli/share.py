"""`riverone share`: store fewer vision blocks than there are layers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def share(
    model: Annotated[str, typer.Argument(help="Model folder, Hub id, or embedded.")],
    out: Annotated[Path, typer.Option(help="New folder; an unfinished run keeps its work in <out>.work.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change, e.g. stored=3 distill.steps=100."),
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="Settings; default recipes/multiplex.")] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder of own figures to distil on; else simulated plots.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Figures a step.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Other seeds give other images.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not go on with a run that was killed.")] = False,
) -> None:
    """Share a vision tower's blocks (MiniViT) and distil them from the original; no labels are needed.

    Prints the folder of the smaller model, with sizes and errors in its share.json.
    """
    from riverone_hf.build.share_folder import share_folder
    from riverone_hf.train.distributed import is_main

    written = share_folder(model, out, figures, recipe, overrides, batch_size, seed, device, resume=not fresh)
    if is_main():
        typer.echo(str(written))
