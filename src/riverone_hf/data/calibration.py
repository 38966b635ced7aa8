"""Which simulated plot is row `index` of a split? Deterministic rows; splits never share a draw."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from PIL.Image import Image, Resampling

from ..calibration import draw, render
from ..errors import QuestionError
from ..questions import IDENTIFY, QUESTIONS
from .conversation import conversation
from .marks import mark_grid

if TYPE_CHECKING:
    from datasets import Dataset

    from ..calibration import Plot
    from ..calibration.scene import Figure

DATA_VERSION = "2"
"""Raised whenever the simulator's draws change; scores of different versions are not compared."""
SPLITS = ("train", "validation", "test")
ALL_QUESTIONS = (IDENTIFY, *QUESTIONS)
LABELLED = (IDENTIFY, "q2", "q4", "q6")
"""Questions whose answers are a label, or begin with one."""
STRETCH = 8192
"""Rows that are kept in memory until they have been served `repeats` times."""


@dataclass(frozen=True)
class PlotSource:
    """An endless, seeded stream of simulated plots.

    Families take turns, unless `family_shares` gives some of them a weight (others weigh 1) for a seeded draw.
    `direct_size` renders a share `direct_share` of the rows straight at that square size (fast); the others are drawn
    at the figure's own size and left to the image processor, as a reader's figure is. With `direct_zoom` z above 1
    direct rows are drawn z/2 to z times larger, in the figure's own shape, and reduced: thin lines and small type then
    look as they do in a reduced figure. `matplotlib_share` of the rows
    is drawn by matplotlib instead of the fast renderer. In `single_share` of the rows of two-image families one
    image is missing, mostly the spectrum (which rarely comes alone). In `full_share` of the row
    groups every row asks one question in the full form; in `brief_share` of the others every row asks for the labels
    of `LABELLED` alone (`brief`, see `PackedCollator`: half the text, the part that is scored); the rest asks each
    question with the probability that `question_shares` gives it (1 if it gives none). `question_group` neighbouring
    rows are a group and ask alike: a batch of rows of like length has little padding. A `dataset` serves every row
    `repeats` times, `STRETCH` rows apart: drawing costs more than training on what was drawn. With `mark_cells` the
    labels hold `marks`: for every image a grid of that many cells a side (`marks.mark_grid`).
    """

    families: tuple[str, ...]
    seed: int = 0
    split: Literal["train", "validation", "test"] = "train"
    direct_size: int | None = None
    direct_share: float = 0.0
    direct_zoom: float = 1.0
    matplotlib_share: float = 0.0
    full_share: float = 0.0
    brief_share: float = 0.0
    single_share: float = 0.0
    family_shares: tuple[tuple[str, float], ...] = ()
    question_shares: tuple[tuple[str, float], ...] = ()
    question_group: int = 1
    repeats: int = 1
    mark_cells: int = 0

    def plot(self, index: int) -> Plot:
        """The `index`-th plot. Raises QuestionError for an unknown split or shares of unknown families."""
        if self.split not in SPLITS:
            raise QuestionError(f"unknown split {self.split!r}. Expected one of: {', '.join(SPLITS)}")
        family = self._family(index)
        # Splits interleave, so that no seed of one can ever be a seed of another; runs differ by a large stride.
        number = (self.seed * 1_000_000_007 + index) * len(SPLITS) + SPLITS.index(self.split)
        return draw(family, number)

    def _family(self, index: int) -> str:
        if not self.family_shares:
            return self.families[index % len(self.families)]
        shares = dict(self.family_shares)
        if unknown := sorted(set(shares) - set(self.families)):
            raise QuestionError(
                f"family_shares names {', '.join(unknown)}. Expected some of: {', '.join(self.families)}"
            )
        weights = [shares.get(name, 1.0) for name in self.families]
        return random.Random(f"{self.seed} {self.split} family {index}").choices(self.families, weights)[0]

    def row(self, index: int) -> dict[str, Any]:
        """One SFT row (see `plot_row`)."""
        plot = self.plot(index)
        rng = random.Random(f"{self.seed} {self.split} {index // self.question_group}")
        shares = dict(self.question_shares)
        questions = [question for question in ALL_QUESTIONS if rng.random() < shares.get(question, 1.0)]
        full = rng.random() < self.full_share
        brief = not full and rng.random() < self.brief_share
        asked = LABELLED if brief else questions or ["q2"]
        return plot_row(plot, self, f"{self.split}-{self.seed}-{index}", asked, full) | {"brief": brief}

    def dataset(self, start: int, stop: int) -> Dataset:
        """A `datasets.Dataset` of stop - start rows from `start` on that renders when a row is read."""
        from datasets import Dataset

        indices = Dataset.from_dict({"index": _order(start, stop, self.repeats)})
        read = lru_cache(STRETCH)(self.row) if self.repeats > 1 else self.row

        def render_rows(batch: dict[str, Sequence[int]]) -> dict[str, list[Any]]:
            rows = [read(index) for index in batch["index"]]
            return {key: [row[key] for row in rows] for key in rows[0]}

        return indices.with_transform(render_rows)


def _order(start: int, stop: int, repeats: int) -> list[int]:
    """`stop` - `start` indices from `start` on, every stretch of them `repeats` times."""
    if repeats == 1:
        return list(range(start, stop))
    stretches = range(start, stop, STRETCH)
    return [k for first in stretches for _ in range(repeats) for k in range(first, first + STRETCH)][: stop - start]


def plot_row(
    plot: Plot, source: PlotSource, row_id: str, questions: Sequence[str] = ALL_QUESTIONS, full: bool = False
) -> dict[str, Any]:
    """{id, family, experiment_type, images, messages, labels}: images are PIL RGB; labels serve the ViT warm-up.

    `full` asks one question, drawn by the plot's seed, in the full form instead of `questions` in the short one.
    """
    rng = random.Random(plot.seed)
    backend: Literal["fast", "matplotlib"] = "matplotlib" if rng.random() < source.matplotlib_share else "fast"
    direct = source.direct_size is not None and backend == "fast" and rng.random() < source.direct_share
    truth, figures = plot.truth, plot.figures
    if len(figures) > 1 and rng.random() < source.single_share:
        scores = [panel.plot_type == "scatter" for panel in truth.panels]
        kept = scores.index(rng.random() < 0.8) if len(set(scores)) > 1 else rng.randrange(len(figures))
        truth, figures = dataclasses.replace(truth, panels=(truth.panels[kept],)), (figures[kept],)
    side = source.direct_size if direct else None
    zoom = rng.uniform(max(1.0, source.direct_zoom / 2), source.direct_zoom) if direct else 1.0
    images = [_reduced(figure, side, zoom) if side else render(figure, backend=backend) for figure in figures]
    labels = {"experiment_type": truth.experiment_type, "reliability": truth.reliability, **truth.targets}
    if source.mark_cells:
        sizes = [_drawn_size(figure, side, zoom) if side else None for figure in figures]
        labels["marks"] = [mark_grid(figure, source.mark_cells, size) for figure, size in zip(figures, sizes)]
    if full:
        questions = [rng.choice(QUESTIONS)]
    return {
        "id": row_id,
        "family": truth.family,
        "experiment_type": truth.experiment_type,
        "images": images,
        "messages": conversation(truth, questions, len(images), random.Random(plot.seed + 1) if full else None),
        "labels": labels,
    }


def _drawn_size(figure: Figure, side: int, zoom: float) -> tuple[int, int]:
    if zoom == 1.0:
        return side, side
    width, height = figure.style.figsize
    stretch = math.sqrt(width / height)
    return round(zoom * side * stretch), round(zoom * side / stretch)


def _reduced(figure: Figure, side: int, zoom: float) -> Image:
    """`figure` drawn in its own shape on (zoom * side) squared pixels, then reduced to a square of `side`."""
    drawn = render(figure, size=_drawn_size(figure, side, zoom))
    if zoom == 1.0:
        return drawn
    # Whole steps by means, the rest by cubics: faster than cubics alone.
    return drawn.resize((side, side), Resampling.BICUBIC, reducing_gap=1.1)
