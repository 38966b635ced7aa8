"""What if a lab forgot to name its axes? Removes labels from a finished plot and from what Q1 says of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from riverone_hf.calibration.scene import Panel
from riverone_hf.questions.truth import Truth

Images = tuple[tuple[Panel, ...], ...]


def drop_labels(rng: np.random.Generator, truth: Truth, images: Images, share: float = 0.04) -> tuple[Truth, Images]:
    """(truth, images) as they are, or in a `share` of plots without x label, y label or both, everywhere alike.

    Two random numbers are drawn whatever happens, so that later draws do not depend on it.
    """
    hit, which = float(rng.random()), float(rng.random())
    if hit >= share:
        return truth, images
    no_x, no_y = which < 0.6, which >= 0.3
    told = tuple(
        replace(
            panel,
            x_axis=replace(panel.x_axis, label="") if no_x else panel.x_axis,
            y_axis=replace(panel.y_axis, label="") if no_y else panel.y_axis,
        )
        for panel in truth.panels
    )
    drawn = tuple(
        tuple(
            replace(panel, xlabel="" if no_x else panel.xlabel, ylabel="" if no_y else panel.ylabel) for panel in image
        )
        for image in images
    )
    return replace(truth, panels=told), drawn
