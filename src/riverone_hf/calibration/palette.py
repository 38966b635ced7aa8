"""Which colours and figure sizes do plotting libraries start from? Shared by looks and family habits."""

from __future__ import annotations

from typing import Any

import numpy as np

from riverone_hf.calibration.scene import Color

BLUE: Color = (31, 119, 180)
ORANGE: Color = (255, 127, 14)
GREEN: Color = (44, 160, 44)
RED: Color = (214, 39, 40)
PURE_BLUE: Color = (0, 0, 255)
PURE_RED: Color = (255, 0, 0)
BLACK: Color = (0, 0, 0)
GRAY: Color = (127, 127, 127)
PURPLE: Color = (148, 103, 189)

SIZES = [(640, 480)] * 8 + [(630, 470), (800, 600), (560, 420), (900, 600), (720, 540), (1000, 600), (1200, 900)]
"""Figure sizes in pixels, most frequent first."""


def pick(rng: np.random.Generator, options: list[Any], weights: list[float] | None = None) -> Any:
    """One of `options`, with probability in proportion to `weights` (equal when None)."""
    share = None if weights is None else np.asarray(weights) / np.sum(weights)
    return options[int(rng.choice(len(options), p=share))]
