"""A push sends exactly the checked files, pins what it sent, and refuses in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard

from loopback_hub import TOKEN
from riverone_hf.hub.card import MARK

PUSH = """
import json, sys
from riverone_hf.hub import push_model
from riverone_hf.errors import RiverOneError
options = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
try:
    pushed = push_model(sys.argv[1], sys.argv[2], **options)
except RiverOneError as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(2)
names = ("repo_id", "revision", "changed")
print(json.dumps({"url": str(pushed), **{name: getattr(pushed, name) for name in names}}))
"""


def refusal(done) -> str:
    """The one error line of a refused push."""
    assert done.returncode == 2, done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith(("HubError", "ModelFolderError"))]
    assert len(lines) == 1, done.stderr[-2000:]
    assert done.stderr.splitlines()[-1] == lines[0], "the message spans more than one line"
    assert "Remedy:" in lines[0]
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stderr + done.stdout
    return lines[0]


def test_push_sends_the_checked_files_and_a_card_that_pins_them(hub, client, folder: Path):
    (folder / "notes.txt").write_text("private")
    (folder / "optimizer").mkdir()
    (folder / "optimizer" / "config.json").write_text("{}")
    before = sorted(folder.rglob("*"))
    pushed = json.loads(client(PUSH, folder, "nano").stdout)

    assert pushed["repo_id"] == "tester/nano"
    assert pushed["url"] == f"{hub.url}/tester/nano"
    remote = hub.files("tester/nano")
    assert "notes.txt" not in remote
    assert not [name for name in remote if "/" in name]
    assert remote["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    card = ModelCard(remote["README.md"].decode())
    assert f'"tester/nano", "{pushed["revision"]}"' in card.text
    assert "modeling_riverone.py" in hub.files("tester/nano", pushed["revision"]), "the pinned commit holds the code"
    assert sorted(folder.rglob("*")) == before, "the folder is left as it was"


def test_a_second_push_of_the_same_folder_changes_nothing(hub, client, folder: Path):
    first = json.loads(client(PUSH, folder, "tester/nano").stdout)
    count = len(hub.repos["models", "tester/nano"].commits)
    second = json.loads(client(PUSH, folder, "tester/nano").stdout)
    assert first["changed"] and not second["changed"]
    assert len(hub.repos["models", "tester/nano"].commits) == count


def test_a_changed_model_replaces_card_and_stale_shards(hub, client, write_model_folder, folder, tmp_path: Path):
    client(PUSH, folder, "tester/nano")
    code = "import sys; from huggingface_hub import HfApi; "
    code += "HfApi().upload_file(repo_id='tester/nano', path_or_fileobj=b'x', path_in_repo=sys.argv[1])"
    client(code, "model-00001-of-00002.safetensors")
    changed = write_model_folder(tmp_path / "changed", {"w": np.ones(5, np.float32)})
    pushed = json.loads(client(PUSH, changed, "tester/nano").stdout)
    remote = hub.files("tester/nano")
    assert "model-00001-of-00002.safetensors" not in remote
    assert remote["model.safetensors"] == (changed / "model.safetensors").read_bytes()
    assert pushed["revision"].encode() in remote["README.md"]


def test_a_hand_written_card_is_kept_and_a_rendered_one_is_not(hub, client, folder: Path):
    own = "---\nlicense: apache-2.0\nlibrary_name: transformers\n---\n# mine\n"
    (folder / "README.md").write_text(own)
    client(PUSH, folder, "tester/own")
    assert hub.files("tester/own")["README.md"].decode() == own

    (folder / "README.md").write_text(f"{MARK}\nstale numbers")
    client(PUSH, folder, "tester/rendered")
    assert b"stale numbers" not in hub.files("tester/rendered")["README.md"]


def test_private_and_branch(hub, client, folder: Path):
    pushed = json.loads(client(PUSH, folder, "tester/nano", json.dumps({"private": True, "revision": "v1"})).stdout)
    assert hub.repos["models", "tester/nano"].private
    assert "README.md" in hub.files("tester/nano", "v1")
    assert not hub.files("tester/nano", "main")
    assert pushed["revision"] in hub.repos["models", "tester/nano"].commits


def test_a_card_left_behind_by_a_broken_push_is_mended(hub, client, folder: Path):
    first = json.loads(client(PUSH, folder, "tester/nano").stdout)
    code = "from huggingface_hub import HfApi; "
    code += "HfApi().upload_file(repo_id='tester/nano', path_or_fileobj=b'old card', path_in_repo='README.md')"
    client(code)
    second = json.loads(client(PUSH, folder, "tester/nano").stdout)
    assert not second["changed"]
    card = hub.files("tester/nano")["README.md"].decode()
    assert f'"tester/nano", "{second["revision"]}"' in card
    weights = hub.files("tester/nano", second["revision"])["model.safetensors"]
    assert weights == hub.files("tester/nano", first["revision"])["model.safetensors"]


def test_private_is_not_promised_for_a_public_repository(hub, client, folder: Path):
    client(PUSH, folder, "tester/nano")
    line = refusal(client(PUSH, folder, "tester/nano", json.dumps({"private": True}), ok=False))
    assert "is public" in line


def test_without_a_token_the_remedy_is_to_log_in(hub, client, folder: Path):
    line = refusal(client(PUSH, folder, "tester/nano", token=None, ok=False))
    assert "not logged in" in line
    assert "hf auth login" in line
    assert not hub.repos


@pytest.mark.parametrize(
    ("repo_id", "options", "says"),
    [
        ("stranger/nano", {}, "no permission to write to stranger/nano"),
        ("tester/nano", {"token": "hf_wrong_token_value"}, "does not accept this token"),
        ("tester/na no", {}, "is not a repository id"),
        ("a/b/c", {}, "is not a repository id"),
        ("", {}, "is not a repository id"),
    ],
)
def test_what_the_hub_refuses(hub, client, folder: Path, repo_id: str, options: dict, says: str):
    done = client(PUSH, folder, repo_id, json.dumps(options), ok=False)
    assert says in refusal(done)
    assert "hf_wrong_token_value" not in done.stderr
    assert not hub.repos


def test_no_network(client, folder: Path):
    line = refusal(client(PUSH, folder, "tester/nano", ok=False, HF_ENDPOINT="http://127.0.0.1:9"))
    assert "cannot reach http://127.0.0.1:9" in line
    line = refusal(client(PUSH, folder, "tester/nano", ok=False, HF_HUB_OFFLINE="1"))
    assert "HF_HUB_OFFLINE" in line


def test_a_failed_upload_publishes_nothing(hub, client, folder: Path):
    hub.refuse_uploads = True
    line = refusal(client(PUSH, folder, "tester/nano", ok=False))
    assert "Storage quota exceeded" in line
    assert hub.files("tester/nano") == {}


@pytest.mark.parametrize(
    ("name", "content"),
    [("model.safetensors", None), ("extra.pkl", b"x"), ("README.md", b"# no metadata\n"), ("metrics.json", b"[1]")],
)
def test_a_bad_folder_is_refused_before_any_call(hub, client, folder: Path, name: str, content: bytes | None):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    assert name in refusal(client(PUSH, folder, "tester/nano", ok=False))
    assert not hub.requests
