"""How is the drift data set written? Windows become figures and conversations, in resumable shards, then a folder."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DriftError
from .build_folder import CARD, FINGERPRINT, WORK, building, claim, work_folder, write_text
from .card import SHEET_PLOTS, merge_statistics
from .drift_card import STATISTICS, TRUTH, VIEW, drift_card, write_drift_sheet
from .drift_columns import ENVIRONMENT_TYPE, PROPERTIES
from .drift_draw import draw
from .drift_frame import DriftTable
from .drift_questions import Question, ask
from .drift_source import DriftSource, drift_source
from .drift_windows import DriftPlan, Window, choose, periods
from .plan import encode_png
from .shard import ROW_GROUP
from .source_rows import count_tokens, source_features

if TYPE_CHECKING:
    from datasets import Features

LICENCE, SUNSPOT_LICENCE = "cc-by-4.0", "cc-by-nc-4.0"
Row = dict[str, Any]


def build_drift_data(
    rows: int,
    out: Path,
    source: str | None = None,
    seed: int = 0,
    sunspots: bool = False,
    revision: str | None = None,
    advance: Callable[[int], None] | None = None,
    shard_rows: int = 256,
) -> Row:
    """Write `rows` figures with questions into `out` and return the statistics (also `statistics.json`).

    `source` as in `drift_source`; `advance` is called with the rows of each finished shard. Finished shards of an
    interrupted build are kept, a finished build is left alone; same table and arguments, same bytes.
    Raises DriftError for a table that does not fit (nothing is written then), BuildError for a folder that cannot be
    used or written, MissingExtraError without `datasets`.
    """
    with building(out):
        table_of = _checked(rows, source, seed, sunspots, revision)
        plan = DriftPlan(rows, table_of.name, table_of.digest, seed, sunspots, shard_rows)
        finished = (out / CARD).is_file() and (out / FINGERPRINT).is_file()
        if finished and not claim(plan, out):
            found: Row = json.loads((out / STATISTICS).read_text(encoding="utf-8"))
            if advance:
                advance(rows)
            return found
        table = table_of.read()
        windows = choose(plan, table)
        claim(plan, out)
        with work_folder(out) as work:
            for split, chosen in windows.items():
                for start in range(0, len(chosen), shard_rows):
                    part = chosen[start : start + shard_rows]
                    _write_shard(plan, table, split, start // shard_rows, part, work)
                    if advance:
                        advance(len(part))
            return _assemble(plan, table, windows, out)


def _checked(rows: int, source: str | None, seed: int, sunspots: bool, revision: str | None) -> DriftSource:
    DriftPlan(rows, "", "", seed)  # bad numbers are found before anything is fetched
    try:
        return drift_source(source, rows, seed, sunspots, revision)
    except OSError as exc:
        raise DriftError(f"{source}: cannot be read ({exc.strerror or exc}). Remedy: check --source") from None


def truth_features() -> Features:
    """Columns of the `truth` config: one row per question, with the numbers behind its answer as JSON."""
    from datasets import Features, Value

    text, whole = Value("string"), Value("int32")
    return Features(
        {"id": text, "kind": text, "question": text, "answer": text, "values": text}
        | {"layout": text, "backend": text, "property": text, "qubit_a": whole, "qubit_b": whole}
        | {"start": text, "days": whole, "lag_days": whole}
    )


def drift_row(window: Window, table: DriftTable, plan: DriftPlan) -> tuple[Row, list[Row]]:
    """(the training row, its rows of the `truth` config)."""
    name = f"{plan.seed} {window.id}"
    questions = ask(window, table, plan.sunspots, random.Random(name))
    image = draw(window, table, plan.sunspots, np.random.default_rng(random.Random(f"{name} image").getrandbits(64)))
    backend, own, a, b = window.key
    row = {
        "id": window.id,
        "family": "drift",
        "experiment_type": PROPERTIES[own].experiment_type if window.layout == "curve" else ENVIRONMENT_TYPE,
        "images": [{"bytes": encode_png(image), "path": f"{window.id}.png"}],
        "messages": _messages(questions),
        "source": plan.source,
        "licence": SUNSPOT_LICENCE if plan.sunspots else LICENCE,
    }
    where = {"layout": window.layout, "backend": backend, "property": own, "qubit_a": a, "qubit_b": b}
    where |= {"start": window.date, "days": window.days, "lag_days": window.lag}
    truth = [
        {"id": window.id, "kind": q.kind, "question": q.prompt, "answer": q.answer, "values": json.dumps(q.values)}
        | where
        for q in questions
    ]
    return row, truth


def _messages(questions: Sequence[Question]) -> list[Row]:
    """Independent turns on the figure, which stands before the first (as in `conversation`)."""
    messages: list[Row] = []
    for question in questions:
        content: list[Row] = [{"type": "text", "text": question.prompt}]
        if not messages:
            content.insert(0, {"type": "image", "text": None})
        messages.append({"role": "user", "content": content})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": question.answer}]})
    return messages


def _write_shard(
    plan: DriftPlan, table: DriftTable, split: str, index: int, windows: Sequence[Window], work: Path
) -> None:
    """Write `windows` as a folder that appears under its name only when all of it is there."""
    final = work / f"{split}-{index:05d}"
    if final.is_dir():
        return
    partial = work / f"tmp-{split}-{index:05d}-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        made = [drift_row(window, table, plan) for window in windows]
        rows, truth = [row for row, _ in made], [item for _, items in made for item in items]
        write_rows(partial / f"{VIEW}.parquet", rows, source_features(VIEW))
        write_rows(partial / f"{TRUTH}.parquet", truth, truth_features())
        (partial / "stats.json").write_text(json.dumps(_statistics(rows, truth)), encoding="utf-8")
        partial.rename(final)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def write_rows(path: Path, rows: Sequence[Row], features: Features) -> None:
    """Rows as one parquet file that `datasets` reads with `features`, images embedded."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(list(rows), schema=features.arrow_schema)
    pq.write_table(table, path, compression="snappy", use_dictionary=False, row_group_size=ROW_GROUP)


def _statistics(rows: Sequence[Row], truth: Sequence[Row]) -> Row:
    """Counts, all of them additive over shards."""
    labels: dict[str, Counter[str]] = {}
    for item in truth:
        values = json.loads(item["values"])
        for name in ("trend", "stability", "step", "significant"):
            if name in values and item["kind"] in (name, "change", "driver"):
                labels.setdefault(name, Counter())[str(values[name])] += 1
    return {
        "rows": len(rows),
        "images": len(rows),
        "image_bytes": sum(len(row["images"][0]["bytes"]) for row in rows),
        "question_tokens": sum(count_tokens(item["question"]) for item in truth),
        "answer_tokens": sum(count_tokens(item["answer"]) for item in truth),
        "types": Counter(row["experiment_type"] for row in rows),
        "licences": Counter(row["licence"] for row in rows),
        "questions": Counter(item["kind"] for item in truth),
        "labels": labels,
    }


def _assemble(plan: DriftPlan, table: DriftTable, windows: dict[str, list[Window]], out: Path) -> Row:
    """Move the shards' tables to their final names, then write what is made from all of them; the card comes last."""
    by_split: dict[str, Row] = {}
    for split, chosen in windows.items():
        count = -(-len(chosen) // plan.shard_rows)
        shards = [out / WORK / f"{split}-{index:05d}" for index in range(count)]
        by_split[split] = merge_statistics(
            json.loads((shard / "stats.json").read_text(encoding="utf-8")) for shard in shards
        )
        for view in (VIEW, TRUTH):
            (out / view).mkdir(exist_ok=True)
            for index, shard in enumerate(shards):
                source, target = shard / f"{view}.parquet", out / view / f"{split}-{index:05d}-of-{count:05d}.parquet"
                if source.exists() or not target.exists():
                    source.replace(target)
    total = merge_statistics(by_split.values())
    total |= {"source": plan.source, "view": VIEW, "read": table.rows, "rejects": dict(table.dropped)}
    total |= {"splits": {split: by_split[split]["rows"] for split in by_split}}
    total |= {"devices": {split: list(period[0]) for split, period in periods(table, plan.seed).items()}}
    write_text(out / STATISTICS, json.dumps(total, indent=1, sort_keys=True) + "\n")
    write_drift_sheet(out, SHEET_PLOTS)
    write_text(out / CARD, drift_card(plan, table, total))
    return total
