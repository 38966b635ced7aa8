"""Do both renderers draw what a scene says, where it says, in any size?"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from riverone_hf.calibration.colormaps import NAMES, paint, table
from riverone_hf.calibration.layout import layout
from riverone_hf.calibration.render import render
from riverone_hf.calibration.render_fast import axes_box
from riverone_hf.calibration.scene import Circle, Figure, Heatmap, Marker, Panel, Series, Style
from riverone_hf.calibration.sheet import contact_sheet
from riverone_hf.calibration.style import LOOKS, draw_style
from riverone_hf.calibration.ticks import nice_ticks, tick_labels
from riverone_hf.errors import MissingExtraError

BACKENDS = ("fast", "matplotlib")
MAGENTA, LIME = (255, 0, 255), (0, 200, 0)


def image(figure: Figure, size: tuple[int, int] | None = None, backend: str = "fast") -> np.ndarray:
    if backend == "matplotlib":
        pytest.importorskip("matplotlib")
    return np.asarray(render(figure, size, backend=backend)).astype(int)  # type: ignore[arg-type]


def style(**changes: Any) -> Style:
    return replace(Style(colors={"data": MAGENTA, "fit": LIME, "data2": (0, 0, 255)}, legend="none"), **changes)


def dots(x: list[float], y: list[float], **changes: Any) -> Series:
    return Series(np.array(x), np.array(y), **changes)


def close(pixels: np.ndarray, color: tuple[int, int, int], least: float = 0.3) -> np.ndarray:
    """Where pixels (h, w, 3) carry at least `least` of `color`'s tint: grey text and frames carry none."""
    tint = np.array(color) - np.mean(color)
    return (pixels - pixels.mean(axis=2, keepdims=True)) @ tint / (tint @ tint) >= least


def everything() -> Figure:
    x = np.linspace(0, 4, 40)
    curve = Panel(
        (-0.2, 4.2),
        (-0.2, 1.2),
        "Time (μs)",
        "⟨Z⟩",
        "Two lines\nof title",
        series=(
            Series(x, np.cos(x) ** 2, "points", "data", np.full(40, 0.05), "data"),
            Series(x, np.cos(x) ** 2, "line", "fit", label="fit"),
            Series(x, np.exp(-x), "line", "envelope"),
            Series(x, np.sin(x) ** 2, "points+line", "data2"),
        ),
        markers=(Marker(1.0, label="π"), Marker(0.5, "h", "guide")),
        text="offset: 0.44±0.01\nperiod: 0.156",
    )
    rng = np.random.default_rng(0)
    cloud = Series(rng.normal(0, 1, 2000), rng.normal(0, 1, 2000))
    plane = Panel(
        (-4, 4), (-4, 4), "I", "Q", series=(cloud,), circles=(Circle(0, 0, 2, 2), Circle(1, 1, 1, 2, "data2"))
    )
    map_ = Panel((4e9, 5e9), (0, 1), "Frequency (Hz)", "Flux", heatmap=Heatmap(rng.random((12, 30)), "Magnitude"))
    return Figure((curve, plane, map_), style(legend="best", figsize=(900, 320)))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [(279, 299), (1200, 432), (224, 224), (97, 640)])
def test_every_artist_at_odd_sizes(backend: str, size: tuple[int, int]) -> None:
    picture = image(everything(), size, backend)
    assert picture.shape == (size[1], size[0], 3)
    assert close(picture, MAGENTA).any() and close(picture, LIME).any()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [(224, 224), (640, 480), (901, 377)])
def test_points_stand_where_the_axes_box_says(backend: str, size: tuple[int, int]) -> None:
    figure = Figure((Panel((0, 10), (-1, 1), "x", "y", "t", series=(dots([2.5], [0.5]),)),), style(marker_size=6.0))
    x0, y0, x1, y1 = axes_box(figure, size)[0]
    rows, columns = np.nonzero(close(image(figure, size, backend), MAGENTA))
    assert len(rows)
    assert columns.mean() + 0.5 == pytest.approx(x0 + 0.25 * (x1 - x0), abs=1.0)
    assert rows.mean() + 0.5 == pytest.approx(y1 - 0.75 * (y1 - y0), abs=1.0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["o", "s", "x", "+", ".", "D"])
@pytest.mark.parametrize("filled", [True, False])
def test_markers_are_centred_and_grow(backend: str, kind: Any, filled: bool) -> None:
    areas = []
    for points in (5.0, 10.0):
        look = style(marker=kind, marker_filled=filled, marker_size=points)
        figure = Figure((Panel((0, 1), (0, 1), series=(dots([0.5], [0.5]),)),), look)
        hit = close(image(figure, (320, 240), backend), MAGENTA)
        x0, y0, x1, y1 = axes_box(figure, (320, 240))[0]
        rows, columns = np.nonzero(hit)
        assert abs(columns.mean() + 0.5 - (x0 + x1) / 2) <= 1 and abs(rows.mean() + 0.5 - (y0 + y1) / 2) <= 1
        areas.append(len(rows))
    assert areas[1] > areas[0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_error_bars_reach_their_ends(backend: str) -> None:
    def height(error: float | None) -> int:
        bars = None if error is None else np.array([error])
        figure = Figure((Panel((0, 1), (0, 1), series=(dots([0.5], [0.5], yerr=bars),)),), style())
        rows, _ = np.nonzero(close(image(figure, (640, 480), backend), MAGENTA))
        return int(rows.max() - rows.min() + 1)

    figure = Figure((Panel((0, 1), (0, 1)),), style())
    _, y0, _, y1 = axes_box(figure, (640, 480))[0]
    assert height(None) < 20
    assert height(0.2) == pytest.approx(0.4 * (y1 - y0), abs=4)


def test_lines_follow_the_function_and_dashes_have_gaps() -> None:
    x = np.linspace(0, 1, 200)
    panel = Panel((0, 1), (-1.2, 1.2), series=(Series(x, np.sin(9 * x), "line", "fit"),))
    counts = {}
    for dashed in (False, True):
        figure = Figure((panel,), style(fit_dashed=dashed))
        hit = close(image(figure, (400, 300)), LIME)
        counts[dashed] = hit.sum()
        x0, y0, x1, y1 = axes_box(figure, (400, 300))[0]
        rows, columns = np.nonzero(hit)
        want = np.sin(9 * (columns + 0.5 - x0) / (x1 - x0))
        got = (y1 - rows - 0.5) / (y1 - y0) * 2.4 - 1.2
        assert np.median(np.abs(got - want)) < 0.03
    assert 0.5 * counts[False] < counts[True] < 0.85 * counts[False]


def test_a_line_leaving_the_axes_is_cut_at_them() -> None:
    steep = Series(np.array([0.5, 0.5001]), np.array([-1e9, 1e9]), "line", "fit")
    figure = Figure((Panel((0, 1), (0, 1), series=(steep,)),), style())
    _, y0, _, y1 = axes_box(figure, (300, 300))[0]
    rows, columns = np.nonzero(close(image(figure, (300, 300)), LIME))
    assert rows.min() >= y0 - 1 and rows.max() <= y1 and np.ptp(columns) <= 4
    assert len(np.unique(rows)) > 0.95 * (y1 - y0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_heatmap_row_zero_is_at_the_bottom(backend: str) -> None:
    values = np.array([[0.0, 0.0], [1.0, 0.0]])
    figure = Figure((Panel((0, 1), (0, 1), heatmap=Heatmap(values, "M")),), style())
    x0, y0, x1, y1 = axes_box(figure, (320, 240))[0]
    picture = image(figure, (320, 240), backend)

    def at(u: float, v: float) -> list[int]:
        return list(picture[int(y1 - v * (y1 - y0)), int(x0 + u * (x1 - x0))])

    low, high = list(table("viridis")[0]), list(table("viridis")[255])
    assert at(0.25, 0.75) == high and at(0.25, 0.25) == low and at(0.75, 0.75) == low


@pytest.mark.parametrize("corner", ["upper right", "upper left", "lower right", "lower left", "outside"])
def test_legend_stands_in_its_corner(corner: Any) -> None:
    series = dots([0.5], [0.5], kind="line", role="fit", label="fit")
    figures = [Figure((Panel((0, 1), (0, 1), series=(series,)),), style(legend=legend)) for legend in (corner, "none")]
    with_it = image(figures[0], (400, 300))
    x0, y0, x1, y1 = axes_box(figures[0], (400, 300))[0]
    rows, columns = np.nonzero(close(with_it, LIME))  # a one-point line draws nothing but its legend
    assert len(rows) and not close(image(figures[1], (400, 300)), LIME).any()
    if corner == "outside":
        assert columns.min() > x1
    else:
        assert (rows.mean() < (y0 + y1) / 2) == corner.startswith("upper")
        assert (columns.mean() > (x0 + x1) / 2) == corner.endswith("right")


def test_best_legend_avoids_the_points() -> None:
    x = np.linspace(0.6, 1.0, 50)
    series = (Series(x, np.full(50, 0.95), label="d"), dots([0.5], [0.5], kind="line", role="fit", label="fit"))
    figure = Figure((Panel((0, 1), (0, 1), series=series),), style(legend="best"))
    x0, _, x1, _ = axes_box(figure, (400, 300))[0]
    _, columns = np.nonzero(close(image(figure, (400, 300)), LIME))
    assert columns.mean() < (x0 + x1) / 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_same_input_same_pixels(backend: str) -> None:
    assert np.array_equal(image(everything(), None, backend), image(everything(), None, backend))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("low", "high"),
    [(1e-9, 2e-9), (0.0, 1e12), (-1e12, 1e12), (5.0, 5.0), (0.0, 0.0), (4.999e9, 5.001e9), (1.0, 1.0 + 1e-9)],
)
def test_extreme_values(backend: str, low: float, high: float) -> None:
    values = np.linspace(low, high, 30)
    labels = {"xlabel": "", "ylabel": "", "title": ""}
    points = Panel((low, high), (low, high), series=(Series(values, values), Series(values, values, "line", "fit")))
    constant = Panel((low, high), (0, 1), heatmap=Heatmap(np.full((3, 4), high), ""), **labels)
    for look in (style(), style(si_ticks=True, ticks="mirror", grid=True)):
        assert image(Figure((points, constant), look), (300, 200), backend).shape == (200, 300, 3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_series_and_very_long_words(backend: str) -> None:
    empty = dots([], [], yerr=np.array([]), label="nothing")
    panel = Panel((0, 1), (0, 1), "x" * 300, "y" * 300, "title " * 80, series=(empty,), text="t" * 300)
    for legend in ("upper right", "outside", "best"):
        picture = image(Figure((panel,), style(legend=legend, text_outside=True)), (320, 240), backend)
        x0, y0, x1, y1 = axes_box(Figure((panel,), style(legend=legend, text_outside=True)), (320, 240))[0]
        assert picture.shape == (240, 320, 3) and x1 - x0 > 80 and y1 - y0 > 60


def test_translucent_points_add_up() -> None:
    once = Figure((Panel((0, 1), (0, 1), series=(dots([0.5], [0.5]),)),), style(alpha=0.4, marker_size=12.0))
    thrice = replace(once, panels=(replace(once.panels[0], series=(dots([0.5] * 3, [0.5] * 3),)),))
    x0, y0, x1, y1 = axes_box(once, (300, 300))[0]
    spot = int((y0 + y1) / 2), int((x0 + x1) / 2), 1
    assert image(once, (300, 300))[spot] == pytest.approx(255 * 0.6, abs=3)
    assert image(thrice, (300, 300))[spot] == pytest.approx(255 * 0.6**3, abs=3)


def test_styles_are_valid_reproducible_and_diverse() -> None:
    styles = [draw_style(np.random.default_rng(seed), "rabi") for seed in range(500)]
    assert styles[:20] == [draw_style(np.random.default_rng(seed), "rabi") for seed in range(20)]
    for s in styles:
        assert 279 <= s.figsize[0] <= 2070 and 279 <= s.figsize[1] <= 1000
        assert 0 < s.alpha <= 1 and s.colormap in NAMES
        back = np.abs(np.array(s.colors["data"]) - np.array(s.axes_background)).max()
        assert back > 60, "data must be visible on the axes' background"
    assert len({s.colors["data"] for s in styles}) > 10
    for name, least in {"marker": 6, "frame": 3, "font": 3, "legend": 5, "ticks": 4, "background": 15}.items():
        assert len({getattr(s, name) for s in styles}) >= least, name
    assert abs(sum(LOOKS.values()) - 1) < 1e-9
    same = np.mean([s.colors["fit"] == s.colors["data"] for s in styles])
    assert 0.03 < same < 0.35


def test_random_styles_draw_at_training_size() -> None:
    panel = everything().panels[0]
    for seed in range(60):
        figure = Figure((panel,), draw_style(np.random.default_rng(seed), "gmm"))
        picture = image(figure, (224, 224))
        (x0, y0, x1, y1) = axes_box(figure, (224, 224))[0]
        assert (x1 - x0) * (y1 - y0) > 0.2 * 224 * 224
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20


def test_ticks_are_nice_and_labelled_exactly() -> None:
    assert nice_ticks(0.0, 1.0, 5) == pytest.approx((0, 0.2, 0.4, 0.6, 0.8, 1.0))
    assert tick_labels((0.0, 0.25, 0.5)) == (("0.00", "0.25", "0.50"), "")
    assert tick_labels((0.0, 2e6, 4e6)) == (("0", "2", "4"), "1e6")
    assert tick_labels((-10000.0, 0.0, 10000.0), si=True)[0] == ("−10k", "0", "10k")
    assert tick_labels((9.5, 10.0, 10.5), si=True)[0] == ("9.5", "10", "10.5")
    rng = np.random.default_rng(0)
    for _ in range(300):
        scale = 10.0 ** rng.uniform(-8, 9)
        low = rng.normal() * scale
        high = low + abs(rng.normal()) * scale + 1e-3 * scale
        count = int(rng.integers(1, 10))
        ticks = nice_ticks(low, high, count)
        assert (
            2 <= len(ticks) <= max(count + 1, 12)
            and low - 1e-6 * scale <= ticks[0]
            and ticks[-1] <= high + 1e-6 * scale
        )
        labels, note = tick_labels(ticks)
        assert len(set(labels)) == len(labels)
        power, _, offset = note.replace("−", "-").partition("+") if "+" in note else (note.replace("−", "-"), "", "")
        if not note or (note.startswith("1e") and not offset and note.count("−") <= 1):
            factor = float(power) if power else 1.0
            shown = [float(t.replace("−", "-")) * factor for t in labels]
            assert shown == pytest.approx(ticks, abs=2e-3 * abs(ticks[1] - ticks[0]))


def test_tick_labels_do_not_overlap() -> None:
    for low, high in ((4.9995e9, 5.0005e9), (-0.00712, -0.00091), (0, 123456)):
        figure = Figure((Panel((low, high), (low, high)),), style())
        places, m = layout(figure, (224, 224))
        place = places[0]
        assert (
            place.x.ticks and len(place.x.ticks) * max(map(len, place.x.labels)) * 0.45 * m.tick < place.box.width * 1.3
        )


def test_colour_maps_match_matplotlib_and_need_none() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    for name in NAMES:
        want = matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3] * 255
        assert np.abs(table(name) - want).mean() < 6, name
    assert paint(np.full((2, 2), 7.0), "viridis").shape == (2, 2, 3)


def test_missing_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(MissingExtraError, match=r"riverone-hf\[train\]"):
        render(everything(), backend="matplotlib")


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        render(everything(), (8, 200))
    with pytest.raises(ValueError, match="one panel"):
        render(Figure((), style()))
    with pytest.raises(ValueError, match="unknown backend"):
        render(everything(), backend="cairo")  # type: ignore[arg-type]


def test_contact_sheet_holds_every_image() -> None:
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    sheet = contact_sheet([Image.new("RGB", (50, 90), c) for c in colors], ["a", "b" * 500, ""], columns=2)
    pixels = np.asarray(sheet).astype(int)
    assert all((np.abs(pixels - c).max(axis=2) == 0).sum() > 1000 for c in colors)
    with pytest.raises(ValueError, match="one caption per image"):
        contact_sheet([sheet], [], 2)
