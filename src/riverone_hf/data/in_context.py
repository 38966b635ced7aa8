"""Which training row shows solved examples first? Batches with and without them, drawn on the fly and reproducibly."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from ..calibration import render
from .calibration import PlotSource
from .icl import demonstrations, icl_messages
from .plan import Row
from .schema import FEWSHOT_QUESTIONS

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL import Image

    from ..calibration import Plot

POOL_FIRST = 700_000_000
"""Examples are plots from this index on: no stage trains or mines so far into a split."""
POOL_ROWS = 4096
"""Neighbouring rows that share one pool of examples, so that drawing it costs next to nothing."""


@dataclass(frozen=True)
class InContextSource:
    """Rows of `plots`, of which whole groups (`plots.question_group`) ask one question behind solved examples.

    `share` of the groups do; of these `full_share` in the full form. Examples come from `pool` plots of the family,
    none of which is a training row of its own.
    """

    plots: PlotSource
    share: float = 1.0
    full_share: float = 0.0
    pool: int = 32

    def row(self, index: int) -> dict[str, Any]:
        """One SFT row {id, family, experiment_type, images, messages}; images are PIL RGB, examples' first."""
        group = random.Random(f"{self.plots.seed} {self.plots.split} {index // self.plots.question_group} shown")
        if group.random() >= self.share:
            return self.plots.row(index)
        question = group.choice(FEWSHOT_QUESTIONS)
        return self.shown_row(index, question, full=group.random() < self.full_share)

    def shown_row(self, index: int, question: str, full: bool = False) -> dict[str, Any]:
        """The row that asks `question` (q3, q5 or q6) about plot `index` behind solved examples."""
        rng = random.Random(f"{self.plots.seed} {self.plots.split} {index} examples")
        query = as_row(self.plots.plot(index), f"{self.plots.split}-{self.plots.seed}-{index}-{question}")
        pool = [as_row(plot, str(plot.seed)) for plot in pool_plots(self.plots, query.truth.family, index, self.pool)]
        shown = demonstrations(question, query, pool, rng)
        return {
            "id": query.id,
            "family": query.truth.family,
            "experiment_type": query.truth.experiment_type,
            "images": [image for row in (*shown, query) for image in row_images(row, self.plots)],
            "messages": icl_messages(question, query, shown, rng if full else None),
        }

    def dataset(self, start: int, stop: int) -> Dataset:
        """A `datasets.Dataset` of rows start..stop-1 that renders when a row is read."""
        return lazy_dataset(self.row, range(start, stop))


def lazy_dataset(row_of: Any, indices: Sequence[int]) -> Dataset:
    """A `datasets.Dataset` of `row_of(index)` for `indices` that makes a row when it is read, so nothing is stored."""
    from datasets import Dataset

    def make(batch: dict[str, Sequence[int]]) -> dict[str, list[Any]]:
        rows = [row_of(index) for index in batch["index"]]
        # Rows of one training set may differ in their columns: only those that all have can stand in one table.
        shared = [key for key in rows[0] if all(key in row for row in rows)]
        return {key: [row[key] for row in rows] for key in shared}

    return Dataset.from_dict({"index": list(indices)}).with_transform(make)


def as_row(plot: Plot, name: str) -> Row:
    """The plot with all of its images as a `Row`, not drawn yet."""
    return Row(name, plot.truth, plot.figures, "fast", plot.seed)


def row_images(row: Row, source: PlotSource) -> list[Image.Image]:
    """The images of a row as `source` draws them: shares of backends and sizes, decided by the plot's seed."""
    rng = random.Random(row.seed)
    backend: Literal["fast", "matplotlib"] = "matplotlib" if rng.random() < source.matplotlib_share else "fast"
    direct = source.direct_size is not None and backend == "fast" and rng.random() < source.direct_share
    size = (source.direct_size, source.direct_size) if direct and source.direct_size else None
    return [render(figure, size=size, backend=backend) for figure in row.figures]


def pool_plots(source: PlotSource, family: str, index: int, count: int) -> tuple[Plot, ...]:
    """`count` plots of `family` from which rows around `index` take examples or wrong answers."""
    return _pool(source.families, source.seed, source.split, family, index // POOL_ROWS, count)


@lru_cache(maxsize=64)
def _pool(
    families: tuple[str, ...],
    seed: int,
    split: Literal["train", "validation", "test"],
    family: str,
    block: int,
    count: int,
) -> tuple[Plot, ...]:
    source = PlotSource(families, seed, split)
    first = POOL_FIRST // len(families) + block * count
    return tuple(source.plot((first + number) * len(families) + families.index(family)) for number in range(count))
