"""How are verdicts written so that a file is either whole or absent? One JSON object per line, renamed at the end."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_lines(path: Path | None) -> Iterator[Callable[[str], None]]:
    """Yield a function that writes one line; `path` appears complete when the block ends, and not at all if it fails.

    With `path` None the lines are dropped. An existing file is replaced only at the end.
    """
    if path is None:
        yield lambda line: None
        return
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.absolute().parent)
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:

            def write(line: str) -> None:
                stream.write(line + "\n")

            yield write
        draft.chmod(0o666 & ~_umask())  # mkstemp's 0600 would keep colleagues from reading the results
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
