"""How is a source from elsewhere written? One pass over its rows, in shards that a build which stopped goes on behind.

Same source and arguments, same bytes, however often the build was interrupted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import BuildError, RiverOneError, SourceError, SourceGoneError
from .build_folder import CARD, FINGERPRINT, WORK, building, claim, work_folder, write_text
from .card import merge_statistics
from .preference_set import SimulatedPairs
from .source import Origin, check_columns
from .source_card import STATISTICS, source_card, write_sheet
from .source_image import Reject
from .source_rows import Kind, Row, count_tokens, row_texts, source_features

SHARD_ROWS = 512
BUILDER_VERSION = "1"


@dataclass(frozen=True)
class SourcePlan:
    """At most `rows` rows of `kind` out of `origin`; of its rows the share `share`, drawn by `seed`, is looked at.

    Raises BuildError for values out of range.
    """

    kind: Kind
    origin: Origin | SimulatedPairs
    rows: int
    share: float = 1.0
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    shard_rows: int = SHARD_ROWS

    def __post_init__(self) -> None:
        if self.rows < 1 or self.shard_rows < 1 or not 0 < self.share <= 1:
            raise BuildError(
                f"got {self.rows} rows and a share of {self.share}. Expected at least 1, and 0 < share <= 1"
            )

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the bytes of a build, as JSON values."""
        said: dict[str, Any] = {"builder": self.kind.name, "builder_version": BUILDER_VERSION, "view": self.kind.view}
        said |= {"rows": self.rows, "share": self.share}
        return said | {"seed": self.seed, "shard_rows": self.shard_rows, **self.options, **self.origin.fingerprint()}

    def drawn(self, number: int) -> bool:
        """Whether row `number` of the source is looked at."""
        return self.share >= 1 or random.Random(f"{self.seed} {self.kind.name} {number}").random() < self.share


def build_source_data(plan: SourcePlan, out: Path, advance: Callable[[int], None] | None = None) -> dict[str, Any]:
    """Write the data set of `plan` into `out` and return its statistics (also `statistics.json`).

    `advance` is called with the number of rows of each finished shard. Raises SourceError (SourceGoneError when the
    source stops in the middle: finished shards are kept), BuildError when `out` cannot be used or written.
    """
    with building(out):
        plan = _pinned(plan, out)
        if not claim(plan, out):
            found: dict[str, Any] = json.loads((out / STATISTICS).read_text(encoding="utf-8"))
            if advance:
                advance(found["rows"])
            return found
        with _kept_if_begun(out), work_folder(out) as work:
            return _assemble(plan, out, list(_shards(plan, work, advance)))


@contextlib.contextmanager
def _kept_if_begun(out: Path) -> Iterator[None]:
    """Take the folder away again when the source gave nothing: the next command may be another one."""
    try:
        yield
    except SourceError:
        if not list((out / WORK).glob("shard-*/rows.parquet")):
            shutil.rmtree(out / WORK, ignore_errors=True)
            (out / FINGERPRINT).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                out.rmdir()
        raise


def _pinned(plan: SourcePlan, out: Path) -> SourcePlan:
    """`plan` with the commit of its source: of the build that is in `out` already, else the newest."""
    known = None
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found = json.loads((out / FINGERPRINT).read_text(encoding="utf-8"))
        known = found.get("revision") if found.get("source") == plan.origin.name else None
    kind, options = plan.kind, plan.options
    return SourcePlan(kind, plan.origin.pinned(known), plan.rows, plan.share, plan.seed, options, plan.shard_rows)


def _shards(plan: SourcePlan, work: Path, advance: Callable[[int], None] | None) -> Iterator[dict[str, Any]]:
    """Statistics of all shards, those of an earlier run first; each is written when all of it is there."""
    start, left, index = 0, plan.rows, 0
    seen: set[str] = set()
    finished = False
    while not finished and left > 0:
        final = work / f"shard-{index:05d}"
        if not final.is_dir():
            _write_shard(plan, final, index, start, left, seen)
        stats = json.loads((final / "stats.json").read_text(encoding="utf-8"))
        start, finished = stats["next"], stats["finished"]
        left -= stats["rows"]
        seen.update(stats["keys"])
        index += 1
        if advance:
            advance(stats["rows"])
        yield stats


def _write_shard(plan: SourcePlan, final: Path, index: int, start: int, left: int, seen: set[str]) -> None:
    # A source row with many questions stays whole: its shard may be longer, only the last row of all is cut.
    rows: list[Row] = []
    rejects, keys = Counter[str](), list[str]()
    number, read, finished, known = start, 0, True, start > 0
    for number, row in plan.origin.rows(start):
        if row and not known and isinstance(plan.origin, Origin):
            check_columns(plan.origin, row, plan.kind.columns)
            known = True
        if plan.drawn(number):
            read += 1
            for part, item in enumerate(_converted(plan, number, row)):
                if isinstance(item, Reject):
                    rejects[item.reason] += 1
                    continue
                key = _key(item)
                if key in seen or key in keys:
                    rejects["duplicate"] += 1
                elif len(rows) < left:
                    keys.append(key)
                    rows.append(_named(plan, item, number, part))
        if len(rows) >= min(left, plan.shard_rows):
            finished = False
            break
    stats = _statistics(rows) | {"read": read, "rejects": rejects, "keys": keys}
    stats |= {"next": number + 1, "finished": finished}
    partial = final.with_name(f"tmp-{index:05d}-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        if rows:
            _write_rows(partial / "rows.parquet", plan.kind.view, rows)
        (partial / "stats.json").write_text(json.dumps(stats), encoding="utf-8")
        partial.rename(final)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _converted(plan: SourcePlan, number: int, row: Row) -> list[Row | Reject]:
    """The rows of source row `number`; an empty one could not be read."""
    if not row:
        return [Reject("broken_row")]
    try:
        return plan.kind.convert(row, plan.origin)  # type: ignore[arg-type]
    except SourceError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError):  # values of a kind that no card speaks of
        return [Reject("malformed_row")]
    except RiverOneError as error:  # an endpoint that is asked about rows
        raise SourceGoneError(
            f"{plan.origin.name}, split {plan.origin.split}: stopped at row {number}: {error}. Finished shards are "
            "kept. Remedy: run the same command again; it goes on behind them"
        ) from error


def _named(plan: SourcePlan, item: Row, number: int, part: int) -> Row:
    name = f"{plan.kind.name}_{plan.origin.split}_{number:07d}" + (f"_{part}" if part else "")
    images = [
        {**image, "path": f"{name}_{k}.{image['path'].rpartition('.')[2]}"} for k, image in enumerate(item["images"])
    ]
    said = {"family": plan.kind.name} | item | {"id": name, "images": images, "licence": plan.kind.licence}
    return said | {"source": f"{plan.origin.name}:{plan.origin.split}:{number}"}


def _key(item: Row) -> str:
    digest = hashlib.sha256()
    for image in item["images"]:
        digest.update(image["bytes"])
    digest.update("\n".join(row_texts(item)).encode())
    return digest.hexdigest()[:16]


def _write_rows(path: Path, view: str, rows: list[Row]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from .shard import ROW_GROUP

    schema = source_features(view).arrow_schema
    # A PreferenceSource's rows may carry more than the view has.
    table = pa.Table.from_pylist([{name: row[name] for name in schema.names} for row in rows], schema=schema)
    pq.write_table(table, path, compression="snappy", use_dictionary=False, row_group_size=ROW_GROUP)


def _statistics(rows: list[Row]) -> dict[str, Any]:
    """Counts of a shard, all of them additive."""
    texts = [row_texts(row) for row in rows]
    return {
        "rows": len(rows),
        "images": sum(len(row["images"]) for row in rows),
        "image_bytes": sum(len(image["bytes"]) for row in rows for image in row["images"]),
        "question_tokens": sum(count_tokens(question) for question, _ in texts),
        "answer_tokens": sum(count_tokens(answer) for _, answer in texts),
        "types": Counter(row["experiment_type"] for row in rows),
        "licences": Counter(row["licence"] for row in rows),
    }


def _assemble(plan: SourcePlan, out: Path, shards: list[dict[str, Any]]) -> dict[str, Any]:
    """Move the shards' tables to their final names, then write what is made from all of them; the card comes last."""
    view, split = plan.kind.view, plan.origin.split
    counts = [
        {key: value for key, value in stats.items() if key not in ("next", "finished", "keys")} for stats in shards
    ]
    statistics: dict[str, Any] = merge_statistics(counts)
    if isinstance(plan.origin, SimulatedPairs):
        statistics["rejects"] = merge_statistics([statistics["rejects"], plan.origin.left_out()])
    if not statistics["rows"]:
        raise SourceError(
            f"{plan.origin.name}, split {split}: none of {statistics['read']} rows can be used "
            f"({_counts(statistics['rejects'])}). Remedy: look at a few rows of the source, or loosen the options"
        )
    full = [k for k, stats in enumerate(shards) if stats["rows"]]
    (out / view).mkdir(exist_ok=True)
    for index, k in enumerate(full):
        source = out / WORK / f"shard-{k:05d}" / "rows.parquet"
        target = out / view / f"{split}-{index:05d}-of-{len(full):05d}.parquet"
        if source.exists() or not target.exists():
            source.replace(target)
    statistics |= {"view": view, "split": split, "source": plan.origin.name}
    write_text(out / STATISTICS, json.dumps(statistics, indent=1, sort_keys=True) + "\n")
    write_sheet(out, view, split)
    write_text(out / CARD, source_card(plan.kind, plan.fingerprint(), statistics))
    return statistics


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "no rows"
