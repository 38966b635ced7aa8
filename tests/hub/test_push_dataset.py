"""A pushed data set loads by its id and config, streaming too, in a process that has never heard of our package."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loopback_hub import TOKEN
from riverone_hf.data.drift_build import build_drift_data
from riverone_hf.data.drift_synthetic import synthetic_frame
from riverone_hf.errors import ContaminationError, DataFolderError
from riverone_hf.hub.push_dataset import publishable_tables, push_dataset

PUSH = """
import json, sys
from riverone_hf.hub import push_dataset
from riverone_hf.errors import RiverOneError
options = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
try:
    pushed = push_dataset(sys.argv[1], sys.argv[2], **options)
except RiverOneError as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(2)
print(json.dumps({"url": pushed.url, "revision": pushed.revision, "changed": pushed.changed, "files": pushed.files}))
"""
LOAD = """
import json, sys
from datasets import load_dataset
assert "riverone_hf" not in sys.modules
repo_id, revision = sys.argv[1:]
whole = load_dataset(repo_id, "sft_zero_shot", revision=revision)
stream = load_dataset(repo_id, "sft_zero_shot", split="train", streaming=True, revision=revision)
truth = load_dataset(repo_id, "truth", split="test", streaming=True, revision=revision)
first, streamed = whole["train"][0], next(iter(stream))
assert first["images"][0].tobytes() == streamed["images"][0].tobytes()
default = load_dataset(repo_id, split="train", streaming=True, revision=revision)
print(json.dumps({
    "rows": {split: len(rows) for split, rows in whole.items()},
    "streamed": sum(1 for _ in stream),
    "default": list(next(iter(default))),
    "id": first["id"],
    "messages": streamed["messages"],
    "truth": list(truth),
}))
"""
SERVE_SOURCE = """
import sys
from huggingface_hub import HfApi
api = HfApi()
api.create_repo("tester/drift-table", repo_type="dataset")
api.upload_file(path_or_fileobj=sys.argv[1], path_in_repo="data/train-00000-of-00001.parquet",
                repo_id="tester/drift-table", repo_type="dataset")
"""
BUILD = """
import sys
from pathlib import Path
from riverone_hf.data.drift_build import build_drift_data
from riverone_hf.errors import RiverOneError
try:
    build_drift_data(8, Path(sys.argv[2]), sys.argv[1])
except RiverOneError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "table.parquet"
    synthetic_frame(days=100, qubits=2)[0].to_parquet(path)
    return path


@pytest.fixture(scope="module")
def built(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "set"
    build_drift_data(10, out, str(table))
    return out


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "copy")


def test_push_then_load_by_config_and_as_a_stream(hub, client, built: Path):
    pushed = json.loads(client(PUSH, built, "tester/drift").stdout)
    assert pushed["url"] == f"{hub.url}/datasets/tester/drift" and pushed["changed"]
    loaded = json.loads(client(LOAD, "tester/drift", pushed["revision"], package=False).stdout)
    assert loaded["rows"] == {"train": 8, "validation": 1, "test": 1} and loaded["streamed"] == 8
    row = pq.read_table(next(built.glob("sft_zero_shot/train-*"))).to_pylist()[0]
    assert loaded["id"] == row["id"] and loaded["messages"] == row["messages"]
    assert loaded["truth"] == pq.read_table(next(built.glob("truth/test-*"))).to_pylist()
    assert loaded["default"] == list(row)
    remote = hub.files("tester/drift", repo_type="dataset")
    local = {path.relative_to(built).as_posix(): path.read_bytes() for path in built.rglob("*") if path.is_file()}
    assert {name: data for name, data in remote.items() if name != ".gitattributes"} == local
    assert TOKEN not in remote["README.md"].decode()

    again = json.loads(client(PUSH, built, "tester/drift").stdout)
    assert not again["changed"] and again["revision"] == pushed["revision"]


def test_a_second_push_takes_old_tables_away_and_leaves_the_rest_at_home(hub, client, built: Path, copy: Path):
    client(PUSH, built, "tester/drift")
    (copy / "notes.txt").write_text("private")
    (copy / "sheets" / "raw.npy").write_bytes(b"x")
    old = next(copy.glob("truth/train-*"))
    old.rename(old.with_name("train-00000-of-00007.parquet"))
    pushed = json.loads(client(PUSH, copy, "drift", json.dumps({"revision": "v2"})).stdout)
    assert "truth/train-00000-of-00007.parquet" in hub.files("tester/drift", "v2", repo_type="dataset")
    remote = hub.files("tester/drift", pushed["revision"], repo_type="dataset")
    assert not {"truth/train-00000-of-00001.parquet", "notes.txt", "sheets/raw.npy"} & remote.keys()
    assert "truth/train-00000-of-00001.parquet" in hub.files("tester/drift", "main", repo_type="dataset")


def test_what_the_hub_refuses_is_one_line(hub, client, built: Path):
    done = client(PUSH, built, "stranger/drift", ok=False)
    assert done.returncode == 2 and TOKEN not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("HubError: no permission to write to stranger/drift")
    assert not hub.repos
    client(PUSH, built, "tester/drift")
    done = client(PUSH, built, "tester/drift", json.dumps({"private": True}), ok=False)
    assert "exists and is public" in done.stderr.splitlines()[-1]


def test_a_failed_upload_publishes_nothing(hub, client, built: Path):
    hub.refuse_uploads = True
    done = client(PUSH, built, "tester/drift", ok=False)
    assert done.returncode == 2 and "Storage quota exceeded" in done.stderr
    assert hub.files("tester/drift", repo_type="dataset") == {}


def _break(folder: Path, what: str) -> None:
    table = next(folder.glob("truth/train-*"))
    card = folder / "README.md"
    if what == "unfinished":
        (folder / ".building").mkdir()
    elif what == "no card":
        card.unlink()
    elif what == "no licence":
        card.write_text(card.read_text().replace("license: cc-by-4.0\n", ""))
    elif what == "no configs":
        card.write_text("---\nlicense: cc-by-4.0\n---\nmine\n")
    elif what == "outside":
        card.write_text(card.read_text().replace("truth/train-", "../truth/train-"))
    elif what == "no file":
        table.unlink()
    elif what == "broken":
        table.write_bytes(table.read_bytes()[:200])
    elif what == "empty":
        pq.write_table(pq.read_table(table).slice(0, 0), table)
    elif what == "unlike":
        pq.write_table(pq.read_table(table).drop_columns(["kind"]), table)
    elif what == "stray":
        shutil.copyfile(table, folder / "truth" / "extra.parquet")
    elif what == "paths":
        shown = next(folder.glob("sft_zero_shot/test-*"))
        rows = pq.read_table(shown)
        bare = [[{"bytes": None, "path": "a.png"}]] * len(rows)
        column = rows.column_names.index("images")
        field = rows.schema.field("images")
        pq.write_table(rows.set_column(column, field, pa.array(bare, field.type)), shown)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("unfinished", "build is not finished"),
        ("no card", "has no README.md"),
        ("no licence", "names no license"),
        ("no configs", "no usable configs"),
        ("outside", "no usable configs"),
        ("no file", "no file matches"),
        ("broken", "not a readable parquet file"),
        ("empty", "has no rows"),
        ("unlike", "columns differ"),
        ("stray", "belong to no config"),
        ("paths", "paths without bytes"),
    ],
)
def test_a_folder_that_nobody_could_load_is_refused(copy: Path, what: str, says: str):
    assert len(publishable_tables(copy)) == 6
    _break(copy, what)
    with pytest.raises(DataFolderError, match=says) as caught:
        push_dataset(copy, "tester/drift")
    assert "Remedy" in str(caught.value) or "Expected" in str(caught.value)


def test_flagged_rows_and_absent_folders_are_refused(copy: Path, tmp_path: Path):
    marker = {"version": 1, "against": ["bench"], "flagged": [{"id": "drift_x"}]}
    (copy / "contamination.json").write_text(json.dumps(marker))
    with pytest.raises(ContaminationError, match="1 rows repeat the benchmark bench"):
        push_dataset(copy, "tester/drift")
    with pytest.raises(DataFolderError, match="no folder"):
        push_dataset(tmp_path / "absent", "tester/drift")


def test_drift_builds_from_a_table_on_the_hub(hub, client, table: Path, tmp_path: Path):
    client(SERVE_SOURCE, table)
    client(BUILD, "tester/drift-table", tmp_path / "far")
    build_drift_data(8, tmp_path / "near", str(table))
    far, near = (pq.read_table(next((tmp_path / name).glob("sft_zero_shot/train-*"))) for name in ("far", "near"))
    assert far.column("source")[0].as_py() == "tester/drift-table"
    assert far.drop_columns(["source"]).equals(near.drop_columns(["source"]))
    done = client(BUILD, "tester/absent", tmp_path / "none", ok=False)
    assert "DriftError: tester/absent: neither a folder nor a Hub data set" in done.stderr
    assert not (tmp_path / "none").exists()
