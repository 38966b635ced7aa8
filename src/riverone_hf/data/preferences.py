"""What would a tempting wrong answer be? Hard negatives for preference training, all in the right format."""

from __future__ import annotations

import dataclasses
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..calibration.words import Q4_REASONS
from ..errors import QuestionError
from ..questions import ASSESSMENTS, OUTCOMES, QUESTIONS, Truth, get_family, write_answers
from .wrong_values import wrong_parameters

NEGATIVE_KINDS = (
    "wrong_outcome",
    "wrong_status",
    "wrong_meaning",
    "unit_slip",
    "axis_misread",
    "wrong_plot_type",
    "over_trusted_fit",
    "invented_fit",
    "distrusted_fit",
    "missed_fit",
    "invented_value",
    "missed_value",
    "wrong_reading",
)
OUTCOME_REASONS = {
    "Expected behavior": "Clear, usable signal with the expected shape.",
    "Suboptimal parameters": "The signal is there, but the sweep settings need adjusting.",
    "Anomalous behavior": "The response deviates from the expected physics.",
    "Apparatus issue": "No meaningful signal above the noise.",
}
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


@dataclass(frozen=True)
class Negative:
    """A wrong answer `text` to a question; `kind` (one of NEGATIVE_KINDS) names the mistake."""

    kind: str
    text: str


def hard_negative(truth: Truth, question: str, rng: random.Random, donors: Sequence[Truth] = ()) -> Negative:
    """A wrong but well-formed answer to `question` about the plot of `truth`.

    `donors` are truths of other plots of the same family: a wrong label then brings a reason that was written for a
    real plot of that label, so that style does not give it away. Raises QuestionError for an unknown question.
    """
    if question not in QUESTIONS:
        raise QuestionError(f"no negatives for question {question!r}. Expected one of: {', '.join(QUESTIONS)}")
    donors = [donor for donor in donors if donor.family == truth.family]
    if question == "q5":
        kind, value = wrong_parameters(truth, rng, donors)
        return Negative(kind, json.dumps(value, ensure_ascii=False))
    maker = {"q1": _misread_figure, "q2": _wrong_outcome, "q3": _wrong_meaning, "q4": _wrong_fit, "q6": _wrong_status}[
        question
    ]
    return maker(truth, rng, donors)


def _misread_figure(truth: Truth, rng: random.Random, donors: Sequence[Truth]) -> Negative:
    index = rng.randrange(len(truth.panels))
    panel = truth.panels[index]
    name = rng.choice(["x_axis", "y_axis"])
    axis = getattr(panel, name)
    factor = rng.choice([0.5, 0.7, 1.5, 2.0])
    rescaled = dataclasses.replace(axis, range=(axis.range[0] * factor, axis.range[1] * factor))
    near = {"scatter": "line", "line": "scatter", "heatmap": "image", "image": "heatmap", "histogram": "line"}
    others = [donor for donor in donors if donor.status != truth.status and len(donor.panels) == len(truth.panels)]
    seen = rng.choice(others).panels[index].main_features if others else panel.main_features
    changes: list[tuple[float, str, dict[str, object]]] = [
        (0.5, "axis_misread", {name: rescaled}),
        (0.15, "axis_misread", {"x_axis": panel.y_axis, "y_axis": panel.x_axis}),
        (0.2, "wrong_reading", {"main_features": seen}),
        (0.15, "wrong_plot_type", {"plot_type": near[panel.plot_type]}),
    ]
    # In an order drawn by weight, the first that shows in the answer: camera images, say, tell no ranges.
    changes.sort(key=lambda change: rng.random() ** (1 / change[0]), reverse=True)
    right = write_answers(truth)["q1"]
    for _, kind, change in changes:
        panels = list(truth.panels)
        panels[index] = dataclasses.replace(panel, **change)  # type: ignore[arg-type]
        text = write_answers(dataclasses.replace(truth, panels=tuple(panels)))["q1"]
        if text != right:
            return Negative(kind, text)
    raise AssertionError("another plot type always shows")


def _wrong_outcome(truth: Truth, rng: random.Random, donors: Sequence[Truth]) -> Negative:
    others = [donor for donor in donors if donor.outcome != truth.outcome]
    if others:
        donor = rng.choice(others)
        return _rewritten("wrong_outcome", truth, "q2", outcome=donor.outcome, q2_reason=donor.q2_reason)
    outcome = rng.choice([name for name in OUTCOMES if name != truth.outcome])
    return _rewritten("wrong_outcome", truth, "q2", outcome=outcome, q2_reason=OUTCOME_REASONS[outcome])


def _wrong_meaning(truth: Truth, rng: random.Random, donors: Sequence[Truth]) -> Negative:
    others = [donor for donor in donors if donor.status != truth.status and donor.significance != truth.significance]
    if others:
        return Negative("wrong_meaning", rng.choice(others).significance)
    family = get_family(truth.family)
    status = rng.choice([code for code in family.statuses if code != truth.status])
    criterion = family.statuses[status]
    step = family.next_actions.get(status, "Repeat the measurement.")
    return Negative("wrong_meaning", f"{criterion[:1].upper()}{criterion[1:]}. {step}")


def _wrong_fit(truth: Truth, rng: random.Random, donors: Sequence[Truth]) -> Negative:
    # Trusting a bad fit does the most harm in a laboratory, so it is the commonest mistake here.
    weights = {"Reliable": 3, "Unreliable": 2, "No fit": 1}
    others = [name for name in ASSESSMENTS if name != truth.reliability]
    claimed = rng.choices(others, [weights[name] for name in others])[0]
    reasons = [donor.q4_reason for donor in donors if donor.reliability == claimed]
    if not reasons:
        qualities = {"Reliable": ("good",), "Unreliable": ("wrong", "unsupported"), "No fit": ("none",)}[claimed]
        reasons = [reason for quality in qualities for reason in Q4_REASONS[quality]]
    if truth.reliability == "No fit":
        kind = "invented_fit"
    elif claimed == "No fit":
        kind = "missed_fit"
    else:
        kind = "over_trusted_fit" if claimed == "Reliable" else "distrusted_fit"
    return _rewritten(kind, truth, "q4", reliability=claimed, q4_reason=rng.choice(reasons))


def _wrong_status(truth: Truth, rng: random.Random, donors: Sequence[Truth]) -> Negative:
    family = get_family(truth.family)
    slipped = _slip(truth.suggested_range, rng)
    if slipped is not None and family.asks_range and rng.random() < 0.25:
        return _rewritten("unit_slip", truth, "q6", suggested_range=slipped)
    others = [donor for donor in donors if donor.status != truth.status]
    kind = "wrong_status"
    successes = [donor for donor in others if donor.status == "SUCCESS"]
    if truth.reliability == "Unreliable" and successes and rng.random() < 0.5:
        kind, others = "over_trusted_fit", successes
    if others:
        donor = rng.choice(others)
        suggested, notes = donor.suggested_range, donor.q6_notes
        return _rewritten(kind, truth, "q6", status=donor.status, suggested_range=suggested, q6_notes=notes)
    status = rng.choice([code for code in family.statuses if code != truth.status])
    notes = " ".join(family.statuses[status].split()[:15])
    return _rewritten(kind, truth, "q6", status=status, suggested_range=None, q6_notes=notes)


def _slip(text: str | None, rng: random.Random) -> str | None:
    """The suggested range with its numbers in the wrong unit, or None when it holds no number but zero."""
    if text is None or not any(float(number) for number in _NUMBER.findall(text)):
        return None
    factor = rng.choice([1e-3, 1e3])
    return _NUMBER.sub(lambda match: f"{float(match.group()) * factor:.6g}", text)


def _rewritten(kind: str, truth: Truth, question: str, **changes: object) -> Negative:
    return Negative(kind, write_answers(dataclasses.replace(truth, **changes))[question])  # type: ignore[arg-type]
