"""What does a data set from elsewhere say about itself? Its card, with licence, rejects and types, and one sheet."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..calibration.sheet import contact_sheet
from .card import SHEET_PLOTS, SHEETS, _size_category, described
from .source_rows import Kind, row_texts

STATISTICS = "statistics.json"
PAGE = """\
# {title}

{rows:,} rows with {images:,} images from `{source}`{revision}, split {split}, for training vision-language models.

{about}

```python
from datasets import load_dataset

load_dataset(REPO_OR_FOLDER, "{view}")
```

## Rows

Columns: {columns}. Message contents are lists of {{type, text}}, text null for an image; `images` is in their order.
`source` names the origin of every row (data set, split, row number), `licence` its licence.

| type | rows |
|---|---|
{types}

{question_tokens:,} tokens of questions and {answer_tokens:,} of answers (words and marks), {image_kb:.0f} kB an image.

## What was left out

{read:,} rows of the source were looked at. Left out:

| reason | questions |
|---|---|
{rejects}

## How it was made

`riverone data build {name}` with these arguments (`build.json`):

```json
{arguments}
```

## Limits

Questions and answers are those of the source, mistakes included: only what is malformed was left out. Images are
drawn smaller above 480,000 pixels. Check against your benchmark with `riverone data decontaminate`.

## Licence

{licence}, that of the source; derived rows carry it on. `sheets/{view}.png` shows the first images.
"""


def source_card(kind: Kind, arguments: Mapping[str, Any], statistics: Mapping[str, Any]) -> str:
    """README.md: YAML with the configs' files, then the page."""
    from huggingface_hub import DatasetCard, DatasetCardData

    from .source_rows import source_features

    split, view = statistics["split"], statistics["view"]
    files = [{"split": split, "path": f"{view}/{split}-*.parquet"}]
    config = {"config_name": view, "data_files": files, "default": True}
    data = DatasetCardData(
        language="en",
        license=kind.licence,
        pretty_name=kind.title,
        size_categories=_size_category(statistics["rows"]),
        task_categories=["image-text-to-text", "visual-question-answering"],
        tags=["charts", "trl", kind.name],
        configs=described([config], [arguments, statistics]),
    )
    page = PAGE.format(
        title=kind.title,
        name=kind.name,
        about=kind.about,
        licence=kind.licence,
        revision=f" at `{arguments['revision']}`" if arguments.get("revision") else "",
        columns=", ".join(f"`{name}`" for name in source_features(view)),
        types=_table(statistics["types"]),
        rejects=_table(statistics["rejects"]) or "| nothing | 0 |",
        arguments=json.dumps(dict(arguments), indent=1),
        image_kb=statistics["image_bytes"] / max(1, statistics["images"]) / 1000,
        **{key: statistics[key] for key in ("rows", "images", "source", "split", "view", "read")},
        **{key: statistics[key] for key in ("question_tokens", "answer_tokens")},
    )
    return str(DatasetCard(f"---\n{data.to_yaml()}\n---\n{page}"))


def write_sheet(out: Path, view: str, split: str) -> Path:
    """`sheets/<view>.png`: images of the first rows with different images; above each an answer and its question."""
    import pyarrow.parquet as pq
    from PIL import Image

    def rows() -> Iterator[dict[str, Any]]:
        for path in sorted((out / view).glob(f"{split}-*.parquet")):
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(16):
                    yield from batch.to_pylist()

    shown: dict[bytes, str] = {}
    for row in rows():
        question, answer = row_texts(row)
        shown.setdefault(row["images"][0]["bytes"], " ".join(f"{answer[:25]} < {question}".split()))
        if len(shown) == SHEET_PLOTS:
            break
    (out / SHEETS).mkdir(exist_ok=True)
    path = out / SHEETS / f"{view}.png"
    partial = path.with_name(f".{path.name}.tmp")
    images = [Image.open(io.BytesIO(data)).convert("RGB") for data in shown]
    contact_sheet(images, list(shown.values())).save(partial, "PNG")
    partial.replace(path)
    return path


def _table(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return "\n".join(f"| {name} | {count:,} |" for name, count in ordered)
