"""How does a measured trace become a panel? Data points, the fit curve over them, limits, labels and their truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from riverone_hf.calibration.physics import Readout, chance, padded_limits, pick, reader_range, rms, uniform
from riverone_hf.calibration.scene import Marker, Panel, Series
from riverone_hf.calibration.words import DATA_LABELS, FIT_LABELS
from riverone_hf.questions.truth import AxisTruth, PanelTruth, PlotType

Curve = Callable[[np.ndarray], np.ndarray]

SMALLEST_SHARE = 0.25
"""A signal smaller than this share of the whole axis is autoscaled: it would look like none."""


@dataclass(frozen=True)
class Trace:
    """Drawn points `x`, `y` (n,) in axis units; `noise` is their standard deviation in units of y."""

    x: np.ndarray
    y: np.ndarray
    noise: float
    xlabel: str
    ylabel: str
    readout: Readout | None = None
    flat: bool = False
    """The trace holds no signal, so an axis fixed to the whole population range hides nothing."""


def misfit(curve: Curve | None, trace: Trace) -> float:
    """Rms distance between the drawn points and the curve, over the rms of the points; 1 for no curve."""
    if curve is None:
        return 1.0
    spread = rms(trace.y - trace.y.mean())
    return min(1.0, rms(trace.y - curve(trace.x)) / spread) if spread > 0 else 1.0


def trace_panel(
    rng: np.random.Generator,
    trace: Trace,
    curve: Curve | None,
    *,
    title: str,
    features: str,
    fit_label: str | None = None,
    text: str | None = None,
    curve_points: int = 160,
    envelope: tuple[Curve, Curve] | None = None,
    markers: tuple[Marker, ...] = (),
) -> tuple[Panel, PanelTruth]:
    """The panel of one trace and what Q1 says of it.

    The curve is drawn on a dense grid, or on the data's own x as some software does. Error bars appear in one plot of
    six. A line without points makes the plot type "line"; otherwise it is "scatter".
    """
    kind = pick(rng, ("points",) * 10 + ("points+line",) + ("line",)) if curve is None else "points"
    yerr = np.full(trace.y.shape, max(trace.noise, 1e-12)) if kind == "points" and chance(rng, 0.16) else None
    series = [Series(trace.x, trace.y, kind, "data", yerr, pick(rng, DATA_LABELS))]  # type: ignore[arg-type]
    shown = [trace.y] if yerr is None else [trace.y - yerr, trace.y + yerr]
    if curve is not None:
        own_grid = trace.x.size >= 40 and curve_points <= 160 and chance(rng, 0.15)
        grid = trace.x if own_grid else np.linspace(trace.x[0], trace.x[-1], curve_points)
        values = curve(grid)
        series.append(Series(grid, values, "line", "fit", None, fit_label or pick(rng, FIT_LABELS)))
        shown.append(values)
        for index, edge in enumerate(envelope or ()):
            label = "Envelope" if index == 0 and chance(rng, 0.5) else None
            series.append(Series(grid, edge(grid), "line", "envelope", None, label))
            shown.append(series[-1].y)
    xlim = padded_limits(trace.x, pad=pick(rng, (0.05, 0.05, 0.05, 0.02, 0.0)))
    ylim = draw_ylim(rng, trace, shown)
    panel = Panel(xlim, ylim, trace.xlabel, trace.ylabel, title, tuple(series), markers=markers, text=text)
    plot_type: PlotType = "line" if kind == "line" else "scatter"
    return panel, panel_truth(panel, plot_type, features)


def panel_truth(panel: Panel, plot_type: PlotType, features: str) -> PanelTruth:
    """What Q1 says of a drawn panel: labels as drawn, limits as a reader rounds them."""
    return PanelTruth(
        plot_type,
        AxisTruth(panel.xlabel, reader_range(panel.xlim)),
        AxisTruth(panel.ylabel, reader_range(panel.ylim)),
        features,
    )


def draw_ylim(rng: np.random.Generator, trace: Trace, shown: list[np.ndarray]) -> tuple[float, float]:
    """Autoscaled limits, or the whole range of a population or <z> where the lab fixes the axis."""
    low, high = padded_limits(*shown, pad=pick(rng, (0.05, 0.05, 0.05, 0.1)))
    readout = trace.readout
    if readout is not None and readout.bounded and chance(rng, 0.25):
        ends = sorted((readout.offset, readout.offset + readout.gain))
        if high - low < SMALLEST_SHARE * (ends[1] - ends[0]) and not trace.flat:
            return low, high
        margin = (ends[1] - ends[0]) * uniform(rng, 0.02, 0.1)
        return min(low, ends[0] - margin), max(high, ends[1] + margin)
    return low, high
