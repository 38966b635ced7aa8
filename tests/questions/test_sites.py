"""Are the camera and multi-site forms of the answers legal, and refused when they are not?"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from riverone_hf.errors import QuestionError
from riverone_hf.questions.answers import check_truth, write_answers
from riverone_hf.questions.families import FAMILIES
from riverone_hf.questions.parse import parse_json
from riverone_hf.questions.truth import AxisTruth, PanelTruth, SitesTruth, Truth

FIELDS = [field.name for field in FAMILIES["rydberg_spectroscopy"].fields]


def site(index: int) -> dict[str, object]:
    return {name: index if name == "site_index" else 1.5 for name in FIELDS}


def truth() -> SitesTruth:
    axis = AxisTruth("Optical Detuning", (-2, 2))
    return SitesTruth(
        "rydberg_spectroscopy", "rydberg_spectroscopy_success", "Expected behavior", "Reliable", "SUCCESS", site(3),
        (PanelTruth("scatter", axis, axis, "a dip"),), "a dip", "a fit", "all good", "go on",
        sites=(site(3), site(8)),
    )  # fmt: skip


def test_q5_lists_every_site() -> None:
    value = parse_json(write_answers(truth())["q5"])
    assert [item["site_index"] for item in value] == [3, 8] and list(value[0]) == FIELDS


def test_wrong_sites_are_refused() -> None:
    missing = {name: 1 for name in FIELDS[1:]}
    for wrong in (
        replace(truth(), sites=()),
        replace(truth(), parameters=site(4)),
        replace(truth(), sites=(site(3), missing)),
    ):
        with pytest.raises(QuestionError, match="Q5"):
            check_truth(wrong)
    plain = {name: value for name, value in truth().__dict__.items() if name != "sites"}
    with pytest.raises(QuestionError, match="at least one"):
        check_truth(Truth(**plain))


def test_camera_axes_have_units_and_a_colour_bar_instead_of_ranges() -> None:
    axis = AxisTruth("X", (0, 10), unit="pixels")
    panel = PanelTruth("image", axis, axis, "a cloud", "Intensity (a.u.)")
    parameters: dict[str, object] = {"has_cloud": True, "center_x": 3, "center_y": 4, "cloud_present": True}
    mot = Truth("mot_loading", "mot_loading_good", "Expected behavior", "No fit", "SUCCESS", parameters, (panel,),
                "a cloud", "no fit", "all good", "go on")  # fmt: skip
    told = json.loads(write_answers(mot)["q1"])
    assert told["x_axis"] == {"label": "X", "unit": "pixels"} and told["colorbar"] == {"label": "Intensity (a.u.)"}
