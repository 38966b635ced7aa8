"""Where do plots come from? Simulated calibration experiments with their truth, and two renderers for them."""

from __future__ import annotations

from riverone_hf.calibration.plot import SUPPORTED_FAMILIES, Plot, draw
from riverone_hf.calibration.render import render

__all__ = ["SUPPORTED_FAMILIES", "Plot", "draw", "render"]
