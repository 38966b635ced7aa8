"""How does the whole construction run?

A recipe's stages in order, with preflight, progress, resume after a crash, and metrics beside the model.
"""

from .recipe import Recipe, list_recipes, load_recipe
from .run import run_recipe

__all__ = ["Recipe", "list_recipes", "load_recipe", "run_recipe"]
