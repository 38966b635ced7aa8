"""Which preference pair is row `index`? A right answer and a wrong one: a hard negative, or the model's own mistake."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..questions import QUESTIONS, short_prompt, write_answers
from .calibration import PlotSource
from .in_context import as_row, lazy_dataset, pool_plots, row_images
from .preferences import hard_negative
from .shard import PREFERENCE_WEIGHTS

if TYPE_CHECKING:
    from datasets import Dataset

DONORS = 24
"""Plots of the family whose answers may serve as wrong ones."""


@dataclass(frozen=True)
class Mistake:
    """A wrong answer `text` that a model gave to `question` about plot `index` of a `PlotSource`."""

    index: int
    question: str
    text: str


@dataclass(frozen=True)
class PreferenceSource:
    """An endless stream of preference pairs about the plots of `plots`.

    `share` of the rows reject one of `mistakes` (each in turn), the others a hard negative (see `hard_negative`).
    """

    plots: PlotSource
    mistakes: tuple[Mistake, ...] = ()
    share: float = 0.5

    def row(self, index: int) -> dict[str, Any]:
        """{id, family, experiment_type, images, prompt, chosen, rejected}: the last three are lists of messages."""
        rng = random.Random(f"{self.plots.seed} {self.plots.split} {index} preference")
        if self.mistakes and rng.random() < self.share:
            mistake = self.mistakes[index % len(self.mistakes)]
            plot, question, rejected = self.plots.plot(mistake.index), mistake.question, mistake.text
        else:
            plot = self.plots.plot(index)
            question = rng.choices(QUESTIONS, PREFERENCE_WEIGHTS)[0]
            donors = [other.truth for other in pool_plots(self.plots, plot.truth.family, index, DONORS)]
            rejected = hard_negative(plot.truth, question, rng, donors).text
        name = f"{self.plots.split}-{self.plots.seed}-{index}-{question}"
        images = row_images(as_row(plot, name), self.plots)
        prompt = {"type": "text", "text": short_prompt(plot.truth.family, question)}
        image: dict[str, Any] = {"type": "image", "text": None}
        return {
            "id": name,
            "family": plot.truth.family,
            "experiment_type": plot.truth.experiment_type,
            "images": images,
            "prompt": [{"role": "user", "content": [image] * len(images) + [prompt]}],
            "chosen": [_answer(write_answers(plot.truth)[question])],
            "rejected": [_answer(rejected)],
        }

    def dataset(self, start: int, stop: int) -> Dataset:
        """A `datasets.Dataset` of rows start..stop-1 that renders when a row is read."""
        return lazy_dataset(self.row, range(start, stop))


def _answer(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}
