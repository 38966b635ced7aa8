"""Is the data set sound? One report of balance, blind baselines, a pixel probe, recoverability, twins and lengths."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import BuildError
from ..questions import write_answers
from .audit_fit import WITHOUT_NUMBERS, recoverability
from .audit_labels import LABEL_QUESTIONS, balance, blind_baselines, label, text_statistics
from .audit_pixels import difference_hash, duplicates, linear_probe, pixel_digest, tiny_pixels
from .build_folder import CARD, FINGERPRINT, write_text
from .calibration import DATA_VERSION, SPLITS
from .plan import Plan, Row

HEADINGS = {"q1": "plot types", "q2": "outcome", "q4": "fit", "q5": "parameters", "q6": "status"}


@dataclass(frozen=True)
class Look:
    """What the audit keeps of a row: its first image is for the probe, all of them are for the hashes."""

    split: str
    row: Row
    pixels: np.ndarray
    hashes: tuple[np.ndarray, ...]
    digests: tuple[str, ...]

    @classmethod
    def at(cls, split: str, row: Row, images: list[Image.Image]) -> Look:
        hashes = tuple(difference_hash(image) for image in images)
        return cls(split, row, tiny_pixels(images[0]), hashes, tuple(pixel_digest(image) for image in images))


def audit_plan(plan: Plan) -> dict[str, Any]:
    """The report on the plots of `plan`, drawn now."""
    looks = []
    for split in SPLITS:
        for k in range(plan.count(split)):
            row = plan.row(split, k)
            looks.append(Look.at(split, row, row.images()))
    return _report(plan, looks)


def audit_folder(folder: Path, rows: int | None = None) -> dict[str, Any]:
    """The report on a built data set: its stored images, and whether its answers are those of the simulator.

    At most `rows` plots of every split are looked at (None: all). Adds `stored`: {rows, differing}.
    Raises BuildError when `folder` is no finished data set of ours or was built by another version of the simulator.
    """
    if rows is not None and rows < 1:
        raise BuildError(f"got {rows} rows. Expected at least 1")
    plan = _read_plan(folder)
    looks, differing = [], 0
    for split in SPLITS:
        for k, stored in enumerate(_stored_rows(folder, split, rows)):
            row = plan.row(split, k)
            differing += not _agrees(stored, row)
            images = [Image.open(io.BytesIO(image["bytes"])).convert("RGB") for image in stored["images"]]
            looks.append(Look.at(split, row, images))
    return _report(plan, looks) | {"stored": {"rows": len(looks), "differing": differing}}


def _read_plan(folder: Path) -> Plan:
    try:
        found = json.loads((folder / FINGERPRINT).read_text(encoding="utf-8"))
        version = found.pop("data_version")
        found.pop("prompt_version")
        plan = Plan(**found | {"families": tuple(found["families"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise BuildError(
            f"{folder} is no data set of `riverone data build calibration` (no readable {FINGERPRINT}). "
            "Remedy: name the folder of a finished build, or audit fresh plots with --rows"
        ) from None
    if version != DATA_VERSION:
        raise BuildError(
            f"{folder} was built with data version {version}, but this simulator has {DATA_VERSION}. "
            "Remedy: build it again, or audit it with the riverone version that built it"
        )
    if not (folder / CARD).is_file():
        raise BuildError(f"the build in {folder} is not finished. Remedy: run the same build command again")
    return plan


def _stored_rows(folder: Path, split: str, most: int | None) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    number = 0
    for path in sorted((folder / "sft_zero_shot").glob(f"{split}-*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(64):
                for row in batch.to_pylist():
                    if most is not None and number >= most:
                        return
                    number += 1
                    yield row


def _agrees(stored: dict[str, Any], row: Row) -> bool:
    answers = set(write_answers(row.truth).values())
    said = {message["content"][0]["text"] for message in stored["messages"] if message["role"] == "assistant"}
    return stored["id"] == row.id and said <= answers


def _report(plan: Plan, looks: list[Look]) -> dict[str, Any]:
    train = [look for look in looks if look.split == "train"]
    test = [look for look in looks if look.split != "train"]
    truths = [look.row.truth for look in looks]
    scores = blind_baselines([look.row.truth for look in train], [look.row.truth for look in test])
    for question in LABEL_QUESTIONS:
        scores[question]["linear_probe"] = linear_probe(
            _features(plan, train),
            [label(look.row.truth, question) for look in train],
            _features(plan, test),
            [label(look.row.truth, question) for look in test],
        )
    images = [(item, digest, look.split) for look in looks for item, digest in zip(look.hashes, look.digests)]
    return {
        "plan": plan.fingerprint(),
        "plots": {split: sum(look.split == split for look in looks) for split in SPLITS},
        "balance": balance(truths),
        "blind": scores,
        "recoverability": recoverability([look.row for look in looks]),
        "duplicates": duplicates(
            np.stack([item for item, _, _ in images]),
            [digest for _, digest, _ in images],
            [split for _, _, split in images],
        ),
        "text": text_statistics(truths),
    }


def _features(plan: Plan, looks: list[Look]) -> np.ndarray:
    """(n, 784 + families): pixels of the first image, and which family it is, as every prompt tells."""
    rows = [
        np.concatenate([look.pixels, [float(name == look.row.truth.family) for name in plan.families]])
        for look in looks
    ]
    return np.stack(rows) if rows else np.zeros((0, 784 + len(plan.families)))


def write_audit(report: dict[str, Any], path: Path) -> None:
    """Write the report as JSON; raises BuildError when that is not possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    except OSError as exc:
        raise BuildError(f"could not write {path}: {exc.strerror or exc}. Remedy: choose another --out") from exc


def audit_table(report: dict[str, Any]) -> str:
    """The report as plain text of a screen or two."""
    counts = report["plots"]
    lines = [f"{sum(counts.values())} plots: " + ", ".join(f"{name} {count}" for name, count in counts.items()), ""]
    if "stored" in report:
        stored = report["stored"]
        lines += [f"stored rows that differ from the simulator: {stored['differing']} of {stored['rows']}", ""]
    lines.append(f"{'without a model, % right':26}{'majority':>10}{'family rule':>13}{'28x28 probe':>13}")
    for question, row in sorted(report["blind"].items()):
        cells = [row.get(name) for name in ("majority", "family_rule", "linear_probe")]
        said = "".join(f"{_percent(cell):>{width}}" for cell, width in zip(cells, (10, 13, 13)))
        lines.append(f"{question + ' ' + HEADINGS[question]:26}{said}")
    lines += ["", f"{'commonest label, % of family':36}" + "".join(f"{name:>8}" for name in LABEL_QUESTIONS)]
    for family, questions in report["balance"].items():
        shares = [max(questions[name].values()) / sum(questions[name].values()) for name in LABEL_QUESTIONS]
        lines.append(f"{family:36}" + "".join(f"{_percent(share):>8}" for share in shares))
    lines += ["", f"{'least-squares fit of the points':44}{'n':>6}{'in tol.':>9}{'median error':>14}{'skipped':>9}"]
    for name, row in report["recoverability"].items():
        error = "-" if row["median_error"] is None else f"{row['median_error']:.2g}"
        lines.append(f"{name:44}{row['n']:>6}{_percent(row['within']):>9}{error:>14}{row['skipped']:>9}")
    asked = [family for family in WITHOUT_NUMBERS if family in report["plan"]["families"]]
    lines += [f"no numbers to recover: {', '.join(asked)}"] if asked else []
    twins = report["duplicates"]
    lines += [
        "",
        f"images: {twins['images']}; twins (and across splits): identical {twins['identical']} "
        f"({twins['identical_across_splits']}), near ({twins['near_bits']} of 256 hash bits) {twins['near']} "
        f"({twins['near_across_splits']})",
        "",
        f"{'words per answer':18}{'median':>8}{'95 %':>8}{'longest':>9}{'distinct':>10}",
    ]
    for question, row in report["text"]["answers"].items():
        lines.append(f"{question:18}{row['median']:>8.0f}{row['p95']:>8.0f}{row['longest']:>9}{row['distinct']:>10}")
    for name, row in report["text"]["limits"].items():
        lines.append(f"{name}: longest {row['longest']} of {row['limit']} words allowed, {row['over']} over")
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
