from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from riverone_hf.errors import FigureError, QuestionError
from riverone_hf.questions import ASSESSMENTS, FAMILIES, OUTCOMES
from riverone_hf.reader import PlotReader, Row
from tiny import tiny_config, tiny_model, tiny_processor


@pytest.mark.parametrize("family", ["rabi", "gmm", "ramsey_t2star", "t1_fluctuations", "rydberg_spectroscopy"])
def test_labels_are_always_legal_even_from_random_weights(reader, make_figure, family: str) -> None:
    images = [make_figure(n) for n in range(FAMILIES[family].n_images)]
    verdict = reader.read(images, family=family)
    assert verdict.family == family and "family" not in verdict.confidence
    assert verdict.outcome in OUTCOMES and verdict.fit_reliability in ASSESSMENTS
    assert verdict.status in FAMILIES[family].statuses
    assert verdict.next_action == FAMILIES[family].next_actions[verdict.status]
    assert verdict.provenance.model == "tiny" and verdict.provenance.prompt_form == "short"
    json.loads(verdict.model_dump_json())


def test_an_unnamed_family_is_identified(reader, make_figure) -> None:
    verdict = reader.read(make_figure())
    assert verdict.family in FAMILIES and 0.0 < verdict.confidence["family"] <= 1.0
    pair = reader.read([make_figure(), make_figure(1)])
    assert FAMILIES[pair.family].n_images == 2


def test_the_search_can_be_narrowed_to_known_families(model, processor, make_figure) -> None:
    narrow = PlotReader(model, processor, families=["drag"], threshold=0.0, budgets={"q1": 1, "q3": 1, "q5": 1})
    assert narrow.read(make_figure()).family == "drag"
    with pytest.raises(QuestionError, match="unknown family"):
        PlotReader(model, processor, families=["cheese"])


def test_many_equals_one_by_one_in_order(reader, make_figure) -> None:
    rows = [
        Row(make_figure(0, (40, 40)), "rabi", "a"),
        Row(make_figure(1, (90, 60)), None, "b"),
        Row([make_figure(2), make_figure(3)], "ramsey_t2star", "c"),
        Row(make_figure(4), "t1", "d"),
        Row(make_figure(5), "drag", "e"),
    ]
    together = list(reader.read_many(rows, batch_size=3))
    assert [verdict.source for verdict in together] == ["a", "b", "c", "d", "e"]
    for row, verdict in zip(rows, together, strict=True):
        alone = reader.read(row.images, row.family, row.source)
        assert alone.model_dump(exclude={"confidence"}) == verdict.model_dump(exclude={"confidence"})
        assert alone.confidence == pytest.approx(verdict.confidence, abs=2e-4)


def test_failed_figures_stand_in_place_among_the_others(reader, make_figure, tmp_path: Path) -> None:
    good = tmp_path / "<image> [1].png"
    make_figure().save(good)
    rows = [tmp_path / "no.png", good, Row(good, family="cheese"), [good] * 9, b"", good]
    verdicts = list(reader.read_many(rows, batch_size=4))
    assert [bool(verdict.error) for verdict in verdicts] == [True, False, True, True, True, False]
    assert verdicts[0].source == str(tmp_path / "no.png") and "no such file" in verdicts[0].error
    assert verdicts[1].source == str(good) and "<image>" in verdicts[1].source
    assert "unknown family" in verdicts[2].error and "9 images" in verdicts[3].error
    assert verdicts[0].outcome is None and verdicts[0].provenance.model == "tiny"
    assert next(reader.read_many([tmp_path / "no.png"])).error
    assert list(reader.read_many([])) == []


def test_read_raises_for_figures_and_families(reader, make_figure, tmp_path: Path) -> None:
    with pytest.raises(FigureError, match="no such file"):
        reader.read(tmp_path / "no.png")
    with pytest.raises(FigureError, match="0 images"):
        reader.read([])
    with pytest.raises(QuestionError, match="unknown family 'cheese'"):
        reader.read(make_figure(), family="cheese")


def test_threshold_one_abstains_and_bad_arguments_are_refused(model, processor, make_figure) -> None:
    strict = PlotReader(model, processor, threshold=1.0, budgets={q: 2 for q in ("q1", "q3", "q5", "q6")})
    verdict = strict.read(make_figure())
    kept = {"family": verdict.family, "outcome": verdict.outcome, "fit_reliability": verdict.fit_reliability}
    for field, value in kept.items():
        assert (value is None) == (field in {item.field for item in verdict.abstained})
        assert (value is None) or verdict.confidence[field] == 1.0
    with pytest.raises(QuestionError, match="threshold"):
        PlotReader(model, processor, threshold=1.5)
    with pytest.raises(QuestionError, match="prompt form"):
        PlotReader(model, processor, prompt_form="medium")  # type: ignore[arg-type]


def test_full_form_is_asked_and_named(model, processor, make_figure, monkeypatch) -> None:
    full = PlotReader(model, processor, prompt_form="full", threshold=0.0, budgets={q: 2 for q in ("q1", "q3", "q5")})
    texts = []
    real = full._answerer.answer
    monkeypatch.setattr(full._answerer, "answer", lambda i, a: texts.extend(x.prompt for x in a) or real(i, a))
    verdict = full.read(make_figure(), family="t1")
    assert verdict.provenance.prompt_form == "full" and verdict.status in FAMILIES["t1"].statuses
    assert len(texts) == 6 and FAMILIES["t1"].background in texts[1]


def test_model_is_only_asked_about_families_it_was_trained_on():
    model, processor = tiny_model(tiny_config(families=["t1", "gmm"])), tiny_processor()
    reader = PlotReader(model, processor)
    assert reader.families == ("t1", "gmm")
    assert reader.read(Image.new("RGB", (64, 48), "white")).family in ("t1", "gmm")
    with pytest.raises(QuestionError, match=r"not trained on family 'rabi'. It knows: t1, gmm"):
        reader.read(Image.new("RGB", (64, 48), "white"), family="rabi")
