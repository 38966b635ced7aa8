"""The shared numerical pieces against independent references."""

from __future__ import annotations

import math

import numpy as np
import pytest

from riverone_hf.calibration import physics

curve_fit = pytest.importorskip("scipy.optimize").curve_fit


def test_fit_oscillation_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    x = np.linspace(0, 40, 200)

    def model(t, f, rate, a, b, c):
        phase = 2 * np.pi * f * t
        return c + np.exp(-rate * t) * (a * np.cos(phase) + b * np.sin(phase))

    y = model(x, 0.21, 0.07, -0.4, 0.1, 0.5) + 0.02 * rng.normal(size=x.size)
    ours = physics.fit_oscillation(x, y, 0.212, 0.05, free_decay=True)
    theirs, _ = curve_fit(model, x, y, p0=[0.212, 0.05, -0.4, 0.1, 0.5])
    assert [ours.frequency, ours.rate, ours.a, ours.b, ours.c] == pytest.approx(list(theirs), rel=1e-2, abs=1e-3)


def test_fit_exponential_agrees_with_scipy() -> None:
    rng = np.random.default_rng(1)
    x = np.linspace(0, 300, 80)
    y = 0.05 + 0.9 * np.exp(-x / 50) + 0.01 * rng.normal(size=x.size)
    ours = physics.fit_exponential(x, y, 1 / 70)
    theirs, _ = curve_fit(lambda t, r, a, c: c + a * np.exp(-r * t), x, y, p0=[1 / 70, 1, 0])
    assert [ours.rate, ours.a, ours.c] == pytest.approx(list(theirs), rel=1e-2, abs=1e-3)


def test_fit_lorentzian_agrees_with_scipy() -> None:
    rng = np.random.default_rng(2)
    x = np.linspace(4.9, 5.1, 101)
    y = 2 - 0.7 / (1 + (2 * (x - 5.02) / 0.012) ** 2) + 0.02 * rng.normal(size=x.size)
    ours = physics.fit_lorentzian(x, y, 5.018, 0.02)
    theirs, _ = curve_fit(lambda t, x0, w, a, c: c + a / (1 + (2 * (t - x0) / w) ** 2), x, y, p0=[5.018, 0.02, -0.5, 2])
    assert [ours.centre, ours.fwhm, ours.a, ours.c] == pytest.approx(
        [theirs[0], abs(theirs[1]), theirs[2], theirs[3]], rel=1e-2
    )


def test_levenberg_never_worsens_the_start() -> None:
    x = np.linspace(0, 1, 50)
    y = np.random.default_rng(3).normal(size=50)
    start = physics.fit_oscillation(x, y, 3.3, free_frequency=False)
    refined = physics.fit_oscillation(x, y, 3.3)
    assert physics.rms(y - refined(x)) <= physics.rms(y - start(x)) + 1e-12


def test_shot_noise_has_the_stated_deviation_and_bounds() -> None:
    rng = np.random.default_rng(4)
    values = physics.shot_noise(rng, np.full(20000, 0.5), 0.05)
    assert values.std() == pytest.approx(0.05, rel=0.05)
    assert values.mean() == pytest.approx(0.5, abs=0.003)
    assert physics.shot_noise(rng, np.array([-0.2, 1.3]), 0.05).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("limits", "read"),
    [((-14.5, 304.5), (-10.0, 300.0)), ((-0.0071, -0.0009), (-0.0071, -0.0009)), ((3.862, 5.184), (3.9, 5.2))],
)
def test_reader_range(limits: tuple[float, float], read: tuple[float, float]) -> None:
    assert physics.reader_range(limits) == read


def test_number_is_plain_and_keeps_three_digits() -> None:
    assert [physics.number(v) for v in (48.234, 0.000123456, 1234.5, 2.0, 0)] == ["48.2", "0.000123", "1230", "2", "0"]
    assert physics.number(0.0000123) == "0.0000123"


def test_round_sig_keeps_zero_and_sign() -> None:
    assert physics.round_sig(-0.0012345) == -0.00123
    assert physics.round_sig(0.0) == 0.0
    assert math.isnan(physics.round_sig(math.nan))


def test_padded_limits_contain_constant_data() -> None:
    low, high = physics.padded_limits(np.full(5, 3.0))
    assert low < 3.0 < high
