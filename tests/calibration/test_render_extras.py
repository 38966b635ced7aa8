"""Do the renderers draw camera images, grids of panels, ribbons and clouds as the scene says?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from riverone_hf.calibration.colormaps import levels, table
from riverone_hf.calibration.labels import drop_labels
from riverone_hf.calibration.layout import layout
from riverone_hf.calibration.raster import Canvas
from riverone_hf.calibration.render import render
from riverone_hf.calibration.render_fast import axes_box
from riverone_hf.calibration.scene import Circle, Figure, Heatmap, Panel, Series, Style
from riverone_hf.calibration.stamps import CLOUD
from riverone_hf.calibration.style import draw_style
from riverone_hf.calibration.text import text_size
from riverone_hf.questions.truth import AxisTruth, PanelTruth, Truth

BACKENDS = ("fast", "matplotlib")


def image(figure: Figure, size: tuple[int, int] | None = None, backend: str = "fast") -> np.ndarray:
    if backend == "matplotlib":
        pytest.importorskip("matplotlib")
    return np.asarray(render(figure, size, backend=backend)).astype(int)  # type: ignore[arg-type]


def look(**changes: Any) -> Style:
    return replace(Style(colors={"data": (255, 0, 255), "fit": (0, 200, 0)}, legend="none"), **changes)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_bare_picture_fills_the_image_and_nothing_else(backend: str) -> None:
    values = np.array([[0.0, 1.0], [0.5, 0.0]])
    panel = Panel((0, 2), (0, 2), "x", "y", "title", heatmap=Heatmap(values), bare=True)
    picture = image(Figure((panel,), look(colormap="gray")), (40, 20), backend)
    assert picture[15, 10, 0] == 0 and picture[15, 30, 0] == 255 and abs(picture[5, 10, 0] - 128) <= 2
    assert len(np.unique(picture)) == 3, "sharp pixels, no axes, no words"
    soft = replace(panel, heatmap=Heatmap(values, smooth=True))
    assert len(np.unique(image(Figure((soft,), look(colormap="gray")), (40, 20), backend))) > 20


def test_heatmap_limits_fix_the_colours() -> None:
    values = np.array([[0.0, 0.5]])
    assert list(levels(values)[0]) == [0, 255] and list(levels(values, (0.0, 1.0))[0]) == [0, 128]
    assert list(levels(np.array([[-3.0, 9.0]]), (0.0, 1.0))[0]) == [0, 255]
    panel = Panel((0, 1), (0, 1), heatmap=Heatmap(values, "I", (0.0, 1.0)))
    places, _ = layout(Figure((panel,), look()), (400, 300))
    assert places[0].bar is not None and places[0].bar.limits == (0.0, 1.0)
    x0, y0, x1, y1 = axes_box(Figure((panel,), look()), (400, 300))[0]
    picture = image(Figure((panel,), look()), (400, 300))
    assert list(picture[int(y0 + y1) // 2, int(0.75 * x1 + 0.25 * x0)]) == list(table("viridis")[128])


@pytest.mark.parametrize("size", [(640, 480), (224, 224), (900, 300), (300, 800)])
def test_equal_axes_have_square_units(size: tuple[int, int]) -> None:
    panel = Panel((0, 300), (200, 0), "X", "Y", "t", heatmap=Heatmap(np.zeros((20, 30)), "I"), equal=True)
    figure = Figure((panel,), look())
    x0, y0, x1, y1 = axes_box(figure, size)[0]
    assert (x1 - x0) / (y1 - y0) == pytest.approx(1.5, rel=0.05)
    loose = axes_box(Figure((replace(panel, equal=False),), look()), size)[0]
    assert x0 >= loose[0] and x1 <= loose[2] and y0 >= loose[1] and y1 <= loose[3]
    places, _ = layout(figure, size)
    assert places[0].colorbar is not None and places[0].colorbar.height >= y1 - y0 - 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_of_panels_stand_below_each_other(backend: str) -> None:
    def panel(row: int) -> Panel:
        series = (Series(np.array([0.5]), np.array([0.5])),)
        return Panel((0, 1), (0, 1), "x", "y", "a\nb\nc", series, row=row, corner="17")

    figure = Figure(tuple(panel(k // 2) for k in range(4)), look(marker_size=8.0))
    boxes = axes_box(figure, (400, 400))
    assert boxes[0][1] == boxes[1][1] < boxes[2][1] == boxes[3][1] and boxes[0][3] < boxes[2][1]
    assert boxes[0][0] == boxes[2][0] < boxes[1][0] == boxes[3][0] and boxes[0][2] < boxes[1][0]
    picture = image(figure, (400, 400), backend)
    for x0, y0, x1, y1 in boxes:
        spot = picture[int((y0 + y1) / 2), int((x0 + x1) / 2)]
        assert spot[0] > 180 and spot[1] < 90 and spot[2] > 180
        corner = picture[int(y1 - 0.35 * (y1 - y0)) : int(y1) - 2, int(x0) + 2 : int(x0 + 0.5 * (x1 - x0))]
        assert (corner.max(axis=2) < 110).any(), "the corner words"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_band_lies_around_its_curve(backend: str) -> None:
    x = np.linspace(0, 1, 20)
    series = Series(x, np.full(20, 0.5), "line", "data", band=np.full(20, 0.2))
    figure = Figure((Panel((0, 1), (0, 1), series=(series,)),), look())
    x0, y0, x1, y1 = axes_box(figure, (400, 300))[0]
    column = image(figure, (400, 300), backend)[int(y0) + 3 : int(y1) - 3, int((x0 + x1) / 2), 1]
    tinted = np.flatnonzero(column < 240)
    assert len(tinted) == pytest.approx(0.4 * (y1 - y0), abs=4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_turned_ellipse_is_long_where_its_angle_points(backend: str) -> None:
    panel = Panel((-5, 5), (-5, 5), circles=(Circle(0, 0, 4, 1, "data", False, np.pi / 4),), equal=True)
    figure = Figure((panel,), look())
    picture = image(figure, (300, 300), backend)
    rows, columns = np.nonzero((picture[:, :, 0] > 200) & (picture[:, :, 1] < 120) & (picture[:, :, 2] > 200))
    assert np.corrcoef(columns, -rows)[0, 1] > 0.7
    marked = replace(panel, circles=(Circle(0, 0, 4, 1, "data", True, 0.0, "+"),))
    x0, y0, x1, y1 = axes_box(figure, (300, 300))[0]
    y, x = int(y0 + y1) // 2, int(x0 + x1) // 2
    assert image(Figure((marked,), look()), (300, 300), backend)[y - 1 : y + 2, x - 1 : x + 2, 1].min() < 120


@pytest.mark.parametrize("kind", ["o", "s", "x", "+", "D"])
@pytest.mark.parametrize("alpha", [0.4, 1.0])
def test_stamped_clouds_look_like_single_markers(kind: str, alpha: float) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-5, 205, CLOUD + 30), rng.uniform(-5, 205, CLOUD + 30)
    stamped, single = Canvas(200, 200, (255, 255, 255)), Canvas(200, 200, (255, 255, 255))
    stamped.points(x, y, kind, 2.6, True, 0.5, (200, 30, 90), alpha)
    half = len(x) // 2
    for part in (slice(0, half), slice(half, None)):
        single.points(x[part], y[part], kind, 2.6, True, 0.5, (200, 30, 90), alpha)
    a, b = np.asarray(stamped.image()).astype(int), np.asarray(single.image()).astype(int)
    assert (b < 250).any() and np.abs(a - b).mean() < 0.6 and np.abs(a - b).max() < 60


def test_axis_lines_in_one_go_are_those_drawn_singly() -> None:
    at = np.array([3.2, 10.0, 17.5, 44.9, -3.0, 90.0])
    for width in (0.3, 1.0, 2.4):
        together, singly = Canvas(60, 50, (255, 255, 255)), Canvas(60, 50, (255, 255, 255))
        together.vlines(at, 5, 30, width, (10, 20, 30))
        together.hlines(8, 40, at, width, (200, 20, 30))
        for v in at:
            singly.vline(v, 5, 30, width, (10, 20, 30))
        for v in at:
            singly.hline(8, 40, v, width, (200, 20, 30))
        assert np.array_equal(together.words, singly.words)


def test_labels_of_an_axis_in_one_go_are_those_drawn_singly() -> None:
    words, xs, ys = ("0.0", "", "−1.5", "20k"), np.array([10.0, 30.0, 50.0, 98.0]), np.array([5.0, 5.0, 20.0, 40.0])
    together, singly = Canvas(100, 50, (255, 255, 255)), Canvas(100, 50, (255, 255, 255))
    together.texts(words, xs, ys, 9.0, "sans", (0, 0, 0), (0.5, 0.0))
    for word, x, y in zip(words, xs, ys):
        if word:
            singly.text(word, x, y, 9.0, "sans", (0, 0, 0), (0.5, 0.0))
    assert np.array_equal(together.words, singly.words) and (together.words != together.words[-1, 0]).any()


def test_long_results_in_titles_fit_their_panel() -> None:
    title = "f0 = 43.04 +/- 7.4 kHz and more words\nt = 2226 +/- 18 ns\nf_Rabi = 2.004 +/- 0.020 MHz"
    big = look(font_scale=2.2)
    _, small = layout(Figure((Panel((0, 1), (0, 1), title=title),), big), (224, 224))
    _, other = layout(Figure((Panel((0, 1), (0, 1), title="one line"),), big), (224, 224))
    assert small.title < other.title and small.tick == other.tick
    assert text_size(title, other.title, "sans")[0] > 224 >= text_size(title, small.title, "sans")[0]


def test_styles_reach_extreme_shapes_but_most_are_ordinary() -> None:
    sizes = np.array([draw_style(np.random.default_rng(seed), "rabi").figsize for seed in range(1500)])
    aspect = sizes[:, 0] / sizes[:, 1]
    assert aspect.min() < 0.5 and aspect.max() > 2.6 and sizes[:, 0].max() > 1900 and sizes.min() < 285
    assert np.mean((aspect > 1.2) & (aspect < 1.7)) > 0.5 and np.mean(sizes[:, 0] > 1200) < 0.08


def test_dropped_labels_are_dropped_everywhere() -> None:
    panel = Panel((0, 1), (0, 1), "time", "signal")
    axes = AxisTruth("time", (0, 1)), AxisTruth("signal", (0, 1))
    truth = Truth("t1", "t1_success", "Expected behavior", "No fit", "SUCCESS", {},
                  (PanelTruth("scatter", *axes, "a b"),), "a b", "a b", "a b", "a b")  # fmt: skip
    seen = set()
    for seed in range(400):
        told, drawn = drop_labels(np.random.default_rng(seed), truth, ((panel,),), share=0.3)
        names = told.panels[0].x_axis.label, told.panels[0].y_axis.label
        assert names == (drawn[0][0].xlabel, drawn[0][0].ylabel)
        seen.add(names)
    assert seen == {("time", "signal"), ("", "signal"), ("time", ""), ("", "")}
    assert drop_labels(np.random.default_rng(0), truth, ((panel,),), share=0.0) == (truth, ((panel,),))
