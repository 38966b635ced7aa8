"""What is asked, and what is true? A data set in QCalEval's layout: prompts, images, answers, key points, tolerances.

The layout: one `test-*.parquet`, for in-context prompts one `fewshot-*.parquet`, and `experiment_config.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from ..errors import EvaluationError, MissingExtraError
from ..questions import QUESTIONS, Field, family_of_type, get_family
from ..questions.family import FieldKind

CONFIG = "experiment_config.json"
FEWSHOT_QUESTIONS = ("q3", "q5", "q6")
_FILES = {"test": "test-00000-of-00001.parquet", "fewshot": "fewshot-00000-of-00001.parquet"}
_TEXT_COLUMNS = ("id", "experiment_type", *(f"{q}_{what}" for q in QUESTIONS for what in ("prompt", "answer")))


@dataclass(frozen=True)
class Picture:
    """An image as stored: the bytes of an image file. Two pictures are equal when their ids are."""

    id: str
    data: bytes = field(compare=False, repr=False)


@dataclass(frozen=True)
class BenchmarkRow:
    """One plot: `prompts` and `answers` map q1..q6 to texts."""

    id: str
    experiment_type: str
    family: str
    images: tuple[Picture, ...]
    prompts: dict[str, str]
    answers: dict[str, str]
    key_points: dict[str, tuple[str, ...]]
    """q1 and q3 -> what a good answer mentions."""


@dataclass(frozen=True)
class FewShotRow:
    """In-context prompts of the plot `source_id`; `image_ids` are used up by the `<image>` marks, q3, q5, then q6."""

    source_id: str
    experiment_type: str
    image_ids: tuple[str, ...]
    prompts: dict[str, str]


@dataclass(frozen=True)
class Benchmark:
    """A data set ready to be asked. `fields` are its own Q5 rules per family; `digest` names its exact content."""

    name: str
    rows: tuple[BenchmarkRow, ...]
    fewshot: tuple[FewShotRow, ...]
    fields: dict[str, tuple[Field, ...]]
    digest: str
    plan: dict[str, Any] | None = None
    """What `riverone data build` wrote about how it drew the plots; None for foreign data sets."""

    def row(self, row_id: str) -> BenchmarkRow | None:
        """The row with this id, or None."""
        return self._by_id.get(row_id)

    @cached_property
    def _by_id(self) -> dict[str, BenchmarkRow]:
        return {row.id: row for row in self.rows}

    def select(self, limit: int | None = None, filter_type: str | None = None) -> Benchmark:
        """The first `limit` rows whose experiment type contains `filter_type`; raises EvaluationError for none."""
        rows = [row for row in self.rows if (filter_type or "") in row.experiment_type][:limit]
        if not rows:
            known = ", ".join(sorted({row.experiment_type for row in self.rows})[:8])
            raise EvaluationError(
                f"no row of {self.name} has an experiment type with {filter_type!r}. There are: {known}, ..."
            )
        kept = {row.id for row in rows}
        shots = tuple(shot for shot in self.fewshot if shot.source_id in kept)
        return Benchmark(self.name, tuple(rows), shots, self.fields, self.digest, self.plan)


def load_benchmark(name: str, revision: str | None = None) -> Benchmark:
    """Read a local folder, or a data set of the Hub, in QCalEval's layout.

    Raises:
        EvaluationError: files or columns are missing, or damaged; the text names the remedy.
        MissingExtraError: `datasets` (with pyarrow) is not installed.
        QuestionError: a row is of an unknown experiment type or family.
    """
    folder = Path(name).expanduser()
    files = _local_files(folder) if folder.is_dir() else _hub_files(name, revision)
    if folder.is_dir():
        name = folder.resolve().name
    config = _read_config(files["config"])
    fields = {family: _fields(family, entry) for family, entry in config.items()}
    family_of = {kind: family for family, entry in config.items() for kind in entry.get("q6_status_mapping") or {}}
    rows = tuple(_row(row, family_of) for row in _read_parquet(files["test"], _TEXT_COLUMNS))
    if not rows:
        raise EvaluationError(f"{files['test']}: holds no rows. Remedy: build or download the data set again")
    twice = [row_id for row_id, count in Counter(row.id for row in rows).items() if count > 1]
    if twice:
        raise EvaluationError(f"{files['test']}: {len(twice)} ids occur more than once (first: {twice[0]!r})")
    shots: tuple[FewShotRow, ...] = ()
    if "fewshot" in files:
        columns = ("source_id", "experiment_type", *(f"{q}_prompt" for q in FEWSHOT_QUESTIONS))
        shots = tuple(_few_shot(row) for row in _read_parquet(files["fewshot"], columns))
    for row in rows:
        fields.setdefault(row.family, get_family(row.family).fields)
    plan = files["config"].parent / "build.json"
    return Benchmark(name, rows, shots, fields, _digest(files), _read_plan(plan))


def _local_files(folder: Path) -> dict[str, Path]:
    files = {"config": folder / CONFIG}
    for stem in _FILES:
        found = sorted([*folder.glob(f"{stem}-*.parquet"), *folder.glob(f"data/{stem}-*.parquet")])
        if len(found) > 1:
            raise EvaluationError(f"{folder}: {len(found)} files {stem}-*.parquet, expected one: {found[0].name}, ...")
        if found:
            files[stem] = found[0]
    there = {"test-*.parquet": "test" in files, CONFIG: files["config"].is_file()}
    missing = [what for what, found in there.items() if not found]
    if missing:
        raise EvaluationError(
            f"{folder}: no {' and no '.join(missing)}, so this is no data set in QCalEval's layout. "
            "Remedy: riverone data build calibration --rows 1000 --out DIR"
        )
    return files


def _hub_files(name: str, revision: str | None) -> dict[str, Path]:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise EvaluationError(
            f"{name}: no such folder, and no data set id of the Hub (OWNER/NAME). "
            "Remedy: riverone data build calibration --rows 1000 --out DIR, and name DIR"
        )
    files = {}
    for key, file in {**_FILES, "config": CONFIG}.items():
        for path in (file, f"data/{file}"):
            try:
                files[key] = Path(hf_hub_download(name, path, repo_type="dataset", revision=revision))
                break
            except EntryNotFoundError as exc:
                if isinstance(exc, LocalEntryNotFoundError) or path == CONFIG:
                    raise EvaluationError(_not_given(name, exc)) from None
            except (HfHubHTTPError, HFValidationError, OSError) as exc:
                raise EvaluationError(_not_given(name, exc)) from None
    if "test" not in files:
        raise EvaluationError(f"{name}: has no {_FILES['test']}, so it is no data set in QCalEval's layout")
    return files


def _not_given(name: str, exc: Exception) -> str:
    why = " ".join(str(exc).split())[:160]
    return f"{name}: no such folder here, and the Hub does not give it ({why}). Remedy: check the name and your token"


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise EvaluationError(f"{path}: not readable JSON ({exc}). Remedy: copy the data set again") from None
    if not isinstance(config, dict) or not all(isinstance(entry, dict) for entry in config.values()):
        raise EvaluationError(f"{path}: expected an object with one entry per family. Remedy: copy the data set again")
    return config


def _fields(family: str, entry: dict[str, Any]) -> tuple[Field, ...]:
    fields = []
    for name, rule in (entry.get("q5_scoring") or {}).items():
        kind: Any = rule.get("type") if isinstance(rule, dict) else None
        if kind not in get_args(FieldKind):
            raise EvaluationError(
                f"{CONFIG}: field {name!r} of {family} has type {kind!r}. Expected one of: "
                f"{', '.join(get_args(FieldKind))}"
            )
        fields.append(Field(name, kind, tol_full=rule.get("tol_full"), tol_half=rule.get("tol_half")))
    return tuple(fields)


def _read_plan(path: Path) -> dict[str, Any] | None:
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return plan if isinstance(plan, dict) and "data_version" in plan else None


def _read_parquet(path: Path, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError("datasets", "train") from None
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as exc:
        why = " ".join(str(exc).split())[:160]
        raise EvaluationError(f"{path}: not a readable parquet file ({why}). Remedy: copy the data set again") from None
    missing = [name for name in (*columns, "image_ids") if name not in table.column_names]
    if missing:
        raise EvaluationError(f"{path}: no column {', '.join(missing)}, so this is not in QCalEval's layout")
    return table.to_pylist()


def _row(row: dict[str, Any], family_of: dict[str, str]) -> BenchmarkRow:
    kind, ids = row["experiment_type"], row["image_ids"] or []
    images = row.get("images") or []
    if len(images) != len(ids) or any(not (image or {}).get("bytes") for image in images):
        raise EvaluationError(
            f"row {row['id']!r}: {len(images)} images with {len(ids)} image ids, expected as many of both, each image "
            "with its bytes. Remedy: copy or build the data set again"
        )
    return BenchmarkRow(
        id=row["id"],
        experiment_type=kind,
        family=family_of.get(kind) or family_of_type(kind).name,
        images=tuple(Picture(name, image["bytes"]) for name, image in zip(ids, images, strict=True)),
        prompts={question: row[f"{question}_prompt"] or "" for question in QUESTIONS},
        answers={question: row[f"{question}_answer"] or "" for question in QUESTIONS},
        key_points={question: tuple(row.get(f"{question}_key_points") or ()) for question in ("q1", "q3")},
    )


def _few_shot(row: dict[str, Any]) -> FewShotRow:
    prompts = {question: row[f"{question}_prompt"] or "" for question in FEWSHOT_QUESTIONS}
    return FewShotRow(row["source_id"], row["experiment_type"], tuple(row["image_ids"] or ()), prompts)


def _digest(files: dict[str, Path]) -> str:
    total = hashlib.sha256()
    for key in sorted(files):
        with files[key].open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()[:16]
