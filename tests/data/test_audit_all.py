"""Recoverability covers every family: true numbers are found, wrong ones never, and blind spots are named."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from riverone_hf.calibration.scene import Panel, Series
from riverone_hf.data import Plan, audit_plan, audit_table
from riverone_hf.data.audit_fit import CLEAN, FITS, FITTED, WITHOUT_NUMBERS, recoverability
from riverone_hf.data.audit_fit_maps import jump_scans
from riverone_hf.data.audit_points import best_columns, best_shape, folded, unit_of
from riverone_hf.data.plan import Row
from riverone_hf.questions import FAMILIES, get_family
from riverone_hf.questions.truth import SitesTruth

NUMERIC = ("int_count", "count_float", "pct", "abs", "coord_list", "array_int_match", "array_float_match")
LEAST = {
    "pinchoff.saturation_index": 0.6,
    "res_spec.contrast": 0.3,
    "drag.optimal_alpha_inv": 0.6,
}
"""Shares within the benchmark's tolerance where the printed step is wider or noise decides; 0.75 elsewhere."""


def rows_of(family: str, count: int = 12) -> list[Row]:
    plan, rows = Plan(2000, seed=4, families=(family,)), []
    for k in range(400):
        row = plan.row("train", k)
        rows += [row] if row.truth.status in CLEAN else []
        if len(rows) == count:
            break
    return rows


def wrong(row: Row) -> Row:
    """The row with other numbers: far off, whatever their size."""

    def other(value: Any) -> Any:
        if isinstance(value, list):
            return [other(item) for item in value] or [3]
        off = isinstance(value, int | float) and not isinstance(value, bool)
        return type(value)(value * 3 + 40) if off else value

    truth = row.truth
    changes: dict[str, Any] = {"parameters": {name: other(value) for name, value in truth.parameters.items()}}
    if isinstance(truth, SitesTruth):
        changes["sites"] = tuple({name: other(value) for name, value in site.items()} for site in truth.sites)
    return dataclasses.replace(row, truth=dataclasses.replace(truth, **changes))


def test_every_family_is_fitted_or_has_no_numbers() -> None:
    assert set(FITS) == set(FITTED) and set(FITS) | set(WITHOUT_NUMBERS) == set(FAMILIES)
    assert not set(FITS) & set(WITHOUT_NUMBERS)
    for family in WITHOUT_NUMBERS:
        assert not [field.name for field in get_family(family).fields if field.kind in NUMERIC]
    for family, names in FITTED.items():
        kinds = {field.name: field.kind for field in get_family(family).fields}
        assert all(kinds[name] in NUMERIC for name in names)


@pytest.mark.parametrize("family", sorted(FITS))
def test_true_numbers_are_found_and_wrong_ones_are_not(family: str) -> None:
    rows = rows_of(family)
    assert len(rows) == 12
    found = recoverability(rows)
    assert set(found) == {f"{family}.{name}" for name in FITTED[family]}
    for name, result in found.items():
        assert result["n"] + result["skipped"] >= 6 and result["n"] >= 5, (name, result)
        assert result["within"] >= LEAST.get(name, 0.75), (name, result)
    json.dumps(found, allow_nan=False)
    assert all(result["within"] == 0 for result in recoverability([wrong(row) for row in rows]).values())


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("gmm", ("cluster0_center", "cluster1_center")),
        ("coupler_flux", ("crossing_voltages_V",)),
        ("ramsey_charge_tomography", ("jump_sizes_mV",)),
    ],
)
def test_printed_steps_are_finer_than_the_tolerance(family: str, fields: tuple[str, ...]) -> None:
    found = recoverability(rows_of(family, 60))
    for name in fields:
        assert found[f"{family}.{name}"]["n"] >= 40
        assert found[f"{family}.{name}"]["within"] >= 0.95, (name, found[f"{family}.{name}"])


def test_failed_plots_are_not_asked() -> None:
    plan = Plan(200, families=("t1",))
    failed = [row for row in (plan.row("train", k) for k in range(60)) if row.truth.status not in CLEAN]
    assert failed and recoverability(failed) == {}


def test_a_list_of_the_wrong_length_is_never_right() -> None:
    row = next(row for row in rows_of("ramsey_charge_tomography") if row.truth.status == "EVENT")
    more = [*row.truth.parameters["jump_positions"], 99]  # type: ignore[misc]
    longer = dataclasses.replace(row.truth, parameters=row.truth.parameters | {"jump_positions": more})
    found = recoverability([dataclasses.replace(row, truth=longer)])["ramsey_charge_tomography.jump_positions"]
    assert found["within"] == 0 and found["median_error"] is None


def test_jumps_are_told_from_neighbours_two_scans_apart() -> None:
    phase = np.array([0.1, 0.1, 0.1, 0.3, 0.45, 0.6, 0.75, 0.75, 0.75, 0.75])
    excess = np.array([0.0, 0.0, 0.0, 2.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0])
    assert jump_scans(phase, excess) == [3, 5]
    assert jump_scans(np.full(10, 0.4), np.zeros(10)) == []


def test_points_and_units_are_read_as_drawn() -> None:
    assert unit_of("Delay (ns)", {"ns": 1e-3}) == 1e-3
    assert unit_of("", {"ns": 1e-3}) is None and unit_of("Delay", {"ns": 1e-3}) is None
    assert folded(np.array([0.75, -0.75, 0.25])) == pytest.approx([-0.25, 0.25, 0.25])
    x = np.linspace(0, 1, 30)
    shapes = np.stack([np.sin(rate * x) for rate in (1.0, 4.0, 9.0)])
    assert best_shape(shapes, 5 - 3 * shapes[1])[0] == 1
    assert best_columns(np.stack([shapes, np.ones_like(shapes)], axis=2), 2 + shapes[2])[0] == 2


def test_a_lone_phase_image_gives_no_resonance() -> None:
    row = rows_of("res_spec", 1)[0]
    phase = Panel((0, 1), (-3, 3), "Frequency (GHz)", "Phase (rad)", series=(Series(np.arange(9.0), np.zeros(9)),))
    figure = dataclasses.replace(row.figures[0], panels=(phase,))
    assert FITS["res_spec"](dataclasses.replace(row, figures=(figure,))) == {}


def test_the_table_names_families_without_numbers() -> None:
    told = audit_table(audit_plan(Plan(20, families=("tweezer_array", "drag"))))
    assert "no numbers to recover: tweezer_array" in told and "drag.optimal_alpha_inv" in told
    assert "no numbers" not in audit_table(audit_plan(Plan(10, families=("drag",))))
