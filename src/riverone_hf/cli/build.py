"""`riverone build`: run a recipe from its tokenizer to a saved model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def build(
    recipe: Annotated[str, typer.Option(help="Name of a shipped recipe (smoke, nano) or a folder or YAML file.")],
    out: Annotated[Path, typer.Option(help="Folder of the build; the finished model lies inside.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Recipe values to change, e.g. sft.steps=100.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not resume a build that is already there.")] = False,
) -> None:
    """Build a model; a build that was stopped, even by SIGKILL, goes on where it was. Prints the model's folder."""
    from riverone_hf.build import run_recipe

    typer.echo(str(run_recipe(recipe, out, overrides=list(overrides or ()), resume=not fresh)))
