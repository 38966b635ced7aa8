"""Grids of marks lie where the pixels of the drawn figure are, at any size and in both renderers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from riverone_hf.calibration import SUPPORTED_FAMILIES, draw, render
from riverone_hf.data import PlotSource
from riverone_hf.data.marks import CHANNELS, mark_grid

CELLS = 16


def plain(figure):
    """Without legend, text box, error bars and bands: only points and curves are left in the axes."""
    panels = [
        dataclasses.replace(
            panel, text=None, series=tuple(dataclasses.replace(s, yerr=None, band=None) for s in panel.series)
        )
        for panel in figure.panels
    ]
    style = dataclasses.replace(figure.style, legend="none")
    return dataclasses.replace(figure, panels=tuple(panels), style=style)


def inked(figure, channel: int, size, backend: str) -> np.ndarray:
    """True for the cells that change when the series of a channel are taken out of the figure."""
    roles = {0: ("fit", "fit2", "envelope"), 1: ("data", "data2")}[channel]
    bare = [
        dataclasses.replace(panel, series=tuple(s for s in panel.series if s.role not in roles))
        for panel in figure.panels
    ]
    bare = dataclasses.replace(figure, panels=tuple(bare))
    both = [np.asarray(render(each, size=size, backend=backend), float) for each in (figure, bare)]
    changed = np.abs(both[0] - both[1]).sum(axis=2) > 30
    rows, columns = (np.arange(n) * CELLS // n for n in changed.shape)
    cells = np.zeros((CELLS, CELLS))
    np.add.at(cells, (rows[:, None], columns[None, :]), changed)
    return cells > 0


def widened(cells: np.ndarray) -> np.ndarray:
    """True also for the neighbours of true cells."""
    padded = np.pad(cells, 1)
    return np.any([padded[dy : dy + CELLS, dx : dx + CELLS] for dy in range(3) for dx in range(3)], axis=0)


@pytest.mark.parametrize("backend", ["fast", "matplotlib"])
@pytest.mark.parametrize("size", [(300, 180), (256, 256)])
def test_marks_lie_where_the_ink_is(backend, size):
    checked = dict.fromkeys(CHANNELS, 0)
    overlap = np.zeros((2, 2))
    for family in ("t1", "rabi", "drag", "qubit_spectroscopy"):
        for seed in range(6):
            figure = plain(draw(family, seed).figures[0])
            grid = mark_grid(figure, CELLS, size)
            assert grid.shape == (len(CHANNELS), CELLS, CELLS)
            for channel in (0, 1):
                ink = inked(figure, channel, size, backend)
                if not ink.any():
                    continue
                marked = grid[channel] > 0
                # Ink on the line between two cells may be counted to either.
                assert (ink & ~widened(marked)).sum() <= 0.02 * ink.sum(), f"{family} {seed}: ink without marks"
                assert (marked & ~widened(ink)).sum() <= 0.02 * marked.sum(), f"{family} {seed}: marks without ink"
                overlap[channel] += (marked & ink).sum(), marked.sum()
                checked[CHANNELS[channel]] += 1
    assert min(checked["fit"], checked["data"]) >= 8
    assert (overlap[:, 0] >= 0.85 * overlap[:, 1]).all()


def test_a_figure_without_a_curve_has_no_fit_marks():
    for family in ("t1", "rabi"):
        for seed in range(30):
            plot = draw(family, seed)
            marked = any(mark_grid(figure, CELLS)[0].any() for figure in plot.figures)
            assert marked == (plot.truth.reliability != "No fit"), f"{family} {seed}"


@pytest.mark.parametrize("family", SUPPORTED_FAMILIES)
def test_every_family_has_marks_or_maps(family):
    for seed in range(4):
        for figure in draw(family, seed).figures:
            grid = mark_grid(figure, CELLS)
            maps = any(panel.heatmap is not None for panel in figure.panels)
            assert grid[1].any() or grid[2].any() or maps


def test_rows_carry_a_grid_for_every_image_when_asked():
    source = PlotSource(("ramsey_t2star",), direct_size=64, direct_share=1.0, direct_zoom=3.0, mark_cells=8)
    row = source.row(0)
    assert [grid.shape for grid in row["labels"]["marks"]] == [(3, 8, 8)] * len(row["images"])
    assert "marks" not in dataclasses.replace(source, mark_cells=0).row(0)["labels"]
