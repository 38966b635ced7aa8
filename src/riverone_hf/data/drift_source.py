"""Where does the drift table come from? A folder, a Hub data set, or the synthetic stand-in; read only when needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import DriftError, MissingExtraError
from .drift_columns import SOURCE_ID
from .drift_frame import DriftTable, clean, digest, parquet_files, read_table
from .drift_synthetic import SYNTHETIC_VERSION, synthetic_frame

SYNTHETIC = "synthetic"
SYNTHETIC_DAYS = 180
PUBLIC = "hub"


@dataclass(frozen=True)
class DriftSource:
    """A table by the `name` that rows and card give it and the `digest` of its contents; `read` loads and cleans it."""

    name: str
    digest: str
    read: Callable[[], DriftTable]


def drift_source(
    where: str | None, rows: int, seed: int = 0, sunspots: bool = False, revision: str | None = None
) -> DriftSource:
    """The table at `where`: a folder or parquet file, a Hub id, "hub" for the public one, None for a synthetic one.

    The synthetic table has enough qubits for `rows` figures. Raises DriftError when there is nothing to read.
    """
    if where is None:
        qubits = min(max(4, rows // 60), 60)
        said = f"{SYNTHETIC} {SYNTHETIC_VERSION}, {SYNTHETIC_DAYS} days, {qubits} qubits, seed {seed}"
        return DriftSource(SYNTHETIC, said, lambda: clean([synthetic_frame(SYNTHETIC_DAYS, qubits, seed)[0]], sunspots))
    folder, name = Path(where), Path(where).name
    if not folder.exists():
        name = SOURCE_ID if where == PUBLIC else where
        folder = _download(name, revision)
    return DriftSource(name, digest(parquet_files(folder)), lambda: read_table(folder, sunspots))


def _download(repo_id: str, revision: str | None) -> Path:
    """The data set's parquet files in the Hub's cache; an interrupted download goes on where it stopped."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingExtraError("huggingface_hub", "train") from None
    try:
        path = snapshot_download(repo_id, repo_type="dataset", revision=revision, allow_patterns=["*.parquet"])
    except Exception as error:  # the client has no common base for what a Hub may refuse
        why = " ".join(str(error).split())[:160] or type(error).__name__
        raise DriftError(
            f"{repo_id}: neither a folder nor a Hub data set that can be fetched ({why}). Remedy: check the id and the "
            "network and run the same command again; or download it and give its folder with --source"
        ) from None
    return Path(path)
