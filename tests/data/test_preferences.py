"""Hard negatives: wrong where they claim to be wrong, well formed everywhere."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from riverone_hf.calibration import SUPPORTED_FAMILIES, draw
from riverone_hf.data import NEGATIVE_KINDS, hard_negative
from riverone_hf.errors import QuestionError
from riverone_hf.evaluate import score_answers
from riverone_hf.questions import (
    QUESTIONS,
    get_family,
    parse_q1,
    parse_q2,
    parse_q4,
    parse_q5,
    parse_q6,
    parse_reason,
    write_answers,
)


@pytest.mark.parametrize("with_donors", [True, False])
@pytest.mark.parametrize("family", SUPPORTED_FAMILIES)
def test_negatives_are_wrong_and_well_formed(family, with_donors):
    truths = [draw(family, seed).truth for seed in range(24)]
    rng = random.Random(0)
    for truth in truths:
        answers = write_answers(truth)
        for question in QUESTIONS:
            negative = hard_negative(truth, question, rng, truths if with_donors else ())
            assert negative.kind in NEGATIVE_KINDS and negative.text != answers[question]
            changed = answers | {question: negative.text}
            scores, perfect = score_answers(family, changed, answers), score_answers(family, answers, answers)
            if question == "q1":
                panels = parse_q1(negative.text)
                assert panels and len(panels) == len(truth.panels)
                assert negative.kind != "wrong_plot_type" or scores["q1_enums"] < perfect["q1_enums"]
            elif question == "q2":
                assert parse_q2(negative.text) and scores["q2"] == 0 and parse_reason(negative.text)
            elif question == "q3":
                assert 3 < len(negative.text.split()) <= 60
            elif question == "q4":
                assert parse_q4(negative.text) and scores["q4"] == 0 and parse_reason(negative.text)
            elif question == "q5":
                assert scores["q5"] < perfect["q5"], negative
                wrong, right = parse_q5(negative.text), parse_q5(answers["q5"])
                assert list(wrong[0] if isinstance(wrong, list) else wrong) == list(
                    right[0] if isinstance(right, list) else right
                )
            else:
                got = parse_q6(negative.text, family)
                assert got.status and got.notes
                assert (got.status == truth.status) == (negative.kind == "unit_slip")


def test_every_kind_of_mistake_is_made():
    rng, kinds = random.Random(0), Counter()
    for family in ("t1", "rabi", "ramsey_t2star"):
        truths = [draw(family, seed).truth for seed in range(60)]
        for truth in truths:
            kinds.update(hard_negative(truth, question, rng, truths).kind for question in QUESTIONS)
    assert set(kinds) == set(NEGATIVE_KINDS)


def test_fit_mistakes_have_their_names():
    rng = random.Random(3)
    for seed in range(60):
        truth = draw("t1", seed).truth
        negative = hard_negative(truth, "q4", rng)
        claimed = parse_q4(negative.text)
        expected = {
            ("Unreliable", "Reliable"): "over_trusted_fit",
            ("Reliable", "Unreliable"): "distrusted_fit",
            ("Reliable", "No fit"): "missed_fit",
            ("Unreliable", "No fit"): "missed_fit",
        }
        assert negative.kind == expected.get((truth.reliability, claimed), "invented_fit")


def test_reasons_of_wrong_labels_are_those_of_real_plots():
    truths = [draw("t1", seed).truth for seed in range(40)]
    real = {(truth.outcome, truth.q2_reason) for truth in truths}
    for truth in truths:
        text = hard_negative(truth, "q2", random.Random(0), truths).text
        assert (parse_q2(text), parse_reason(text)) in real


def test_unit_slips_are_factors_of_a_thousand():
    seen = 0
    for seed in range(80):
        truth = draw("t1", seed).truth
        negative = hard_negative(truth, "q5", random.Random(seed))
        if negative.kind == "unit_slip":
            ratio = parse_q5(negative.text)["T1_us"] / truth.parameters["T1_us"]
            assert ratio == pytest.approx(1000) or ratio == pytest.approx(0.001)
            seen += 1
    assert seen


def test_unknown_question():
    with pytest.raises(QuestionError, match="no negatives for question 'q9'"):
        hard_negative(draw("t1", 0).truth, "q9", random.Random(0))
    assert all(len(family.statuses) > 1 for family in map(get_family, SUPPORTED_FAMILIES))
