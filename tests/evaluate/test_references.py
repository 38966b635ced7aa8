"""What a model must beat: each reference does what its name says, and none sees what it must not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from riverone_hf.evaluate.baselines import NO_FIT_FAMILIES, labels_of, success_rule, write_labels
from riverone_hf.evaluate.features import METHODS, LinearHeads, NearestNeighbours, reference_answers, vision_features
from riverone_hf.evaluate.references import blind_answers, shuffled_answers, trained_answers, training_plots
from riverone_hf.evaluate.scoring import score_answers
from riverone_hf.questions import FAMILIES, parse_q5
from tiny import tiny_model, tiny_processor


@pytest.fixture(scope="module")
def training(benchmark):
    return training_plots(benchmark, 18)


def test_training_plots_are_the_data_sets_own_and_never_test_plots(training, qcaleval, benchmark):
    from datasets import load_dataset

    own = load_dataset("parquet", data_files=str(qcaleval / "sft_zero_shot/train-*.parquet"), split="train")
    assert own["id"][:5] == [training.plan.row("train", at).id for at in range(5)]
    assert own["images"][0][0].size == training.images(0)[0].size
    assert set(training.families) == {"t1", "ramsey_t2star"} and len(training.families) >= 36
    tests = {row.answers["q5"] + row.answers["q1"] for row in benchmark.rows}
    assert not tests & {answers["q5"] + answers["q1"] for answers in training.answers}


def test_shuffled_gives_another_plot_of_the_family(benchmark):
    rows = list(benchmark.rows)
    answers = [{"q2": row.id} for row in rows]
    shuffled = shuffled_answers(rows, answers)
    for row, told in zip(rows, shuffled, strict=True):
        if told is not None:
            other = benchmark.row(told["q2"])
            assert other.id != row.id and other.family == row.family and len(other.images) == len(row.images)
    assert sum(told is not None for told in shuffled) >= len(rows) - 2
    assert shuffled == shuffled_answers(rows, answers)
    assert shuffled_answers(rows[:1], answers[:1]) == [None]


def test_blind_answers_do_not_depend_on_the_plot(benchmark, training):
    rows = list(benchmark.rows)
    for name, answers in blind_answers(rows, training).items():
        seen = {}
        for row, told in zip(rows, answers, strict=True):
            key = (row.family, len(row.images) if "rule" in name else 0)
            assert seen.setdefault(key, told) == told


def test_the_success_rule_is_legal_everywhere():
    for family in FAMILIES.values():
        answers = success_rule(family.name, family.n_images)
        scores = score_answers(family.name, answers, answers | {"q3": ""})
        assert (scores["q2"], scores["q4"], scores["q6"], scores["q1_enums"]) == (1.0, 1.0, 1.0, 1.0)
        assert answers["q4"].endswith("No fit") == (family.name in NO_FIT_FAMILIES)
        values = parse_q5(answers["q5"])
        assert isinstance(values, list) == family.list_answer


def test_labels_are_written_as_they_are_read(training):
    for family, answers in list(zip(training.families, training.answers, strict=True))[:9]:
        again = write_labels(family, *labels_of(family, answers))
        assert labels_of(family, again) == labels_of(family, answers)
        assert score_answers(family, again, answers)["q5"] == 1.0


def made_features(count, seed):
    """Features whose first number is the status and whose second is T1; the rest is noise."""
    rng = np.random.default_rng(seed)
    flat = rng.random(count) < 0.5
    value = rng.uniform(20, 80, count)
    features = rng.normal(size=(count, 6)).astype(np.float32) * 0.05
    features[:, 0] += np.where(flat, 3, -3)
    features[:, 1] += value / 20
    answers = [
        {
            "q1": json.dumps({"plot_type": "scatter", "x_axis": {"scale": "linear"}, "y_axis": {"scale": "linear"}}),
            "q2": f"Classification: {'Apparatus issue' if no else 'Expected behavior'}",
            "q4": f"Assessment: {'Unreliable' if no else 'Reliable'}",
            "q5": json.dumps({"T1_us": "Unreliable" if no else float(v), "decay_visible": not bool(no)}),
            "q6": f"Status: {'NO_SIGNAL' if no else 'SUCCESS'}",
        }
        for no, v in zip(flat, value, strict=True)
    ]
    return features, answers


@pytest.mark.parametrize("method", METHODS.values())
def test_trained_references_learn_what_is_in_the_features(method):
    train, known = made_features(80, 0)
    test, truth = made_features(40, 1)
    told = reference_answers(method, (["t1"] * 80, train, known), (["t1"] * 40, test))
    scores = [score_answers("t1", mine, theirs) for mine, theirs in zip(told, truth, strict=True)]
    assert all(score["q2"] == score["q4"] == score["q6"] == 1.0 for score in scores)
    assert np.mean([score["q5"] for score in scores]) > 0.8


def test_noise_teaches_the_linear_heads_nothing():
    rng = np.random.default_rng(0)
    heads = LinearHeads(rng.normal(size=(60, 400)), rng.normal(size=(200, 400)))
    labels = ["a"] * 45 + ["b"] * 15
    assert heads.choose(labels).count("a") > 150
    values = rng.normal(size=(60, 1))
    assert np.abs(heads.estimate(range(60), values) - values.mean()).mean() < 0.5
    assert (heads.estimate(range(60), np.ones((60, 2))) == 1.0).all()


def test_neighbours_are_the_nearest():
    points = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
    found = NearestNeighbours(points, np.array([[0.1], [5.1]]))
    assert found.choose(["a", "a", "a", "b", "b", "b"]) == ["a", "b"]
    assert found.estimate([0, 3], np.array([[1.0], [3.0]])).tolist() == [[2.0], [2.0]]


def test_a_family_without_training_plots_gets_no_answers():
    features, answers = made_features(10, 0)
    told = reference_answers(LinearHeads, (["t1"] * 10, features, answers), (["gmm"] * 2, features[:2]))
    assert told == [{}, {}]


def test_features_keep_their_image(smoke_backend, benchmark, training):
    model, processor = tiny_model(), tiny_processor(crop_to_patches=True, max_patches=3)
    images = [training.images(at) for at in range(6)]
    features = vision_features(model, processor, images, batch_size=4)
    assert features.shape[0] == 6 and features.dtype == np.float32 and np.isfinite(features).all()
    alone = vision_features(model, processor, images[4:5])
    np.testing.assert_allclose(features[4:5], alone, rtol=1e-3, atol=1e-3)
    single = next(at for at, row in enumerate(images) if len(row) == 1)
    half = features.shape[1] // 2
    assert (features[single, half:] == 0).all() and features[single, :half].std() > 0
    found = trained_answers(smoke_backend, list(benchmark.rows), training)
    assert set(found) == set(METHODS) and all(len(answers) == 9 for answers in found.values())
    assert trained_answers(object(), list(benchmark.rows), training) == {}
