"""The model inside the package: whole, small, of today's code, and better than a look at nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from safetensors import safe_open

import riverone_hf.model
from riverone_hf.calibration import SUPPORTED_FAMILIES
from riverone_hf.data import PlotSource
from riverone_hf.errors import ModelFolderError
from riverone_hf.evaluate import evaluate_answers, model_answers
from riverone_hf.hub.card import is_smoke
from riverone_hf.questions import write_answers
from riverone_hf.reader import PlotReader, embedded
from riverone_hf.reader.loading import check_folder, load_model

PLOTS = 88


def test_folder_is_whole_small_and_not_smoke():
    folder = embedded.embedded_model()
    check_folder(folder)
    assert not is_smoke(folder)
    weights = folder / "model.safetensors"
    assert weights.stat().st_size <= 12e6
    with safe_open(weights, "pt") as tensors:
        assert {tensors.get_slice(name).get_dtype() for name in tensors.keys()} == {"BF16"}  # noqa: SIM118
    assert set(json.loads((folder / "config.json").read_text())["families"]) <= set(SUPPORTED_FAMILIES)


def test_its_numbers_are_the_published_ones():
    published = json.loads((Path(__file__).parents[2] / "results" / "base.json").read_text())
    assert json.loads((embedded.embedded_model() / "metrics.json").read_text()) == published


def test_code_beside_it_is_todays():
    """Whoever loads it with transformers alone runs what we test."""
    folder, room = embedded.embedded_model(), Path(riverone_hf.model.__file__).parent
    codes = sorted(folder.glob("*.py"))
    assert codes
    for path in codes:
        assert path.read_text() == (room / path.name).read_text(), f"{path.name} is stale: save the model again"


def test_answers_beat_those_to_blank_images():
    from riverone_hf.reader.generate import Answerer

    model, processor = load_model("embedded", device="cpu")
    source = PlotSource(tuple(model.config.families), seed=11, split="test")
    rows = [source.row(index) for index in range(PLOTS)]
    names, images = [row["family"] for row in rows], [row["images"] for row in rows]
    truths = [write_answers(source.plot(index).truth) for index in range(PLOTS)]
    blank = [[Image.new("RGB", (128, 128), "white")] * len(plot) for plot in images]
    answerer, asked = Answerer(model, processor), ("q2", "q4", "q6")
    seen, unseen = (
        evaluate_answers(names, model_answers(answerer, names, shown, asked, 24), truths)["scores"]
        for shown in (images, blank)
    )
    for question in asked:
        assert seen[question] > unseen[question] + 15, f"{question}: {seen[question]} against {unseen[question]}"


def test_reads_when_no_model_is_named():
    figure = PlotSource(("rabi",), seed=11, split="test").row(0)["images"][0]
    verdict = PlotReader.from_pretrained("embedded", device="cpu", threshold=0.0).read(figure)
    assert verdict.error is None and verdict.outcome and verdict.status
    assert verdict.provenance.model == "embedded"


def test_a_copy_without_it_names_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(embedded, "__file__", str(tmp_path / "a" / "b" / "c" / "embedded.py"))
    monkeypatch.setattr(embedded.resources, "files", lambda package: tmp_path)
    with pytest.raises(ModelFolderError, match="Remedy: install it again"):
        embedded.embedded_model()
