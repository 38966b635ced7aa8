"""How does a figure become an image? One door to both renderers."""

from __future__ import annotations

from typing import Literal

from PIL import Image

from riverone_hf.calibration.render_fast import render_fast
from riverone_hf.calibration.scene import Figure

Backend = Literal["fast", "matplotlib"]


def render(figure: Figure, size: tuple[int, int] | None = None, backend: Backend = "fast") -> Image.Image:
    """Draw `figure` as an RGB image of `size` (width, height) pixels; None: the size its style asks for.

    "fast" needs Pillow and numpy only; "matplotlib" draws with Agg.
    Raises MissingExtraError when matplotlib is asked for but not installed, ValueError for an unknown backend or a
    size below 16 pixels.
    """
    width, height = size or figure.style.figsize
    if min(width, height) < 16 or not figure.panels:
        raise ValueError(
            f"a figure of {width} x {height} pixels with {len(figure.panels)} panels cannot be drawn: "
            "expected at least 16 x 16 pixels and one panel"
        )
    if backend == "fast":
        return render_fast(figure, (width, height))
    if backend == "matplotlib":
        from riverone_hf.calibration.render_matplotlib import render_matplotlib

        return render_matplotlib(figure, (width, height))
    raise ValueError(f"unknown backend {backend!r}: expected 'fast' or 'matplotlib'")
