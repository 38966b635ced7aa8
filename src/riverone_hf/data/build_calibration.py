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
from typing import Any

from ..errors import BuildError
from ..questions import get_family
from .build_folder import CARD, building, claim, work_folder, write_text
from .calibration import SPLITS
from .card import data_card, merge_statistics, write_sheets
from .plan import Plan
from .schema import VIEWS
from .shard import shard_folder, write_shard

CONFIG = "experiment_config.json"


def build_calibration_data(
    plan: Plan, out: Path, processes: int = 1, advance: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Write the data set of `plan` into `out` and return its fingerprint.

    `advance` is called with the number of plots of each finished shard. Finished shards of an interrupted build are
    kept; a finished build is left as it is. Raises BuildError when `out` holds something else or a build with other
    arguments, when another process builds there, or when it cannot be written; MissingExtraError without `datasets`.
    """
    if processes < 1:
        raise BuildError(f"got {processes} processes. Expected at least 1")
    with building(out):
        if not claim(plan, out):
            if advance:
                advance(plan.rows)
            return plan.fingerprint()
        with work_folder(out) as work:
            _write_shards(plan, work, processes, advance)
            _assemble(plan, out, work)
    return plan.fingerprint()


def _write_shards(plan: Plan, work: Path, processes: int, advance: Callable[[int], None] | None) -> None:
    tasks = [(split, index) for split in SPLITS for index in range(plan.shards(split))]
    if processes == 1 or len(tasks) == 1:
        for split, index in tasks:
            done = write_shard(plan, split, index, work)
            if advance:
                advance(done)
        return
    try:
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
    except BrokenProcessPool:
        raise BuildError(
            "a worker process was killed, perhaps for want of memory. Remedy: run the same command again with fewer "
            "--processes; finished shards are kept"
        ) from None


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
