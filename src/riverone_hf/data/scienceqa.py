"""How does ScienceQA become training rows? Multiple-choice questions that cannot be answered without their image.

Columns of the public source `derek-thomas/ScienceQA` (its card): image (Image or null), question, choices (list of
string), answer (int, index into choices), hint, task, grade, subject, topic, category, skill, lecture, solution. The
release on GitHub has the same fields in `problems.json` ({id: fields}), with the figures in `images/<split>/<id>`.

Plain rule: a question depends on its image when question or hint speak of what is seen (see `SEEN`), and no choice is
found word for word in the hint while the others are not. An endpoint can decide instead (`endpoint_rule`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .source import SPLIT_NAMES, Origin
from .source_image import Reject, clean_image
from .source_rows import SFT, Kind, Row, checked, sft_row

SEEN = re.compile(
    r"\b(images?|pictures?|pictured|photos?|photographs?|figures?|diagrams?|graphs?|charts?|plots?|maps?|tables?|"
    r"shown|shows|below|above|highlighted|labell?ed|arrows?|colored|marked|magnets?|pair [12]|sample [ab]|"
    r"solution [ab]|food web|food chain|timeline|venn)\b",
    re.IGNORECASE,
)
"""Words of a question about something that is looked at."""
HINT = "Answer with the letter and the text of the right choice."
ASK = (
    "A multiple-choice question was asked together with an image that you cannot see.\n\n{question}\n\nCan a person "
    "answer it with certainty from this text and common knowledge, without the image? Answer with one word: yes or no."
)
Rule = Callable[[str, str, list[str]], bool]
"""(question, hint, choices) -> whether the image is needed; may raise Reject."""


def plain_rule(question: str, hint: str, choices: list[str]) -> bool:
    """Whether the texts speak of something that is seen, and the hint does not give the answer away."""
    if not SEEN.search(f"{question} {hint}"):
        return False
    found = [choice.lower() in hint.lower() for choice in choices]
    return sum(found) != 1 or len(choices) == 1


def endpoint_rule(ask: Callable[[str], str]) -> Rule:
    """A rule that puts the question, without the image, to `ask(prompt) -> reply` (any OpenAI-compatible endpoint)."""

    def rule(question: str, hint: str, choices: list[str]) -> bool:
        said = re.findall(r"[a-z]+", ask(ASK.format(question=asked(question, hint, choices))).lower())
        words = [word for word in said if word in ("yes", "no")]
        if not words:
            raise Reject("endpoint_unclear")
        return words[-1] == "no"

    return rule


def asked(question: str, hint: str, choices: list[str]) -> str:
    """The question with its context and lettered choices."""
    context = [f"Context: {hint.strip()}"] if hint.strip() else []
    return "\n".join([question.strip(), *context, *(f"{chr(65 + k)}. {text}" for k, text in enumerate(choices))])


def scienceqa(rule: Rule = plain_rule, subjects: tuple[str, ...] = ()) -> Kind:
    """The kind of source whose questions `rule` finds image-dependent; `subjects` (if any) are kept, others not."""

    def convert(row: Mapping[str, Any], origin: Origin) -> list[Row | Reject]:
        try:
            return [_row(row, origin, rule, subjects)]
        except Reject as reject:
            return [reject]

    way = "by an endpoint that was asked without the image" if rule is not plain_rule else "by a plain rule on words"
    return Kind(
        "scienceqa",
        "ScienceQA questions that need their image",
        SFT,
        (("image",), ("question",), ("choices",), ("answer",), ("hint",), ("subject",)),
        convert,
        "cc-by-nc-sa-4.0",
        "derek-thomas/ScienceQA",
        "School questions in natural, social and language science with one figure and two to five choices. Questions "
        f'that do not need their figure were left out, {way}. Every question ends with "{HINT}"',
    )


def _row(row: Mapping[str, Any], origin: Origin, rule: Rule, subjects: tuple[str, ...]) -> Row:
    if row.get("image") is None:
        raise Reject("no_image")
    if row.get("split") not in (None, *SPLIT_NAMES[origin.split]):  # problems.json holds all splits
        raise Reject("other_split")
    subject = str(row.get("subject") or "")
    if subjects and subject not in subjects:
        raise Reject("other_subject")
    question = checked(row.get("question"), "question")
    hint = row.get("hint") if isinstance(row.get("hint"), str) else ""
    assert isinstance(hint, str)
    choices = [str(choice).strip() for choice in row.get("choices") or () if choice is not None and str(choice).strip()]
    answer = row.get("answer")
    if len(choices) < 2 or len(choices) != len(row.get("choices") or ()):
        raise Reject("few_choices")
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(choices):
        raise Reject("empty_answer")
    image = clean_image(_picture(row, origin), origin)
    if not rule(question, hint, choices):
        raise Reject("image_not_needed")
    kind = f"scienceqa_{re.sub(r'[^a-z]+', '_', subject.lower()).strip('_') or 'question'}"
    text = f"{asked(question, hint, choices)}\n{HINT}"
    return sft_row([image], text, f"{chr(65 + answer)}. {choices[answer]}", kind)


def _picture(row: Mapping[str, Any], origin: Origin) -> Any:
    image = row["image"]
    if isinstance(image, str) and row.get("id") is not None:
        for name in (f"{row.get('split', origin.split)}/{row['id']}/{image}", f"{row['id']}/{image}"):
            for below in ("images/", ""):
                if origin.find_image(below + name):
                    return below + name
    return image
