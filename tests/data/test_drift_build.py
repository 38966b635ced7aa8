"""The drift data set: split by time and device, answers that raw rows confirm, same bytes, nothing half-written."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from PIL import Image

import riverone_hf
from riverone_hf.data.drift_build import build_drift_data
from riverone_hf.data.drift_columns import PROPERTIES
from riverone_hf.data.drift_frame import DriftTable, clean
from riverone_hf.data.drift_synthetic import synthetic_frame
from riverone_hf.data.drift_windows import DriftPlan, Window, choose, periods
from riverone_hf.errors import BuildError, DriftError

ROWS, SHARD = 40, 16
SPLITS = ("train", "validation", "test")


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return synthetic_frame(days=110, qubits=2, seed=2)[0]


@pytest.fixture(scope="module")
def table(frame: pd.DataFrame) -> DriftTable:
    return clean([frame])


@pytest.fixture(scope="module")
def source(frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("public") / "drift"
    folder.mkdir()
    frame.to_parquet(folder / "train-00000-of-00001.parquet")
    return folder


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("drift") / "set"
    build_drift_data(ROWS, out, str(source), shard_rows=SHARD)
    return out


def read(folder: Path, view: str, split: str) -> list[dict]:
    return [row for path in sorted((folder / view).glob(f"{split}-*")) for row in pq.read_table(path).to_pylist()]


def test_splits_share_neither_device_nor_day(built: Path):
    spans = {}
    for split in SPLITS:
        rows = read(built, "truth", split)
        start = np.array([row["start"] for row in rows], dtype="datetime64[D]")
        end = start + np.array([row["days"] for row in rows])
        spans[split] = (start.min(), end.max(), {row["backend"] for row in rows})
    assert spans["train"][1] <= spans["validation"][0] and spans["validation"][1] <= spans["test"][0]
    devices = [spans[split][2] for split in SPLITS]
    assert sum(map(len, devices)) == len(set.union(*devices)) == 4
    assert {len(read(built, "sft_zero_shot", split)) for split in SPLITS} == {32, 4}


def test_datasets_loads_both_configs(built: Path):
    sets = load_dataset(str(built), "sft_zero_shot")
    assert {split: len(rows) for split, rows in sets.items()} == {"train": 32, "validation": 4, "test": 4}
    row = sets["train"][0]
    assert list(row) == ["id", "family", "experiment_type", "images", "messages", "source", "licence"]
    assert row["family"] == "drift" and row["source"] == "drift" and row["licence"] == "cc-by-4.0"
    assert row["images"][0].size[0] >= 300
    assert [part["type"] for part in row["messages"][0]["content"]] == ["image", "text"]
    assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"] * (len(row["messages"]) // 2)
    truth = load_dataset(str(built), "truth", split="train")
    asked = [item for item in truth if item["id"] == row["id"]]
    assert [item["answer"] for item in asked] == [turn["content"][0]["text"] for turn in row["messages"][1::2]]


def test_answers_are_those_of_the_raw_rows(built: Path, frame: pd.DataFrame):
    good = frame[~frame["is_failure_ceiling"] & frame["is_new_measurement"]]
    times = pd.to_datetime(good["calibrated_time"].str.removesuffix(" UTC"), utc=True)
    checked = 0
    for item in read(built, "truth", "train") + read(built, "truth", "test"):
        if item["layout"] != "curve" or item["kind"] not in ("typical", "extremes"):
            continue
        start = pd.Timestamp(item["start"], tz="UTC")
        here = (times >= start) & (times < start + pd.Timedelta(days=item["days"]))
        here &= (good["backend"] == item["backend"]) & (good["property"] == item["property"])
        here &= (good["qubit_a"] == item["qubit_a"]) & (good["qubit_b"].fillna(-1) == item["qubit_b"])
        raw = good.loc[here, "value"] * (1e6 if item["property"] in ("T1", "T2") else 100)
        values = json.loads(item["values"])
        if item["kind"] == "typical":
            assert values["n"] == len(raw) >= 10
            assert values["median"] == pytest.approx(raw.median()) and values["std"] == pytest.approx(raw.std())
        else:
            assert values["lowest"] == pytest.approx(raw.min())
            day = (times[raw.idxmax()] - start) / pd.Timedelta(days=1)
            assert values["highest_day"] == pytest.approx(day)
            assert f"on day {day:.1f}." in item["answer"]
        checked += 1
    assert checked > 30


def test_all_questions_and_types_come(built: Path):
    found = json.loads((built / "statistics.json").read_text())
    kinds = {"extremes", "typical", "trend", "stability", "change", "driver", "count", "relation"}
    assert set(found["questions"]) == kinds and found["rows"] == ROWS
    assert set(found["types"]) == {item.experiment_type for item in PROPERTIES.values()} | {"drift_environment"}
    assert found["rejects"]["failure ceiling"] > 0 and found["rejects"]["repeated snapshot"] > 1000
    assert found["labels"]["trend"].keys() == {"rising", "falling", "none"}


def test_card_states_rules_licence_and_split(built: Path):
    from huggingface_hub import DatasetCard

    card = DatasetCard.load(built / "README.md")
    assert card.data.license == "cc-by-4.0"
    assert [config["config_name"] for config in card.data.to_dict()["configs"]] == ["sft_zero_shot", "truth"]
    for words in ("Holm", "Mann-Kendall", "No two splits share a device or a day", "failure ceiling", "CC BY 4.0"):
        assert words in card.text
    assert "SN" not in card.text.partition("Environment:")[2].partition("\n")[0]
    with Image.open(built / "sheets" / "sft_zero_shot.png") as sheet:
        assert sheet.width > 1000 and len(set(sheet.convert("L").resize((60, 40)).tobytes())) > 20


def test_same_table_same_bytes_and_sunspots_are_another_data_set(built: Path, source: Path, tmp_path: Path):
    build_drift_data(ROWS, tmp_path / "again", str(source), shard_rows=SHARD)
    assert digests(tmp_path / "again") == digests(built)
    build_drift_data(8, tmp_path / "sn", str(source), sunspots=True)
    assert read(tmp_path / "sn", "sft_zero_shot", "test")[0]["licence"] == "cc-by-nc-4.0"
    assert "license: cc-by-nc-4.0" in (tmp_path / "sn" / "README.md").read_text()


def test_full_disk_then_the_rest_is_built(built: Path, source: Path, tmp_path: Path, monkeypatch):
    out, real, count = tmp_path / "set", pq.write_table, [0]

    def write_table(table, where, **options):
        count[0] += 1
        if count[0] > 3:
            Path(where).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", str(where))
        real(table, where, **options)

    monkeypatch.setattr(pq, "write_table", write_table)
    with pytest.raises(BuildError, match=r"No space left on device.*run the same command again"):
        build_drift_data(ROWS, out, str(source), shard_rows=SHARD)
    assert [path.name for path in out.glob(".building/*-*")] == ["train-00000"]
    assert not (out / "README.md").exists()
    told: list[int] = []
    written: list[str] = []

    def spy(table, where, **options):
        written.append(Path(where).parent.name)
        real(table, where, **options)

    monkeypatch.setattr(pq, "write_table", spy)
    build_drift_data(ROWS, out, str(source), advance=told.append, shard_rows=SHARD)
    assert sum(told) == ROWS and digests(out) == digests(built)
    assert not [name for name in written if "train-00000" in name] and len(written) == 6


def test_a_killed_build_goes_on_to_the_same_data(built: Path, source: Path, tmp_path: Path):
    out = tmp_path / "set"
    code = (
        "from pathlib import Path; from riverone_hf.data.drift_build import build_drift_data\n"
        f"build_drift_data({ROWS}, Path({str(out)!r}), {str(source)!r}, shard_rows={SHARD})"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(riverone_hf.__file__).parents[1])}
    child = subprocess.Popen([sys.executable, "-c", code], env=environment)
    deadline = time.monotonic() + 60
    while not list(out.glob(".building/train-*")) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL and not (out / "README.md").exists()
    first = out / ".building" / "train-00000" / "stats.json"
    before = first.stat().st_mtime_ns
    kept = []

    def look(done: int) -> None:
        kept.append(first.stat().st_mtime_ns)

    build_drift_data(ROWS, out, str(source), advance=look, shard_rows=SHARD)
    assert kept and set(kept) == {before} and digests(out) == digests(built)


def test_sets_of_one_folder_name_are_told_apart(source: Path, tmp_path: Path):
    """`datasets` caches a folder by its last name and its card's configs."""
    for rows in (8, 12):
        build_drift_data(rows, tmp_path / str(rows) / "same", str(source))
        loaded = load_dataset(str(tmp_path / str(rows) / "same"), "sft_zero_shot", cache_dir=str(tmp_path / "cache"))
        assert sum(loaded.num_rows.values()) == rows


def test_a_finished_build_is_left_alone_and_others_are_refused(built: Path, source: Path):
    before = {path: path.stat().st_mtime_ns for path in built.rglob("*")}
    found = build_drift_data(ROWS, built, str(source), shard_rows=SHARD)
    assert found["rows"] == ROWS and {path: path.stat().st_mtime_ns for path in built.rglob("*")} == before
    with pytest.raises(BuildError, match="seed 0 instead of 3"):
        build_drift_data(ROWS, built, str(source), seed=3, shard_rows=SHARD)


def test_bad_tables_write_nothing(frame: pd.DataFrame, tmp_path: Path):
    frame.drop(columns=["kp_index", "unit"]).to_parquet(tmp_path / "bad.parquet")
    with pytest.raises(DriftError, match="lacks 2 of 19 needed columns: unit, kp_index"):
        build_drift_data(ROWS, tmp_path / "out", str(tmp_path / "bad.parquet"))
    with pytest.raises(DriftError, match="got 2 rows"):
        build_drift_data(2, tmp_path / "out", str(tmp_path / "bad.parquet"))
    frame.to_parquet(tmp_path / "good.parquet")
    with pytest.raises(DriftError, match=r"split train was to have 8000 rows, .*Remedy: fewer --rows"):
        build_drift_data(10_000, tmp_path / "out", str(tmp_path / "good.parquet"))
    assert not (tmp_path / "out").exists()


def test_devices_and_time_must_suffice(table: DriftTable):
    one = {key: value for key, value in table.series.items() if key[0] == "ibm_fez"}
    with pytest.raises(DriftError, match=r"one device \(ibm_fez\)"):
        periods(DriftTable(one, {}, table.first_day, table.days, 1, {}), 0)
    with pytest.raises(DriftError, match=r"spans 41 days\. Expected at least 42"):
        periods(DriftTable(table.series, {}, table.first_day, 41, 1, {}), 0)
    two = {key: value for key, value in table.series.items() if key[0] in ("ibm_fez", "ibm_torino")}
    found = periods(DriftTable(two, {}, 0, 100, 1, {}), 0)
    assert list(found) == ["train", "test"] and found["train"][2] == found["test"][1] == 70
    cut = {
        key: value if key[0] != found["test"][0][0] else (value[0][:20], value[1][:20]) for key, value in two.items()
    }
    other = periods(DriftTable(cut, {}, table.first_day, table.days, 1, {}), 0)
    assert other["test"][0] == found["train"][0], "a device without recent data is not held out"
    short = periods(DriftTable(table.series, {}, 0, 60, 1, {}), 0)
    assert [short[split][1:] for split in SPLITS] == [(0, 32), (32, 46), (46, 60)]


def test_windows_are_balanced_and_repeatable(table: DriftTable):
    plan = DriftPlan(100, "x", "y")
    chosen = choose(plan, table)
    assert chosen == choose(plan, table) and chosen != choose(DriftPlan(100, "x", "y", seed=1), table)
    train = chosen["train"]
    assert len(train) == 80 and len({window.id for window in train}) == 80
    assert sum(window.layout != "curve" for window in train) == 24
    trends = [window.curve(table).trend for window in train if window.layout == "curve"]
    assert min(trends.count(trend) for trend in ("rising", "falling", "none")) >= 8


def test_a_figure_is_drawn_the_same_and_stays_readable(table: DriftTable):
    from riverone_hf.data.drift_draw import draw

    key = next(key for key in table.series if key[1] == "T1")
    for layout, days in (("curve", 14), ("lags", 30), ("properties", 30)):
        own = key if layout != "properties" else (key[0], "", *key[2:])
        window = Window(layout, own, table.first_day, days)
        pixels = [draw(window, table, False, np.random.default_rng(7)) for _ in range(2)]
        assert pixels[0].tobytes() == pixels[1].tobytes()
        assert pixels[0].tobytes() != draw(window, table, False, np.random.default_rng(8)).tobytes()
        assert 300 <= pixels[0].width <= 1000 and 250 <= pixels[0].height <= 750


def test_synthetic_default_is_fast_enough(tmp_path: Path):
    began = time.process_time()
    found = build_drift_data(60, tmp_path / "set")
    seconds = time.process_time() - began
    asked = sum(found["questions"].values())
    # 2,000 questions are to take less than two minutes; the fixed cost of the table is counted in full.
    assert seconds / asked * 2000 < 120 and found["source"] == "synthetic"
    row = read(tmp_path / "set", "sft_zero_shot", "train")[0]
    with Image.open(io.BytesIO(row["images"][0]["bytes"])) as image:
        assert image.mode == "RGB"
    assert "No number in it was measured" in (tmp_path / "set" / "README.md").read_text()
