"""How do six answers become one verdict? Parsing, units, confidence and abstention; never raises for model nonsense."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from riverone_hf.questions import (
    ASSESSMENTS,
    FAMILIES,
    OUTCOMES,
    UNRELIABLE,
    Family,
    Field,
    answer_schema,
    get_family,
    parse_q1,
    parse_q5,
    parse_q6,
    parse_reason,
)
from riverone_hf.questions.schema import Schema
from riverone_hf.reader.verdict import Abstention, Parameter, Provenance, Value, Verdict

UNCERTAIN_ACTION = "No advice: the status is uncertain. Have a person look at this figure."


class Answer(Protocol):
    """What the generation hands over (see `generate.Answered`)."""

    @property
    def choice(self) -> int: ...
    @property
    def weights(self) -> tuple[float, ...]: ...
    @property
    def text(self) -> str: ...
    @property
    def spans(self) -> tuple[tuple[int, int, float], ...]: ...


def answer_starts(family: Family, question: str) -> tuple[str, ...]:
    """The allowed beginnings of an answer: one labelled line per legal label for q2, q4, q6; else the empty one."""
    labels = {
        "q2": ("Classification", OUTCOMES),
        "q4": ("Assessment", ASSESSMENTS),
        "q6": (family.status_label, tuple(family.statuses)),
    }.get(question)
    return tuple(f"{labels[0]}: {label}\n" for label in labels[1]) if labels else ("",)


def answer_limits(family: str, question: str, n_images: int = 1) -> tuple[tuple[str, ...], Schema | None]:
    """What a constrained answer about `n_images` images is held to: its allowed beginnings and its JSON Schema.

    Raises QuestionError for an unknown family.
    """
    return answer_starts(get_family(family), question), answer_schema(family, question, n_images)


def assemble(
    answers: Mapping[str, Answer],
    family: str,
    *,
    family_weight: float | None = None,
    threshold: float = 0.5,
    source: str | None = None,
    provenance: Provenance | None = None,
) -> Verdict:
    """The verdict of one figure from the answers to q1..q6 of `family`.

    `family_weight` is the confidence of the identification, None when the user named the family. A field whose
    confidence lies below `threshold`, or whose answer cannot be parsed, is left empty and listed in `abstained`.
    """
    return _Assembly(answers, FAMILIES[family], family_weight, threshold).verdict(source, provenance or Provenance())


class _Assembly:
    def __init__(self, answers: Mapping[str, Answer], family: Family, family_weight: float | None, threshold: float):
        self.answers, self.family, self.threshold = answers, family, threshold
        self.confidence: dict[str, float] = {}
        self.abstained: list[Abstention] = []
        self.family_name: str | None = family.name
        if family_weight is not None:
            self.family_name = self._kept("family", family.name, family_weight)

    def verdict(self, source: str | None, provenance: Provenance) -> Verdict:
        outcome = self._label("outcome", "q2", OUTCOMES)
        reliability = self._label("fit_reliability", "q4", ASSESSMENTS)
        status = self._label("status", "q6", tuple(self.family.statuses))
        if self.family_name is None:  # codes and fields belong to a family; without one they say nothing
            status = self._abstain("status", "the family is uncertain; name it (--family)") if status else status
        reasons = [parse_reason(self.answers[q].text) for q in ("q2", "q4")]
        reasons.append(parse_q6(self.answers["q6"].text, self.family.name).notes)
        return Verdict(
            source=source,
            family=self.family_name,
            outcome=outcome,
            fit_reliability=reliability,
            status=status,
            parameters=self._parameters(),
            suggested_range=self._range(),
            next_action=self.family.next_actions.get(status) if status else UNCERTAIN_ACTION,
            description=self._description(),
            significance=clean(self.answers["q3"].text) or self._abstain("significance", "the answer is empty"),
            evidence=list(dict.fromkeys(clean(reason) for reason in reasons if reason and clean(reason))),
            confidence=self.confidence,
            abstained=self.abstained,
            provenance=provenance,
        )

    def _abstain(self, field: str, reason: str) -> Any:
        """Record why `field` stays empty; always None, the empty field's value."""
        if all(item.field != field for item in self.abstained):
            self.abstained.append(Abstention(field=field, reason=reason))
        return None

    def _kept(self, field: str, value: Any, weight: float) -> Any:
        """`value`, or None with an abstention when its confidence is below the threshold."""
        weight = min(1.0, max(0.0, weight)) if math.isfinite(weight) else 0.0
        self.confidence[field] = round(weight, 4)
        if weight >= self.threshold:
            return value
        return self._abstain(field, f"confidence {weight:.2f} < {self.threshold:.2f} (best guess: {value})")

    def _label(self, field: str, question: str, allowed: Sequence[str]) -> str | None:
        answer = self.answers[question]
        return self._kept(field, allowed[answer.choice], answer.weights[answer.choice])

    def _range(self) -> str | None:
        answer = self.answers["q6"]
        if not self.family.asks_range:
            return None
        at = answer.text.lower().find("suggested range:")
        if at < 0:
            return self._abstain("suggested_range", "missing in the answer")
        begin = at + len("suggested range:")
        value = parse_q6(answer.text, self.family.name).suggested_range
        weight = mean_probability(answer, begin, begin + len(answer.text[begin:].split("\n")[0]))
        if self.family_name is None and value:
            return self._abstain("suggested_range", "the family is uncertain; name it (--family)")
        return self._kept("suggested_range", clean(value) if value else None, weight)

    def _description(self) -> str | None:
        try:
            panels = parse_q1(self.answers["q1"].text)
        except RecursionError:
            panels = None
        text = "; ".join(filter(None, map(describe_panel, panels or [])))
        return text or self._abstain("description", "the answer is not the JSON that was asked for")

    def _parameters(self) -> list[Parameter]:
        answer = self.answers["q5"]
        try:
            parsed = parse_q5(answer.text)
        except RecursionError:
            parsed = None
        if self.family_name is None or parsed is None:
            uncertain = "the family is uncertain; name it (--family)"
            reason = uncertain if self.family_name is None else "the answer is not the JSON that was asked for"
            self._abstain("parameters", reason)
            return [Parameter(name=item.name, unit=item.unit) for item in self.family.fields if self.family_name]
        rows = parsed if isinstance(parsed, list) else [parsed]
        if not self.family.list_answer:
            rows = rows[:1]
        found = []
        cursor = 0
        for index, row in enumerate(rows):
            for item in self.family.fields:
                name = f"{item.name}[{index}]" if self.family.list_answer else item.name
                span = find_value(answer.text, item.name, cursor)
                cursor = span[1] if span and self.family.list_answer else cursor
                weight = mean_probability(answer, *span) if span else 0.0
                found.append(Parameter(name=name, unit=item.unit, value=self._value(name, item, row, weight)))
        return found

    def _value(self, name: str, item: Field, row: Mapping[str, Any], weight: float) -> Value:
        field = f"parameters.{name}"
        if item.name not in row:
            return self._abstain(field, "missing in the answer")
        try:
            value = fit_value(item, row[item.name])
        except ValueError as exc:
            return self._abstain(field, str(exc))
        return self._kept(field, value, weight)


def fit_value(item: Field, value: Any) -> Value:
    """`value` as the field's kind allows it (None: the model calls it not determinable).

    Raises:
        ValueError: the value is of another kind, not finite, not among the choices, or called unreliable.
    """
    if isinstance(value, str) and value.strip().casefold() == UNRELIABLE.casefold():
        raise ValueError("the model calls the fit too unreliable for this value")
    if value is None or (isinstance(value, str) and value.strip().casefold() in ("null", "none", "n/a")):
        if not item.nullable:
            raise ValueError("the model gave no value")
        return None
    wrong = ValueError(f"expected {item.schema_text()}, got {_brief(value)}")
    if item.kind == "bool":
        if isinstance(value, bool):
            return value
        raise wrong
    if item.kind == "enum":
        for choice in item.choices:
            if isinstance(value, str) and value.strip().casefold() == choice.casefold():
                return choice
        raise wrong
    if item.kind in ("coord_list", "array_int_match", "array_float_match"):
        values = list(_numbers(value, wrong))
        if item.kind == "array_int_match" and any(number != round(number) for number in values):
            raise wrong
        return value
    number = next(_numbers([value], wrong))
    if item.kind == "int_count":
        if number != round(number):
            raise wrong
        return round(number)
    return number


def _numbers(value: Any, wrong: ValueError) -> Iterator[float]:
    """Every number of a list, or of a list of lists; raises `wrong` for anything else."""
    if not isinstance(value, list) or not value:
        raise wrong
    nested = [inner for outer in value for inner in outer] if all(isinstance(v, list) for v in value) else value
    for number in nested:
        if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) < 1e300:
            raise wrong
        yield number
    if not nested:
        raise wrong


def find_value(text: str, name: str, start: int = 0) -> tuple[int, int] | None:
    """(first, last + 1) character of the JSON value that follows `"name":` at or after `start`, or None."""
    at = text.find(json.dumps(name), start)
    colon = text.find(":", at)
    if at < 0 or colon < 0:
        return None
    begin = colon + 1 + (len(text[colon + 1 :]) - len(text[colon + 1 :].lstrip()))
    try:
        _, end = json.JSONDecoder().raw_decode(text, begin)
    except (ValueError, RecursionError):
        return None
    return begin, end


def mean_probability(answer: Answer, begin: int, end: int) -> float:
    """Mean probability of the generated tokens that touch the characters [begin, end) of the answer; 0 without any."""
    touching = [p for first, last, p in answer.spans if first < end and last > begin]
    return sum(touching) / len(touching) if touching else 0.0


def describe_panel(panel: Mapping[str, Any]) -> str:
    """One phrase about one described image: `scatter of P1 (0 to 1) over time [us] (0 to 40): a decaying sine`."""
    kind = clean(panel.get("plot_type"))
    axes = [_axis(panel.get(name)) for name in ("y_axis", "x_axis")]
    what = " over ".join(filter(None, axes))
    head = f"{kind} of {what}" if kind and what else kind or what
    return ": ".join(filter(None, (head, clean(panel.get("main_features")))))


def _axis(axis: Any) -> str:
    if not isinstance(axis, Mapping):
        return ""
    label = clean(axis.get("label"))
    limits = axis.get("range")
    if isinstance(limits, list) and len(limits) == 2 and all(isinstance(v, int | float) for v in limits):
        label = f"{label} ({limits[0]:g} to {limits[1]:g})".strip()
    return f"{label} [log]" if axis.get("scale") == "log" else label


def clean(value: Any) -> str:
    """One line of text: whitespace collapsed, control and broken characters removed; '' for anything but a string."""
    if not isinstance(value, str):
        return ""
    return "".join(c for c in " ".join(value.split()) if c.isprintable() and c != "\ufffd")


def _brief(value: Any) -> str:
    text = clean(repr(value))
    return text if len(text) <= 40 else f"{text[:37]}..."
