"""On clean success plots a fit of the plotted points agrees with every printed number within 2 %, in every family.

The fits are those of the audit: they start from the points alone and know nothing of the simulator's draw. Half a step
of the printed number is allowed on top, since no fit can see past rounding. Rydberg lines have their own such test in
`tests/calibration`: from the points alone one line in fifteen has two fits of equal quality.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from riverone_hf.calibration.physics import decade_below
from riverone_hf.data import Plan
from riverone_hf.data.audit_fit import CLEAN, FITS, FITTED, wanted
from riverone_hf.data.plan import Row
from riverone_hf.questions import get_family
from riverone_hf.questions.family import Field

PLOTS = 10
FAMILIES = tuple(family for family in FITS if family != "rydberg_spectroscopy")
Rule = Callable[[Row, float], float]


def decimals(places: int) -> Rule:
    return lambda row, want: 0.5 * 10.0**-places


def digits(count: int) -> Rule:
    return lambda row, want: 0.5 * 10.0 ** (math.floor(math.log10(abs(want))) - count + 1) if want else 0.0


def drag_step(row: Row, want: float) -> float:
    """Half a step of a reader of that axis, as the family rounds the crossing."""
    span = float(np.ptp(row.figures[0].panels[0].series[0].x))
    step = decade_below(span)
    return 0.5 * (step / 10 if span / step < 30 else step)


def cluster_step(row: Row, want: float) -> float:
    """Half a step of a reader; coordinates lie around zero, so the 2 % are of the axis."""
    panel = row.figures[0].panels[0]
    spans = [high - low for low, high in (panel.xlim, panel.ylim)]
    return max(0.5 * min(0.1, decade_below(span, 0.02)) for span in spans) + 0.02 * min(spans)


def bias_step(row: Row, want: float) -> float:
    """Half a step of the bias axis, and 2 % of it: a crossing stands at a place on the axis, anywhere around zero."""
    x = next(s.x for s in row.figures[0].panels[0].series if s.role == "fit")
    return 0.5 * decade_below(float(np.ptp(x)), 0.02) + 0.02 * float(np.ptp(x))


def jump_step(row: Row, want: float) -> float:
    """Half a printed step, and half a row of the map at both ends of the shift."""
    heatmap = row.figures[0].panels[0].heatmap
    assert heatmap is not None
    return 0.5 * decade_below(want, 0.02) + want / (heatmap.values.shape[0] - 1)


STEPS: dict[str, Rule] = {
    "rabi.periods_visible": decimals(1),
    "rabi_hw.periods_visible": decimals(1),
    "drag.optimal_alpha_inv": drag_step,
    "pingpong.error_per_gate": digits(2),
    "pinchoff.cut_off_index": decimals(0),
    "pinchoff.transition_index": decimals(0),
    "pinchoff.saturation_index": decimals(0),
    "microwave_ramsey.detuning_Hz": decimals(1),
    "microwave_ramsey.contrast": decimals(2),
    "microwave_ramsey.retention_min": decimals(2),
    "rydberg_ramsey.T2_us": decimals(1),
    "rydberg_ramsey.frequency_noise_kHz": decimals(1),
    "gmm.cluster0_center": cluster_step,
    "gmm.cluster1_center": cluster_step,
    "res_spec.contrast": decimals(2),
    "coupler_flux.crossing_voltages_V": bias_step,
    "ramsey_charge_tomography.jump_sizes_mV": jump_step,
}
"""Half a printed step of rounded numbers; for places on an axis around zero, 2 % of the axis as well."""


def microwave_is_clean(row: Row) -> bool:
    """Error bars whose mean over all points is below 0.6 %."""
    data = row.figures[0].panels[0].series[0]
    return data.yerr is not None and float(np.mean(data.yerr)) / math.sqrt(data.x.size) < 0.006


CLEAN_ONLY: dict[str, Callable[[Row], bool]] = {
    # A detuned drive's chirp has no one frequency that a sine could follow.
    "rabi": lambda row: row.truth.parameters["amplitude_decay"] != "growing",
    "pinchoff": lambda row: row.truth.targets["noise"] < 0.15 and row.truth.targets["plateau_slope"] == 0,
    "microwave_ramsey": microwave_is_clean,
    "res_spec": lambda row: row.truth.targets["height"] > 0.75,
    # A slow wander adds to the jumps.
    "ramsey_charge_tomography": lambda row: row.truth.targets["wander"] == 0 and row.truth.targets["contrast"] > 0.5,
    "qubit_spectroscopy_power_frequency": lambda row: row.truth.parameters["transitions_visible"] == "f01_only",
}
WITH_FIT = (
    *("t1", "rabi", "rabi_hw", "ramsey_t2star", "ramsey_freq_cal", "qubit_spectroscopy", "drag", "cz_benchmarking"),
    *("microwave_ramsey", "rydberg_ramsey", "coupler_flux", "qubit_flux_spectroscopy"),
)
"""Families whose numbers are the drawn fit's own; without one they are rounded draws."""


def clean_rows(family: str) -> list[Row]:
    plan, rows = Plan(3000, seed=5, families=(family,)), []
    for k in range(600):
        row = plan.row("train", k)
        if row.truth.status not in CLEAN or (family in WITH_FIT and row.truth.reliability != "Reliable"):
            continue
        if row.truth.targets.get("noise", 0.0) < 0.25 or family == "rydberg_ramsey":
            rows += [row] if CLEAN_ONLY.get(family, lambda row: True)(row) else []
        if len(rows) == PLOTS:
            break
    return rows


def allowed(key: str, field: Field, row: Row, want: float) -> float:
    """2 %, or the field's own full tolerance where that is narrower; absolute where the field's is.

    Frequencies in GHz: 0.1 %, as 2 % is more than most windows. Gate indices: 2 % of the sweep; pixels: two.
    """
    share = 0.02
    if field.kind in ("pct", "array_float_match"):
        share = min(0.001 if field.unit == "GHz" else share, field.tolerances()[0]) * (abs(want) or 1.0)
    elif field.name.startswith("center"):
        share = 2.0
    elif key.startswith("pinchoff"):
        share = 0.02 * float(np.ptp(row.figures[0].panels[0].series[0].x))
    elif field.kind in ("int_count", "array_int_match"):
        share = 0.0
    elif field.kind == "coord_list":
        share = 0.0  # the rule of the clusters says it all
    elif field.kind == "count_float":
        share *= abs(want)
    return share + STEPS.get(key, lambda row, want: 0.0)(row, want)


@pytest.mark.parametrize("family", FAMILIES)
def test_fits_of_the_points_agree_with_the_printed_numbers(family: str) -> None:
    rows = clean_rows(family)
    assert len(rows) == PLOTS
    checked = set()
    for row in rows:
        found = FITS[family](row)
        for field in get_family(family).fields:
            want, key = wanted(row.truth, field.name), f"{family}.{field.name}"
            if field.name not in FITTED[family] or want is None or field.name not in found:
                continue
            value = found[field.name]
            got = value if isinstance(value, list) else [value]
            if field.kind in ("int_count", "array_int_match"):
                got = [float(round(v)) for v in got]
            assert len(got) == len(want), (row.id, key)
            for a, b in zip(got, want, strict=True):
                assert abs(a - b) <= allowed(key, field, row, b) + 1e-9, (row.id, key, a, b)
            checked.add(field.name)
    assert checked == set(FITTED[family])
