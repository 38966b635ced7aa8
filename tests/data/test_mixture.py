"""Mixtures: shares are what the formula says, every source is met once per turn, and stages train on all of them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from stand_ins import (
    CHARTQA,
    PLOTQA,
    SCIENCEQA,
    chartqa_rows,
    plotqa_rows,
    scienceqa_rows,
    write_mmpr,
    write_table,
)

from riverone_hf.build.recipe import check_stage, recipes_folder
from riverone_hf.build.train_stage import train_stage
from riverone_hf.data import Plan, build_calibration_data
from riverone_hf.data.build_source import SourcePlan, build_source_data
from riverone_hf.data.chartqa import CHARTQA as CHARTQA_KIND
from riverone_hf.data.contamination_folder import decontaminate
from riverone_hf.data.drift_build import build_drift_data
from riverone_hf.data.mixture import Mixture, Part, load_view, mixture_probabilities, mixture_schedule, stored_part
from riverone_hf.data.mmpr import mmpr
from riverone_hf.data.plotqa import PLOTQA as PLOTQA_KIND
from riverone_hf.data.preference_set import SimulatedPairs, preferences_kind
from riverone_hf.data.report import data_report, report_table, write_report
from riverone_hf.data.scienceqa import scienceqa
from riverone_hf.data.source import Origin
from riverone_hf.errors import ContaminationError, RecipeError, SourceError, TrainingDataError

SMOKE, MIXTURE = recipes_folder() / "smoke", recipes_folder() / "mixture"


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> dict[str, Path]:
    """One small built data set of every source."""
    root = tmp_path_factory.mktemp("sources")
    write_table(root / "ChartQA" / "train-0.parquet", chartqa_rows(9), CHARTQA)
    write_table(root / "PlotQA" / "train-0.parquet", plotqa_rows(), PLOTQA)
    write_table(root / "ScienceQA" / "train-0.parquet", scienceqa_rows(), SCIENCEQA)
    write_mmpr(root / "MMPR-v1.2")
    kinds = {"ChartQA": CHARTQA_KIND, "PlotQA": PLOTQA_KIND, "ScienceQA": scienceqa(), "MMPR-v1.2": mmpr()}
    for name, kind in kinds.items():
        build_source_data(SourcePlan(kind, Origin(str(root / name)), 20), root / "built" / kind.name)
    pairs = SimulatedPairs(("t1", "gmm"))
    build_source_data(SourcePlan(preferences_kind(), pairs, 4), root / "built" / "preference")
    build_calibration_data(Plan(12, families=("t1",)), root / "built" / "calibration")
    build_drift_data(8, root / "built" / "drift")
    return {path.name: path for path in (root / "built").iterdir()}


def test_probabilities():
    assert mixture_probabilities([1, 3]) == pytest.approx([0.25, 0.75])
    assert mixture_probabilities([1, 4], temperature=2) == pytest.approx([1 / 3, 2 / 3])
    assert mixture_probabilities([10, 1000], temperature=1e6) == pytest.approx([0.5, 0.5], abs=1e-4)
    assert mixture_probabilities([1, 2], temperature=1e-3) == pytest.approx([0, 1])
    for weights, temperature in (([], 1), ([1, 0], 1), ([1, 1], 0)):
        with pytest.raises(TrainingDataError, match="Expected at least one source, all positive"):
            mixture_probabilities(weights, temperature)


def test_every_prefix_keeps_the_shares():
    shares = mixture_probabilities([5, 3, 1, 1.5])
    order = mixture_schedule(shares, 400)
    for stop in range(1, 401):
        taken = np.bincount(order[:stop], minlength=4)
        assert np.all(np.abs(taken - np.array(shares) * stop) < 1.5)


def test_rows_of_a_source_come_once_a_turn():
    few, many = [{"text": f"few {k}", "only": k} for k in range(3)], [{"text": f"many {k}"} for k in range(50)]
    parts = (Part("few", few.__getitem__, 3, 1.0), Part("many", many.__getitem__, 50, 2.0))
    endless = Part("endless", lambda k: {"text": f"endless {k}"}, None, 1.0)
    mixture = Mixture((*parts, endless), seed=4)
    assert mixture.shares == pytest.approx({"few": 0.25, "many": 0.5, "endless": 0.25})
    rows = [mixture.dataset(48)[k] for k in range(48)]
    assert Counter(row["mixed_from"] for row in rows) == {"few": 12, "many": 24, "endless": 12}
    met = [row["text"] for row in rows if row["mixed_from"] == "few"]
    turns = [met[k : k + 3] for k in range(0, 12, 3)]
    assert all(len(set(turn)) == 3 for turn in turns) and len(set(map(tuple, turns))) > 1
    assert len({row["text"] for row in rows if row["mixed_from"] == "many"}) == 24
    assert [row["text"] for row in rows if row["mixed_from"] == "endless"] == [f"endless {k}" for k in range(12)]
    assert [mixture.dataset(48)[k] for k in (5, 47)] == [rows[5], rows[47]]
    assert set(mixture.dataset(48)[:8]) == {"text", "mixed_from"}


def stage_file(folder: Path, stage: str, sources: dict, **changes) -> Path:
    """The smoke recipe's stage with a mixture."""
    (original,) = SMOKE.glob(f"*_{stage}.yaml")
    content = yaml.safe_load(original.read_text()) | changes
    content["data"] |= {"mixture": {"temperature": 2.0, "sources": sources}, "workers": 0}
    path = folder / original.name
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("base") / "model"
    small = ["tokenizer.plots=20", "image.image_size=64", "families=[t1, gmm]"]
    return train_stage(SMOKE / "0_model.yaml", out, overrides=small, quiet=True)


def test_sft_and_mpo_train_on_every_source(base, sets, tmp_path, monkeypatch):
    """One step each, with every source in its one batch."""
    seen: list[str] = []
    made = Mixture.dataset

    def watched(self, count):
        rows = made(self, count)
        seen.extend(rows[k]["mixed_from"] for k in range(count))
        return rows

    monkeypatch.setattr(Mixture, "dataset", watched)
    # The recipes name their sets data/NAME, where the documented commands put them.
    (tmp_path / "data").symlink_to(sets["chartqa"].parent)
    monkeypatch.chdir(tmp_path)
    once = ["steps=1", "save_steps=1", "log_steps=1", "warmup_steps=0", "data.workers=0"]
    weight = "data.mixture.sources.simulator.weight"
    changes = [*once, "batch_size=12", f"{weight}=6"]
    out = train_stage(MIXTURE / "1_sft.yaml", tmp_path / "sft", str(base), overrides=changes, quiet=True)
    assert set(seen) == {"simulator", "chartqa", "plotqa", "scienceqa", "drift", "calibration"} and len(seen) == 12
    (log,) = json.loads((out / "training.json").read_text()).values()
    assert log[0]["loss"] > 0
    assert json.loads((out / "config.json").read_text())["families"] == ["t1", "gmm"]
    seen.clear()
    changes = [*once, "batch_size=6", f"{weight}=3", "mining.plots=0"]
    out = train_stage(MIXTURE / "2_mpo.yaml", tmp_path / "mpo", str(tmp_path / "sft"), overrides=changes, quiet=True)
    assert set(seen) == {"simulator", "mmpr", "preference", "calibration"}
    (log,) = json.loads((out / "training.json").read_text()).values()
    assert log[0]["loss"] > 0


def test_bad_mixtures_are_refused(base, sets, tmp_path):
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"simulator": {}}, RecipeError, "simulator has no data: it is the simulator, which needs a weight"),
        ({"mmpr": {"data": str(sets["mmpr"])}}, TrainingDataError, "source mmpr: .* has no rows of the view sft_zero"),
        ({"x": {"data": str(sets["mmpr"]), "weight": 0}}, RecipeError, "weight"),
        ({}, RecipeError, "at least 1"),
    ]
    for number, (sources, error, said) in enumerate(cases):
        with pytest.raises(error, match=said):
            train_stage(stage_file(tmp_path, "sft", sources), tmp_path / f"no-{number}", str(base), quiet=True)
        assert not list(tmp_path.glob("no-*")), "nothing is begun"
    with pytest.raises(RecipeError, match="expected no mixture"):
        check_stage(stage_file(tmp_path, "warmup", {"simulator": {"weight": 1}}))


def test_rows_that_repeat_a_benchmark_are_refused(sets, tmp_path):
    benchmark = tmp_path / "benchmark"
    benchmark.mkdir()
    row = load_view(str(sets["chartqa"]), "sft_zero_shot")[3]
    row["images"][0].save(benchmark / "figure.png")
    try:
        report = decontaminate(sets["chartqa"], [benchmark])
        assert [flag["id"] for flag in report["flagged"]] == [row["id"]]
        with pytest.raises(ContaminationError, match="1 rows repeat the benchmark"):
            stored_part("chartqa", str(sets["chartqa"]), "sft_zero_shot")
        assert stored_part("chartqa", str(sets["chartqa"]), "sft_zero_shot", allow_contaminated=True).size == 6
        assert data_report([sets["chartqa"]])["data_sets"][0]["flagged"] == 1
    finally:
        (sets["chartqa"] / "contamination.json").unlink()


def test_report(sets, tmp_path):
    folders = [sets[name] for name in ("calibration", "chartqa", "mmpr")]
    report = data_report(folders)
    chartqa = report["data_sets"][1]
    assert chartqa["rejects"] == {"broken_image": 1, "empty_answer": 1, "duplicate": 1}
    (config,) = chartqa["configs"]
    assert (config["rows"], config["images"], config["answer_tokens"]) == (6, 6, 6)
    assert config["question_tokens"] == 6 * 18 and chartqa["licences"] == {"gpl-3.0": 6}
    assert report["total"]["licences"]["mit"] == 2 and "cc-by-4.0" in report["total"]["licences"]
    table = report_table(report)
    assert (
        "| chartqa | sft_zero_shot | train | 6 | 6 | 108 | 6 | gpl-3.0 | 3 |" in table
        and "mmpr: same_answers 1" in table
    )
    write_report(report, tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text()) == report
    drift = data_report([sets["drift"]])
    assert {config["config"] for config in drift["data_sets"][0]["configs"]} == {"sft_zero_shot"}
    assert drift["total"]["rows"] == 8
    with pytest.raises(SourceError, match="no tables of configs"):
        data_report([tmp_path])
