"""How are several sources trained on together? A weight each, a temperature, and one interleaved training set.

Probabilities: p_i = w_i^(1/T) / sum_j w_j^(1/T); where no weight is given it is the number of rows, so that T = 1 takes
every row equally often and a larger T brings small sources forward (mT5, arXiv 2010.11934, with 1/T for its alpha).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from ..errors import TrainingDataError
from .contamination import refuse_flagged
from .in_context import lazy_dataset

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Part:
    """One source of a mixture: `row(k)` for k below `size` (None: without end, in order), and its weight."""

    name: str
    row: Callable[[int], dict[str, Any]]
    size: int | None
    weight: float


def mixture_probabilities(weights: Sequence[float], temperature: float = 1.0) -> list[float]:
    """The share of each source. Raises TrainingDataError unless all weights and the temperature are positive."""
    if not weights or min(weights) <= 0 or temperature <= 0:
        raise TrainingDataError(
            f"got weights {list(weights)} and temperature {temperature}. Expected at least one source, all positive"
        )
    # Scaled by the largest, so that small temperatures do not overflow.
    scaled = [(weight / max(weights)) ** (1.0 / temperature) for weight in weights]
    return [value / sum(scaled) for value in scaled]


def mixture_schedule(shares: Sequence[float], count: int) -> np.ndarray:
    """(count,) int64: which source row k takes. Every prefix holds each source as often as its share says, within one.

    The source that is furthest behind its share comes next, so the order is even and needs no draw.
    """
    wanted = np.asarray(shares, dtype=np.float64)
    behind = np.zeros(len(wanted))
    order = np.empty(count, dtype=np.int64)
    for k in range(count):
        behind += wanted
        order[k] = taken = int(behind.argmax())
        behind[taken] -= 1.0
    return order


@dataclass(frozen=True)
class Mixture:
    """`parts` interleaved by their weights; a source that ends begins again, in another order each time."""

    parts: tuple[Part, ...]
    temperature: float = 1.0
    seed: int = 0

    @property
    def shares(self) -> dict[str, float]:
        """{source: probability}."""
        found = mixture_probabilities([part.weight for part in self.parts], self.temperature)
        return dict(zip((part.name for part in self.parts), found, strict=True))

    def dataset(self, count: int) -> Dataset:
        """A `datasets.Dataset` of `count` rows that makes a row when it is read; `mixed_from` names its source."""
        order = mixture_schedule(list(self.shares.values()), count)
        visits = np.empty(count, dtype=np.int64)
        for number in range(len(self.parts)):
            mine = order == number
            visits[mine] = np.arange(mine.sum())

        def row(index: int) -> dict[str, Any]:
            part, visit = self.parts[order[index]], int(visits[index])
            if part.size is not None:
                turn, place = divmod(visit, part.size)
                visit = int(_order(self.seed, part.name, turn, part.size)[place])
            return part.row(visit) | {"mixed_from": part.name}

        return lazy_dataset(row, range(count))


@lru_cache(maxsize=64)
def _order(seed: int, name: str, turn: int, size: int) -> np.ndarray:
    """All rows of a source once, in the order of its `turn`."""
    return np.random.default_rng([seed, crc32(name.encode()), turn]).permutation(size)


def load_view(data: str, view: str, split: str = "train") -> Dataset:
    """Rows of a view of a built folder or a Hub id.

    Files of a folder are named one by one: `load_dataset(folder, view)` caches by the folder's last name and the card's
    patterns alone, and so returns the rows of another folder, or of an older build, that was called the same.
    """
    from datasets import load_dataset

    files = sorted(str(path) for path in (Path(data) / view).glob(f"{split}-*.parquet"))
    if files:
        return load_dataset("parquet", data_files=files, split="train")
    return load_dataset(data, view, split=split)


def stored_part(name: str, data: str, view: str, weight: float | None = None, allow_contaminated: bool = False) -> Part:
    """A source of a mixture from the training split of a built folder or a Hub id.

    Raises TrainingDataError when it has no such view, ContaminationError when rows of a folder are flagged.
    """
    try:
        rows: Any = load_view(data, view)
        missing = [column for column in ("id", "images") if column not in rows.column_names]
    except Exception as error:  # the client has no common base for what may be wrong with a data set
        why = " ".join(str(error).split())[:160]
        raise TrainingDataError(
            f"mixture, source {name}: {data} has no rows of the view {view} ({why}). Remedy: a folder of "
            "`riverone data build`, or a Hub id with that config"
        ) from None
    if missing or not len(rows):
        raise TrainingDataError(f"mixture, source {name}: {data} has no {', '.join(missing) or 'rows'}")
    if Path(data).is_dir():
        refuse_flagged(Path(data), ids=rows["id"], allow=allow_contaminated)
    return Part(name, lambda k: rows[k], len(rows), float(len(rows)) if weight is None else weight)
