"""How is a question asked? The short form of the reader and the full, QCalEval-shaped form (DESIGN contract 6)."""

from __future__ import annotations

import random

from ..errors import QuestionError
from .enums import ASSESSMENTS, IDENTIFY, OUTCOME_MEANINGS, QUESTIONS
from .families import get_family
from .family import Family

PROMPT_VERSION = "1"

_TAGS = {
    "q0": "experiment",
    "q1": "describe",
    "q2": "outcome",
    "q3": "implication",
    "q4": "fit",
    "q5": "parameters",
    "q6": "status",
}


def short_prompt(family: str | None, question: str) -> str:
    """The short form: a tag and the family, e.g. `[outcome] rabi`; at most 24 tokens of our tokenizer.

    `family` is None only for the identify question q0. Raises QuestionError for unknown questions or families.
    """
    if question == IDENTIFY:
        return f"[{_TAGS[IDENTIFY]}]"
    if question not in QUESTIONS:
        raise QuestionError(f"unknown question {question!r}. Expected one of: {IDENTIFY}, {', '.join(QUESTIONS)}")
    if family is None:
        raise QuestionError(f"question {question} needs a family; only {IDENTIFY} is asked without one")
    return f"[{_TAGS[question]}] {get_family(family).name}"


def full_prompt(family: str, question: str, n_images: int = 1, rng: random.Random | None = None) -> str:
    """The full form: background, question with literal `<image>` marks, options or schema, answer format.

    `rng` varies the wording (None: the first wording of each). The marks are plain text to the processor.
    Raises QuestionError for unknown questions or families.
    """
    spec = get_family(family)
    rng = rng or _First()
    if question == "q1":
        return _describe(spec, n_images, rng)
    body = {"q2": _outcome, "q3": _implication, "q4": _fit, "q5": _parameters, "q6": _status}.get(question)
    if body is None:
        raise QuestionError(f"unknown question {question!r}. Expected one of: {', '.join(QUESTIONS)}")
    marks = " and ".join(["<image>"] * n_images)
    return f"{spec.background}\n\n{body(spec, marks, rng)}"


class _First(random.Random):
    """Always takes the first wording, so that the default prompt is one fixed text."""

    def choice(self, seq):
        return seq[0]


def _axis(extra: str) -> str:
    return f'{{"label": string, {extra}"range": [min, max]}}'


def _describe(spec: Family, n_images: int, rng: random.Random) -> str:
    kinds = '"scatter" | "line" | "heatmap" | "histogram"'
    axis = _axis('"scale": "linear" | "log", ')
    extra = ""
    if spec.name in ("mot_loading", "tweezer_array"):
        kinds, axis = '"image" | "heatmap" | "scatter"', '{"label": string, "unit": string}'
    if spec.name in ("mot_loading", "ramsey_charge_tomography"):
        extra = '\n  "colorbar": {"label": string},'
    schema = (
        f'{{\n  "plot_type": {kinds},\n  "x_axis": {axis},\n  "y_axis": {axis},{extra}\n  "main_features": string\n}}'
    )
    if n_images > 1:
        lead = rng.choice(["Describe every figure <image> as JSON.", "Give a JSON description of each figure <image>."])
        return (
            f"{lead}\n\nThere are {n_images} images: answer with a JSON array, one object per image, in order.\n\n"
            f"Fields of each object:\n{schema}"
        )
    lead = rng.choice(
        ["Describe this figure <image> as JSON.", "Give a JSON description of the figure <image>.", "<image> as JSON:"]
    )
    return f"{lead}\n\nFields:\n{schema}"


def _outcome(spec: Family, marks: str, rng: random.Random) -> str:
    lead = rng.choice(
        [
            f"Going by the data {marks}, how did the experiment turn out?",
            f"Look at the data {marks} and classify the outcome of the experiment.",
            f"Which outcome does the measurement {marks} show?",
        ]
    )
    options = "\n".join(f"- {name}: {meaning}" for name, meaning in OUTCOME_MEANINGS.items())
    return f"{lead}\n\nOptions:\n{options}\n\nAnswer as:\nClassification: <one option>\nReason: <short explanation>"


def _implication(spec: Family, marks: str, rng: random.Random) -> str:
    lead = rng.choice([f"What follows from this result {marks}?", f"Explain what the result {marks} implies."])
    bullets = "\n".join(f"- {point}" for point in spec.implications)
    return f"{lead}\n\nExplain:\n{bullets}\n\nGive your assessment."


def _fit(spec: Family, marks: str, rng: random.Random) -> str:
    lead = rng.choice(
        [
            f"Can parameters be extracted reliably from the fit in this plot {marks}?",
            f"Judge whether the fit drawn in {marks} can be relied on for parameter extraction.",
        ]
    )
    options = "\n".join(f"- {name}" for name in ASSESSMENTS)
    return f"{lead}\n\nOptions:\n{options}\n\nAnswer as:\nAssessment: <one option>\nReason: <short explanation>"


def _parameters(spec: Family, marks: str, rng: random.Random) -> str:
    lead = rng.choice(
        [
            f"Extract these parameters from the {spec.title} plot {marks}.",
            f"Read the following parameters off the plot {marks} ({spec.title}).",
        ]
    )
    schema = ", ".join(f'"{item.name}": {item.schema_text()}' for item in spec.fields)
    schema = f"[{{{schema}}}, ...]" if spec.list_answer else f"{{{schema}}}"
    return f"{lead}\n\nReport in JSON format:\n{schema}"


def _status(spec: Family, marks: str, rng: random.Random) -> str:
    lead = rng.choice(
        [f"Look at {marks} and decide the status of the experiment.", f"Determine the experiment status from {marks}."]
    )
    heading = "CLASSIFICATION CRITERIA" if spec.status_label == "Classification" else "DECISION CRITERIA"
    criteria = "\n".join(f"- {code}: {meaning}" for code, meaning in spec.statuses.items())
    answer = f"{spec.status_label}: <one of the codes>"
    if not spec.asks_range:
        return f"{lead}\n\n{heading}\n{criteria}\n\nAnswer exactly as:\n\n{answer}\nNotes: <1-3 sentences>"
    if spec.sweep:
        unit = f" [{spec.unit}]" if spec.unit else ""
        wanted = f"(<min {spec.sweep}>, <max {spec.sweep}>){unit}"
    else:
        wanted = "<one specific action>"
    return (
        f"{lead}\n\n{heading}\n{criteria}\n\nUnless the status is a success, suggest a specific {wanted}.\n\n"
        f'Answer exactly as:\n\n{answer}\nSuggested range: {wanted} (or "N/A")\nNotes: <1-3 sentences>'
    )
