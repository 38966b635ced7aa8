"""How does a slice of the plan become files? Every view of the same plots, one parquet file each, and statistics."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..questions import QUESTIONS, Truth, full_prompt, get_family, short_prompt, write_answers
from .calibration import ALL_QUESTIONS
from .conversation import conversation
from .icl import demonstrations, icl_messages, icl_prompt
from .key_points import q1_key_points, q3_key_points
from .plan import Plan, Sample
from .preferences import hard_negative
from .schema import FEWSHOT_QUESTIONS, VIEWS, view_features

FULL_SHARE = 0.15
"""Share of the training conversations in the full form (DESIGN contract 6: 10 to 20 %)."""
ICL_ONE_IN = 3
"""One plot in so many has an in-context row: those hold many images, and QCalEval's mix is about the same."""
PREFERENCE_WEIGHTS = (0.15, 0.2, 0.1, 0.2, 0.2, 0.15)
"""How often the preference row of a plot asks q1..q6."""
ROW_GROUP = 64


def shard_folder(work: Path, split: str, index: int) -> Path:
    """Where a finished shard lies until the build is put together."""
    return work / f"{split}-{index:05d}"


def write_shard(plan: Plan, split: str, index: int, work: Path) -> int:
    """Render and write shard `index` of `split` as a folder of `<view>.parquet` and `stats.json`; its number of plots.

    The folder appears under its name only when all of it is written. A finished one is left alone.
    Raises OSError when it cannot be written; nothing of it remains then.
    """
    final = shard_folder(work, split, index)
    numbers = plan.shard(split, index)
    if final.is_dir():
        return len(numbers)
    # The process id keeps a forgotten worker of a killed build out of this one's folder.
    partial = work / f"tmp-{split}-{index:05d}-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        samples = [Sample.render(plan.row(split, k)) for k in numbers]
        # Over the turns through all scenarios every experiment type gets its in-context rows.
        turns = [sum(divmod(k, len(plan.scenarios))) for k in numbers]
        with_icl = [turn % ICL_ONE_IN == 0 for turn in turns]
        views = _views(samples, with_icl, split == "test")
        for view, rows in views.items():
            if rows:  # datasets cannot read a file without rows
                write_parquet(partial / f"{view}.parquet", view, rows)
        (partial / "stats.json").write_text(json.dumps(_statistics(samples, views)), encoding="utf-8")
        partial.rename(final)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        if final.is_dir():
            return len(numbers)
        raise
    return len(numbers)


def write_parquet(path: Path, view: str, rows: Sequence[dict[str, Any]]) -> None:
    """Rows of a view as one parquet file that `datasets` reads with its features, images embedded."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(list(rows), schema=view_features(view).arrow_schema)
    # PNG bytes do not compress further and hardly repeat, so neither a codec nor a dictionary pays.
    pq.write_table(table, path, compression="snappy", use_dictionary=False, row_group_size=ROW_GROUP)


def _views(samples: Sequence[Sample], with_icl: Sequence[bool], evaluation: bool) -> dict[str, list[dict[str, Any]]]:
    truths: dict[str, list[Truth]] = defaultdict(list)
    families: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        truths[sample.row.truth.family].append(sample.row.truth)
        families[sample.row.truth.family].append(sample)
    views: dict[str, list[dict[str, Any]]] = {view: [] for view in VIEWS if evaluation or view in VIEWS[:3]}
    for sample, in_context in zip(samples, with_icl, strict=True):
        relatives = families[sample.row.truth.family]
        views["sft_zero_shot"].append(_zero_shot(sample))
        views["preference"].append(_preference(sample, truths[sample.row.truth.family]))
        if in_context:
            views["sft_icl"] += _icl(sample, relatives)
        if evaluation:
            views["qcaleval"].append(_qcaleval(sample))
            views["fewshot"].append(_fewshot(sample, relatives))
    return views


def _plot(sample: Sample, images: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    truth = sample.row.truth
    return {
        "id": sample.row.id,
        "family": truth.family,
        "experiment_type": truth.experiment_type,
        "images": sample.stored_images() if images is None else images,
    }


def _rng(sample: Sample, purpose: str) -> random.Random:
    return random.Random(f"{purpose} {sample.row.id} {sample.row.seed}")


def _zero_shot(sample: Sample) -> dict[str, Any]:
    rng = _rng(sample, "zero-shot")
    full = rng.random() < FULL_SHARE
    questions = [rng.choice(QUESTIONS)] if full else ALL_QUESTIONS
    messages = conversation(sample.row.truth, questions, len(sample.pngs), rng if full else None)
    return _plot(sample) | {"messages": messages}


def _icl(sample: Sample, relatives: Sequence[Sample]) -> list[dict[str, Any]]:
    """One in-context row, or none when the shard holds no other plot of the family."""
    rng = _rng(sample, "icl")
    question = rng.choice(FEWSHOT_QUESTIONS)
    shown = demonstrations(question, sample.row, [other.row for other in relatives], rng)
    if not shown:
        return []
    stored = {other.row.id: other for other in relatives}
    images = [image for row in (*shown, sample.row) for image in stored[row.id].stored_images()]
    full = rng if rng.random() < FULL_SHARE else None
    return [_plot(sample, images) | {"messages": icl_messages(question, sample.row, shown, full)}]


def _preference(sample: Sample, donors: Sequence[Truth]) -> dict[str, Any]:
    truth, rng = sample.row.truth, _rng(sample, "preference")
    question = rng.choices(QUESTIONS, PREFERENCE_WEIGHTS)[0]
    full = rng.random() < FULL_SHARE
    count = len(sample.pngs)
    prompt = full_prompt(truth.family, question, count, rng) if full else short_prompt(truth.family, question)
    rejected = hard_negative(truth, question, rng, donors).text
    content = [*([{"type": "image", "text": None}] * count), {"type": "text", "text": prompt}]
    return _plot(sample) | {
        "prompt": [{"role": "user", "content": content}],
        "chosen": _answer(write_answers(truth)[question]),
        "rejected": _answer(rejected),
    }


def _answer(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": [{"type": "text", "text": text}]}]


def _qcaleval(sample: Sample) -> dict[str, Any]:
    truth, rng = sample.row.truth, _rng(sample, "qcaleval")
    answers = write_answers(truth)
    return {
        "id": sample.row.id,
        "experiment_type": truth.experiment_type,
        "experiment_background": get_family(truth.family).background,
        "images": sample.stored_images(),
        "image_ids": sample.row.image_ids,
        **{f"{name}_prompt": full_prompt(truth.family, name, len(sample.pngs), rng) for name in QUESTIONS},
        **{f"{name}_answer": answers[name] for name in QUESTIONS},
        "q1_key_points": q1_key_points(truth),
        "q3_key_points": q3_key_points(truth),
    }


def _fewshot(sample: Sample, relatives: Sequence[Sample]) -> dict[str, Any]:
    """Prompts of q3, q5, q6; `image_ids` in the order in which their marks use them up, one after the other."""
    rng = _rng(sample, "fewshot")
    row: dict[str, Any] = {"source_id": sample.row.id, "experiment_type": sample.row.truth.experiment_type}
    image_ids: list[str] = []
    for question in FEWSHOT_QUESTIONS:
        shown = demonstrations(question, sample.row, [other.row for other in relatives], rng)
        row[f"{question}_prompt"] = icl_prompt(question, sample.row, shown, rng)
        image_ids += [name for item in (*shown, sample.row) for name in item.image_ids]
    return row | {"image_ids": image_ids}


def _statistics(samples: Sequence[Sample], views: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Counts for the card, all of them additive over shards."""
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    words: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in samples:
        truth = sample.row.truth
        labels["outcome"][truth.outcome] += 1
        labels["reliability"][truth.reliability] += 1
        labels["backend"][sample.row.backend] += 1
        labels[f"status {truth.family}"][truth.status] += 1
        labels[f"type {truth.experiment_type}"][truth.status] += 1
        for question, answer in write_answers(truth).items():
            words[question][str(len(answer.split()))] += 1
    return {
        "plots": len(samples),
        "images": sum(len(sample.pngs) for sample in samples),
        "image_bytes": sum(len(png) for sample in samples for png in sample.pngs),
        "rows": {view: len(rows) for view, rows in views.items()},
        "icl_images": sum(len(row["images"]) for row in views["sft_icl"]),
        "labels": labels,
        "words": words,
    }
