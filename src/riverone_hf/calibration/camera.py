"""How does a camera see atoms and light? Spots, noise and the axes of an image, in pixels."""

from __future__ import annotations

import numpy as np

from riverone_hf.calibration.physics import chance, pick
from riverone_hf.calibration.scene import Panel
from riverone_hf.questions.truth import AxisTruth, PanelTruth, PlotType


def add_spots(
    image: np.ndarray, x: np.ndarray, y: np.ndarray, brightness: np.ndarray, shape: tuple[float, float, float]
) -> None:
    """Add Gaussian spots to `image` (h, w) float32 in place: centres and peak `brightness` (n,) each.

    `shape` = (rms width along the spot's long axis, across it, direction of the long axis in radians), in pixels.
    """
    height, width = image.shape
    long, short, angle = shape
    reach = int(np.ceil(3 * max(long, short))) + 1
    steps = np.arange(-reach, reach + 1, dtype=np.float32)
    fx, fy = np.floor(x), np.floor(y)
    dx = steps[None, :] - (x - fx - 0.5).astype(np.float32)[:, None]
    dy = steps[None, :] - (y - fy - 0.5).astype(np.float32)[:, None]
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    xx, yy = (cos / long) ** 2 + (sin / short) ** 2, (sin / long) ** 2 + (cos / short) ** 2
    row = np.exp((-0.5 * xx) * dx * dx)
    column = np.exp((-0.5 * yy) * dy * dy) * brightness.astype(np.float32)[:, None]
    light = row[:, None, :] * column[:, :, None]
    mixed = cos * sin * (long**-2 - short**-2)
    if abs(mixed) > 1e-6:
        light *= np.exp(np.clip(np.float32(-mixed) * dx[:, None, :] * dy[:, :, None], -30, 30))
    border = 2 * reach + 2
    stride, tall = width + 2 * border, height + 2 * border
    near = (fx > -reach) & (fx < width + reach) & (fy > -reach) & (fy < height + reach)
    base = ((fy + border) * stride + fx + border).astype(np.int64)[near]
    shifts = (steps[:, None] * stride + steps).astype(np.int64)
    total = np.bincount((base[:, None, None] + shifts).ravel(), light[near].ravel(), stride * tall)
    image += total.reshape(tall, stride)[border:-border, border:-border].astype(np.float32)


def noise(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> np.ndarray:
    """Readout noise (h, w) float32 of standard deviation `sigma`."""
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(sigma)


def axis_labels(rng: np.random.Generator) -> tuple[str, str, str, str]:
    """(x as drawn, y as drawn, x and y without their unit) of a camera image in pixels."""
    x, y = pick(rng, (("X", "Y"), ("X", "Y"), ("x", "y"), ("x position", "y position"), ("Column", "Row")))
    form = pick(rng, ("{} (pixels)", "{} (pixels)", "{} (px)", "{} [px]", "{} pixel"))
    if chance(rng, 0.08):
        return "", "", "", ""
    return form.format(x), form.format(y), x, y


def image_truth(
    panel: Panel, plot_type: PlotType, names: tuple[str, str], features: str, bar: str | None = None
) -> PanelTruth:
    """What Q1 says of a camera image: the axes' `names` and their unit, and the label of the colour bar if asked."""
    x, y = (
        AxisTruth(name, (min(limits), max(limits)), unit="pixels")
        for name, limits in zip(names, (panel.xlim, panel.ylim))
    )
    return PanelTruth(plot_type, x, y, features, bar)
