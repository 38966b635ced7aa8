"""How does the whole construction run?

A recipe's stages in order, with preflight, progress, resume after a crash, and metrics beside the model.
"""

from .compress_vision import (
    CompressVisionSpec,
    PlotBatches,
    compress_vision,
    distillation_plots,
    load_compress_spec,
)
from .recipe import Recipe, list_recipes, load_recipe
from .run import run_recipe

__all__ = [
    "CompressVisionSpec",
    "PlotBatches",
    "Recipe",
    "compress_vision",
    "distillation_plots",
    "list_recipes",
    "load_compress_spec",
    "load_recipe",
    "run_recipe",
]
