"""Which rows repeat a benchmark? Rows are checked by figure and by text, and training refuses the flagged ones.

The marker `contamination.json` in a data set's folder lists its flagged rows; whoever loads a folder for training calls
`refuse_flagged(folder)` first.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import ContaminationError
from .contamination_image import SAME, ImageIndex
from .contamination_text import NGRAM, RUN, TEMPLATE_PLOTS, TextHits, TextIndex

MARKER = "contamination.json"
VERSION = 1
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp")
_NO_CONTENT = ("id", "family", "experiment_type", "experiment_background", "image_ids", "source_id", "role", "type")
"""Columns and keys whose texts many rows share by their nature."""
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Reason:
    """Why a row is flagged. `kind`: image (`amount` = likeness, 1 = identical), text (`amount` = words in a run), or
    refers (to the images of a flagged row); `name`: the benchmark's image or row."""

    kind: str
    name: str
    amount: float

    def __str__(self) -> str:
        if self.kind == "image":
            return f"image like {self.name} ({self.amount:.2f})"
        return f"{self.amount:.0f} words of {self.name}" if self.kind == "text" else f"refers to {self.name}"


@dataclass(frozen=True)
class Flag:
    """A flagged row: its position among the rows that were checked, its id, and the reasons."""

    row: int
    id: str
    reasons: tuple[Reason, ...]


@dataclass
class Benchmark:
    """What must not be trained on: `folders` says from where, `images` and `texts` are searched."""

    folders: list[str] = field(default_factory=list)
    rows: int = 0
    images: ImageIndex = field(default_factory=lambda: ImageIndex(()))
    texts: TextIndex = field(default_factory=TextIndex)

    def facts(self) -> dict[str, Any]:
        """What a report says about it."""
        limits = {"image": SAME, "ngram": NGRAM, "words": RUN, "template_plots": TEMPLATE_PLOTS}
        return {"against": self.folders, "rows": self.rows, "images": len(self.images), "limits": limits}


def load_benchmark(folders: Sequence[Path]) -> Benchmark:
    """Read benchmark folders: parquet files (QCalEval's columns or others), or images beside json, jsonl and txt files.

    Of a table's and a json object's texts the prompts are left out: every model's training may ask the same questions.

    Raises:
        ContaminationError: a folder is missing, or holds neither images nor texts that can be compared.
    """
    benchmark = Benchmark()
    images: list[tuple[str, Image.Image]] = []
    for folder in folders:
        if not folder.is_dir():
            raise ContaminationError(
                f"{folder}: no such folder. Expected a benchmark: parquet files, or images and texts"
            )
        before = (len(images), benchmark.rows)
        for name, row in _benchmark_rows(folder):
            pictures = row_images(row)
            images += [(name if len(pictures) == 1 else f"{name}[{k}]", image) for k, image in enumerate(pictures)]
            benchmark.texts.add(name, row_texts(row, prompts=False))
            benchmark.rows += 1
        if (len(images), benchmark.rows) == before:
            raise ContaminationError(
                f"{folder}: no parquet, image, json, jsonl or txt file. Remedy: name the folder with the benchmark"
            )
        benchmark.folders.append(folder.resolve().name)
    benchmark.images = ImageIndex(images)
    return benchmark


def check_rows(rows: Iterable[Row], benchmark: Benchmark, advance: Callable[[int], None] | None = None) -> list[Flag]:
    """Flags of the rows (of any of our columns, or others with `images` and texts) that repeat `benchmark`.

    A 13-gram that many rows share is a template, so all rows of a data set should be checked in one call.
    """
    seen: list[tuple[str, list[Reason], TextHits]] = []
    for number, row in enumerate(rows):
        name = str(row.get("id") or row.get("source_id") or number)
        matches = benchmark.images.match(row_images(row))
        reasons = [Reason("image", match.name, match.score) for match in matches]
        seen.append((name, reasons, benchmark.texts.hits(name, row_texts(row))))
        if advance:
            advance(1)
    flags = []
    for number, (name, reasons, hits) in enumerate(seen):
        copied = benchmark.texts.longest(hits)
        if copied:
            reasons.append(Reason("text", copied[0], float(copied[1])))
        if reasons:
            flags.append(Flag(number, name, tuple(reasons)))
    return flags


def refuse_flagged(folder: Path, ids: Iterable[str] | None = None, allow: bool = False) -> None:
    """To be called before rows of the data set in `folder` are trained on.

    `ids` are the rows that are wanted (None: all); `allow` is the user's explicit consent. A folder that was never
    checked passes.

    Raises:
        ContaminationError: some of the rows are flagged, or the marker cannot be read.
    """
    path = folder / MARKER
    if allow or not path.is_file():
        return
    try:
        marker = json.loads(path.read_text(encoding="utf-8"))
        flagged = {str(flag["id"]) for flag in marker["flagged"]}
        against = ", ".join(marker["against"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ContaminationError(
            f"{path}: cannot be read. Remedy: run `riverone data decontaminate {folder} --against BENCHMARK` again"
        ) from None
    wanted = sorted(flagged if ids is None else flagged.intersection(map(str, ids)))
    if wanted:
        raise ContaminationError(
            f"{folder}: {len(wanted)} rows repeat the benchmark {against} (first: {', '.join(wanted[:3])}). "
            f"Remedy: train on the clean copy of `riverone data decontaminate {folder} --against BENCH --out DIR`, "
            "or allow flagged rows"
        )


def row_images(row: Row) -> list[Image.Image]:
    """The images of a row as RGB: PIL images, {bytes, path} or bytes in `images` or `image`."""
    found = row.get("images")
    found = [row.get("image")] if found is None else found
    return [_rgb(image) for image in found if image is not None]


def row_texts(row: Row, prompts: bool = True) -> list[str]:
    """All texts of a row, however deep, without names and ids; `prompts` False leaves out the questions as well."""

    def walk(value: Any, key: str) -> Iterator[str]:
        if key in _NO_CONTENT or (not prompts and (key == "prompt" or key.endswith("_prompt"))):
            return
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            for name, item in value.items():
                yield from walk(item, str(name))
        elif isinstance(value, list | tuple):
            # Separate strings of a list may be the words of one text; joining them loses nothing.
            if value and all(isinstance(item, str) for item in value):
                yield " ".join(value)
            else:
                for item in value:
                    yield from walk(item, "")

    return list(walk({key: value for key, value in row.items() if key not in ("images", "image")}, ""))


def _rgb(image: Any) -> Image.Image:
    if isinstance(image, Mapping):
        image = image.get("bytes") or image.get("path")
    name = str(image) if isinstance(image, str | Path) else "an image of a row"
    try:
        if isinstance(image, bytes):
            image = Image.open(io.BytesIO(image))
        elif isinstance(image, str | Path):
            image = Image.open(image)
        if not isinstance(image, Image.Image):
            raise ContaminationError(f"{name} is a {type(image).__name__}. Expected bytes, a path or a PIL image")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as exc:
        raise ContaminationError(f"{name}: cannot be read ({' '.join(str(exc).split())[:120]})") from None


def _benchmark_rows(folder: Path) -> Iterator[tuple[str, Row]]:
    tables = sorted(folder.rglob("*.parquet"))
    for path in tables:
        for number, row in enumerate(table_rows(path)):
            if "source_id" not in row:  # few-shot rows repeat others
                yield str(row.get("id") or f"{path.stem}:{number}"), row
    if tables:
        return
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        try:
            if path.suffix.lower() in IMAGE_ENDINGS:
                yield name, {"images": [path]}
            elif path.suffix == ".txt":
                yield name, {"text": path.read_text(encoding="utf-8")}
            elif path.suffix in (".json", ".jsonl"):
                for number, value in enumerate(_json_values(path)):
                    yield f"{name}:{number}", value if isinstance(value, dict) else {"text": value}
        except (OSError, ValueError) as exc:
            raise ContaminationError(f"{path}: cannot be read ({' '.join(str(exc).split())[:120]})") from None


def _json_values(path: Path) -> list[Any]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    value = json.loads(text)
    return value if isinstance(value, list) else [value]


def table_rows(path: Path) -> Iterator[Row]:
    """Rows of a parquet file, a few at a time. Raises ContaminationError when it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(32):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as exc:
        raise ContaminationError(f"{path}: cannot be read ({' '.join(str(exc).split())[:120]})") from None
