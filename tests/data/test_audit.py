"""The audit finds what it is meant to find: leaks, twins, unreadable numbers and rows that were changed."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from riverone_hf.cli import app
from riverone_hf.data import Plan, audit_folder, audit_plan, audit_table
from riverone_hf.data.audit_fit import recoverability
from riverone_hf.data.audit_labels import balance, blind_baselines, text_statistics
from riverone_hf.data.audit_pixels import difference_hash, duplicates, linear_probe, pixel_digest, tiny_pixels
from riverone_hf.errors import BuildError


def test_linear_probe_finds_a_leak_and_only_a_leak():
    rng = np.random.default_rng(0)
    labels = ["a" if value else "b" for value in rng.random(300) < 0.5]
    noise = rng.normal(size=(300, 784))
    leak = noise.copy()
    leak[:, :40] += [[1.0] if label == "a" else [-1.0] for label in labels]
    blind = linear_probe(noise[:200], labels[:200], noise[200:], labels[200:])
    assert linear_probe(leak[:200], labels[:200], leak[200:], labels[200:]) > 0.9 > 0.7 > blind
    assert linear_probe(leak[:0], [], leak, labels) is None


def test_twins_are_counted():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 40, 60, 3), dtype=np.uint8)
    images = [Image.fromarray(item) for item in pixels]
    near = pixels[1].copy()
    near[0, 0] ^= 1
    images += [images[0].copy(), Image.fromarray(near)]
    hashes = np.stack([difference_hash(image) for image in images])
    found = duplicates(hashes, [pixel_digest(image) for image in images], ["train"] * 5 + ["test"])
    assert (found["identical"], found["identical_across_splits"]) == (1, 0)
    assert (found["near"], found["near_across_splits"]) == (4, 2)
    assert tiny_pixels(images[0]).shape == (784,) and tiny_pixels(images[0]).min() >= 0


def test_recoverability_is_high_for_true_values_and_low_for_wrong_ones():
    plan = Plan(600, seed=2, families=("t1", "rabi", "ramsey_t2star"))
    rows = [plan.row("train", k) for k in range(160)]
    good = recoverability(rows)
    assert set(good) == {"t1.T1_us", "rabi.periods_visible", "ramsey_t2star.T2_star_us", "ramsey_t2star.detuning_MHz"}
    for name, found in good.items():
        assert found["n"] >= 5 and found["within"] >= 0.85, (name, found)

    def wrong(row):
        parameters = {
            name: value * 1.3 + 0.7 if isinstance(value, float) else value
            for name, value in row.truth.parameters.items()
        }
        return dataclasses.replace(row, truth=dataclasses.replace(row.truth, parameters=parameters))

    assert all(found["within"] == 0 for found in recoverability([wrong(row) for row in rows]).values())


def test_blind_baselines_and_balance():
    plan = Plan(200, families=("t1", "drag"))
    truths = [plan.row("train", k).truth for k in range(45)]
    scores = blind_baselines(truths, truths)
    assert scores["q6"]["family_rule"] > scores["q6"]["majority"] > 0
    assert sum(balance(truths)["t1"]["q6"].values()) == sum(truth.family == "t1" for truth in truths)
    successes = [truth for truth in truths if truth.experiment_type == "t1_success"]
    assert blind_baselines(successes, successes)["q2"]["majority"] == 1.0
    assert blind_baselines(truths, [])["q2"]["majority"] is None


def test_text_over_the_limit_is_counted(plan):
    truth = plan.row("train", 0).truth
    texts = text_statistics([truth])
    assert all(row["over"] == 0 and row["longest"] > 0 for row in texts["limits"].values())
    assert texts["answers"]["q2"]["distinct"] == 1


def test_fresh_plots(plan):
    report = audit_plan(plan)
    assert report["plots"] == {"train": 38, "validation": 5, "test": 5}
    assert report["duplicates"]["identical"] == 0
    json.dumps(report)
    table = audit_table(report)
    assert "family rule" in table and "t1.T1_us" in table and max(map(len, table.splitlines())) <= 120


def test_folder_agrees_with_the_simulator_until_a_row_is_changed(built, tmp_path):
    assert audit_folder(built)["stored"] == {"rows": 48, "differing": 0}
    assert audit_folder(built, rows=4)["stored"]["rows"] == 12
    copy = tmp_path / "copy"
    shutil.copytree(built, copy)
    path = copy / "sft_zero_shot" / "test-00000-of-00001.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[0]["messages"][1]["content"][0]["text"] = "Experiment: pong"
    pq.write_table(type(table).from_pylist(rows, schema=table.schema), path)
    assert audit_folder(copy)["stored"]["differing"] == 1


def test_folders_that_cannot_be_audited(built, tmp_path):
    with pytest.raises(BuildError, match=r"no readable build\.json"):
        audit_folder(tmp_path)
    stated = json.loads((built / "build.json").read_text())
    (tmp_path / "build.json").write_text(json.dumps(stated))
    with pytest.raises(BuildError, match="not finished"):
        audit_folder(tmp_path)
    (tmp_path / "build.json").write_text(json.dumps(stated | {"data_version": "0"}))
    with pytest.raises(BuildError, match="data version 0"):
        audit_folder(tmp_path)
    with pytest.raises(BuildError, match="got 0 rows"):
        audit_folder(built, rows=0)


def test_command_line(built, tmp_path):
    done = CliRunner().invoke(app, ["data", "audit", str(built), "--out", str(tmp_path / "a" / "audit.json")])
    assert done.exit_code == 0 and "stored rows that differ from the simulator: 0 of 48" in done.stdout
    assert json.loads((tmp_path / "a" / "audit.json").read_text())["plan"]["rows"] == 48
    bad = CliRunner().invoke(app, ["data", "audit", str(tmp_path)])
    assert bad.exit_code == 2 and bad.stderr.startswith("error: ")
