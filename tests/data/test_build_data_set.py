"""The built folder: readable by `datasets` and TRL's columns, splits apart, and honest about itself."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard
from PIL import Image

from riverone_hf.data import SPLITS, VIEWS, Plan, build_calibration_data, view_features
from riverone_hf.questions import QUESTIONS, parse_q2, parse_q6, write_answers
from tiny import tiny_processor


@pytest.fixture
def load(built: Path, tmp_path: Path):
    return lambda *words, **options: load_dataset(str(built), *words, cache_dir=str(tmp_path / "cache"), **options)


@pytest.mark.parametrize("view", VIEWS[:3])
def test_training_views_load_offline(load, plan, view):
    data = load(view)
    assert set(data) == set(SPLITS)
    assert data["train"].features == view_features(view)
    if view != "sft_icl":
        assert {split: len(rows) for split, rows in data.items()} == {split: plan.count(split) for split in SPLITS}
    for row in data["train"]:
        messages = row["messages"] if "messages" in row else row["prompt"]
        parts = [part for message in messages for part in message["content"]]
        assert sum(part["type"] == "image" for part in parts) == len(row["images"]) > 0
        assert all((part["text"] is None) == (part["type"] == "image") for part in parts)
        assert all(isinstance(image, Image.Image) for image in row["images"])


def test_trl_collates_the_rows_as_they_are(load):
    from trl.trainer.dpo_trainer import DataCollatorForVisionPreference
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    processor = tiny_processor()
    for view, collator in (
        ("sft_zero_shot", DataCollatorForVisionLanguageModeling(processor)),
        ("sft_icl", DataCollatorForVisionLanguageModeling(processor)),
        ("preference", DataCollatorForVisionPreference(processor)),
    ):
        rows = load(view, split="train").select(range(2))
        batch = collator(list(rows))
        copies = 2 if view == "preference" else 1
        assert len(batch["input_ids"]) == 2 * copies
        assert len(batch["pixel_values"]) == copies * sum(len(row["images"]) for row in rows)


def test_default_config_is_qcaleval(load, plan):
    data = load()
    assert set(data) == {"test"} and len(data["test"]) == plan.count("test")
    for k, row in enumerate(data["test"]):
        want = plan.row("test", k)
        assert row["id"] == want.id and row["image_ids"] == want.image_ids and len(row["images"]) == len(want.figures)
        assert {name: row[f"{name}_answer"] for name in QUESTIONS} == {
            name: write_answers(want.truth)[name] for name in QUESTIONS
        }
        assert row["q1_key_points"] and all(row["q1_key_points"]) and len(row["q3_key_points"]) == 3
        assert all("<image>" in row[f"{name}_prompt"] for name in QUESTIONS)


def test_streaming_gives_the_same_rows(load):
    stored = load("sft_icl", split="train")
    streamed = load("sft_icl", split="train", streaming=True)
    assert [row["id"] for row in streamed] == stored["id"] and len(stored) > 3


def test_image_ids_are_unique_and_fewshot_prompts_use_them_up(load):
    rows = load()["test"]
    known = [name for names in rows["image_ids"] for name in names]
    assert len(known) == len(set(known))
    for row in load("qcaleval_fewshot")["test"]:
        marks = sum(row[f"{question}_prompt"].count("<image>") for question in ("q3", "q5", "q6"))
        assert marks == len(row["image_ids"]) and set(row["image_ids"]) <= set(known)
        assert row["source_id"] in rows["id"]


def test_official_file_names_and_embedded_images(built):
    assert (built / "test-00000-of-00001.parquet").is_file() and (built / "fewshot-00000-of-00001.parquet").is_file()
    for path in built.rglob("*.parquet"):
        table = pq.read_table(path)
        if "images" in table.column_names:
            images = [image for row in table.column("images").to_pylist() for image in row]
            assert all(image["bytes"].startswith(b"\x89PNG") for image in images)
    assert not list(built.rglob("*tmp*")) and not (built / ".building").exists()


def test_experiment_config(built, plan):
    config = json.loads((built / "experiment_config.json").read_text())
    assert set(config) == set(plan.families)
    assert config["t1"]["q6_status_mapping"]["t1_success"] == "SUCCESS"
    assert config["t1"]["q5_scoring"]["T1_us"] == {"type": "pct", "tol_full": 0.05, "tol_half": 0.1}
    assert {kind for family in config.values() for kind in family["q6_status_mapping"]} == {
        kind for _, kind in plan.scenarios
    }


def test_preference_rows_are_right_and_wrong_answers(load, plan):
    for k, row in enumerate(load("preference")["train"]):
        chosen, rejected = (row[name][0]["content"][0]["text"] for name in ("chosen", "rejected"))
        assert chosen in write_answers(plan.row("train", k).truth).values() and chosen != rejected
        if parse_q2(chosen):
            assert parse_q2(rejected) not in (None, parse_q2(chosen))
        if parse_q6(chosen, row["family"]).status:
            assert parse_q6(rejected, row["family"]).status


def test_card_and_sheets(built, plan):
    card = DatasetCard.load(built / "README.md")
    assert card.data.license == "cc-by-4.0"
    assert [config["config_name"] for config in card.data.configs if config.get("default")] == ["qcaleval"]
    assert "48 simulated calibration plots" in card.text and "| t1 |" in card.text and "{" not in card.text
    for family in plan.families:
        assert Image.open(built / "sheets" / f"{family}.png").size[0] > 300


def test_splits_and_types():
    plan = Plan(900, seed=4)
    seeds = {split: {plan.plot(split, k).seed for k in range(60)} for split in SPLITS}
    assert sum(map(len, seeds.values())) == len(set.union(*seeds.values())) == 180
    shown = {plan.plot("train", k).truth.experiment_type for k in range(len(plan.scenarios))}
    assert shown == {kind for _, kind in plan.scenarios}


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_tiny_sets_still_load(tmp_path, rows):
    plan = Plan(rows, families=("t1",))
    assert sum(plan.count(split) for split in SPLITS) == rows and plan.count("test") == 1
    build_calibration_data(plan, tmp_path / "set")
    data = load_dataset(str(tmp_path / "set"), "sft_zero_shot", cache_dir=str(tmp_path / "cache"))
    assert {split: len(part) for split, part in data.items()} == {
        split: plan.count(split) for split in SPLITS if plan.count(split)
    }
