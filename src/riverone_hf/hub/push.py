"""How does a checked model folder reach the Hub? Weights and code in one commit, then a card that pins that commit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import HubError
from .card import is_rendered, model_card
from .folder import publishable_files

if TYPE_CHECKING:
    from huggingface_hub import HfApi

STALE = ["model*.safetensors", "model.safetensors.index.json", "*_riverone.py"]
"""What an earlier push may have left that would mix with this one: other shards, older remote code."""


@dataclass(frozen=True)
class Pushed:
    """What a push left behind. `revision` is the commit that holds weights and code: the one to pin."""

    repo_id: str
    revision: str
    url: str
    files: tuple[str, ...]
    changed: bool

    def __str__(self) -> str:
        return self.url


def push_model(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    token: str | None = None,
    commit_message: str = "Upload RiverONE model",
) -> Pushed:
    """Publish a model folder to `repo_id` ("name" or "owner/name"), on branch `revision` (default main).

    The folder is checked first (`publishable_files`) and never changed; only allow-listed files are sent, in one
    commit. A README.md written by hand goes along; otherwise the card is rendered from the folder's metrics.json and
    committed second, because its usage snippet pins the first commit. The token is `token`, else `HF_TOKEN`, else the
    one stored by `hf auth login`; it is never printed. The model is not loaded.

    Raises `ModelFolderError` for an incomplete folder and `HubError` for everything the Hub or the network refuses.
    """
    root = Path(folder)
    files = publishable_files(root)
    own_card = _own_card(root)
    model_card(root)  # a malformed metrics.json must be found before anything is sent

    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with _hub_errors(api, repo_id):
        owner = api.whoami()["name"]
        full_id = repo_id if "/" in repo_id else f"{owner}/{repo_id}"
        api.create_repo(full_id, private=private, exist_ok=True)
        if revision not in (None, "main"):
            api.create_branch(full_id, branch=str(revision), exist_ok=True)
        before = api.model_info(full_id, revision=revision)
        if private and not before.private:
            raise HubError(
                f"{full_id} exists and is public, so --private cannot hold. "
                "Remedy: make it private in its settings on the Hub, or choose another name."
            )
        names = [*files, "README.md"] if own_card else list(files)
        commit = api.upload_folder(
            repo_id=full_id,
            folder_path=root,
            revision=revision,
            commit_message=commit_message,
            allow_patterns=names,
            delete_patterns=STALE,
        )
        changed = commit.oid != before.sha
        if not own_card and (changed or not _card_is_current(api, root, full_id, revision)):
            card = model_card(root, repo_id=full_id, revision=commit.oid)
            api.upload_file(
                repo_id=full_id,
                path_or_fileobj=str(card).encode(),
                path_in_repo="README.md",
                revision=revision,
                commit_message="Model card",
            )
        return Pushed(full_id, commit.oid, f"{api.endpoint}/{full_id}", (*files, "README.md"), changed)


def _card_is_current(api: HfApi, root: Path, repo_id: str, revision: str | None) -> bool:
    """Whether the remote card is what would be rendered now, whatever commit it pins.

    It is not after a push that broke off between its two commits, or when results or rendering changed since.
    """
    if not api.file_exists(repo_id, "README.md", revision=revision):
        return False
    text = Path(api.hf_hub_download(repo_id, "README.md", revision=revision)).read_text(encoding="utf-8")
    pinned = re.search(r'^repo_id, revision = "[^"]*", "(\w+)"$', text, re.MULTILINE)
    return pinned is not None and text == str(model_card(root, repo_id=repo_id, revision=pinned[1]))


def _own_card(root: Path) -> bool:
    """Whether the folder has a hand-written README.md, which must then declare licence and library itself."""
    path = root / "README.md"
    if not path.is_file() or is_rendered(path.read_text(encoding="utf-8")):
        return False
    from huggingface_hub import ModelCard

    try:
        data = ModelCard(path.read_text(encoding="utf-8"), ignore_metadata_errors=False).data.to_dict()
    except Exception as error:
        raise HubError(f"{path}: its metadata block is not valid ({error}). Remedy: mend or delete it.") from error
    absent = [key for key in ("license", "library_name") if not data.get(key)]
    if absent:
        raise HubError(
            f"{path}: its metadata block lacks {', '.join(absent)}. "
            "Remedy: add them, or delete the file and a card is rendered."
        )
    return True


@contextmanager
def _hub_errors(api: HfApi, repo_id: str) -> Iterator[None]:
    """Turn every failure of a Hub call into a `HubError` of one line with its remedy, free of the token."""
    try:
        yield
    except Exception as error:
        message = _explain(error, api.endpoint, repo_id)
        if message is None:
            raise
        from huggingface_hub import get_token

        for secret in (api.token, get_token()):
            message = message.replace(secret, "***") if isinstance(secret, str) and secret else message
        raise HubError(message) from None


def _explain(error: BaseException, endpoint: str, repo_id: str) -> str | None:
    """The one-line message for `error`, or None when it does not come from the Hub client."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
    )

    if isinstance(error, RuntimeError) and error.__cause__ is not None:  # the client wraps failed uploads
        return _explain(error.__cause__, endpoint, repo_id)
    if isinstance(error, LocalTokenNotFoundError):
        return f"not logged in to {endpoint}. Remedy: run `hf auth login`, or set HF_TOKEN, with a token of role write."
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so nothing can be pushed. Remedy: unset it."
    if isinstance(error, HFValidationError):
        return (
            f"{repo_id!r} is not a repository id ({error}). Remedy: use owner/name with letters, digits, '-', '_', '.'."
        )
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code if error.response is not None else None
        if status == 401:
            return f"{endpoint} does not accept this token. Remedy: run `hf auth login --force`, or correct HF_TOKEN."
        said = str(error.server_message or str(error)).strip().splitlines()[0]
        if status == 403:
            return (
                f"no permission to write to {repo_id} ({said}). Remedy: use a token of role write for that namespace."
            )
        return f"{endpoint} refused the push to {repo_id} (HTTP {status}: {said}). Remedy: mend that, push again."
    # The client moved from httpx to httpx2; naming the packages keeps both working without importing either.
    if type(error).__module__.split(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2"):
        kind = type(error).__name__
        return (
            f"cannot reach {endpoint} ({kind}). Remedy: check the network, the proxy and HF_ENDPOINT, then push again."
        )
    if isinstance(error, ValueError) and "README.md" in str(error):
        return f"the Hub refused the model card ({' '.join(str(error).split())}). Remedy: mend the README.md metadata."
    return None
