"""What must a model beat? Blind guesses, its own answers to other pictures, and simple readers of its vision tower."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..data import Plan
from ..errors import FigureError
from ..questions import write_answers
from .backends import Backend, ModelBackend
from .baselines import MajorityClass, success_rule
from .benchmark import Benchmark, BenchmarkRow
from .features import METHODS, reference_answers, vision_features

Answers = Mapping[str, str | None]
Advance = Callable[[int], None]


@dataclass(frozen=True)
class TrainingPlots:
    """Simulated plots of the training split; none of them is ever a test plot. `images` are drawn when asked for."""

    families: tuple[str, ...]
    answers: tuple[dict[str, str], ...]
    plan: Plan

    def images(self, index: int) -> list[Image.Image]:
        """The images of plot `index`, as RGB."""
        return self.plan.row("train", index).images()


def training_plots(benchmark: Benchmark, per_family: int) -> TrainingPlots:
    """About `per_family` training plots of every family in the data set, every experiment type equally often.

    They are drawn as the data set's own training rows are if this package built it (its seed and renderer), else with
    seed 0. Raises QuestionError for a family without simulator.
    """
    made = benchmark.plan or {}
    present = {row.family for row in benchmark.rows}
    known = [name for name in made.get("families", ()) if name in present]
    families = tuple(known or sorted(present))  # in the data set's order, so that the rows are the same
    seed, backend = made.get("seed", 0), made.get("backend", "fast")
    plan = Plan(rows=10, seed=seed, backend=backend, families=families)
    names, answers = [], []
    # Whole turns through all scenarios: no type of a family is left out or met more often.
    count = len(plan.scenarios) * -(-per_family * len(families) // len(plan.scenarios))
    for index in range(count):
        truth = plan.row("train", index).truth
        names.append(truth.family)
        answers.append(write_answers(truth))
    return TrainingPlots(tuple(names), tuple(answers), plan)


def blind_answers(rows: Sequence[BenchmarkRow], training: TrainingPlots) -> dict[str, list[Answers]]:
    """Name -> answers per row of the references that look at no image."""
    known = list(zip(training.families, training.answers, strict=True))
    found: dict[str, list[Answers]] = {}
    for name, per_family in (("majority class", False), ("majority class of the family", True)):
        majority = MajorityClass(known, per_family)
        by_family = {family: majority.answers(family) for family in {row.family for row in rows}}
        found[name] = [by_family[row.family] for row in rows]
    found["image-free rule (expects success)"] = [success_rule(row.family, len(row.images)) for row in rows]
    return found


def shuffled_answers(rows: Sequence[BenchmarkRow], answers: Sequence[Answers], seed: int = 0) -> list[Answers | None]:
    """The model with shuffled images: each plot is given the answers to another plot of its family.

    The plots of a family are asked the same, so nothing is asked again. The other plot has as many images; None where
    there is no other.
    """
    groups: dict[tuple[str, int], list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        groups[row.family, len(row.images)].append(at)
    found: list[Answers | None] = [None] * len(rows)
    for group in groups.values():
        order = random.Random(seed).sample(group, len(group))
        if len(order) > 1:
            for mine, other in zip(order, [*order[1:], order[0]], strict=True):
                found[mine] = answers[other]
    return found


def trained_answers(
    backend: Backend, rows: Sequence[BenchmarkRow], training: TrainingPlots, advance: Advance | None = None
) -> dict[str, list[Answers]]:
    """Name -> answers per row of the references on the model's own vision tower; empty for an endpoint.

    A row whose image cannot be read gets no answers.
    """
    if not isinstance(backend, ModelBackend):
        return {}
    network, processor = backend.network, backend.processor
    steps = range(0, len(training.families), 16)
    learned = []
    for start in steps:
        indices = range(start, min(start + 16, len(training.families)))
        learned.append(vision_features(network, processor, [training.images(at) for at in indices]))
        if advance:
            advance(len(indices))
    images = [_images(row) for row in rows]
    readable = [at for at, found in enumerate(images) if found]
    if not readable:
        return {}
    features = vision_features(network, processor, [images[at] or [] for at in readable])
    if advance:
        advance(len(rows))
    train = (training.families, np.concatenate(learned), training.answers)
    test = ([rows[at].family for at in readable], features)
    answers: dict[str, list[Answers]] = {}
    for name, method in METHODS.items():
        told = dict(zip(readable, reference_answers(method, train, test), strict=True))
        answers[name] = [told.get(at, {}) for at in range(len(rows))]
    return answers


def _images(row: BenchmarkRow) -> list[Image.Image] | None:
    from ..reader.figures import load_figures

    try:
        return load_figures([picture.data for picture in row.images])
    except FigureError:
        return None
