"""Data sets in QCalEval's layout: what is read, whose tolerances count, and one line for every damaged one."""

from __future__ import annotations

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from riverone_hf.errors import EvaluationError
from riverone_hf.evaluate import load_benchmark
from riverone_hf.evaluate.benchmark import CONFIG
from riverone_hf.questions import QUESTIONS


@pytest.fixture
def copy(qcaleval, tmp_path):
    for name in (CONFIG, "test-00000-of-00001.parquet", "fewshot-00000-of-00001.parquet"):
        shutil.copy(qcaleval / name, tmp_path / name)
    return tmp_path


def test_rows_are_read(benchmark):
    assert len(benchmark.rows) == 9 and {row.family for row in benchmark.rows} == {"t1", "ramsey_t2star"}
    row = benchmark.rows[0]
    assert set(row.prompts) == set(row.answers) == set(QUESTIONS) and "<image>" in row.prompts["q2"]
    assert row.images[0].data.startswith(b"\x89PNG") and len(row.key_points["q3"]) == 3
    assert benchmark.row(row.id) is row and benchmark.row("other") is None
    assert benchmark.plan["seed"] == 5


def test_tolerances_are_those_of_the_data_set(copy):
    config = json.loads((copy / CONFIG).read_text())
    config["t1"]["q5_scoring"]["T1_us"] = {"type": "abs", "tol_full": 7, "tol_half": 9}
    (copy / CONFIG).write_text(json.dumps(config))
    field = next(field for field in load_benchmark(str(copy)).fields["t1"] if field.name == "T1_us")
    assert (field.kind, field.tolerances()) == ("abs", (7, 9))


def test_types_belong_to_the_family_that_the_config_says(copy):
    config = json.loads((copy / CONFIG).read_text())
    config["gmm"] = {"q6_status_mapping": {"t1_success": "SUCCESS"}, "q5_scoring": {}}
    (copy / CONFIG).write_text(json.dumps(config))
    rows = load_benchmark(str(copy)).rows
    assert {row.family for row in rows if row.experiment_type == "t1_success"} == {"gmm"}


def test_the_digest_follows_the_content(copy, benchmark):
    assert load_benchmark(str(copy)).digest == benchmark.digest
    (copy / CONFIG).write_text((copy / CONFIG).read_text() + " ")
    assert load_benchmark(str(copy)).digest != benchmark.digest


def test_select(benchmark):
    some = benchmark.select(limit=2, filter_type="ramsey")
    assert len(some.rows) == 2 and {shot.source_id for shot in some.fewshot} == {row.id for row in some.rows}
    with pytest.raises(EvaluationError, match="no row of plots has an experiment type with 'pong'"):
        benchmark.select(filter_type="pong")


def damage(name, folder):
    path = folder / "test-00000-of-00001.parquet"
    if name == "no config":
        (folder / CONFIG).unlink()
    elif name == "broken config":
        (folder / CONFIG).write_text("{")
    elif name == "list config":
        (folder / CONFIG).write_text("[]")
    elif name == "unknown kind":
        (folder / CONFIG).write_text(json.dumps({"t1": {"q5_scoring": {"T1_us": {"type": "vibes"}}}}))
    elif name == "no test file":
        path.unlink()
    elif name == "cut short":
        path.write_bytes(path.read_bytes()[:1000])
    elif name == "no column":
        pq.write_table(pq.read_table(path).drop_columns(["q4_answer"]), path)
    elif name == "no rows":
        pq.write_table(pq.read_table(path).slice(0, 0), path)
    elif name == "same id":
        table = pq.read_table(path)
        pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), path)
    elif name == "two files":
        shutil.copy(path, folder / "test-00001-of-00002.parquet")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no config", "no experiment_config.json"),
        ("broken config", "not readable JSON"),
        ("list config", "one entry per family"),
        ("unknown kind", "type 'vibes'"),
        ("no test file", r"no test-\*.parquet"),
        ("cut short", "not a readable parquet file"),
        ("no column", "no column q4_answer"),
        ("no rows", "holds no rows"),
        ("same id", "1 ids occur more than once"),
        ("two files", "2 files test"),
    ],
)
def test_damaged_data_sets_are_one_line(copy, name, said):
    damage(name, copy)
    with pytest.raises(EvaluationError, match=said):
        load_benchmark(str(copy))


def test_what_is_neither_folder_nor_hub_id(tmp_path):
    with pytest.raises(EvaluationError, match="riverone data build calibration"):
        load_benchmark(str(tmp_path / "nowhere"))
    with pytest.raises(EvaluationError, match="the Hub does not give it"):
        load_benchmark("nobody/nothing")
