"""Which simulated plot is row `index` of a split? Deterministic rows; splits never share a draw."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from PIL.Image import Image, Resampling

from ..calibration import draw, render
from ..errors import QuestionError
from ..questions import IDENTIFY, QUESTIONS
from .conversation import conversation

if TYPE_CHECKING:
    from datasets import Dataset

    from ..calibration import Plot
    from ..calibration.scene import Figure

DATA_VERSION = "2"
"""Raised whenever the simulator's draws change; scores of different versions are not compared."""
SPLITS = ("train", "validation", "test")
ALL_QUESTIONS = (IDENTIFY, *QUESTIONS)


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
    groups every row asks one question in the full form; the others ask each question with the probability that
    `question_shares` gives it (1 if it gives none). `question_group` neighbouring rows are a group and ask alike: a
    batch of rows of like length has little padding.
    """

    families: tuple[str, ...]
    seed: int = 0
    split: Literal["train", "validation", "test"] = "train"
    direct_size: int | None = None
    direct_share: float = 0.0
    direct_zoom: float = 1.0
    matplotlib_share: float = 0.0
    full_share: float = 0.0
    single_share: float = 0.0
    family_shares: tuple[tuple[str, float], ...] = ()
    question_shares: tuple[tuple[str, float], ...] = ()
    question_group: int = 1

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
        return plot_row(plot, self, f"{self.split}-{self.seed}-{index}", questions or ["q2"], full)

    def dataset(self, start: int, stop: int) -> Dataset:
        """A `datasets.Dataset` of rows start..stop-1 that renders when a row is read, so nothing is stored."""
        from datasets import Dataset

        indices = Dataset.from_dict({"index": list(range(start, stop))})

        def render_rows(batch: dict[str, Sequence[int]]) -> dict[str, list[Any]]:
            rows = [self.row(index) for index in batch["index"]]
            return {key: [row[key] for row in rows] for key in rows[0]}

        return indices.with_transform(render_rows)


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
    zoom = rng.uniform(max(1.0, source.direct_zoom / 2), source.direct_zoom) if direct else 1.0
    images = [
        _reduced(figure, source.direct_size, zoom) if direct and source.direct_size else render(figure, backend=backend)
        for figure in figures
    ]
    if full:
        questions = [rng.choice(QUESTIONS)]
    return {
        "id": row_id,
        "family": truth.family,
        "experiment_type": truth.experiment_type,
        "images": images,
        "messages": conversation(truth, questions, len(images), random.Random(plot.seed + 1) if full else None),
        "labels": {"experiment_type": truth.experiment_type, "reliability": truth.reliability, **truth.targets},
    }


def _reduced(figure: Figure, side: int, zoom: float) -> Image:
    """`figure` drawn in its own shape on (zoom * side) squared pixels, then reduced to a square of `side`."""
    if zoom == 1.0:
        return render(figure, size=(side, side))
    width, height = figure.style.figsize
    stretch = math.sqrt(width / height)
    drawn = render(figure, size=(round(zoom * side * stretch), round(zoom * side / stretch)))
    # Whole steps by means, the rest by cubics: faster than cubics alone.
    return drawn.resize((side, side), Resampling.BICUBIC, reducing_gap=1.1)
