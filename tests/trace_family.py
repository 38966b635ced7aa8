"""Draws and checks shared by the tests of families with traces; calls a family's `simulate` with its own generator."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np

from riverone_hf.calibration.plot import Plot
from riverone_hf.calibration.scene import Figure, Series
from riverone_hf.calibration.style import draw_style
from riverone_hf.questions.answers import write_answers
from riverone_hf.questions.enums import PLOT_TYPES
from riverone_hf.questions.families import FAMILIES
from riverone_hf.questions.truth import UNRELIABLE

SEEDS = 40


def draw_plots(family: str, experiment_type: str, seeds: int = SEEDS) -> list[Plot]:
    """Plots of one type for seeds 0, 1, ..."""
    module = importlib.import_module(f"riverone_hf.calibration.{family}")
    plots = []
    for seed in range(seeds):
        rng = np.random.default_rng([93, seed])
        style = draw_style(rng, family)
        truth, images = module.simulate(experiment_type, rng, style)
        plots.append(Plot(truth, tuple(Figure(panels, style) for panels in images), seed))
    return plots


def numbers(plot: Plot) -> dict[str, Any]:
    """The Q5 values, untyped."""
    return dict(plot.truth.parameters)


def trace_of(plot: Plot, role: str = "data", image: int | None = None) -> Series | None:
    """The series of `role` in the image (default: the one with points or a fit; else the first)."""
    panels = [figure.panels[0] for figure in plot.figures]
    if image is not None:
        panels = [panels[image]]
    return next((s for panel in panels for s in panel.series if s.role == role), None)


def check_legal(family: str, experiment_type: str) -> None:
    """Every plot of the type has a legal truth, finite points inside its axes, and is drawn again from its seed."""
    spec = FAMILIES[family]
    plots, again = draw_plots(family, experiment_type), draw_plots(family, experiment_type)
    keys = {tuple(plot.truth.targets) for plot in plots}
    assert len(keys) == 1
    for plot, twin in zip(plots, again, strict=True):
        truth = plot.truth
        assert truth == twin.truth
        assert (truth.family, truth.experiment_type) == (family, experiment_type)
        answers = write_answers(truth)
        assert not any("{error" in text or "{f" in text for text in (answers["q3"], answers["q6"]))
        assert (truth.suggested_range is None) == (truth.status in ("SUCCESS", "STABLE", "BEATING"))
        assert all(0 <= value <= 1 for value in truth.targets.values()), truth.targets
        drawn = any(s.role == "fit" for figure in plot.figures for s in figure.panels[0].series)
        assert drawn == (truth.reliability != "No fit")
        for field in spec.fields:
            value = numbers(plot)[field.name]
            if value is None or value == UNRELIABLE:
                assert truth.status not in ("SUCCESS", "STABLE")
            elif field.kind == "enum":
                assert value in field.choices
            else:
                assert isinstance(value, int if field.kind == "int_count" else float) and math.isfinite(value)
        assert len(plot.figures) == len(truth.panels) == spec.n_images
        for figure, other, told in zip(plot.figures, twin.figures, truth.panels, strict=True):
            panel = figure.panels[0]
            assert told.plot_type in PLOT_TYPES
            assert (told.x_axis.label, told.y_axis.label) == (panel.xlabel, panel.ylabel)
            for series, same in zip(panel.series, other.panels[0].series, strict=True):
                assert np.array_equal(series.x, same.x) and np.array_equal(series.y, same.y)
                assert np.isfinite(series.x).all() and np.isfinite(series.y).all()
                if series.role == "data":
                    error = 0.0 if series.yerr is None else series.yerr
                    for low, high, (least, most) in (
                        (series.x, series.x, panel.xlim),
                        (series.y - error, series.y + error, panel.ylim),
                    ):
                        slack = 1e-9 * (most - least)
                        assert low.min() >= least - slack and high.max() <= most + slack
