"""Whose folder is it? The claim of a build, its lock, and one named error for all that goes wrong there."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from ..errors import BuildError, MissingExtraError

FINGERPRINT = "build.json"
WORK = ".building"
CARD = "README.md"


class Planned(Protocol):
    """Anything whose arguments decide the bytes of a build."""

    def fingerprint(self) -> dict[str, Any]:
        """Those arguments, as JSON values."""


@contextlib.contextmanager
def building(out: Path) -> Iterator[None]:
    """Around all that a builder does: a second builder, a full disk or a missing right becomes a BuildError.

    Raises MissingExtraError at once without `datasets`.
    """
    try:
        import datasets  # noqa: F401
        from filelock import Timeout
    except ImportError:
        raise MissingExtraError("datasets", "train") from None
    try:
        yield
    except Timeout:
        raise BuildError(f"another process is building in {out}. Remedy: wait for it or choose another --out") from None
    except OSError as exc:
        raise BuildError(
            f"could not write {exc.filename or out}: {exc.strerror or exc}. Finished shards are kept in {out}. "
            "Remedy: make room and run the same command again"
        ) from exc


@contextlib.contextmanager
def work_folder(out: Path) -> Iterator[Path]:
    """The locked folder for shards inside the claimed `out`, rid of what a killed build left half-written.

    It goes away at the end unless an exception passes through: finished shards are kept then.
    """
    from filelock import FileLock

    work = out / WORK
    with FileLock(str(work / "lock"), timeout=0):
        for stale in work.glob("tmp-*"):
            shutil.rmtree(stale, ignore_errors=True)
        yield work
    shutil.rmtree(work, ignore_errors=True)


def claim(plan: Planned, out: Path) -> bool:
    """Make `out` the folder of this build; False when the build is finished already.

    Raises BuildError when `out` is not a folder, holds other files, or a build with other arguments.
    """
    if out.exists() and not out.is_dir():
        raise BuildError(f"{out} is a file. Expected a new or empty folder. Remedy: choose another --out")
    mine = plan.fingerprint()
    if out.is_dir() and any(out.iterdir()):
        try:
            found = json.loads((out / FINGERPRINT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise BuildError(
                f"{out} is not empty and is no data set of this command (no readable {FINGERPRINT}). "
                "Remedy: choose a new or empty folder"
            ) from None
        if found != mine:
            found = found if isinstance(found, dict) else {}
            differing = [key for key in mine if found.get(key) != mine[key]]
            said = ", ".join(f"{key} {found.get(key)!r} instead of {mine[key]!r}" for key in differing)
            raise BuildError(
                f"{out} holds a data set built with other arguments: {said or 'unknown entries'}. "
                "Remedy: repeat those arguments or choose another --out"
            )
        if (out / CARD).is_file():
            return False
    (out / WORK).mkdir(parents=True, exist_ok=True)
    write_text(out / FINGERPRINT, json.dumps(mine, indent=1) + "\n")
    return True


def write_text(path: Path, text: str) -> None:
    """Write a file that is either whole or not there."""
    partial = path.with_name(f".{path.name}.tmp")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
