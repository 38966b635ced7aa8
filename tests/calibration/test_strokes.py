"""The quick ways of the rasteriser give the same pixels as the plain ones."""

from __future__ import annotations

import numpy as np
import pytest

from riverone_hf.calibration.raster import Canvas, _mix, _word
from riverone_hf.calibration.strokes import BATCH, batches, extent, slanted_pixels, straight_pixels

STRIDE, BORDER = 60, 8


def layer(index: np.ndarray, cover: np.ndarray) -> np.ndarray:
    pixels = np.zeros(STRIDE * STRIDE, dtype=np.float32)
    np.maximum.at(pixels, index.ravel(), cover.ravel())
    return pixels


@pytest.mark.parametrize("half", [0.5, 0.9, 2.3])
@pytest.mark.parametrize("upright", [True, False])
def test_axis_parallel_strokes_are_those_of_the_general_way(half: float, upright: bool) -> None:
    rng = np.random.default_rng(1)
    start, at = rng.uniform(0, 30, 12), rng.uniform(0, 40, 12)
    length = np.where(np.arange(12) % 3 == 0, -1.0, 1.0) * rng.uniform(0.2, 9, 12)
    reach, none = 4, np.zeros(12)
    steps = (STRIDE, 1) if upright else (1, STRIDE)
    quick = layer(*straight_pixels(start, start + length, at, half, reach, BORDER, steps))
    ends = (at, start, none, length) if upright else (start, at, length, none)
    plain = layer(*slanted_pixels(ends, None, None, half, reach, BORDER, STRIDE))
    assert quick.max() > 0.9 or half == 0.5
    assert np.array_equal(quick, plain)


def test_batches_hold_every_segment_once() -> None:
    rng = np.random.default_rng(2)
    dx, dy = rng.uniform(-40, 40, 900), rng.uniform(-60, 60, 900)
    parts = batches(dx, dy)
    assert len(parts) > 3
    assert np.array_equal(np.concatenate([np.arange(900)[part] for part in parts]), np.arange(900))
    reached = np.maximum(np.abs(dx), np.abs(dy)) + 1
    assert max(float(reached[part].sum()) for part in parts) < BATCH + 100
    assert batches(dx[:5], dy[:5]) == [slice(None)]


def test_long_curves_are_drawn_as_if_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.linspace(5, 195, 700)
    y = 100 + 80 * np.sin(x)
    pictures = []
    for size in (10**9, 500):
        monkeypatch.setattr("riverone_hf.calibration.strokes.BATCH", size)
        canvas = Canvas(200, 200, (255, 255, 255))
        canvas.polyline(x, y, 1.4, (10, 60, 200), 0.8)
        canvas.polyline(x, y + 3, 0.8, (200, 60, 20), dash=(6.0, 3.0))
        pictures.append(canvas.words)
    assert (pictures[0] != _word((255, 255, 255))).sum() > 2000
    assert np.array_equal(pictures[0], pictures[1])


def test_extent_spans_both_ends() -> None:
    ends = [np.array(v, dtype=float) for v in ([1, 5], [2, -3], [4, 0], [9, 1])]
    assert extent(*ends) == (0.0, -3.0, 5.0, 9.0)


@pytest.mark.parametrize("weight", [0, 1, 100, 255, 256])
def test_mixing_rounds_every_channel_alone(weight: int) -> None:
    rng = np.random.default_rng(3)
    old, color = rng.integers(0, 256, (40, 6, 3)), (250, 3, 127)
    words = (old[..., 0] | old[..., 1] << 8 | old[..., 2] << 16).astype(np.uint32)
    want = (old * (256 - weight) + np.array(color) * weight + 128) >> 8
    for given in (weight, np.full(words.shape, weight, dtype=np.uint64)):
        mixed = _mix(words, color, given)
        assert mixed.dtype == np.uint32
        got = np.stack([mixed & 255, mixed >> 8 & 255, mixed >> 16], axis=-1)
        assert np.array_equal(got, want)
    assert np.array_equal(_mix(words[:, 1:4], color, 100), _mix(words, color, 100)[:, 1:4])
