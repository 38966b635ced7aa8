"""How is a data set folder cleaned? Its tables are checked as one; flagged rows are marked, and left out of a copy."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import ContaminationError, MissingExtraError
from .build_folder import CARD, FINGERPRINT, write_text
from .contamination import MARKER, VERSION, Flag, Reason, Row, check_rows, load_benchmark, table_rows

REPORT = "report.json"


def decontaminate(
    folder: Path, against: Sequence[Path], out: Path | None = None, advance: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Check all parquet files below `folder`, write the marker into it, and a copy without flagged rows to `out`.

    Returns the report, which is also the marker (`contamination.json` in `folder`) and `report.json` of the copy:
    {version, against, rows, images, limits, checked: {file: rows}, flagged: [{file, row, id, reasons}]}. The copy's own
    marker lists nothing flagged. A few-shot row goes with the rows whose images it shows. A copy has no `build.json`:
    it is no longer what the build's arguments give.

    Raises:
        ContaminationError: no tables, a benchmark without content, or `out` is taken or cannot be written.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise MissingExtraError("pyarrow", "train") from None
    tables = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet"))
    if not tables:
        raise ContaminationError(f"{folder}: no parquet files. Expected the folder of a data set")
    if out is not None and (out.is_file() or (out.is_dir() and any(out.iterdir()))):
        raise ContaminationError(f"{out}: is not empty. Remedy: name a new folder with --out")
    if out is not None and folder.resolve() in (out.resolve(), *out.resolve().parents):
        raise ContaminationError(f"{out}: lies in the data set itself. Remedy: name another folder with --out")
    benchmark = load_benchmark(against)
    owners: list[tuple[str, int]] = []
    shown: list[tuple[str, frozenset[str]]] = []

    def rows() -> Iterator[Row]:
        for name in tables:
            for number, row in enumerate(table_rows(folder / name)):
                owners.append((name, number))
                shown.append((str(row.get("source_id") or ""), frozenset(row.get("image_ids") or ())))
                yield row

    flags = _with_dependents(check_rows(rows(), benchmark, advance), shown)
    report: dict[str, Any] = {
        "version": VERSION,
        **benchmark.facts(),
        "checked": {name: sum(owner == name for owner, _ in owners) for name in tables},
        "flagged": [_entry(flag, *owners[flag.row]) for flag in flags],
    }
    try:
        write_text(folder / MARKER, _json(report))
        if out is not None:
            _copy(folder, out, tables, report)
    except OSError as exc:
        raise ContaminationError(f"{exc.filename or out}: cannot be written ({exc.strerror or exc})") from None
    return report


def _with_dependents(flags: list[Flag], shown: Sequence[tuple[str, frozenset[str]]]) -> list[Flag]:
    """Also rows that refer to a flagged row, by its id or its images."""
    found = {flag.row for flag in flags}
    ids = {flag.id for flag in flags}
    images = frozenset(name for flag in flags for name in shown[flag.row][1] if not shown[flag.row][0])
    more = [
        Flag(number, source, (Reason("refers", source if source in ids else min(names & images), 0.0),))
        for number, (source, names) in enumerate(shown)
        if source and number not in found and (source in ids or names & images)
    ]
    return sorted([*flags, *more], key=lambda flag: flag.row)


def _entry(flag: Flag, name: str, number: int) -> dict[str, Any]:
    reasons = [dataclasses.asdict(reason) for reason in flag.reasons]
    return {"file": name, "row": number, "id": flag.id, "reasons": reasons}


def _copy(folder: Path, out: Path, tables: Sequence[str], report: dict[str, Any]) -> None:
    partial = out.with_name(f".{out.name}.tmp-{os.getpid()}")
    dropped: dict[str, set[int]] = {name: set() for name in tables}
    for flag in report["flagged"]:
        dropped[flag["file"]].add(flag["row"])
    try:
        shutil.copytree(folder, partial, ignore=shutil.ignore_patterns("*.parquet", FINGERPRINT, MARKER, ".*"))
        for name in tables:
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            _filter(folder / name, partial / name, dropped[name])
        left = {name: count - len(dropped[name]) for name, count in report["checked"].items()}
        write_text(partial / MARKER, _json(report | {"checked": left, "flagged": []}))
        write_text(partial / REPORT, _json(report))
        if (partial / CARD).is_file():
            note = (
                f"\n## Decontaminated\n\n{len(report['flagged'])} of {sum(report['checked'].values())} rows repeat "
                f"{', '.join(report['against'])} and were left out (`{REPORT}`). Counts above are those before.\n"
            )
            write_text(partial / CARD, (partial / CARD).read_text(encoding="utf-8") + note)
        if out.is_dir():
            out.rmdir()
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _filter(source: Path, target: Path, dropped: set[int]) -> None:
    """Copy a table without the rows `dropped`; a table of which nothing is left is not written (nobody can read it)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not dropped:
        shutil.copyfile(source, target)
        return
    with pq.ParquetFile(source) as file:
        if len(dropped) == file.metadata.num_rows:
            return
        with pq.ParquetWriter(target, file.schema_arrow, compression="snappy", use_dictionary=False) as writer:
            start = 0
            for batch in file.iter_batches(64):
                keep = [start + k not in dropped for k in range(batch.num_rows)]
                start += batch.num_rows
                kept = batch.filter(pa.array(keep))
                if kept.num_rows:
                    writer.write_batch(kept)


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
