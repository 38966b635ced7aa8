"""Where do rows from elsewhere come from? A Hub data set as a stream, or a local folder, always from any row on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, SourceError, SourceGoneError

SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "val", "dev"), "test": ("test",)}
"""Our names of the splits and the names that sources give them."""
TABLES = (".parquet", ".jsonl", ".json")
IMAGE_FOLDERS = ("", "images", "png", "{split}/png", "{split}", "images/{split}")
"""Where an image file of a local source may lie, below its folder."""
_SPLIT_MARK = re.compile(r"(?:^|[-_./])(train|validation|val|dev|test)(?=[-_./]|$)")


@dataclass(frozen=True)
class Origin:
    """`where` is a folder that exists, or a Hub id `owner/name`; `split` one of train, validation, test.

    `files` (of a folder) are name patterns to which its tables are limited. `revision` pins a Hub data set.
    """

    where: str
    split: str = "train"
    config: str | None = None
    revision: str | None = None
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.split not in SPLIT_NAMES:
            raise SourceError(f"unknown split {self.split!r}. Expected one of: {', '.join(SPLIT_NAMES)}")

    @property
    def folder(self) -> Path | None:
        """The folder of a local source."""
        return Path(self.where) if Path(self.where).is_dir() else None

    @property
    def name(self) -> str:
        """What rows and cards call the source: the Hub id, or the folder's name without the way there."""
        return self.where if self.folder is None else self.folder.resolve().name

    def pinned(self, known: str | None = None) -> Origin:
        """The same with the commit of a Hub data set, `known` from an earlier run or asked of the Hub."""
        if self.folder is not None or self.revision is not None:
            return self
        return Origin(self.where, self.split, self.config, known or self._newest(), self.files)

    def fingerprint(self) -> dict[str, Any]:
        """What decides the rows, as JSON values; a folder is known by the names and sizes of its tables."""
        said: dict[str, Any] = {"source": self.name, "split": self.split}
        if self.folder is None:
            return said | {"config": self.config, "revision": self.revision}
        listing = [(str(path.relative_to(self.folder)), path.stat().st_size) for path in self.tables]
        return said | {"tables": hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:16]}

    def rows(self, start: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
        """(number in the split, row) from row `start` on; images are not decoded.

        Raises SourceError when it cannot be opened, SourceGoneError when it fails after that.
        """
        number = start
        stream = self._folder_rows(start) if self.folder is not None else self._hub_rows(start)
        while True:
            try:
                row = next(stream)
            except StopIteration:
                return
            except SourceError:
                raise
            except Exception as error:  # whatever a reader or the network throws: the row is what helps
                why = " ".join(str(error).split())[:160] or type(error).__name__
                raise SourceGoneError(
                    f"{self.name}, split {self.split}: the source stopped at row {number} ({why}). Finished shards are "
                    "kept. Remedy: run the same command again; it goes on behind them"
                ) from error
            yield number, row
            number += 1

    @cached_property
    def tables(self) -> list[Path]:
        """The files of a local source that hold the split: named after it, or with no split in their name (train)."""
        folder = self.folder
        assert folder is not None
        found = sorted(path for path in folder.rglob("*") if path.suffix in TABLES and path.is_file())
        found = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
        if self.files:
            found = [path for path in found if any(path.match(pattern) for pattern in self.files)]
        # The same rows are often there as a table and as text: the table wins.
        best = next((suffix for suffix in TABLES if any(path.suffix == suffix for path in found)), "")
        found = [path for path in found if path.suffix == best]
        marked = [(path, _SPLIT_MARK.findall(str(path.relative_to(folder)).lower())) for path in found]
        wanted = SPLIT_NAMES[self.split]
        chosen = [path for path, marks in marked if (marks[-1] in wanted if marks else self.split == "train")]
        if not chosen:
            names = ", ".join(path.name for path in found[:5]) or "none"
            raise SourceError(
                f"{folder}: no parquet, jsonl or json file of the split {self.split} (tables: {names}). Remedy: name "
                "the folder with the tables, or another --split"
            )
        return chosen

    def find_image(self, name: str) -> Path | None:
        """The image file `name` of a local source, or None; never a file outside of its folder."""
        if self.folder is None or not name:
            return None
        base = self.folder.resolve()
        # Lists often name files from above the folder that was given.
        for named in (name, name.partition("/")[2]):
            for below in IMAGE_FOLDERS if named else ():
                for split in SPLIT_NAMES[self.split]:
                    with contextlib.suppress(OSError, ValueError):  # what no file can be called
                        path = (base / below.format(split=split) / named).resolve()
                        if path.is_relative_to(base) and path.is_file():
                            return path
        return None

    def _folder_rows(self, start: int) -> Iterator[dict[str, Any]]:
        for path in self.tables:
            read = _parquet_rows if path.suffix == ".parquet" else _json_rows
            skipped, rows = read(path, start)
            start -= skipped
            yield from rows

    def _hub_rows(self, start: int) -> Iterator[dict[str, Any]]:
        stream = self._open()
        yield from (stream.skip(start) if start else stream)

    def _open(self) -> Any:
        try:
            from datasets import get_dataset_split_names, load_dataset
        except ImportError:
            raise MissingExtraError("datasets", "train") from None
        try:
            names = get_dataset_split_names(self.where, self.config, revision=self.revision)
            split = next((name for name in SPLIT_NAMES[self.split] if name in names), None)
            if split is None:
                raise SourceError(f"{self.where}: no split {self.split}. It has: {', '.join(map(str, names))}")
            stream = load_dataset(self.where, self.config, split=split, streaming=True, revision=self.revision)
        except SourceError:
            raise
        except Exception as error:  # the client has no common base for what a Hub may refuse
            raise self._refused(error) from None
        return stream.decode(False)

    def _newest(self) -> str:
        from huggingface_hub import HfApi

        try:
            return str(HfApi().dataset_info(self.where).sha)
        except Exception as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> SourceError:
        why = " ".join(str(error).split())[:160] or type(error).__name__
        return SourceError(
            f"{self.where}: neither a folder nor a Hub data set that can be read ({why}). Remedy: check the id, the "
            "network and the token, or download it and give its folder with --source"
        )


def check_columns(origin: Origin, row: dict[str, Any], expected: Sequence[Sequence[str]]) -> None:
    """Raise SourceError unless `row` has one of the names of each group in `expected`."""
    missing = [" or ".join(names) for names in expected if not any(name in row for name in names)]
    if missing:
        raise SourceError(
            f"{origin.name}, split {origin.split}: missing columns {', '.join(missing)}. Got: {', '.join(row)}. "
            f"Expected: {', '.join(' or '.join(names) for names in expected)}. Remedy: another --source or --config, "
            "or rename the columns"
        )


def _parquet_rows(path: Path, start: int) -> tuple[int, Iterator[dict[str, Any]]]:
    """(rows left out at the start, the others)."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        skipped = min(start, file.metadata.num_rows)

    def read() -> Iterator[dict[str, Any]]:
        left = skipped
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                if left >= count:
                    left -= count
                    continue
                for batch in file.iter_batches(32, row_groups=[group]):
                    taken = batch.slice(min(left, len(batch)))
                    left -= len(batch) - len(taken)
                    yield from taken.to_pylist()

    return skipped, read()


def _json_rows(path: Path, start: int) -> tuple[int, Iterator[dict[str, Any]]]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        lines = [line for line in text.splitlines() if line.strip()]
        return min(start, len(lines)), (_line(line, path) for line in lines[start:])
    value = json.loads(text)
    if isinstance(value, dict):
        lists = [item for item in value.values() if isinstance(item, list)]
        if len(lists) == 1:  # {"qa_pairs": [...]}
            value = lists[0]
        else:  # {"1": {...}, "2": {...}}
            value = [{"id": key, **_dictionary(item, path)} for key, item in value.items()]
    return min(start, len(value)), ({"file": path.stem, **_dictionary(item, path)} for item in value[start:])


def _line(line: str, path: Path) -> dict[str, Any]:
    """The row of a line, with the name of its `file`; an empty row when the line is no JSON object."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return {"file": path.stem, **value} if isinstance(value, dict) else {}


def _dictionary(value: Any, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SourceError(f"{path}: a row is a {type(value).__name__}. Expected JSON objects")
    return value
