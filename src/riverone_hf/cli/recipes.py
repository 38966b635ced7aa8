"""`riverone recipes ...`: which recipes there are, a copy to change, and a check of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(name="recipes", help="Recipes: the hyper-parameters of every stage.", no_args_is_help=True)


@app.callback()
def main() -> None:
    """Recipes: the hyper-parameters of every stage."""


@app.command()
def ls() -> None:
    """List the shipped recipes: name, whether it was ever run, stages, what the model is for."""
    from riverone_hf.build import list_recipes, load_recipe

    for name in list_recipes():
        recipe = load_recipe(name)
        typer.echo(f"{name}\t{recipe.model.status}\t{' '.join(recipe.stages)}\t{recipe.model.use}")


@app.command()
def cp(
    name: Annotated[str, typer.Argument(help="Name of a shipped recipe.")],
    target: Annotated[Path, typer.Argument(help="New folder for the copy.")],
) -> None:
    """Copy a recipe's files to change them; use the copy with `--recipe FOLDER`."""
    from riverone_hf.build.recipe_files import copy_recipe

    typer.echo(str(copy_recipe(name, target)))


@app.command()
def validate(
    names: Annotated[
        list[str] | None, typer.Argument(help="Recipe names, folders or single stage files; default: all shipped ones.")
    ] = None,
) -> None:
    """Check recipes: every key known, every value in range. Prints one line for each."""
    from riverone_hf.build.recipe_files import validate_recipes

    for line in validate_recipes(names or []):
        typer.echo(line)
