"""What holds for every family: all types draw, answer and render; the families without a simulator are known."""

from __future__ import annotations

import numpy as np
import pytest

from riverone_hf.calibration import SUPPORTED_FAMILIES, draw, render
from riverone_hf.calibration.plot import family_module
from riverone_hf.questions import FAMILIES, parse_q1, parse_q2, parse_q4, parse_q5, parse_q6, write_answers

ALL_TYPES = [(family, name) for family in SUPPORTED_FAMILIES for name in family_module(family).TYPES]


@pytest.mark.parametrize("family", SUPPORTED_FAMILIES)
def test_simulator_and_question_tables_agree(family):
    assert set(family_module(family).TYPES) == set(FAMILIES[family].types)


def test_all_families_of_the_benchmark_are_simulated():
    assert set(SUPPORTED_FAMILIES) == set(FAMILIES)
    assert len(ALL_TYPES) == 87


@pytest.mark.parametrize(("family", "experiment_type"), ALL_TYPES)
def test_every_type_answers_and_renders(family, experiment_type):
    for seed in range(4):
        plot = draw(family, seed, experiment_type)
        truth, answers = plot.truth, write_answers(plot.truth)
        assert (truth.family, truth.experiment_type) == (family, experiment_type)
        assert (parse_q2(answers["q2"]), parse_q4(answers["q4"])) == (truth.outcome, truth.reliability)
        assert parse_q6(answers["q6"], family).status == truth.status
        assert len(parse_q1(answers["q1"])) == len(plot.figures) == FAMILIES[family].n_images
        assert parse_q5(answers["q5"]) is not None
        for figure in plot.figures:
            pixels = np.asarray(render(figure, size=(160, 160)))
            assert pixels.shape == (160, 160, 3) and pixels.std() > 3, "the image shows something"


@pytest.mark.parametrize("family", SUPPORTED_FAMILIES)
def test_draws_depend_on_the_seed_alone(family):
    first, again, other = draw(family, 7), draw(family, 7), draw(family, 8)
    assert first.truth == again.truth
    pictures = [np.asarray(render(plot.figures[-1], size=(160, 160))) for plot in (first, again, other)]
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


@pytest.mark.parametrize("family", SUPPORTED_FAMILIES)
def test_all_types_are_reached_and_targets_are_stable(family):
    truths = [draw(family, seed).truth for seed in range(120)]
    assert {truth.experiment_type for truth in truths} == set(FAMILIES[family].types)
    assert len({tuple(truth.targets) for truth in truths}) == 1
    assert all(0 <= value <= 1 for truth in truths for value in truth.targets.values())
