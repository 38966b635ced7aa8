"""How is a figure read? `PlotReader`: ask which experiment it is, ask the six questions, assemble the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

from PIL import Image

from riverone_hf.errors import FigureError, QuestionError, RiverOneError
from riverone_hf.questions import (
    FAMILIES,
    IDENTIFY,
    PROMPT_VERSION,
    QUESTIONS,
    full_prompt,
    get_family,
    short_prompt,
)
from riverone_hf.reader.assemble import answer_limits, assemble
from riverone_hf.reader.figures import FigureLike, load_figures
from riverone_hf.reader.generate import Answerer, Ask, render
from riverone_hf.reader.verdict import Provenance, Verdict

PromptForm = Literal["short", "full"]

MAX_IMAGES = 4
"""More images in one row than any family has are a mistake (a folder read as one row), not a figure."""

BUDGETS: Mapping[str, int] = {"q1": 320, "q2": 64, "q3": 128, "q4": 64, "q5": 256, "q6": 96}
"""Most tokens generated per answer. Our answers are short (DESIGN contract 6); an untrained model must stop too."""


@dataclass(frozen=True)
class Row:
    """One thing to read: an image, or the images that belong together (two-image families), in order."""

    images: FigureLike | Sequence[FigureLike]
    family: str | None = None
    source: str | None = None

    def figures(self) -> list[FigureLike]:
        """The images as a list."""
        if isinstance(self.images, str | bytes | PathLike | Image.Image):
            return [self.images]
        return list(self.images)

    def name(self) -> str | None:
        """`source`, or else the paths of the images; None when they came without one."""
        paths = [str(figure) for figure in self.figures() if isinstance(figure, str | PathLike)]
        return self.source or " + ".join(paths) or None


class PlotReader:
    """Reads calibration figures with a RiverONE model.

    Answers are constrained: a label is the likeliest of the legal ones, JSON follows the schema of its question.

    Args:
        model: a `RiverOneForConditionalGeneration`.
        processor: its `RiverOneProcessor`.
        prompt_form: `short` (what the reader is trained on) or `full` (QCalEval-shaped).
        threshold: below this confidence (0..1) a field is left empty and listed in `abstained`; 0 keeps every guess.
        budgets: most generated tokens per question, merged over `BUDGETS`.
        families: what the model can be asked about, and among which an unnamed figure is looked for; default: the
            families that the model says it was trained on, or all.
        name, revision: written into each verdict's provenance.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        prompt_form: PromptForm = "short",
        threshold: float = 0.5,
        budgets: Mapping[str, int] | None = None,
        families: Sequence[str] | None = None,
        name: str | None = None,
        revision: str | None = None,
    ):
        if prompt_form not in ("short", "full"):
            raise QuestionError(f"unknown prompt form {prompt_form!r}. Expected one of: short, full")
        if not 0.0 <= threshold <= 1.0:
            raise QuestionError(f"the threshold is {threshold}; expected a confidence between 0 and 1")
        self.model = model.eval()
        self.processor = processor
        self.prompt_form: PromptForm = prompt_form
        self.threshold = threshold
        self.budgets = {**BUDGETS, **(budgets or {})}
        families = families or getattr(model.config, "families", None) or tuple(FAMILIES)
        self.families = tuple(get_family(f).name for f in families)
        self.provenance = Provenance(
            model=name, revision=revision, prompt_form=prompt_form, prompt_version=str(PROMPT_VERSION)
        )
        self._answerer = Answerer(model, processor)

    @classmethod
    def from_pretrained(
        cls,
        model: str | PathLike[str],
        revision: str | None = None,
        device: str = "auto",
        prompt_form: PromptForm = "short",
        **kwargs: Any,
    ) -> PlotReader:
        """Load a model folder or Hub id; `kwargs` go to the constructor.

        Raises:
            ModelFolderError: the folder is not a complete RiverONE model; the text names the remedy.
        """
        from riverone_hf.reader.loading import load_model, resolve

        folder, commit = resolve(model, revision)
        loaded, processor = load_model(folder, device=device)
        return cls(loaded, processor, prompt_form=prompt_form, name=str(model), revision=commit, **kwargs)

    def read(
        self,
        images: FigureLike | Sequence[FigureLike],
        family: str | None = None,
        source: str | None = None,
    ) -> Verdict:
        """Read one figure (a list: the images of one two-image row). `family` None: the model identifies it first.

        Raises:
            FigureError: the figure cannot be opened. QuestionError: unknown family.
        """
        row = Row(images, family, source)
        return self._read([(row, self._open(row))])[0]

    def read_many(
        self, items: Iterable[Row | FigureLike | Sequence[FigureLike]], batch_size: int = 4
    ) -> Iterator[Verdict]:
        """Read many rows, `batch_size` figures at a time; verdicts come in order.

        A figure that cannot be opened, or a row with an unknown family, gives a verdict with `error`; the others are
        still read.
        """
        batch: list[Row] = []
        for item in items:
            batch.append(item if isinstance(item, Row) else Row(item))
            if len(batch) >= max(1, batch_size):
                yield from self._read_or_fail(batch)
                batch = []
        if batch:
            yield from self._read_or_fail(batch)

    def _open(self, row: Row) -> list[Image.Image]:
        if row.family is not None:
            get_family(row.family)
            if row.family not in self.families:
                raise QuestionError(
                    f"this model was not trained on family {row.family!r}. It knows: {', '.join(self.families)}. "
                    "Remedy: name one of these, or leave the family out"
                )
        figures = row.figures()
        if not 1 <= len(figures) <= MAX_IMAGES:
            raise FigureError(f"{len(figures)} images in one row, expected 1 to {MAX_IMAGES}; read them one by one")
        return load_figures(figures)

    def _read_or_fail(self, rows: Sequence[Row]) -> list[Verdict]:
        opened: list[tuple[Row, list[Image.Image]]] = []
        errors: dict[int, RiverOneError] = {}
        for at, row in enumerate(rows):
            try:
                opened.append((row, self._open(row)))
            except RiverOneError as exc:
                errors[at] = exc
        verdicts = iter(self._read(opened))
        return [
            Verdict.failed(row.name(), errors[at], self.provenance) if at in errors else next(verdicts)
            for at, row in enumerate(rows)
        ]

    def _read(self, rows: Sequence[tuple[Row, list[Image.Image]]]) -> list[Verdict]:
        images = [figures for _, figures in rows]
        found = self._identify(images, [row.family for row, _ in rows])
        asks = [
            self._ask(at, family, question, len(images[at]))
            for at, (family, _) in enumerate(found)
            for question in QUESTIONS
        ]
        answers = self._answerer.answer(images, asks)
        step = len(QUESTIONS)
        return [
            assemble(
                dict(zip(QUESTIONS, answers[at * step : (at + 1) * step], strict=True)),
                family,
                family_weight=weight,
                threshold=self.threshold,
                source=row.name(),
                provenance=self.provenance,
            )
            for at, ((row, _), (family, weight)) in enumerate(zip(rows, found, strict=True))
        ]

    def _identify(
        self, images: Sequence[Sequence[Image.Image]], named: Sequence[str | None]
    ) -> list[tuple[str, float | None]]:
        """(family, confidence) per figure; the confidence is None where the family was named by the user."""
        end = self.processor.tokenizer.eos_token or ""
        asks, names = [], []
        for at, family in enumerate(named):
            if family is None:
                # Several images point to the families that have as many; one image may be cut from any family.
                same = [f for f in self.families if FAMILIES[f].n_images == len(images[at])]
                names.append(same if len(images[at]) > 1 and same else list(self.families))
                starts = tuple(f"Experiment: {f}{end}" for f in names[-1])
                asks.append(Ask(at, self._prompt(None, IDENTIFY, len(images[at])), starts))
        answers = self._answerer.answer(images, asks)
        best = {
            ask.figure: (allowed[answer.choice], answer.weights[answer.choice])
            for ask, allowed, answer in zip(asks, names, answers, strict=True)
        }
        return [best[at] if family is None else (family, None) for at, family in enumerate(named)]

    def _ask(self, figure: int, family: str, question: str, n_images: int) -> Ask:
        starts, schema = answer_limits(family, question, n_images)
        prompt, budget = self._prompt(family, question, n_images), self._budget(family, question, n_images)
        return Ask(figure, prompt, starts, budget, schema)

    def _prompt(self, family: str | None, question: str, n_images: int) -> str:
        if self.prompt_form == "full" and family is not None:
            text = full_prompt(family, question, n_images)
        else:
            text = short_prompt(family, question)
        parts: list[dict[str, Any]] = [{"type": "image"} for _ in range(n_images)]
        return render(self.processor, [*parts, {"type": "text", "text": text}])

    def _budget(self, family: str, question: str, n_images: int) -> int:
        budget = self.budgets[question]
        if question == "q1":
            return budget * n_images
        return 4 * budget if question == "q5" and FAMILIES[family].list_answer else budget
