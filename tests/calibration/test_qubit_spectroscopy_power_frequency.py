"""Power-frequency maps obey their label rule, and f01 follows from the drawn maps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from riverone_hf.calibration import qubit_spectroscopy_power_frequency as family
from riverone_hf.calibration.scene import Panel, Style
from riverone_hf.questions.answers import write_answers
from riverone_hf.questions.families import FAMILIES
from riverone_hf.questions.truth import UNRELIABLE, Truth

NAME = "qubit_spectroscopy_power_frequency"
SEEDS = 40


def simulated(short: str, seed: int) -> tuple[Truth, list[Panel]]:
    truth, images = family.simulate(f"{NAME}_{short}", np.random.default_rng([93, seed]), Style())
    return truth, [image[0] for image in images]


def numbers(truth: Truth) -> dict[str, Any]:
    return dict(truth.parameters)


def upright(panel: Panel) -> tuple[np.ndarray, tuple[float, float]]:
    """The map with frequency along the columns, and the frequency limits in MHz."""
    assert panel.heatmap is not None
    # Amplitudes are at most 1 and powers start below 2 dBm; frequencies are at least 3 GHz.
    on_x = panel.xlim[0] > 2
    limits = panel.xlim if on_x else panel.ylim
    scale = 1.0 if limits[0] > 100 else 1e3
    return (panel.heatmap.values if on_x else panel.heatmap.values.T), (limits[0] * scale, limits[1] * scale)


def lorentzian(t, centre, width, a, c):
    return c + a / (1 + (2 * (t - centre) / width) ** 2)


def fitted(profile: np.ndarray, start: float, width: float) -> np.ndarray:
    """(centre, FWHM) in windows of the line in a profile over frequency."""
    curve_fit = pytest.importorskip("scipy.optimize").curve_fit
    u = (np.arange(profile.size) + 0.5) / profile.size
    level = float(np.median(profile))
    height = float(profile[int(start * profile.size)]) - level
    return curve_fit(lorentzian, u, profile, p0=[start, width, height, level], maxfev=20000)[0]


@pytest.mark.parametrize("experiment_type", family.TYPES)
def test_plots_are_legal_finite_and_deterministic(experiment_type: str) -> None:
    short, keys = experiment_type.removeprefix(f"{NAME}_"), set()
    for seed in range(SEEDS):
        truth, panels = simulated(short, seed)
        assert write_answers(truth) == write_answers(simulated(short, seed)[0])
        assert len(panels) == len(truth.panels) == FAMILIES[NAME].n_images
        assert truth.reliability == "No fit"
        assert (truth.suggested_range is None) == (truth.status == "SUCCESS")
        assert all(0 <= value <= 1 for value in truth.targets.values()), truth.targets
        assert "np." not in str(truth.suggested_range)
        keys.add(tuple(truth.targets))
        assert (panels[0].xlim, panels[0].ylim) == (panels[1].xlim, panels[1].ylim)
        for panel, told in zip(panels, truth.panels, strict=True):
            assert told.plot_type == "heatmap" and panel.heatmap is not None
            assert np.isfinite(panel.heatmap.values).all()
            assert panel.xlim[0] < panel.xlim[1] and panel.ylim[0] < panel.ylim[1]
    assert len(keys) == 1


def test_types_are_those_of_the_family() -> None:
    assert set(family.TYPES) == set(FAMILIES[NAME].types)


def test_saturation_broadens_a_line() -> None:
    detuning = np.linspace(-0.5, 0.5, 20001)
    for saturation in (0.1, 3.0, 40.0):
        line = family.lorentzian(detuning, 0.02, np.array(saturation))
        fwhm = np.ptp(detuning[line >= 0.5 * line.max()])
        assert fwhm == pytest.approx(0.02 * math.sqrt(1 + saturation), rel=0.01)


@pytest.mark.parametrize("short", ["success_f01_low_amp_sharp", "success_f01_only_full_range"])
def test_f01_is_recovered_from_the_upper_half_of_the_magnitude(short: str) -> None:
    for seed in range(SEEDS):
        truth, panels = simulated(short, seed)
        values, (low, high) = upright(panels[0])
        profile = values[-max(3, values.shape[0] // 3) :].mean(axis=0)
        centre, _, _, _ = fitted(profile, truth.targets["position"], 0.05)
        found, told = low + centre * (high - low), numbers(truth)["f01_MHz"]
        # 2 % of the window, and the field's own tolerance.
        assert abs(found - told) < min(0.02 * (high - low), 0.001 * told), seed


def test_line_widths_obey_their_rule() -> None:
    threshold = family.WIDTH_THRESHOLD
    for experiment_type in family.TYPES:
        for seed in range(SEEDS):
            truth, _ = simulated(experiment_type.removeprefix(f"{NAME}_"), seed)
            if truth.status == "NO_SIGNAL":
                assert numbers(truth) == {
                    "f01_MHz": None,
                    "transitions_visible": "none",
                    "power_regime": "none",
                    "measurement_usable": False,
                }
                continue
            width = 0.005 * 200 ** truth.targets["width"]
            assert (width >= threshold) == (truth.status == "AMP_TOO_HIGH"), seed
            assert (numbers(truth)["f01_MHz"] == UNRELIABLE) == (truth.status == "AMP_TOO_HIGH")
            if experiment_type.endswith("low_amp_sharp"):
                assert 0.005 * 400 ** truth.targets["top_width"] <= family.TOP_WIDTH * 1.001


def test_too_strong_drives_draw_a_broad_line_at_the_lowest_amplitudes() -> None:
    for seed in range(SEEDS):
        truth, panels = simulated("failure_f01_only_amp_too_high", seed)
        if truth.targets["height"] < 0.4:
            continue
        values, _ = upright(panels[0])
        profile = values[: max(2, values.shape[0] // 4)].mean(axis=0)
        _, width, _, _ = fitted(profile, truth.targets["position"], 0.3)
        assert abs(width) > family.WIDTH_THRESHOLD, seed


def test_the_two_photon_line_lies_half_an_anharmonicity_below() -> None:
    low_limit, high_limit = family.HALF_ANHARMONICITY
    for short in ("success_f01_f02half_full_range", "failure_f01_f02half_amp_too_high"):
        for seed in range(SEEDS):
            truth, panels = simulated(short, seed)
            _, (low, high) = upright(panels[0])
            gap = (truth.targets["position"] - truth.targets["second_position"]) * (high - low)
            assert 0.99 * low_limit < gap < 1.03 * high_limit, seed
            assert numbers(truth)["transitions_visible"] == "f01_f02half"


def test_maps_without_line_are_flat_after_averaging() -> None:
    for seed in range(SEEDS):
        _, panels = simulated("failure_no_signal", seed)
        for panel in panels:
            values, _ = upright(panel)
            noise = np.diff(values, axis=1).std() / math.sqrt(2)
            profile = values.mean(axis=0)
            assert np.max(np.abs(profile - np.median(profile))) < 6 * noise / math.sqrt(values.shape[0]) + noise, seed
