"""Which rows does a stage train on? The simulator's, or the mixture of sources that its recipe names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ..data.mixture import Mixture, Part, stored_part
from .recipe import MpoSpec, Recipe, SftSpec

if TYPE_CHECKING:
    from datasets import Dataset


class RowSource(Protocol):
    """An endless source of simulated rows."""

    def row(self, index: int) -> dict[str, Any]:
        """Row `index`."""

    def dataset(self, start: int, stop: int) -> Dataset:
        """Rows start..stop-1."""


def check_mixtures(recipe: Recipe) -> None:
    """Open every source that a stage mixes, so that a missing one is told before the first stage trains.

    Raises TrainingDataError for a source that cannot be read, ContaminationError for one with flagged rows.
    """
    for name in recipe.stages:
        spec = getattr(recipe, name)
        if isinstance(spec, SftSpec | MpoSpec):
            stored_parts(spec)


def stored_parts(spec: SftSpec | MpoSpec) -> dict[str, Part]:
    """The sources of a stage's mixture but the simulator, by name."""
    view = "preference" if isinstance(spec, MpoSpec) else "sft_zero_shot"
    given = spec.data.mixture.sources if spec.data.mixture else {}
    return {name: stored_part(name, it.data, view, it.weight) for name, it in given.items() if it.data is not None}


def training_rows(recipe: Recipe, spec: SftSpec | MpoSpec, source: RowSource, first: int) -> Dataset:
    """As many rows as the stage takes: those of `source` from `first` on, or the recipe's mixture with them in it.

    Raises as `check_mixtures`.
    """
    count = spec.steps * spec.batch_size
    if spec.data.mixture is None:
        return source.dataset(first, first + count)
    stored = stored_parts(spec)
    parts = []
    for name, given in spec.data.mixture.sources.items():
        if name in stored:
            parts.append(stored[name])
        else:
            assert given.weight is not None  # the recipe's schema sees to it
            parts.append(Part(name, lambda k: source.row(first + k), None, given.weight))
    return Mixture(tuple(parts), spec.data.mixture.temperature, recipe.model.seed).dataset(count)
