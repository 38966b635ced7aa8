"""The layout that is kept is that of the figure and size asked for, and nobody can change it for the next one."""

from __future__ import annotations

from riverone_hf.calibration import draw
from riverone_hf.calibration.layout import layout


def test_the_kept_layout_is_that_of_figure_and_size():
    first, second = (draw(family, 4).figures[0] for family in ("t1", "gmm"))
    asked = [(first, (400, 300)), (first, (224, 224)), (second, (224, 224)), (first, (400, 300))]
    found = [layout(figure, size) for figure, size in asked]
    assert found[0] == found[3]
    assert len({str(places) for places, _ in found}) == 3
    again, _ = layout(first, (400, 300))
    again.clear()
    assert layout(first, (400, 300)) == found[0]
