"""The loopback Hub speaks the protocol of the real one: checked only through unmodified clients."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def test_upload_and_download_of_every_repo_type(hub, client, tmp_path: Path):
    source = tmp_path / "files"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "README.md").write_text("---\nlicense: apache-2.0\n---\n# hello\n")
    (source / "deep" / "er" / "data.parquet").write_bytes(bytes(range(256)) * 64)
    (source / "empty.txt").write_bytes(b"")
    code = """
import sys, json, hashlib
sha = lambda path: hashlib.sha256(path.read_bytes()).hexdigest()
from pathlib import Path
from huggingface_hub import HfApi, snapshot_download, hf_hub_download
api = HfApi()
out = {}
for kind in ("model", "dataset", "space"):
    sdk = {"space_sdk": "gradio"} if kind == "space" else {}
    api.create_repo("tester/thing", repo_type=kind, exist_ok=True, **sdk)
    api.create_repo("tester/thing", repo_type=kind, exist_ok=True, **sdk)
    first = api.upload_folder(repo_id="tester/thing", folder_path=sys.argv[1], repo_type=kind)
    again = api.upload_folder(repo_id="tester/thing", folder_path=sys.argv[1], repo_type=kind)
    local = Path(snapshot_download("tester/thing", repo_type=kind))
    info = api.repo_info("tester/thing", repo_type=kind)
    tree = [(e.path, getattr(e, "size", None)) for e in api.list_repo_tree("tester/thing", repo_type=kind)]
    out[kind] = {
        "same_commit": first.oid == again.oid == info.sha == local.name,
        "files": {str(p.relative_to(local)): sha(p) for p in local.rglob("*") if p.is_file()},
        "tree": sorted(path for path, _ in tree),
    }
print(json.dumps(out))
"""
    out = json.loads(client(code, source).stdout)
    expected = {
        str(path.relative_to(source)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in source.rglob("*")
        if path.is_file()
    }
    for kind in ("model", "dataset", "space"):
        assert out[kind]["same_commit"], kind
        assert out[kind]["files"] == expected
        assert out[kind]["tree"] == ["README.md", "deep", "empty.txt"]
        assert hub.files("tester/thing", repo_type=kind)["empty.txt"] == b""


def test_errors_carry_the_codes_that_clients_branch_on(hub, client):
    code = """
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import RepositoryNotFoundError, EntryNotFoundError, RevisionNotFoundError, HfHubHTTPError
api = HfApi()
api.create_repo("tester/thing", private=True)
api.upload_file(repo_id="tester/thing", path_or_fileobj=b"hi", path_in_repo="a.txt")
def name(call):
    try:
        call()
    except Exception as error:
        return type(error).__name__
    return "nothing"
print(name(lambda: api.model_info("tester/none")))
print(name(lambda: hf_hub_download("tester/thing", "none.txt")))
print(name(lambda: hf_hub_download("tester/thing", "a.txt", revision="none")))
print(name(lambda: api.model_info("tester/thing", token=False)))
print(name(lambda: api.create_repo("stranger/thing")))
print(name(lambda: api.create_repo("tester/thing")))
print(name(lambda: HfApi(token="hf_wrong").upload_file(repo_id="tester/thing", path_or_fileobj=b"x", path_in_repo="x")))
"""
    expected = ["RepositoryNotFoundError", "RemoteEntryNotFoundError", "RevisionNotFoundError"]
    expected += ["RepositoryNotFoundError", "HfHubHTTPError", "HfHubHTTPError", "HfHubHTTPError"]
    assert client(code).stdout.split() == expected


def test_resolve_answers_head_and_range(hub, client):
    code = """
from huggingface_hub import HfApi, HfFileSystem, get_hf_file_metadata, hf_hub_url
import hashlib
api = HfApi()
api.create_repo("tester/thing")
content = bytes(range(256)) * 100
commit = api.upload_file(repo_id="tester/thing", path_or_fileobj=content, path_in_repo="w.safetensors")
meta = get_hf_file_metadata(hf_hub_url("tester/thing", "w.safetensors"))
assert meta.etag == hashlib.sha256(content).hexdigest(), meta
assert meta.commit_hash == commit.oid and meta.size == len(content), meta
with HfFileSystem().open("tester/thing/w.safetensors", "rb", block_size=1000) as file:
    file.seek(5000)
    assert file.read(300) == content[5000:5300]
"""
    client(code)
    assert ("HEAD", "/tester/thing/resolve/main/w.safetensors") in hub.requests


def test_datasets_load_by_id(hub, client, tmp_path: Path):
    code = """
import datasets
from huggingface_hub import HfApi
rows = datasets.Dataset.from_dict({"id": ["a", "b", "c"], "value": [1, 2, 3]})
rows.push_to_hub("tester/rows", split="test")
back = datasets.load_dataset("tester/rows", split="test")
assert back["value"] == [1, 2, 3] and back["id"][2] == "c", back
print(back.num_rows)
"""
    assert client(code, package=False).stdout.split()[-1] == "3"
