"""Statistics agree with scipy, keep their error rates on noise with a memory, and find what was planted."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from riverone_hf.data.drift_columns import VARIABLES
from riverone_hf.data.drift_correlation import correlate, daily_means, holm, ranks
from riverone_hf.data.drift_frame import DriftTable, clean
from riverone_hf.data.drift_questions import Question, ask, sig
from riverone_hf.data.drift_statistics import change_point, describe, mann_kendall, theil_sen
from riverone_hf.data.drift_synthetic import Planted, synthetic_frame
from riverone_hf.data.drift_windows import Window


@pytest.fixture(scope="module")
def planted() -> tuple[DriftTable, list[Planted]]:
    frame, found = synthetic_frame(days=150, qubits=3, seed=5)
    return clean([frame]), found


def questions(window: Window, table: DriftTable) -> dict[str, Question]:
    return {question.kind: question for question in ask(window, table, False, random.Random(0))}


def memory(rng: np.random.Generator, n: int, keep: float) -> np.ndarray:
    values = rng.normal(size=n)
    for k in range(1, n):
        values[k] = keep * values[k - 1] + np.sqrt(1 - keep**2) * values[k]
    return values


def test_slope_and_ranks_are_scipys():
    rng = np.random.default_rng(0)
    t = np.sort(rng.uniform(0, 14, 25))
    v = 100 + 2 * t + rng.normal(size=25)
    assert theil_sen(t, v) == pytest.approx(stats.theilslopes(v, t).slope)
    ties = rng.integers(0, 5, 40)
    np.testing.assert_allclose(ranks(ties) + 1, stats.rankdata(ties))
    x, y = rng.normal(size=30), rng.normal(size=30)
    found = correlate([y], [0], x[None])
    assert found.rho[0, 0] == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found.p[0, 0] == pytest.approx(stats.spearmanr(x, y).pvalue, abs=0.03)


def test_trend_test_is_kendalls_for_independent_points():
    for seed in range(5):
        v = np.random.default_rng(seed).normal(size=30) + np.linspace(0, seed / 3, 30)
        rest = np.resize([1.0, -1.0], 30)  # no positive autocorrelation to widen for
        assert mann_kendall(v, rest) == pytest.approx(stats.kendalltau(np.arange(30), v).pvalue, abs=0.02)
    assert mann_kendall(np.ones(12), np.ones(12)) == 1.0


def test_holm_step_down():
    p = np.array([[0.01, 0.04, 1.0], [0.03, 0.005, 0.2]])
    tested = np.array([[True, True, False], [True, True, False]])
    np.testing.assert_allclose(holm(p, tested), [[0.03, 0.06, 1.0], [0.06, 0.02, 1.0]])


def test_memory_of_both_sides_does_not_fake_drivers():
    rng = np.random.default_rng(1)
    naive, ours = 0, 0
    for _ in range(300):
        x, y = memory(rng, 30, 0.8), memory(rng, 30, 0.8)
        found = correlate([y], [0], x[None])
        naive += stats.spearmanr(x, y).pvalue < 0.05
        ours += found.p[0, 0] < 0.05
        assert found.n_effective[0, 0] <= found.n[0, 0]
    assert naive > 60 and ours < 40, (naive, ours)


def test_lag_means_the_environment_came_first():
    rng = np.random.default_rng(2)
    cause = rng.normal(size=32)
    values = np.append([0.0, 0.0], cause)[:32]
    found = correlate([values] * 4, [0, 1, 2, 3], cause[None])
    assert found.strongest() == (0, 2) and found.rho[0, 2] == pytest.approx(1.0)
    assert found.n.tolist() == [[32, 31, 30, 29]]


def test_gaps_and_constants_are_not_correlated():
    days = daily_means(np.arange(14) + 0.3, np.arange(14.0), 30)
    assert np.isnan(days[14:]).all() and days[3] == 3
    found = correlate([days, np.arange(30.0)], [0, 0], np.vstack([np.arange(30.0), np.ones(30)]))
    assert np.isfinite(found.rho).tolist() == [[False, True], [False, False]] and found.tests == 1


def test_a_step_is_found_and_a_line_is_none():
    rng = np.random.default_rng(3)
    t = np.linspace(0, 14, 28)
    step, unclear = change_point(t, np.where(t < 5, 200.0, 120.0) * np.exp(0.05 * rng.normal(size=28)))
    assert step is not None and not unclear
    assert step.left < 5 <= step.right and step.relative == pytest.approx(-0.4, abs=0.05)
    assert change_point(t, (200 - 6 * t) * np.exp(0.02 * rng.normal(size=28))) == (None, False)
    calm = 100 + rng.normal(size=28)
    assert not describe(t, calm, 14).step_unclear
    calm[0] = 200
    lonely = describe(t, calm, 14)
    assert lonely.step is None and lonely.step_unclear
    assert change_point(t[:6], np.ones(6)) == (None, True)


def test_noise_seldom_has_a_trend_or_step():
    rng = np.random.default_rng(4)
    t = np.linspace(0, 14, 24)
    found = [describe(t, 100 * np.exp(0.15 * rng.normal(size=24)), 14) for _ in range(300)]
    assert sum(curve.trend in ("rising", "falling") for curve in found) <= 6
    assert sum(curve.step is not None for curve in found) <= 6
    assert sum(curve.trend == "none" for curve in found) > 200


def test_planted_trends_steps_and_calm_are_in_the_answers(planted):
    table, plants = planted
    seen: Counter[tuple[str, str]] = Counter()
    for plant in plants:
        if plant.kind == "driven" or plant.end - plant.start < 30:
            continue
        for shift in (1, 8, 15):
            window = Window("curve", plant.key, int(plant.start) + shift, 14)
            found = questions(window, table)
            at = plant.at - window.start
            if plant.kind == "step":
                if 4 < at < 10:
                    change = found.get("change")
                    near = change is not None and change.values["step"] and abs(change.values["day"] - at) < 1.5
                    seen["step", "found" if near else "missed"] += 1
                    if near:
                        assert np.sign(change.values["after"] - change.values["before"]) == np.sign(plant.amount)
                continue
            if "trend" in found:
                trend = found["trend"]
                assert trend.answer.lower().startswith(
                    {"none": "no clear"}.get(trend.values["trend"], trend.values["trend"])
                )
                seen[plant.kind, trend.values["trend"]] += 1
    assert not seen["rising", "falling"] and not seen["falling", "rising"]
    for kind in ("rising", "falling"):
        assert seen[kind, kind] > 40 and seen[kind, kind] > 5 * seen[kind, "none"], seen
    assert seen["flat", "none"] > 40 and seen["flat", "rising"] + seen["flat", "falling"] <= 3, seen
    assert seen["step", "found"] > 15 and seen["step", "found"] > 3 * seen["step", "missed"], seen


def test_planted_drivers_are_in_the_answers(planted):
    table, plants = planted
    right, lags, asked = 0, 0, 0
    for plant in plants:
        if plant.kind != "driven":
            continue
        for start in range(table.first_day, table.first_day + 120, 30):
            found = questions(Window("lags", plant.key, start, 30), table)
            if "driver" not in found or not found["driver"].values["significant"]:
                continue
            asked += 1
            values = found["driver"].values
            right += values["driver"] == plant.driver
            lags += values["driver"] == plant.driver and values["lag"] == plant.lag
            title = next(item.title for item in VARIABLES if item.column == values["driver"])
            assert found["driver"].answer.lower().startswith(title.lower())
            assert "significant after Holm over 36 tests" in found["driver"].answer
    assert asked > 20 and right >= 0.9 * asked and lags >= 0.8 * asked, (asked, right, lags)


def test_borderline_curves_are_not_asked_about():
    t = np.linspace(0, 13.9, 28)
    wave = np.sin(t * 9)
    for spread, asked in ((0.05, True), (0.10, False), (0.17, True), (0.26, False), (0.4, True)):
        v = 100 * (1 + spread * (wave - wave.mean()) / wave.std(ddof=1))
        table = DriftTable({("d", "T1", 0, -1): (t + 10, v)}, {}, 10, 14, 28, {})
        assert ("stability" in questions(Window("curve", ("d", "T1", 0, -1), 10, 14), table)) == asked, spread


def test_numbers_are_written_plainly():
    assert [sig(v) for v in (187.26, 1234.5, 0.0123456, 5.0, 0.0)] == ["187", "1230", "0.0123", "5.00", "0"]
