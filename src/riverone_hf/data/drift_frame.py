"""How does the drift table become clean series? Units, ceilings, repeats; a daily table of the environment."""

from __future__ import annotations

import difflib
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DriftError, MissingExtraError
from .drift_columns import CEILING, MEASURED, PROPERTIES, SECONDS, SHARES, variables

if TYPE_CHECKING:
    import pandas as pd

BATCH = 262_144
COMPACT = 2_000_000
KEY = ["backend", "property", "qubit_a", "qubit_b"]

Key = tuple[str, str, int, int]
"""(backend, property, qubit_a, qubit_b); qubit_b is -1 where there is one qubit only."""


@dataclass(frozen=True)
class DriftTable:
    """Cleaned measurements. Times are days since 1970-01-01 UTC, floats.

    `series`: key -> (times (n,), values (n,) in the property's unit), times rising, one entry per calibration.
    `environment`: column -> daily means (days,), NaN where nothing is known; entry 0 is the day `first_day`.
    `dropped`: reason -> rows that were left out; `rows`: rows read.
    """

    series: dict[Key, tuple[np.ndarray, np.ndarray]]
    environment: dict[str, np.ndarray]
    first_day: int
    days: int
    rows: int
    dropped: dict[str, int]

    @property
    def devices(self) -> tuple[str, ...]:
        return tuple(sorted({key[0] for key in self.series}))


def parquet_files(source: Path) -> list[Path]:
    """The table's files: `source` itself or all parquet files below it. Raises DriftError when there is none."""
    files = [source] if source.is_file() else sorted(source.rglob("*.parquet"))
    if not files:
        raise DriftError(f"{source}: no parquet file. Expected the drift table. Remedy: --source FOLDER_OR_HUB_ID")
    return files


def digest(files: Iterable[Path]) -> str:
    """sha256 over the contents of `files`, in order: two builds with the same digest read the same table."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def read_table(source: Path, sunspots: bool = False) -> DriftTable:
    """The drift table in the file or folder `source`, read in batches and cleaned.

    Raises DriftError for missing columns, unreadable files, or when nothing remains; MissingExtraError without pandas.
    """
    return clean(_batches(parquet_files(source), sunspots), sunspots)


def check_columns(found: Iterable[str], where: object, sunspots: bool = False) -> None:
    """Raises DriftError that names every missing column and, where one looks renamed, its likely new name."""
    names = list(found)
    needed = (*MEASURED, *(variable.column for variable in variables(sunspots)))
    missing = [column for column in needed if column not in names]
    if not missing:
        return
    lower = {name.lower(): name for name in names if name not in needed}
    said = []
    for column in missing:
        near = difflib.get_close_matches(column.lower(), lower, n=1, cutoff=0.75)
        said.append(column + (f" (renamed to {lower[near[0]]}?)" if near else ""))
    old = " It looks like the older table with one qubit column." if "qubit" in names and "qubit_a" in missing else ""
    raise DriftError(
        f"{where}: lacks {len(missing)} of {len(needed)} needed columns: {', '.join(said)}.{old} "
        "Expected the 31 columns of the public table. Remedy: rename them, or take a newer copy"
    )


def _batches(files: list[Path], sunspots: bool) -> Iterator[pd.DataFrame]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError("datasets", "train") from None

    columns = [*MEASURED, *(variable.column for variable in variables(sunspots))]
    for path in files:
        row = 0
        try:
            with pq.ParquetFile(path) as file:
                check_columns(file.schema_arrow.names, path, sunspots)
                for batch in file.iter_batches(BATCH, columns=columns):
                    yield batch.to_pandas()
                    row += batch.num_rows
        except (pa.ArrowException, OSError) as exc:
            said = " ".join(str(exc).split())
            raise DriftError(f"{path}: cannot be read after row {row} ({said}). Remedy: fetch it again") from None


def clean(frames: Iterable[pd.DataFrame], sunspots: bool = False) -> DriftTable:
    """Series and environment of frames with the table's columns; what is dropped is counted by reason.

    Left out: other properties, failure ceilings, values without time, number or known unit, values out of range, and
    repeated snapshots of one calibration (same key and calibrated_time), which would fake autocorrelation.
    Raises DriftError for missing columns or when nothing remains; MissingExtraError without pandas.
    """
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtraError("datasets", "train") from None

    names = [variable.column for variable in variables(sunspots)]
    dropped: Counter[str] = Counter()
    kept, hours, rows = [], [], 0
    for frame in frames:
        check_columns(frame.columns, "the drift table", sunspots)
        rows += len(frame)
        times = _days(frame["calibrated_time"])
        # Only when a calibration is first seen was the environment surely that of its own hour.
        new = frame["is_new_measurement"].fillna(False).astype(bool).to_numpy()
        hours.append(_hourly(frame.loc[new, names], times[new]))
        kept.append(_measurements(frame, times, dropped))
        if sum(map(len, kept)) > COMPACT:  # half-hourly snapshots are mostly repeats
            kept = [_once(pd.concat(kept, ignore_index=True), dropped)]
    table = pd.concat(kept, ignore_index=True) if kept else pd.DataFrame()
    if table.empty:
        said = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()) if count) or "it is empty"
        raise DriftError(f"no usable measurement in {rows} rows ({said}). Remedy: check the source and its units")
    table = _once(table, dropped)
    series: dict[Key, tuple[np.ndarray, np.ndarray]] = {}
    for key, group in table.groupby(KEY, sort=True, observed=True):
        backend, name, a, b = key
        series[str(backend), str(name), int(a), int(b)] = (group["time"].to_numpy(), group["value"].to_numpy())
    first = int(np.floor(table["time"].min()))
    days = int(np.floor(table["time"].max())) - first + 1
    left_out = {reason: count for reason, count in sorted(dropped.items()) if count}
    return DriftTable(series, _daily(hours, names, first, days), first, days, rows, left_out)


def _days(column: Any) -> np.ndarray:
    """Times (n,) as days since the epoch, NaN where unreadable; every distinct text is parsed once."""
    import pandas as pd

    codes, distinct = pd.factorize(column)
    text = pd.Series(distinct)
    if text.dtype == object or str(text.dtype).startswith("str"):
        text = text.astype(str).str.replace(" UTC", "+00:00", regex=False)
    stamps = pd.to_datetime(text, utc=True, format="mixed", errors="coerce")
    since = (stamps - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)
    # One more entry, taken by code -1: a missing time.
    return np.append(since.to_numpy(dtype=float), np.nan)[codes]


def _measurements(frame: pd.DataFrame, times: np.ndarray, dropped: Counter[str]) -> pd.DataFrame:
    """Usable rows of one batch: key, time (days), observed (days), value (in the property's unit)."""
    import pandas as pd

    value = pd.to_numeric(frame["value"], errors="coerce").to_numpy(dtype=float)
    name = frame["property"].astype(str).to_numpy()
    unit = frame["unit"].fillna("").astype(str).str.strip().str.lower().to_numpy()
    is_time = np.isin(name, [key for key, item in PROPERTIES.items() if item.is_time])
    units = pd.unique(unit)
    seconds = pd.Series(unit).map({u: SECONDS.get(u, np.nan) for u in units}).to_numpy(dtype=float)
    shares = pd.Series(unit).map({u: SHARES.get(u, np.nan) for u in units}).to_numpy(dtype=float)
    value = value * np.where(is_time, seconds, shares)
    raw = pd.to_numeric(frame["value"], errors="coerce").to_numpy(dtype=float)
    ceiling = frame["is_failure_ceiling"].fillna(False).astype(bool).to_numpy()
    # A second is longer than any coherence time here: a bigger number is a wrong unit.
    largest = np.where(is_time, 1.0, CEILING)
    left = np.ones(len(frame), dtype=bool)
    for reason, bad in (
        ("other property", ~np.isin(name, list(PROPERTIES))),
        ("failure ceiling", ceiling | (~is_time & (value >= CEILING))),
        ("no value", ~np.isfinite(raw)),
        ("no calibration time", ~np.isfinite(times)),
        ("no qubit or device", (frame["qubit_a"].isna() | frame["backend"].isna()).to_numpy()),
        ("unknown unit", ~np.isfinite(value)),
        ("out of range", ~((value > 0) & (value < largest))),
    ):
        dropped[reason] += int(np.count_nonzero(left & bad))
        left &= ~bad
    scale = pd.Series(name[left]).map({key: item.scale for key, item in PROPERTIES.items()}).to_numpy(dtype=float)
    return pd.DataFrame(
        {
            "backend": frame["backend"].to_numpy()[left],
            "property": name[left],
            "qubit_a": frame["qubit_a"].to_numpy(dtype=float, na_value=-1)[left].astype(np.int32),
            "qubit_b": frame["qubit_b"].to_numpy(dtype=float, na_value=-1)[left].astype(np.int32),
            "time": times[left],
            "observed": _days(frame["observed_time"])[left],
            "value": value[left] * scale,
        }
    )


def _once(table: pd.DataFrame, dropped: Counter[str]) -> pd.DataFrame:
    """`table` in the order of keys and times, with the first snapshot of each calibration only."""
    first = table.sort_values([*KEY, "time", "observed"], kind="stable").drop_duplicates([*KEY, "time"])
    dropped["repeated snapshot"] += len(table) - len(first)
    return first


def _hourly(environment: pd.DataFrame, times: np.ndarray) -> pd.DataFrame:
    """Sums and counts per hour: the hours weigh the same in a day's mean however many rows fall into them."""
    import pandas as pd

    known = np.isfinite(times)
    values = environment[known].apply(pd.to_numeric, errors="coerce")
    grouped = values.groupby(np.floor(times[known] * 24).astype(np.int64))
    return pd.concat({"sum": grouped.sum(), "count": grouped.count()}, axis=1)


def _daily(hours: list[pd.DataFrame], names: list[str], first: int, days: int) -> dict[str, np.ndarray]:
    import pandas as pd

    total = pd.concat(hours).groupby(level=0).sum()
    means = total["sum"] / total["count"].where(total["count"] > 0)
    daily = means.groupby(means.index // 24).mean().reindex(range(first, first + days))
    return {name: daily[name].to_numpy(dtype=float) for name in names}
