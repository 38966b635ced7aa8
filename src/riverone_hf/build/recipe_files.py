"""How are recipes copied and checked?"""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import RecipeError
from .recipe import check_stage, list_recipes, load_recipe, recipes_folder


def copy_recipe(name: str, target: Path) -> Path:
    """Copy the files of a shipped recipe into the new folder `target`. Raises RecipeError."""
    source = recipes_folder() / name
    known = sorted({path.parent.name for path in recipes_folder().glob("*/[0-9]_*.yaml")})
    if name not in known:
        raise RecipeError(f"no shipped recipe {name!r}. Expected one of: {', '.join(known)}")
    if target.exists():
        raise RecipeError(f"{target} exists already. Remedy: name a new folder")
    partial = target.with_name(target.name + ".new")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial)
    partial.rename(target)
    return target


def validate_recipes(names: list[str]) -> list[str]:
    """One line for each valid recipe: shipped names, folders or single stage files; all shipped ones by default.

    Raises RecipeError for the first that is not valid.
    """
    lines = []
    for name in names or list_recipes():
        if Path(name).is_file():
            check_stage(Path(name))
            lines.append(f"{name}: valid")
        else:
            lines.append(f"{name}: valid, stages {', '.join(load_recipe(name).stages)}")
    return lines
