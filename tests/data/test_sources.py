"""Builders of data from elsewhere: rows, counted rejects, the same bytes after a stop, clear refusals, the Hub."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from stand_ins import (
    CHARTQA,
    PLOTQA,
    SCIENCEQA,
    chartqa_rows,
    plotqa_rows,
    png,
    scienceqa_rows,
    write_mmpr,
    write_mmpr_tiny,
    write_plotqa_release,
    write_table,
)
from test_build_resume import digests

from riverone_hf.data.build_source import SourcePlan, build_source_data
from riverone_hf.data.chartqa import CHARTQA as CHARTQA_KIND
from riverone_hf.data.chartqa import CHARTQA_PAIRS
from riverone_hf.data.mixture import load_view
from riverone_hf.data.mmpr import mmpr
from riverone_hf.data.plotqa import PLOTQA as PLOTQA_KIND
from riverone_hf.data.preference_set import SimulatedPairs, preferences_kind
from riverone_hf.data.scienceqa import endpoint_rule, scienceqa
from riverone_hf.data.source import Origin
from riverone_hf.data.source_image import Reject
from riverone_hf.data.source_rows import row_texts
from riverone_hf.data.wrong_choice import wrong_answer
from riverone_hf.errors import BuildError, EvaluationError, SourceError, SourceGoneError

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def chartqa(tmp_path: Path) -> Path:
    rows = chartqa_rows(20)
    write_table(tmp_path / "ChartQA" / "data" / "train-00000-of-00002.parquet", rows[:10], CHARTQA)
    write_table(tmp_path / "ChartQA" / "data" / "train-00001-of-00002.parquet", rows[10:], CHARTQA)
    write_table(tmp_path / "ChartQA" / "data" / "val-00000-of-00001.parquet", chartqa_rows(8), CHARTQA)
    return tmp_path / "ChartQA"


def plan_of(folder: Path, rows: int = 100, **options) -> SourcePlan:
    return SourcePlan(CHARTQA_KIND, Origin(str(folder)), rows, shard_rows=5, **options)


def test_chartqa_rows_and_rejects(chartqa, tmp_path):
    found = build_source_data(plan_of(chartqa), tmp_path / "set")
    assert found["rejects"] == {"broken_image": 1, "empty_answer": 1, "duplicate": 1} and found["read"] == 20
    assert found["rows"] == 17 and found["types"] == {"chartqa_human": 9, "chartqa_machine": 8}
    rows = load_view(str(tmp_path / "set"), "sft_zero_shot")
    assert len(rows) == 17 and rows[2]["source"] == "ChartQA:train:4" and set(rows["licence"]) == {"gpl-3.0"}
    question, answer = row_texts(rows[2])
    assert question.startswith("How high is bar 4?\nAnswer with") and answer == "4"
    assert all(row["images"][0].mode == "RGB" for row in rows)
    streamed = load_dataset(str(tmp_path / "set"), "sft_zero_shot", split="train", streaming=True)
    assert [row["id"] for row in streamed] == rows["id"]
    card = (tmp_path / "set" / "README.md").read_text()
    assert "config_name: sft_zero_shot" in card and "| broken_image | 1 |" in card and "license: gpl-3.0" in card
    assert str(tmp_path) not in card + (tmp_path / "set" / "build.json").read_text()
    assert (tmp_path / "set" / "sheets" / "sft_zero_shot.png").stat().st_size > 1000
    validation = SourcePlan(CHARTQA_KIND, Origin(str(chartqa), "validation"), 3)
    assert build_source_data(validation, tmp_path / "validation")["rows"] == 3
    assert list((tmp_path / "validation" / "sft_zero_shot").glob("validation-*"))


def test_chartqa_pairs_reject_another_number(chartqa, tmp_path):
    rows = chartqa_rows(8)
    rows[7]["label"] = ["Norway"]
    write_table(tmp_path / "pairs" / "train-0.parquet", rows, CHARTQA)
    found = build_source_data(SourcePlan(CHARTQA_PAIRS, Origin(str(tmp_path / "pairs")), 20), tmp_path / "set")
    assert found["rejects"] == {"broken_image": 1, "empty_answer": 1, "duplicate": 1, "no_negative": 1}
    for row in load_view(str(tmp_path / "set"), "preference"):
        chosen, rejected = (row[key][0]["content"][0]["text"] for key in ("chosen", "rejected"))
        assert float(chosen) != float(rejected)


def test_folders_of_one_name_are_told_apart(chartqa, tmp_path):
    """`datasets` caches a folder by its last name and its card's configs."""
    for rows in (3, 6):
        build_source_data(plan_of(chartqa, rows=rows), tmp_path / str(rows) / "same")
        loaded = load_dataset(str(tmp_path / str(rows) / "same"), "sft_zero_shot", cache_dir=str(tmp_path / "cache"))
        assert loaded.num_rows == {"train": rows}


def test_rows_with_values_of_other_kinds_are_counted(tmp_path):
    (tmp_path / "odd").mkdir()
    rows = [{"image": "x\0.png", "query": "a", "label": "1"}, {"image": 5, "query": "a", "label": "1"}]
    rows += [{"image": "i" * 5000, "query": ["a"], "label": {}}, {"image": "ok.png", "query": "b", "label": [None]}]
    rows += [{"image": "ok.png", "query": "b", "label": float("nan")}, {"image": "ok.png", "query": "b", "label": 7}]
    (tmp_path / "odd" / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "odd" / "ok.png").write_bytes(png(1))
    found = build_source_data(plan_of(tmp_path / "odd"), tmp_path / "set")
    assert found["rows"] == 1 and found["rejects"] == {"no_image": 2, "empty_question": 1, "empty_answer": 2}


def test_a_share_is_drawn_over_the_whole_source(chartqa, tmp_path):
    found = build_source_data(plan_of(chartqa, share=0.5, seed=3), tmp_path / "half")
    rows = load_view(str(tmp_path / "half"), "sft_zero_shot")
    numbers = [int(name.rpartition(":")[2]) for name in rows["source"]]
    assert 4 < found["read"] < 16 and max(numbers) > 9 and numbers == sorted(numbers)
    other = build_source_data(plan_of(chartqa, share=0.5, seed=4), tmp_path / "other")
    assert digests(tmp_path / "other") != digests(tmp_path / "half") and other["rows"] < 17


def test_a_source_that_goes_away_is_gone_on_with(chartqa, tmp_path):
    build_source_data(plan_of(chartqa), tmp_path / "straight")
    second = chartqa / "data" / "train-00001-of-00002.parquet"
    whole = second.read_bytes()
    # As long as before, but the pages of its later row groups are noise.
    second.write_bytes(whole[: len(whole) // 2] + b"\x00" * (len(whole) // 4) + whole[len(whole) * 3 // 4 :])
    with pytest.raises(SourceGoneError, match=r"ChartQA, split train: the source stopped at row 1\d") as caught:
        build_source_data(plan_of(chartqa), tmp_path / "set")
    assert "run the same command again" in str(caught.value)
    shards = {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("shard-*/rows.parquet")}
    assert shards and not (tmp_path / "set" / "README.md").exists() and not list((tmp_path / "set").rglob("tmp-*"))
    second.write_bytes(whole)
    told: list[int] = []
    build_source_data(plan_of(chartqa), tmp_path / "set", told.append)
    assert sum(told) == 17 and digests(tmp_path / "set") == digests(tmp_path / "straight")
    build_source_data(plan_of(chartqa), tmp_path / "set")  # a finished one is left alone
    with pytest.raises(BuildError, match="rows 100 instead of 50"):
        build_source_data(plan_of(chartqa, rows=50), tmp_path / "set")


def test_renamed_columns_are_named(chartqa, tmp_path):
    rows = [{"question_text": "x", "label": ["1"]}]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "train.jsonl").write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(SourceError, match=r"missing columns image or imgname, query or question\. Got: file, quest"):
        build_source_data(plan_of(tmp_path / "other"), tmp_path / "set")
    assert not (tmp_path / "set").exists()
    with pytest.raises(SourceError, match=r"no parquet, jsonl or json file of the split test \(tables: train.jsonl\)"):
        build_source_data(SourcePlan(CHARTQA_KIND, Origin(str(tmp_path / "other"), "test"), 5), tmp_path / "set")
    with pytest.raises(SourceError, match="unknown split 'dev'"):
        Origin(str(chartqa), "dev")
    with pytest.raises(BuildError, match="0 < share <= 1"):
        plan_of(chartqa, share=0)
    assert not (tmp_path / "set").exists()


def test_nothing_usable_leaves_nothing(tmp_path):
    write_table(tmp_path / "bad" / "train-0.parquet", [chartqa_rows(8)[2]] * 3, CHARTQA)
    with pytest.raises(SourceError, match=r"none of 3 rows can be used \(broken_image 3\)"):
        build_source_data(plan_of(tmp_path / "bad"), tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_plotqa_release_and_nested(tmp_path):
    write_plotqa_release(tmp_path / "PlotQA")
    found = build_source_data(SourcePlan(PLOTQA_KIND, Origin(str(tmp_path / "PlotQA")), 10), tmp_path / "release")
    assert found["rows"] == 2 and found["rejects"] == {"no_image": 1} and found["types"] == {"plotqa_structural": 2}
    write_table(tmp_path / "nested" / "train-0.parquet", plotqa_rows(), PLOTQA)
    found = build_source_data(SourcePlan(PLOTQA_KIND, Origin(str(tmp_path / "nested")), 5), tmp_path / "set")
    rows = load_view(str(tmp_path / "set"), "sft_zero_shot")
    assert len(rows) == 5 and len(set(rows["id"])) == 5 and found["rejects"] == {"empty_answer": 3}
    assert [row_texts(row)[1] for row in rows] == ["4", "3.33333", "4", "3.33333", "4"]
    plan = SourcePlan(PLOTQA_KIND, Origin(str(tmp_path / "nested")), 50, shard_rows=1)
    assert build_source_data(plan, tmp_path / "single")["rows"] == 6, "a plot's questions stay together"


def test_scienceqa_rule(tmp_path):
    write_table(tmp_path / "ScienceQA" / "train-0.parquet", scienceqa_rows(), SCIENCEQA)
    origin = Origin(str(tmp_path / "ScienceQA"))
    found = build_source_data(SourcePlan(scienceqa(), origin, 10), tmp_path / "set")
    assert found["rows"] == 2 and found["types"] == {"scienceqa_natural_science": 1, "scienceqa_social_science": 1}
    expected = {"no_image": 1, "image_not_needed": 2, "empty_answer": 1, "few_choices": 1, "tiny_image": 1}
    assert found["rejects"] == expected
    rows = load_view(str(tmp_path / "set"), "sft_zero_shot")
    question, answer = row_texts(rows[0])
    assert "\nA. left\nB. middle\nC. right\n" in question and answer == "C. right"
    one = scienceqa(subjects=("social science",))
    assert build_source_data(SourcePlan(one, origin, 10), tmp_path / "one")["rows"] == 1


def test_scienceqa_endpoint_decides_and_may_fail(tmp_path):
    write_table(tmp_path / "ScienceQA" / "train-0.parquet", scienceqa_rows(), SCIENCEQA)
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        if "map" in prompt:
            raise EvaluationError("no answer in 3 attempts (503)")
        return "Yes." if "mammal" in prompt else "Hm" if "middle one is" in prompt else "No"

    plan = SourcePlan(scienceqa(endpoint_rule(ask)), Origin(str(tmp_path / "ScienceQA")), 10, shard_rows=1)
    with pytest.raises(SourceGoneError, match=r"stopped at row 6: no answer in 3 attempts \(503\). Finished shards"):
        build_source_data(plan, tmp_path / "set")
    assert "C. right" in asked[0] and len(list((tmp_path / "set").rglob("shard-*"))) == 1
    calm = SourcePlan(scienceqa(endpoint_rule(lambda prompt: "no")), plan.origin, 10, shard_rows=1)
    found = build_source_data(calm, tmp_path / "set")
    assert found["rows"] == 4 and found["rejects"] == {
        "no_image": 1,
        "empty_answer": 1,
        "few_choices": 1,
        "tiny_image": 1,
    }
    with pytest.raises(Reject, match="endpoint_unclear"):
        endpoint_rule(ask)("Which bar? the middle one is", "", ["a", "b"])


def test_mmpr_science_subset(tmp_path):
    write_mmpr(tmp_path / "MMPR-v1.2")
    found = build_source_data(SourcePlan(mmpr(), Origin(str(tmp_path / "MMPR-v1.2")), 10), tmp_path / "set")
    expected = {"same_answers": 1, "broken_row": 1, "empty_rejected": 1, "no_image": 1, "other_subset": 1}
    assert found["rows"] == 2 and found["rejects"] == expected and found["images"] == 3
    rows = load_view(str(tmp_path / "set"), "preference")
    parts = rows[1]["prompt"][0]["content"]
    assert [part["type"] for part in parts] == ["image", "image", "text"] and parts[2]["text"] == "Compare."
    assert rows[0]["rejected"][0]["content"][0]["text"] == "The first bar."


def test_mmpr_tiny_gets_wrong_answers(tmp_path):
    write_mmpr_tiny(tmp_path / "MMPR-Tiny")
    found = build_source_data(SourcePlan(mmpr(), Origin(str(tmp_path / "MMPR-Tiny")), 10), tmp_path / "set")
    assert found["rows"] == 2 and found["rejects"] == {"no_negative": 1}
    rows = load_view(str(tmp_path / "set"), "preference")
    answers = [(row["chosen"][0]["content"][0]["text"], row["rejected"][0]["content"][0]["text"]) for row in rows]
    assert answers[0] == ("B", "A") and answers[1][0] == "12" and answers[1][1] != "12" and float(answers[1][1])
    for right in ("0", "3.50", "-7", "1000"):
        wrong = wrong_answer("How many?", right)
        assert float(wrong) != float(right) and len(wrong.partition(".")[2]) == len(right.partition(".")[2])


def test_calibration_preferences_with_mistakes(tmp_path):
    lines = [
        {"index": 3, "question": "q2", "text": "Classification: Apparatus issue\nReason: I cannot see."},
        {"index": 3, "question": "q9", "text": "x"},
        {"index": 4, "question": "q2", "text": " "},
    ]
    path = tmp_path / "mistakes.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\nnot json\n")
    pairs = SimulatedPairs(("t1",), seed=2, mistakes=path, share=0.5)
    found = build_source_data(SourcePlan(preferences_kind(), pairs, 8, shard_rows=3), tmp_path / "set")
    # The one mistake makes one pair; drawn again it is a duplicate.
    duplicates = found["rejects"].pop("duplicate")
    assert found["rejects"] == {"unknown_question": 1, "empty_rejected": 1, "broken_line": 1}
    assert found["rows"] == 8 and found["read"] == 8 + duplicates
    rows = load_view(str(tmp_path / "set"), "preference")
    rejected = [row["rejected"][0]["content"][0]["text"] for row in rows]
    assert any("I cannot see" in text for text in rejected) and not all("I cannot see" in text for text in rejected)
    assert all(row["chosen"] != row["rejected"] for row in rows)
    with pytest.raises(SourceError, match="no such file"):
        SimulatedPairs(mistakes=tmp_path / "none.jsonl")
    path.write_text("not json\n")
    with pytest.raises(SourceError, match="no line holds a mistake"):
        build_source_data(SourcePlan(preferences_kind(), SimulatedPairs(mistakes=path), 2), tmp_path / "none")


def test_images_are_bounded(tmp_path):
    from riverone_hf.data.source_image import clean_image

    origin = Origin(str(tmp_path))
    kept = png(1)
    assert clean_image({"bytes": kept, "path": None}, origin)["bytes"] == kept
    import io

    from PIL import Image

    large = clean_image(png(1, size=(1600, 1200)), origin)["bytes"]
    assert Image.open(io.BytesIO(large)).size == (800, 600)
    bomb = io.BytesIO()
    Image.new("1", (9000, 9000)).save(bomb, "PNG")
    for value, reason in ((bomb.getvalue(), "huge_image"), (kept[:90], "broken_image"), (b"", "no_image")):
        with pytest.raises(Reject, match=reason):
            clean_image(value, origin)


HUB = """
import json, sys
from pathlib import Path
from huggingface_hub import HfApi
from riverone_hf.data.build_source import SourcePlan, build_source_data
from riverone_hf.data.chartqa import CHARTQA
from riverone_hf.data.mixture import load_view
from riverone_hf.data.plotqa import PLOTQA
from riverone_hf.data.scienceqa import scienceqa
from riverone_hf.data.mmpr import mmpr
from riverone_hf.data.source import Origin
from riverone_hf.errors import SourceError
root, api, told = Path(sys.argv[1]), HfApi(), {}
for name, kind in (("ChartQA", CHARTQA), ("PlotQA", PLOTQA), ("ScienceQA", scienceqa()), ("MMPR", mmpr())):
    api.create_repo("tester/" + name, repo_type="dataset")
    api.upload_folder(repo_id="tester/" + name, folder_path=root / name, repo_type="dataset")
    plan = SourcePlan(kind, Origin("tester/" + name), 5, shard_rows=2)
    told[name] = build_source_data(plan, root / ("from-" + name))
    told[name]["revision"] = json.loads((root / ("from-" + name) / "build.json").read_text())["revision"]
def leave(done):
    (root / "gone").touch()
plan = SourcePlan(CHARTQA, Origin("tester/ChartQA"), 16, shard_rows=5)
try:
    build_source_data(plan, root / "stopped", leave)
except SourceError as error:
    told["gone"] = str(error)
(root / "gone").unlink()
build_source_data(plan, root / "stopped")
build_source_data(plan, root / "straight")
for wrong, split in (("tester/none", "train"), ("tester/PlotQA", "test")):
    try:
        build_source_data(SourcePlan(CHARTQA, Origin(wrong, split), 5), root / "refused")
    except SourceError as error:
        told[wrong] = str(error)
print(json.dumps(told))
"""


def test_every_builder_streams_from_a_hub(chartqa, tmp_path):
    sys.path.insert(0, str(REPO / "tests"))
    from fastapi import Response

    from loopback_hub import LoopbackHub

    write_table(tmp_path / "PlotQA" / "data" / "train-00000-of-00001.parquet", plotqa_rows(), PLOTQA)
    write_table(tmp_path / "ScienceQA" / "data" / "train-00000-of-00001.parquet", scienceqa_rows(), SCIENCEQA)
    pairs = {"question": "Which?", "chosen": "left", "rejected": "right"}
    image = {"bytes": png(5), "path": "ScienceQA/5.png"}
    from datasets import Features, Image, Value

    text = dict.fromkeys(pairs, Value("string"))
    write_table(
        tmp_path / "MMPR" / "train-0.parquet", [{"image": image, **pairs}], Features({"image": Image(), **text})
    )
    running = LoopbackHub(tmp_path / "hub")

    @running.app.middleware("http")
    async def lose(request, call_next):
        """The second file cannot be read any more once the client says so."""
        if (tmp_path / "gone").exists() and request.url.path.endswith("train-00001-of-00002.parquet"):
            return Response("Entry not found", 404, {"X-Error-Code": "EntryNotFound"})
        return await call_next(request)

    with running.serve() as hub:
        environment = hub.client_env(tmp_path / "home") | {"PYTHONPATH": str(REPO / "src")}
        done = subprocess.run(
            [sys.executable, "-c", HUB, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=240
        )
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert {name: told[name]["rows"] for name in ("ChartQA", "PlotQA", "ScienceQA", "MMPR")} == {
        **{"ChartQA": 5, "PlotQA": 5, "ScienceQA": 2, "MMPR": 1}
    }
    assert len(told["ChartQA"]["revision"]) == 40 and told["ChartQA"]["source"] == "tester/ChartQA"
    assert told["gone"].startswith("tester/ChartQA, split train: the source stopped at row 10")
    assert digests(tmp_path / "stopped") == digests(tmp_path / "straight")
    assert told["tester/none"].startswith("tester/none: neither a folder nor a Hub data set that can be read")
    assert told["tester/PlotQA"] == "tester/PlotQA: no split test. It has: train"
    assert not (tmp_path / "refused").exists()
    build_source_data(SourcePlan(CHARTQA_KIND, Origin(str(chartqa)), 5, shard_rows=2), tmp_path / "local")
    table = "sft_zero_shot/train-00000-of-00003.parquet"
    local, streamed = (pq.read_table(tmp_path / name / table) for name in ("local", "from-ChartQA"))
    assert local.drop_columns("source").equals(streamed.drop_columns("source"))
    shutil.rmtree(tmp_path / "hub")
