"""Rydberg spectroscopy: one object per site, labels from contrast, numbers from a fit of the drawn points."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from riverone_hf.calibration.rydberg_spectroscopy import CONTRAST_THRESHOLD, LABELS, TYPES, simulate, slopes, survival
from riverone_hf.calibration.scene import Panel
from riverone_hf.calibration.style import draw_style
from riverone_hf.questions.answers import write_answers
from riverone_hf.questions.truth import SitesTruth

SEEDS = 40


def plot(experiment_type: str, seed: int) -> tuple[SitesTruth, tuple[Panel, ...]]:
    rng = np.random.default_rng([19, seed])
    truth, images = simulate(experiment_type, rng, draw_style(rng, "rydberg_spectroscopy"))
    assert isinstance(truth, SitesTruth) and len(images) == 1
    return truth, images[0]


def detunings(panel: Panel) -> np.ndarray:
    """The data's x in MHz."""
    x = panel.series[0].x
    return x / 1e6 if np.abs(x).max() > 1e3 else x


@pytest.mark.parametrize("experiment_type", TYPES)
def test_truths_are_legal_with_one_object_per_site(experiment_type: str) -> None:
    counts = set()
    for seed in range(SEEDS):
        truth, panels = plot(experiment_type, seed)
        sites = json.loads(write_answers(truth)["q5"])
        counts.add(len(sites))
        assert (truth.outcome, truth.status) == LABELS[experiment_type]
        assert isinstance(sites, list) and len(sites) == len(panels)
        assert len({site["site_index"] for site in sites}) == len(sites)
        assert all(0 <= v <= 1 for v in truth.targets.values()) and len(truth.targets) == 6
        for site, panel in zip(sites, panels, strict=True):
            assert str(site["site_index"]) in (panel.corner or "")
            text = panel.title + (panel.text or "") + (panel.series[1].label or "")
            printed = [float(v) for v in re.findall(r"-?\d+\.?\d*", text)]
            assert all(value in printed for name, value in site.items() if name != "site_index"), (site, text)
            for series in panel.series:
                assert np.isfinite(series.x).all() and np.isfinite(series.y).all()
            assert panel.xlim[0] <= panel.series[0].x.min() and panel.series[0].x.max() <= panel.xlim[1]
            assert panel.ylim[0] <= panel.series[0].y.min() and panel.series[0].y.max() <= panel.ylim[1]
    assert {1, 2} <= counts and max(counts) >= 4
    assert plot(experiment_type, 3)[0] == plot(experiment_type, 3)[0]


def test_drawn_contrast_decides() -> None:
    for experiment_type in TYPES:
        for seed in range(SEEDS):
            truth, panels = plot(experiment_type, seed)
            seen = []
            for panel in panels:
                y = np.sort(panel.series[0].y)
                # Few points may miss the fringes' tops: on success the fitted curve shows them.
                top = panel.series[1].y.max() if truth.status == "SUCCESS" else y[-3:].mean()
                seen.append(float(top - y[:2].mean()))
            high = np.array(seen) > CONTRAST_THRESHOLD + 0.05
            if truth.status == "SUCCESS":
                assert high.all()
            else:
                assert truth.targets["contrast"] < CONTRAST_THRESHOLD + 0.1
                assert high.mean() <= 0.5 or max(seen) < 0.6


def test_slopes_are_the_derivatives() -> None:
    x, p = np.linspace(-3, 3, 31), np.array([0.1, 1.3, 1.7, 0.05, 0.8])
    value, jacobian = slopes(p, x)
    assert value == pytest.approx(survival(p, x), abs=1e-9)
    for k in range(5):
        step = np.zeros(5)
        step[k] = 1e-6
        assert (survival(p + step, x) - survival(p - step, x)) / 2e-6 == pytest.approx(jacobian[:, k], abs=1e-4)


def test_success_numbers_agree_with_an_independent_fit() -> None:
    scipy_optimize = pytest.importorskip("scipy.optimize")
    for seed in range(20):
        truth, panels = plot(TYPES[0], seed)
        for site, panel in zip(truth.sites, panels, strict=True):
            x, y = detunings(panel), panel.series[0].y
            f0, t, rabi = (float(str(site[k])) for k in ("f0_kHz", "t_ns", "f_Rabi_MHz"))
            start = [f0 * 1e-3, t * 1e-3, rabi, float(y.min()), float(np.ptp(y))]
            best = scipy_optimize.least_squares(lambda p: survival(p, x) - y, start, x_scale="jac").x  # noqa: B023
            assert best[1] * 1e3 == pytest.approx(t, rel=0.02)
            assert abs(best[2]) == pytest.approx(rabi, rel=0.02)
            # Printed to 0.01 kHz.
            assert best[0] * 1e3 == pytest.approx(f0, rel=0.02, abs=0.01)
