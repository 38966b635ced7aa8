"""How good is the model just built? Scores on held-out plots beside answers that did not look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from ..data import DATA_VERSION, InContextSource, PlotSource
from ..questions import write_answers
from .progress import StageProgress
from .recipe import Recipe

if TYPE_CHECKING:
    from ..model import RiverOneForConditionalGeneration, RiverOneProcessor
    from ..reader.generate import Answerer


def measure(
    model: RiverOneForConditionalGeneration,
    processor: RiverOneProcessor,
    recipe: Recipe,
    progress: StageProgress,
    seconds: float,
) -> list[dict[str, Any]]:
    """Results rows (DESIGN contract 7): the model, the same model on blank images, and the majority classes.

    Then the other ways to ask it that the recipe wants: full prompts, in context, with constrained answers. The plots
    are drawn at the figures' own sizes and go through the image processor, as a user's figures do.
    """
    from ..evaluate import evaluate_answers, model_answers
    from ..reader.generate import Answerer
    from .run import commit, saved_dtype

    spec = recipe.evaluate
    assert spec is not None
    families = tuple(recipe.model.families)
    source = PlotSource(families, seed=spec.seed, split="test", matplotlib_share=spec.matplotlib_share)
    rows = [source.row(index) for index in range(spec.plots)]
    names = [row["family"] for row in rows]
    references = [write_answers(source.plot(index).truth) for index in range(spec.plots)]
    images = [row["images"] for row in rows]
    progress.stage("evaluation", spec.plots)
    answerer = Answerer(model, processor)
    answers = {
        recipe.name: model_answers(answerer, names, images, ASKED, spec.batch_size, progress.advance),
        f"{recipe.name}, blank image": blank_answers(answerer, names, [len(plot) for plot in images], spec.batch_size),
        **majority_answers(names, families, recipe.model.seed, spec.majority_plots),
    }
    steps = sum(stage.steps for stage in (recipe.warmup, recipe.sft_icl, recipe.sft, recipe.mpo) if stage is not None)
    parameters = model.num_parameters()
    size = parameters * saved_dtype(recipe).itemsize
    common = {"seed": recipe.model.seed, "n": spec.plots, "commit": commit(), "data_version": DATA_VERSION}
    trained = {
        "steps": steps,
        "trained_params": parameters,
        "logical_params": parameters,
        "bytes": size,
        "bits_per_weight": 8 * size / parameters,
        "seconds": seconds,
    }
    untrained = dict.fromkeys(trained)
    others = _other_forms(answerer, recipe, source, progress)
    if count := min(spec.constrained_plots or 0, spec.plots):
        progress.stage("constrained answers", count)
        told = model_answers(
            answerer, names[:count], images[:count], ASKED, spec.batch_size, progress.advance, constrained=True
        )
        others.append(("constrained answers", count, evaluate_answers(names[:count], told, references[:count])))
    return [
        {
            "name": name,
            **common,
            **(trained if name.startswith(recipe.name) else untrained),
            **evaluate_answers(names, given, references),
        }
        for name, given in answers.items()
    ] + [
        {"name": f"{recipe.name}, {form}", **common, "n": n, **trained, "scores": told["scores"], "ci95": told["ci95"]}
        for form, n, told in others
    ]


def blank_answers(
    answerer: Answerer, names: Sequence[str], counts: Sequence[int], batch_size: int
) -> list[dict[str, str]]:
    """The model's answers about white pictures, for plots of families `names` with `counts` images."""
    from ..evaluate import model_answers

    # White is white at every size: one blank row per family and number of images answers for all.
    kinds = sorted(set(zip(names, counts, strict=True)))
    size = answerer.processor.image_processor.size
    blanks = [[Image.new("RGB", (size["width"], size["height"]), "white")] * count for _, count in kinds]
    told = model_answers(answerer, [name for name, _ in kinds], blanks, ASKED, batch_size)
    answer_of = dict(zip(kinds, told, strict=True))
    return [answer_of[kind] for kind in zip(names, counts, strict=True)]


def majority_answers(
    names: Sequence[str], families: tuple[str, ...], seed: int, plots: int
) -> dict[str, list[dict[str, str]]]:
    """Name -> answers for plots of families `names`: what most of `plots` training plots say, overall and by family."""
    from ..evaluate import MajorityClass

    training = PlotSource(families, seed=seed)
    truths = [training.plot(index).truth for index in range(plots)]
    known = [(truth.family, write_answers(truth)) for truth in truths]
    floors = {"majority class": MajorityClass(known, False), "majority class of the family": MajorityClass(known, True)}
    return {name: [floor.answers(family) for family in names] for name, floor in floors.items()}


def _other_forms(
    answerer: Answerer, recipe: Recipe, source: PlotSource, progress: StageProgress
) -> list[tuple[str, int, dict[str, Any]]]:
    """(form, plots, {"scores", "ci95"}) of the other prompt forms that the recipe asks for."""
    from .forms import SHOWN, full_form_scores, in_context_scores

    spec, forms = recipe.evaluate, []
    assert spec is not None
    if spec.full_form_plots:
        progress.stage("full prompts", spec.full_form_plots * len(ASKED))
        scores = full_form_scores(answerer, source, spec.full_form_plots, ASKED, 5 * spec.batch_size, progress.advance)
        forms.append(("full prompts", spec.full_form_plots, scores))
    if spec.in_context_plots:
        progress.stage("in context", spec.in_context_plots * len(SHOWN))
        shown = InContextSource(source, pool=32)
        scores = in_context_scores(answerer, shown, spec.in_context_plots, spec.batch_size, progress.advance)
        forms.append(("in context", spec.in_context_plots, scores))
    return forms


ASKED = ("q1", "q2", "q4", "q5", "q6")
"""The questions that are scored without a judge."""
