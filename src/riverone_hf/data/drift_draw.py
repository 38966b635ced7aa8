"""How does a window of drift look? A curve through the calibration renderers, or a map of correlations as a table."""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image

from ..calibration.colormaps import levels, table
from ..calibration.palette import SIZES, pick
from ..calibration.raster import Canvas
from ..calibration.render import render
from ..calibration.scene import Figure, Marker, Panel, Series
from ..calibration.style import draw_style
from ..calibration.text import text_size
from .drift_columns import PROPERTIES, variables
from .drift_correlation import LEVEL
from .drift_frame import DriftTable
from .drift_questions import shown_rho
from .drift_windows import Window

MAPS = ("RdBu_r", "coolwarm", "RdBu")


def draw(window: Window, drift: DriftTable, sunspots: bool, rng: np.random.Generator) -> Image.Image:
    """The window as an RGB image; the same generator state gives the same pixels."""
    return draw_curve(window, drift, rng) if window.layout == "curve" else draw_map(window, drift, sunspots, rng)


def draw_curve(window: Window, drift: DriftTable, rng: np.random.Generator) -> Image.Image:
    """Points of one property over the days of the window, in one of the looks that labs use."""
    t, v = window.points(drift)
    item = PROPERTIES[window.key[1]]
    low, high = float(v.min()), float(v.max())
    pad = 0.08 * (high - low) or 0.05 * high
    floor = 0.0 if rng.random() < 0.25 else low - pad
    markers: tuple[Marker, ...] = ()
    if rng.random() < 0.3:
        markers = (Marker(float(np.median(v)), "h", "guide", "median"),)
    style = draw_style(rng, "drift")
    size = pick(rng, [size for size in SIZES if size[0] <= 900])
    # No legend on the extreme points if that can be; and only the title says which device and qubit is seen.
    legend = style.legend if style.legend in ("none", "outside") else "best"
    style = dataclasses.replace(
        style,
        figsize=size,
        legend=legend,
        show_title=True,
        font_scale=min(max(style.font_scale, 0.8), 1.15),
        text_outside=False,
    )
    panel = Panel(
        xlim=(-0.02 * window.days, 1.02 * window.days),
        ylim=(max(floor, 0.0), high + pad),
        xlabel=f"days since {window.date} 00:00 UTC",
        ylabel=f"{item.title} ({item.unit})",
        title=f"{window.key[0]} {window.where} {item.title}, n = {t.size}",
        series=(Series(t, v, pick(rng, ["points+line", "points", "line"], [0.5, 0.35, 0.15]), "data"),),
        markers=markers,
    )
    return render(Figure((panel,), style))


def draw_map(window: Window, drift: DriftTable, sunspots: bool, rng: np.random.Generator) -> Image.Image:
    """A table of rank correlations: environment down, (property, lag) across, a star where Holm's test holds."""
    found = window.correlations(drift, sunspots)
    columns, rows = window.columns(drift), variables(sunspots)
    size = float(pick(rng, [13.0, 14.0, 15.0, 17.0]))
    font = pick(rng, ["sans", "serif"], [0.8, 0.2])
    heads = [_head(window, name, lag, found.n[:, j]) for j, (name, lag) in enumerate(columns)]
    left = max(text_size(item.title, size, font)[0] for item in rows) + 20
    wide = max(max(text_size(head, size, font)[0] for head in heads) + 14, round(4.6 * size))
    tall = round(pick(rng, [1.9, 2.2, 2.5]) * size)
    lines = max(head.count("\n") for head in heads) + 1
    above, below = round(2.6 * (size + 1) + 1.25 * lines * size + 14), round(2.6 * size)
    if window.layout == "lags":
        title = f"{window.key[0]} {window.where} {PROPERTIES[window.key[1]].title}: correlation with the environment"
    else:
        title = f"{window.key[0]} {window.where}: correlation with the environment, lag {window.lag} d"
    title += f"\n{window.days} days from {window.date}"
    foot = f"Spearman rho of daily means; * p < {LEVEL:g} after Holm, {found.tests} tests"
    bar = 18
    width = left + wide * len(columns) + bar + round(3.6 * size) + 16
    width = max(width, text_size(title, size + 1, font)[0] + 16, text_size(foot, 0.85 * size, font)[0] + 24)
    height = above + tall * len(rows) + below
    canvas = Canvas(width, height, (255, 255, 255))
    black = (0, 0, 0)
    colors = table(pick(rng, list(MAPS)))
    canvas.text(title, width / 2, 6, size + 1, font, black, (0.5, 0.0))
    for j, head in enumerate(heads):
        canvas.text(head, left + wide * (j + 0.5), above - 5, size, font, black, (0.5, 1.0))
    for i, item in enumerate(rows):
        y = above + tall * i
        canvas.text(item.title, left - 8, y + tall / 2, size, font, black, (1.0, 0.5))
        for j in range(len(columns)):
            rho, x = float(found.rho[i, j]), left + wide * j
            if not np.isfinite(rho):
                canvas.rect(x, y, x + wide, y + tall, (225, 225, 225))
                canvas.text("n/a", x + wide / 2, y + tall / 2, size, font, black, (0.5, 0.5))
                continue
            color = tuple(int(c) for c in colors[int(levels(np.array([[rho]]), (-1.0, 1.0))[0, 0])])
            dark = 0.3 * color[0] + 0.6 * color[1] + 0.1 * color[2] < 120
            star = "*" if found.significant[i, j] else ""
            canvas.rect(x, y, x + wide, y + tall, color)  # type: ignore[arg-type]
            ink = (255, 255, 255) if dark else black
            canvas.text(
                f"{shown_rho(rho)}{star}".replace("-", "−"), x + wide / 2, y + tall / 2, size, font, ink, (0.5, 0.5)
            )
    x0, bottom = left + wide * len(columns) + 12, above + tall * len(rows)
    ramp = np.linspace(255, 0, bottom - above).astype(np.uint8)[:, None]
    canvas.mapped(np.repeat(ramp, bar, axis=1), colors, x0, above)
    for value in (-1.0, -0.5, 0.0, 0.5, 1.0):
        y = above + (1 - value) / 2 * (bottom - above)
        canvas.text(f"{value:g}".replace("-", "−"), x0 + bar + 5, y, 0.85 * size, font, black, (0.0, 0.5))
    canvas.text(foot, 10, bottom + 0.7 * size, 0.85 * size, font, black, (0.0, 0.0))
    return canvas.image()


def _head(window: Window, name: str, lag: int, n: np.ndarray) -> str:
    """The words over a column, with the number of days that its correlations rest on."""
    low, high = int(n.min()), int(n.max())
    first = f"lag {lag} d" if window.layout == "lags" else PROPERTIES[name].title.replace(" error", "\nerror")
    return f"{first}\nn = {high}" if low == high else f"{first}\nn = {low}-{high}"
