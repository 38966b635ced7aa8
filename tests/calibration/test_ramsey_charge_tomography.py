"""Charge tomography maps obey their label rule, and the jumps follow from the drawn map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from riverone_hf.calibration import ramsey_charge_tomography as family
from riverone_hf.calibration.scene import Panel, Style
from riverone_hf.questions.answers import write_answers
from riverone_hf.questions.families import FAMILIES
from riverone_hf.questions.truth import Truth

SEEDS = 40
COHERENT = [name for name in family.TYPES if not name.endswith("noisy")]


def simulated(experiment_type: str, seed: int) -> tuple[Truth, Panel]:
    truth, images = family.simulate(experiment_type, np.random.default_rng([92, seed]), Style())
    assert len(images) == len(images[0]) == 1
    return truth, images[0][0]


def numbers(truth: Truth) -> dict[str, Any]:
    return dict(truth.parameters)


def cells(panel: Panel) -> np.ndarray:
    assert panel.heatmap is not None
    return panel.heatmap.values


def phases(values: np.ndarray, periods: float) -> np.ndarray:
    """Fringe phase of each scan in periods, from least squares of two harmonics."""
    turns = 2 * np.pi * periods * np.linspace(0, 1, values.shape[0])
    columns = [np.ones_like(turns), np.cos(turns), np.sin(turns), np.cos(2 * turns), np.sin(2 * turns)]
    coefficients = np.linalg.lstsq(np.stack(columns, axis=1), values, rcond=None)[0]
    return np.arctan2(coefficients[2], coefficients[1]) / (2 * np.pi)


def folded(shift: np.ndarray | float) -> np.ndarray:
    return np.abs((np.asarray(shift) + 0.5) % 1 - 0.5)


@pytest.mark.parametrize("experiment_type", family.TYPES)
def test_plots_are_legal_finite_and_deterministic(experiment_type: str) -> None:
    keys = set()
    for seed in range(SEEDS):
        truth, panel = simulated(experiment_type, seed)
        again, same = simulated(experiment_type, seed)
        assert write_answers(truth) == write_answers(again)
        assert np.array_equal(cells(panel), cells(same)) and np.isfinite(cells(panel)).all()
        assert truth.reliability == "No fit" and truth.panels[0].plot_type == "heatmap"
        assert truth.panels[0].colorbar is not None
        assert all(0 <= value <= 1 for value in truth.targets.values()), truth.targets
        keys.add(tuple(truth.targets))
        found = numbers(truth)
        assert found["jump_count"] == len(found["jump_positions"]) == len(found["jump_sizes_mV"])
        assert found["event_detected"] == (truth.status == "EVENT") == (found["jump_count"] > 0)
        assert all(isinstance(position, int) for position in found["jump_positions"])
        assert panel.xlim[1] - panel.xlim[0] == cells(panel).shape[1]
    assert len(keys) == 1


def test_types_are_those_of_the_family() -> None:
    assert set(family.TYPES) == set(FAMILIES["ramsey_charge_tomography"].types)


def test_fringes_have_one_narrow_ridge_per_period() -> None:
    turns = np.linspace(0, 1, 1000, endpoint=False)
    values = family.fringe(turns)
    assert np.allclose(values, family.fringe(turns + 1))
    assert values.min() == pytest.approx(0, abs=1e-9) and values.max() == pytest.approx(1)
    assert np.count_nonzero(values > 0.5) < 0.4 * turns.size
    assert turns[values.argmax()] == pytest.approx(0.5)


@pytest.mark.parametrize("experiment_type", COHERENT)
def test_jumps_are_where_and_as_large_as_the_map_shows(experiment_type: str) -> None:
    checked = 0
    for seed in range(SEEDS):
        truth, panel = simulated(experiment_type, seed)
        if truth.targets["contrast"] < 0.75:
            continue
        found, values = numbers(truth), cells(panel)
        periods = 5 * truth.targets["periods"]
        phase = phases(values, periods)
        quiet = np.ones(values.shape[1] - 1, dtype=bool)
        reach = max(abs(float(v)) for v in panel.ylim) * (
            1e3 if "V" in panel.ylabel and "mV" not in panel.ylabel else 1
        )
        for position, size in zip(found["jump_positions"], found["jump_sizes_mV"], strict=True):
            quiet[[position - 1, position]] = False
            shift = folded(phase[position + 1] - phase[position - 1])
            assert shift > family.JUMP_THRESHOLD, seed
            if panel.ylabel:
                assert abs(shift - size * periods / (2 * reach)) < 0.1, (seed, shift, size)
        assert folded(np.diff(phase))[quiet].max(initial=0.0) < family.JUMP_THRESHOLD, seed
        checked += 1
    assert checked > 5


def test_jump_sizes_are_recovered_within_two_percent_on_average() -> None:
    ratios = []
    for seed in range(SEEDS):
        truth, panel = simulated("ramsey_charge_tomography_few_bursts", seed)
        if truth.targets["contrast"] < 0.7:
            continue
        phase = phases(cells(panel), 5 * truth.targets["periods"])
        sizes = numbers(truth)["jump_sizes_mV"]
        largest = int(np.argmax(sizes))
        position = numbers(truth)["jump_positions"][largest]
        ratios.append(folded(phase[position + 1] - phase[position - 1]) / (truth.targets["largest_jump"] / 2))
    assert len(ratios) > 10
    assert abs(np.median(ratios) - 1) < 0.02


def test_noisy_maps_have_no_fringes_left_after_averaging() -> None:
    for seed in range(SEEDS):
        truth, panel = simulated("ramsey_charge_tomography_noisy", seed)
        values = cells(panel)
        noise = values.std()
        profile = values.mean(axis=1)
        assert np.ptp(profile) < 7 * noise / np.sqrt(values.shape[1]), seed
        assert truth.status == "NO_COHERENCE" and numbers(truth)["jump_positions"] == []
