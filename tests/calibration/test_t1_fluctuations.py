"""T1 over time: stable records are white, telegraphic ones have levels, walks are correlated without jumps."""

from __future__ import annotations

import numpy as np
import pytest

from riverone_hf.calibration import t1_fluctuations as family
from riverone_hf.calibration.plot import Plot
from riverone_hf.questions.truth import UNRELIABLE
from trace_family import check_legal, draw_plots, numbers, trace_of


def record(plot: Plot) -> np.ndarray:
    data = trace_of(plot)
    assert data is not None
    return data.y


def scatter(t1: np.ndarray) -> float:
    """Point-to-point scatter, untouched by rare steps and slow drift."""
    return float(np.median(np.abs(np.diff(t1)))) / 0.954


def smooth(t1: np.ndarray, width: int = 9) -> np.ndarray:
    return np.convolve(t1, np.full(width, 1 / width), "valid")


@pytest.mark.parametrize("name", family.TYPES)
def test_plots_are_legal(name: str) -> None:
    check_legal("t1_fluctuations", name)


def test_stable_records_are_white_and_their_mean_is_told() -> None:
    for plot in draw_plots("t1_fluctuations", "t1_fluctuations_stable"):
        t1 = record(plot)
        correlation = np.corrcoef(t1[:-1], t1[1:])[0, 1]
        assert abs(correlation) < 0.45, plot.seed
        assert np.ptp(smooth(t1)) < family.SWING_THRESHOLD * scatter(t1), plot.seed
        assert abs(numbers(plot)["mean_t1_us"] / t1.mean() - 1) < 0.01, plot.seed


def test_telegraphic_records_jump_between_levels() -> None:
    for plot in draw_plots("t1_fluctuations", "t1_fluctuations_telegraphic_fluctuations"):
        t1 = record(plot)
        order = np.sort(t1)
        edge = int(0.03 * t1.size)
        inner = order[edge : t1.size - edge]
        gap = np.diff(inner).max()
        assert gap > 2.0 * scatter(t1), (plot.seed, gap / scatter(t1))
        jumps = np.count_nonzero(np.abs(np.diff(t1)) > family.LEVEL_THRESHOLD * 0.7 * scatter(t1))
        assert jumps >= 3, plot.seed
        assert numbers(plot) == {"classification": "telegraphic", "mean_t1_us": UNRELIABLE}


def test_walks_drift_without_jumps() -> None:
    for plot in draw_plots("t1_fluctuations", "t1_fluctuations_random_walk"):
        t1 = record(plot)
        assert t1.min() > 0
        assert np.ptp(smooth(t1)) > family.SWING_THRESHOLD * scatter(t1), plot.seed
        assert np.corrcoef(t1[:-1], t1[1:])[0, 1] > 0.6, plot.seed
        assert np.abs(np.diff(smooth(t1, 3))).max() < 0.45 * np.ptp(t1), plot.seed
        assert numbers(plot)["mean_t1_us"] == UNRELIABLE
