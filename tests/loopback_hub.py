"""A Hub on 127.0.0.1: enough of the Hugging Face Hub protocol for unmodified clients to create, push and load.

Clients reach it through `HF_ENDPOINT`. huggingface_hub reads that variable when it is imported, so clients run in
fresh processes with `LoopbackHub.client_env()`. Refs and trees live in memory, file contents under `root`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import uvicorn
import yaml
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse

TOKEN = "hf_loopback_token_for_tests_only"
USER = "tester"
LFS_SUFFIXES = (".safetensors", ".parquet", ".bin", ".png", ".zip", ".arrow")
DATE = "2026-01-01T00:00:00.000Z"


class HubFault(Exception):
    """A refusal, in the Hub's manner: the status, the error code clients branch on, and a message."""

    def __init__(self, status: int, message: str, code: str | None = None):
        self.status, self.message, self.code = status, message, code


@dataclass(frozen=True)
class Entry:
    """One file of a tree: where its bytes are, its size, its git object id and, when stored as LFS, its sha256."""

    blob: Path
    size: int
    oid: str
    lfs: str | None

    @property
    def etag(self) -> str:
        return self.lfs or self.oid

    def info(self, path: str) -> dict[str, Any]:
        row: dict[str, Any] = {"type": "file", "path": path, "size": self.size, "oid": self.oid}
        if self.lfs:
            row["lfs"] = {"oid": self.lfs, "size": self.size, "pointerSize": 134}
        return row | {"lastCommit": {"id": self.oid, "title": "upload", "date": DATE}}


@dataclass
class Repo:
    """Refs (branch or tag -> commit) and commits (sha -> tree); a new repository has one empty commit on main."""

    private: bool
    commits: dict[str, dict[str, Entry]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def resolve(self, revision: str) -> str:
        sha = self.refs.get(revision, revision)
        if sha not in self.commits:
            raise HubFault(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return sha

    def commit(self, branch: str, tree: dict[str, Entry], message: str) -> str:
        listing = json.dumps([message, len(self.commits), sorted((path, item.oid) for path, item in tree.items())])
        sha = hashlib.sha1(listing.encode()).hexdigest()
        self.commits[sha] = tree
        self.refs[branch] = sha
        return sha


class LoopbackHub:
    """State and routes. `requests` records (method, path) of every call; `refuse_uploads` makes LFS PUTs fail."""

    def __init__(self, root: Path):
        self.root = root
        self.repos: dict[tuple[str, str], Repo] = {}
        self.requests: list[tuple[str, str]] = []
        self.refuse_uploads = False
        self.url = ""
        self.app = self._build()
        (root / "blobs").mkdir(parents=True, exist_ok=True)

    # -- what tests ask ------------------------------------------------------------------------------------------

    def files(self, repo_id: str, revision: str = "main", repo_type: str = "model") -> dict[str, bytes]:
        repo = self.repos[f"{repo_type}s", repo_id]
        return {path: item.blob.read_bytes() for path, item in repo.commits[repo.resolve(revision)].items()}

    def client_env(self, home: Path, token: str | None = TOKEN) -> dict[str, str]:
        """The environment of a client process: this endpoint, an empty cache, no Xet, and only this token."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        inherited.pop("PYTHONPATH", None)
        no_proxy = {key: "127.0.0.1,localhost" for key in ("no_proxy", "NO_PROXY")}
        env = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
        env |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        return inherited | no_proxy | env | ({"HF_TOKEN": token} if token else {})

    @contextmanager
    def serve(self) -> Iterator[LoopbackHub]:
        """Listen on a free port of 127.0.0.1 in a thread until the block ends."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(self.app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 20
        while not server.started:
            if time.monotonic() > deadline or not thread.is_alive():
                raise RuntimeError("the loopback Hub did not start")
            time.sleep(0.01)
        try:
            yield self
        finally:
            server.should_exit = True
            thread.join(timeout=10)
            listener.close()

    # -- rules ---------------------------------------------------------------------------------------------------

    @staticmethod
    def _token(request: Request) -> str | None:
        header = request.headers.get("authorization", "")
        return header.removeprefix("Bearer ") if header else None

    def _writer(self, request: Request) -> None:
        token = self._token(request)
        if token != TOKEN:
            raise HubFault(
                401, f"Invalid {'credentials in Authorization header' if token else 'username or password.'}"
            )

    def _repo(self, request: Request, kind: str, repo_id: str) -> Repo:
        repo = self.repos.get((kind, repo_id))
        if repo is None or (repo.private and self._token(request) != TOKEN):
            raise HubFault(404 if self._token(request) else 401, "Repository not found", "RepoNotFound")
        return repo

    def _store(self, content: bytes, lfs: bool) -> Entry:
        sha = hashlib.sha256(content).hexdigest()
        blob = self.root / "blobs" / sha
        blob.write_bytes(content)
        header = f"blob {len(content)}\0".encode()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize {len(content)}\n".encode()
        git = f"blob {len(pointer)}\0".encode() + pointer if lfs else header + content
        return Entry(blob, len(content), hashlib.sha1(git).hexdigest(), sha if lfs else None)

    def _apply(self, tree: dict[str, Entry], lines: list[dict[str, Any]]) -> dict[str, Entry]:
        tree = dict(tree)
        for line in lines:
            value, key = line["value"], line["key"]
            if key == "file":
                tree[value["path"]] = self._store(base64.b64decode(value["content"]), lfs=False)
            elif key == "lfsFile":
                blob = self.root / "blobs" / value["oid"]
                if not blob.is_file():
                    raise HubFault(400, f"LFS object {value['oid']} was not uploaded")
                tree[value["path"]] = self._store(blob.read_bytes(), lfs=True)
            elif key == "deletedFile":
                if tree.pop(value["path"], None) is None:
                    raise HubFault(404, f"A file with this name doesn't exist: {value['path']}", "EntryNotFound")
            elif key == "deletedFolder":
                tree = {
                    path: item for path, item in tree.items() if not path.startswith(value["path"].rstrip("/") + "/")
                }
            elif key != "header":
                raise HubFault(400, f"unknown operation {key}")
        return tree

    @staticmethod
    def _listing(tree: dict[str, Entry], under: str, recursive: bool) -> list[dict[str, Any]]:
        prefix = under.rstrip("/") + "/" if under else ""
        rows: dict[str, dict[str, Any]] = {}
        for path, item in sorted(tree.items()):
            if not path.startswith(prefix):
                continue
            parts = path[len(prefix) :].split("/")
            for depth in range(1, len(parts) if recursive else min(2, len(parts))):
                folder = prefix + "/".join(parts[:depth])
                rows[folder] = {"type": "directory", "path": folder, "size": 0, "oid": "0" * 40}
            if recursive or len(parts) == 1:
                rows[path] = item.info(path)
        if under and not rows:
            raise HubFault(404, f"{under} does not exist", "EntryNotFound")
        return list(rows.values())

    # -- routes --------------------------------------------------------------------------------------------------

    def _build(self) -> FastAPI:
        app = FastAPI(openapi_url=None)

        @app.exception_handler(HubFault)
        async def refuse(request: Request, fault: HubFault) -> Response:
            headers = {"X-Error-Message": fault.message} | ({"X-Error-Code": fault.code} if fault.code else {})
            return JSONResponse({"error": fault.message}, fault.status, headers)

        @app.middleware("http")
        async def record(request: Request, call_next: Any) -> Response:
            self.requests.append((request.method, request.url.path))
            return await call_next(request)

        self._account_routes(app)
        self._write_routes(app)
        self._read_routes(app)
        return app

    def _account_routes(self, app: FastAPI) -> None:
        @app.get("/api/whoami-v2")
        async def whoami(request: Request) -> dict[str, Any]:
            self._writer(request)
            access = {"type": "access_token", "accessToken": {"displayName": "tests", "role": "write"}}
            return {"type": "user", "id": "1", "name": USER, "fullname": "Tester", "orgs": [], "auth": access}

        @app.post("/api/validate-yaml")
        async def validate(request: Request) -> Response:
            body = await request.json()
            parts = body["content"].split("---\n", 2)
            try:
                data = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else {}
            except yaml.YAMLError as error:
                return JSONResponse({"errors": [{"message": str(error)}]}, 400)
            if not isinstance(data, dict):
                return JSONResponse({"errors": [{"message": "metadata is not a mapping"}]}, 400)
            warnings = [] if data else [{"message": "empty or missing yaml metadata in repo card"}]
            return JSONResponse({"errors": [], "warnings": warnings})

        @app.post("/api/repos/create")
        async def create(request: Request) -> Response:
            self._writer(request)
            body = await request.json()
            owner, kind = body.get("organization") or USER, body.get("type") or "model"
            if owner != USER:
                raise HubFault(403, f"You don't have the rights to create a {kind} under the namespace {owner!r}")
            key = (f"{kind}s", f"{owner}/{body['name']}")
            url = f"{self.url}/{'' if kind == 'model' else kind + 's/'}{key[1]}"
            if key in self.repos:
                return JSONResponse({"error": "You already created this repo", "url": url}, 409)
            self.repos[key] = Repo(private=body.get("visibility") == "private" or bool(body.get("private")))
            self.repos[key].commit("main", {}, "initial commit")
            return JSONResponse({"url": url, "name": key[1], "id": key[1]})

    def _write_routes(self, app: FastAPI) -> None:
        @app.post("/api/{kind}/{owner}/{name}/branch/{branch:path}")
        async def branch(request: Request, kind: str, owner: str, name: str, branch: str) -> Response:
            self._writer(request)
            repo = self._repo(request, kind, f"{owner}/{name}")
            if branch in repo.refs:
                raise HubFault(409, f"Reference already exists: {branch}")
            body = await request.json() if await request.body() else {}
            repo.refs[branch] = repo.resolve(body.get("startingPoint") or "main")
            return JSONResponse({})

        @app.post("/api/{kind}/{owner}/{name}/preupload/{revision:path}")
        async def preupload(request: Request, kind: str, owner: str, name: str, revision: str) -> dict[str, Any]:
            self._writer(request)
            repo = self._repo(request, kind, f"{owner}/{name}")
            tree = repo.commits[repo.resolve(revision)]
            rows = []
            for item in (await request.json())["files"]:
                lfs = item["path"].endswith(LFS_SUFFIXES) or item["size"] > 10_000_000
                old = tree.get(item["path"])
                rows.append(
                    {"path": item["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
                    | {"oid": old.etag if old else None}
                )
            return {"files": rows}

        async def batch(request: Request, kind: str, repo_id: str) -> dict[str, Any]:
            self._writer(request)
            self._repo(request, kind, repo_id)
            objects = []
            for item in (await request.json())["objects"]:
                row = {"oid": item["oid"], "size": item["size"]}
                if not (self.root / "blobs" / item["oid"]).is_file():
                    links = {name: {"href": f"{self.url}/lfs/{name}/{item['oid']}"} for name in ("upload", "verify")}
                    row |= {"authenticated": True, "actions": links}
                objects.append(row)
            return {"transfer": "basic", "objects": objects}

        @app.post("/{owner}/{name}.git/info/lfs/objects/batch")
        async def model_batch(request: Request, owner: str, name: str) -> dict[str, Any]:
            return await batch(request, "models", f"{owner}/{name}")

        @app.post("/{kind}/{owner}/{name}.git/info/lfs/objects/batch")
        async def other_batch(request: Request, kind: str, owner: str, name: str) -> dict[str, Any]:
            return await batch(request, kind, f"{owner}/{name}")

        @app.put("/lfs/upload/{oid}")
        async def put(request: Request, oid: str) -> Response:
            content = await request.body()
            if self.refuse_uploads:
                raise HubFault(403, "Storage quota exceeded")
            if hashlib.sha256(content).hexdigest() != oid:
                raise HubFault(400, "the content does not match its oid")
            self._store(content, lfs=True)
            return Response(headers={"ETag": f'"{oid}"'})

        @app.post("/lfs/verify/{oid}")
        async def verify(request: Request, oid: str) -> Response:
            self._writer(request)
            blob = self.root / "blobs" / oid
            if not blob.is_file() or blob.stat().st_size != (await request.json())["size"]:
                raise HubFault(404, "the object is missing or has another size")
            return JSONResponse({"message": "Object verified"})

        @app.post("/api/{kind}/{owner}/{name}/commit/{revision:path}")
        async def commit(request: Request, kind: str, owner: str, name: str, revision: str) -> dict[str, Any]:
            self._writer(request)
            repo_id = f"{owner}/{name}"
            repo = self._repo(request, kind, repo_id)
            if revision not in repo.refs or request.query_params.get("create_pr"):
                raise HubFault(404, f"{revision} is not a branch", "RevisionNotFound")
            lines = [json.loads(line) for line in (await request.body()).splitlines() if line.strip()]
            header = lines[0]["value"]
            parent = repo.resolve(revision)
            if header.get("parentCommit") and not parent.startswith(header["parentCommit"]):
                raise HubFault(412, "A commit has happened since. Please refresh and try again.")
            sha = repo.commit(revision, self._apply(repo.commits[parent], lines), header["summary"])
            prefix = "" if kind == "models" else f"{kind}/"
            return {"success": True, "commitOid": sha, "commitUrl": f"{self.url}/{prefix}{repo_id}/commit/{sha}"}

    def _read_routes(self, app: FastAPI) -> None:
        def info(request: Request, kind: str, repo_id: str, revision: str) -> dict[str, Any]:
            repo = self._repo(request, kind, repo_id)
            sha = repo.resolve(revision)
            row = {"id": repo_id, "sha": sha, "private": repo.private, "disabled": False, "gated": False}
            files = [{"rfilename": path} for path in sorted(repo.commits[sha])]
            return row | {"siblings": files, "tags": [], "downloads": 0, "likes": 0, "lastModified": DATE}

        @app.get("/api/{kind}/{owner}/{name}/revision/{revision:path}")
        async def at_revision(request: Request, kind: str, owner: str, name: str, revision: str) -> dict[str, Any]:
            return info(request, kind, f"{owner}/{name}", revision)

        @app.get("/api/{kind}/{owner}/{name}/tree/{rest:path}")
        async def tree(request: Request, kind: str, owner: str, name: str, rest: str) -> list[dict[str, Any]]:
            repo = self._repo(request, kind, f"{owner}/{name}")
            revision, _, under = rest.partition("/")
            recursive = request.query_params.get("recursive", "").lower() in ("true", "1")
            return self._listing(repo.commits[repo.resolve(revision)], under, recursive)

        @app.post("/api/{kind}/{owner}/{name}/paths-info/{revision:path}")
        async def paths(request: Request, kind: str, owner: str, name: str, revision: str) -> list[dict[str, Any]]:
            repo = self._repo(request, kind, f"{owner}/{name}")
            files = repo.commits[repo.resolve(revision)]
            form = parse_qs((await request.body()).decode())
            rows = [files[path].info(path) for path in form.get("paths", []) if path in files]
            for path in form.get("paths", []):
                if any(known.startswith(path.rstrip("/") + "/") for known in files):
                    rows.append({"type": "directory", "path": path, "size": 0, "oid": "0" * 40})
            return rows

        @app.get("/api/{kind}/{owner}/{name}/refs")
        async def refs(request: Request, kind: str, owner: str, name: str) -> dict[str, Any]:
            repo = self._repo(request, kind, f"{owner}/{name}")
            heads = [{"name": ref, "ref": f"refs/heads/{ref}", "targetCommit": sha} for ref, sha in repo.refs.items()]
            return {"branches": heads, "tags": [], "converts": []}

        @app.get("/api/{kind}/{owner}/{name}")
        async def at_main(request: Request, kind: str, owner: str, name: str) -> dict[str, Any]:
            return info(request, kind, f"{owner}/{name}", "main")

        def resolve(request: Request, kind: str, repo_id: str, revision: str, path: str) -> Response:
            repo = self._repo(request, kind, repo_id)
            sha = repo.resolve(revision)
            item = repo.commits[sha].get(path)
            if item is None:
                headers = {"X-Repo-Commit": sha, "X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
                return Response("Entry not found", 404, headers)
            # FileResponse answers HEAD and Range requests itself.
            return FileResponse(item.blob, headers={"ETag": f'"{item.etag}"', "X-Repo-Commit": sha})

        @app.api_route("/{owner}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
        async def model_file(request: Request, owner: str, name: str, revision: str, path: str) -> Response:
            return resolve(request, "models", f"{owner}/{name}", revision, path)

        @app.api_route("/{kind}/{owner}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
        async def other_file(request: Request, kind: str, owner: str, name: str, revision: str, path: str) -> Response:
            return resolve(request, kind, f"{owner}/{name}", revision, path)
