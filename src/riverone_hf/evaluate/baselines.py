"""What does one score without looking? The most frequent answer, overall or per family."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from ..questions import get_family, parse_q1, parse_q2, parse_q4, parse_q5, parse_q6


class MajorityClass:
    """Answers every plot with the labels that were most frequent in the training plots.

    `per_family` knows the family of the plot (the prompt names it); otherwise one label for all, with a status that is
    legal for the family when possible. It never sees an image.
    """

    def __init__(self, rows: Iterable[tuple[str, Mapping[str, str]]], per_family: bool):
        self.per_family = per_family
        self._counts: dict[tuple[str | None, str], Counter[str]] = defaultdict(Counter)
        for family, answers in rows:
            for label, value in _labels(family, answers).items():
                self._counts[self._key(family, label)][value] += 1

    def _key(self, family: str, label: str) -> tuple[str | None, str]:
        # The fields of Q5 and the number of images belong to the family in any case.
        alone = self.per_family or label.startswith("q5") or label == "q1"
        return (family if alone else None), label

    def _most(self, family: str, label: str) -> str | None:
        counts = self._counts[self._key(family, label)]
        return counts.most_common(1)[0][0] if counts else None

    def answers(self, family: str) -> dict[str, str]:
        """question -> answer text, the same for every plot of `family`."""
        values = {field.name: self._most(family, f"q5.{field.name}") for field in get_family(family).fields}
        return {
            "q1": self._most(family, "q1") or "",
            "q2": f"Classification: {self._most(family, 'q2')}",
            "q4": f"Assessment: {self._most(family, 'q4')}",
            "q5": json.dumps({name: json.loads(value) for name, value in values.items() if value is not None}),
            "q6": f"{get_family(family).status_label}: {self._most(family, 'q6')}",
        }


def _labels(family: str, answers: Mapping[str, str]) -> dict[str, str]:
    enums = [
        {"plot_type": item["plot_type"], "x_axis": {"scale": "linear"}, "y_axis": {"scale": "linear"}}
        | {axis: {"scale": item[axis]["scale"]} for axis in ("x_axis", "y_axis")}
        for item in parse_q1(answers["q1"]) or []
    ]
    labels = {
        "q1": json.dumps(enums),
        "q2": parse_q2(answers["q2"]) or "",
        "q4": parse_q4(answers["q4"]) or "",
        "q6": parse_q6(answers["q6"], family).status or "",
    }
    values = parse_q5(answers["q5"])
    if isinstance(values, dict):
        labels |= {f"q5.{name}": json.dumps(value) for name, value in values.items()}
    return labels
