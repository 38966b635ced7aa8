"""How is the calibration data set written? In shards by several processes, resumable, then put together as a folder.

Same arguments, same bytes, whatever the number of processes and however often the build was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, Protocol

from ..errors import BuildError, MissingExtraError
from ..questions import get_family
from .calibration import SPLITS
from .card import data_card, merge_statistics, write_sheets
from .plan import Plan
from .schema import VIEWS
from .shard import shard_folder, write_shard

FINGERPRINT = "build.json"
WORK = ".building"
CARD = "README.md"
CONFIG = "experiment_config.json"


class Planned(Protocol):
    """Anything whose arguments decide the bytes of a build."""

    def fingerprint(self) -> dict[str, Any]:
        """Those arguments, as JSON values."""


def build_calibration_data(
    plan: Plan, out: Path, processes: int = 1, advance: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Write the data set of `plan` into `out` and return its fingerprint.

    `advance` is called with the number of plots of each finished shard. Finished shards of an interrupted build are
    kept; a finished build is left as it is. Raises BuildError when `out` holds something else or a build with other
    arguments, when another process builds there, or when it cannot be written; MissingExtraError without `datasets`.
    """
    try:
        import datasets  # noqa: F401
        from filelock import FileLock, Timeout
    except ImportError:
        raise MissingExtraError("datasets", "train") from None
    if processes < 1:
        raise BuildError(f"got {processes} processes. Expected at least 1")
    try:
        if not claim(plan, out):
            if advance:
                advance(plan.rows)
            return plan.fingerprint()
        work = out / WORK
        with FileLock(str(work / "lock"), timeout=0):
            for stale in work.glob("tmp-*"):
                shutil.rmtree(stale, ignore_errors=True)
            _write_shards(plan, work, processes, advance)
            _assemble(plan, out, work)
    except Timeout:
        raise BuildError(f"another process is building in {out}. Remedy: wait for it or choose another --out") from None
    except BrokenProcessPool:
        raise BuildError(
            "a worker process was killed, perhaps for want of memory. Remedy: run the same command again with fewer "
            "--processes; finished shards are kept"
        ) from None
    except OSError as exc:
        raise BuildError(
            f"could not write {exc.filename or out}: {exc.strerror or exc}. Finished shards are kept in {out}. "
            "Remedy: make room and run the same command again"
        ) from exc
    shutil.rmtree(out / WORK, ignore_errors=True)
    return plan.fingerprint()


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


def _write_shards(plan: Plan, work: Path, processes: int, advance: Callable[[int], None] | None) -> None:
    tasks = [(split, index) for split in SPLITS for index in range(plan.shards(split))]
    if processes == 1 or len(tasks) == 1:
        for split, index in tasks:
            done = write_shard(plan, split, index, work)
            if advance:
                advance(done)
        return
    with _pool(min(processes, len(tasks))) as pool:
        futures = [pool.submit(write_shard, plan, split, index, work) for split, index in tasks]
        try:
            future: Future[int]
            for future in as_completed(futures):
                done = future.result()
                if advance:
                    advance(done)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@contextlib.contextmanager
def _pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    # Two plots never need two threads; without this every worker would start one per core.
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_die_with_parent) as pool:
            yield pool
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _die_with_parent() -> None:
    """End this worker when the build is killed: it would wait for work for ever otherwise."""
    parent = parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        connection.wait([sentinel])
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _assemble(plan: Plan, out: Path, work: Path) -> None:
    """Move the shards' files to their final names, then write what is made from all of them; the card comes last."""
    statistics = {}
    for split in SPLITS:
        shards = [shard_folder(work, split, index) for index in range(plan.shards(split))]
        found = [json.loads((shard / "stats.json").read_text(encoding="utf-8")) for shard in shards]
        statistics[split] = merge_statistics(found)
        for view in VIEWS[:3]:
            (out / view).mkdir(exist_ok=True)
            full = [shard for shard, facts in zip(shards, found, strict=True) if facts["rows"][view]]
            for index, shard in enumerate(full):
                source = shard / f"{view}.parquet"
                target = out / view / f"{split}-{index:05d}-of-{len(full):05d}.parquet"
                if source.exists() or not target.exists():
                    source.replace(target)
    tests = [shard_folder(work, "test", index) for index in range(plan.shards("test"))]
    for view, stem in (("qcaleval", "test"), ("fewshot", "fewshot")):
        # The official scripts ask for exactly one file of each, by this name.
        target = out / f"{stem}-00000-of-00001.parquet"
        partial = work / f"tmp-{view}.parquet"
        _join([shard / f"{view}.parquet" for shard in tests], partial)
        partial.replace(target)
    write_text(out / CONFIG, json.dumps(experiment_config(plan, statistics), indent=1) + "\n")
    write_sheets(plan, out)
    write_text(out / CARD, data_card(plan, statistics))


def _join(sources: list[Path], target: Path) -> None:
    import pyarrow.parquet as pq

    if len(sources) == 1:
        shutil.copyfile(sources[0], target)
        return
    schema = pq.read_schema(sources[0])
    with pq.ParquetWriter(target, schema, compression="snappy", use_dictionary=False) as writer:
        for source in sources:
            with pq.ParquetFile(source) as file:
                for group in range(file.num_row_groups):
                    writer.write_table(file.read_row_group(group))


def experiment_config(plan: Plan, statistics: dict[str, Any]) -> dict[str, Any]:
    """{family: {q6_status_mapping: {type: usual status}, q5_scoring: {field: {type, tol_full, tol_half}}}}."""
    config: dict[str, Any] = {}
    for family, kind in plan.scenarios:
        counts: dict[str, int] = {}
        for split in SPLITS:
            for status, count in statistics[split].get("labels", {}).get(f"type {kind}", {}).items():
                counts[status] = counts.get(status, 0) + count
        entry = config.setdefault(family, {"q6_status_mapping": {}, "q5_scoring": {}})
        if counts:
            entry["q6_status_mapping"][kind] = max(sorted(counts), key=lambda status: counts[status])
        for field in get_family(family).fields:
            full, half = field.tolerances()
            entry["q5_scoring"][field.name] = {"type": field.kind, "tol_full": full, "tol_half": half}
    return config
