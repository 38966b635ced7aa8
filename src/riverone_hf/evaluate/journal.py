"""How does an evaluation survive a kill? An append-only file: a fingerprint, then one line per finished row."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import EvaluationError


class Journal:
    """Finished rows by key. A line is on the disk before `add` returns; a half-written last line is cut off."""

    def __init__(self, path: Path, stream: Any, rows: dict[str, Any]):
        self.path, self.rows = path, rows
        self._stream = stream

    @classmethod
    @contextmanager
    def open(cls, path: Path, fingerprint: dict[str, Any]) -> Iterator[Journal]:
        """Open or go on with the journal at `path` while no other process does.

        Raises:
            EvaluationError: another process writes it, it is damaged, it belongs to another evaluation, or the disk
                refuses it.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(f"{path}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise EvaluationError(
                f"another process is evaluating into {path.parent}. Remedy: wait for it or choose another --out"
            ) from None
        try:
            rows = _read(path, fingerprint)
            with path.open("a", encoding="utf-8") as stream:
                journal = cls(path, stream, rows)
                if stream.tell() == 0:
                    journal._write([{"fingerprint": fingerprint}])
                yield journal
        finally:
            lock.release()
            Path(f"{path}.lock").unlink(missing_ok=True)

    def add(self, rows: dict[str, Any]) -> None:
        """Append finished rows (JSON values). Raises EvaluationError when the disk refuses them."""
        self._write([{"key": key, "value": value} for key, value in rows.items()])
        self.rows |= rows

    def _write(self, lines: list[dict[str, Any]]) -> None:
        try:
            self._stream.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as exc:
            raise EvaluationError(
                f"could not write {self.path}: {exc.strerror or exc}. Finished rows are kept. "
                "Remedy: make room and run the same command again"
            ) from exc


def _read(path: Path, fingerprint: dict[str, Any]) -> dict[str, Any]:
    if not path.exists():
        return {}
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with path.open("r+b") as stream:
            stream.truncate(whole)
    lines = data[:whole].splitlines()
    if not lines:
        return {}
    try:
        found = json.loads(lines[0])["fingerprint"]
        values = [json.loads(line) for line in lines[1:]]
        rows = {value["key"]: value["value"] for value in values}
    except (ValueError, KeyError, TypeError):
        raise EvaluationError(
            f"{path} is damaged or no journal of this command. Remedy: choose another --out, or delete it"
        ) from None
    if found != json.loads(json.dumps(fingerprint)):
        found = found if isinstance(found, dict) else {}
        keys = sorted({*fingerprint, *found})
        differing = [key for key in keys if found.get(key) != json.loads(json.dumps(fingerprint.get(key)))]
        said = ", ".join(f"{key} {found.get(key)!r} instead of {fingerprint.get(key)!r}" for key in differing)
        raise EvaluationError(
            f"{path.parent} holds another evaluation: {said}. Remedy: repeat those arguments or choose another --out"
        )
    return rows
