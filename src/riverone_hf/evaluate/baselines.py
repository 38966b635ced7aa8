"""What does one score without looking? Frequent answers, and a rule that always expects success."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from ..questions import get_family, parse_q1, parse_q2, parse_q4, parse_q5, parse_q6

NO_FIT_FAMILIES = frozenset(
    (
        *("qubit_spectroscopy_power_frequency", "res_spec", "pinchoff"),
        *("t1_fluctuations", "ramsey_charge_tomography", "tweezer_array"),
    )
)
"""Families whose plots show no fit curve, so that Q4 has one answer."""
_PLOT_TYPES = {
    "coupler_flux": "heatmap",
    "qubit_flux_spectroscopy": "heatmap",
    "qubit_spectroscopy_power_frequency": "heatmap",
    "ramsey_charge_tomography": "heatmap",
    "mot_loading": "image",
    "tweezer_array": "image",
    "res_spec": "line",
    "pinchoff": "line",
    "t1_fluctuations": "line",
}
"""Usual kind of plot of a family; scatter for the others."""


class MajorityClass:
    """Answers every plot with the labels that were most frequent in the training plots.

    `per_family` knows the family of the plot (the prompt names it); otherwise one label for all, with a status that is
    legal for the family when possible. It never sees an image.
    """

    def __init__(self, rows: Iterable[tuple[str, Mapping[str, str]]], per_family: bool):
        self.per_family = per_family
        self._counts: dict[tuple[str | None, str], Counter[str]] = defaultdict(Counter)
        for family, answers in rows:
            labels, values = labels_of(family, answers)
            labels |= {f"q5.{name}": json.dumps(value) for name, value in values.items()}
            for label, value in labels.items():
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
        found = {field.name: self._most(family, f"q5.{field.name}") for field in get_family(family).fields}
        values = {name: json.loads(value) for name, value in found.items() if value is not None}
        labels = {label: self._most(family, label) or "" for label in ("q1", "q2", "q4", "q6")}
        return write_labels(family, labels, values)


def labels_of(family: str, answers: Mapping[str, str]) -> tuple[dict[str, str], dict[str, Any]]:
    """(closed labels q1, q2, q4, q6; Q5 values) of a set of answers; of several sites the first one."""
    enums = [
        {"plot_type": item["plot_type"], "x_axis": {"scale": "linear"}, "y_axis": {"scale": "linear"}}
        | {axis: {"scale": item[axis].get("scale", "linear")} for axis in ("x_axis", "y_axis")}
        for item in parse_q1(answers["q1"]) or []
    ]
    labels = {
        "q1": json.dumps(enums),
        "q2": parse_q2(answers["q2"]) or "",
        "q4": parse_q4(answers["q4"]) or "",
        "q6": parse_q6(answers["q6"], family).status or "",
    }
    values = parse_q5(answers["q5"]) or {}
    return labels, values[0] if isinstance(values, list) else values


def write_labels(family: str, labels: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, str]:
    """Answer texts (question -> text) that say these labels and Q5 values; the reverse of `labels_of`."""
    spec = get_family(family)
    return {
        "q1": labels["q1"],
        "q2": f"Classification: {labels['q2']}",
        "q4": f"Assessment: {labels['q4']}",
        "q5": json.dumps([dict(values)] if spec.list_answer else dict(values)),
        "q6": f"{spec.status_label}: {labels['q6']}",
    }


def success_rule(family: str, n_images: int) -> dict[str, str]:
    """The answers of someone who expects every experiment to have worked and looks at nothing.

    The first status of the family, "Expected behavior", a reliable fit where the family has fits, the family's usual
    kind of plot with linear axes, Q5 booleans true, first choices, and null for every number.
    """
    spec = get_family(family)
    panel = {
        "plot_type": _PLOT_TYPES.get(family, "scatter"),
        "x_axis": {"scale": "linear"},
        "y_axis": {"scale": "linear"},
    }
    guess: dict[str, Any] = {"bool": True}
    values = {field.name: field.choices[0] if field.choices else guess.get(field.kind) for field in spec.fields}
    labels = {
        "q1": json.dumps([panel] * n_images),
        "q2": "Expected behavior",
        "q4": "No fit" if family in NO_FIT_FAMILIES else "Reliable",
        "q6": next(iter(spec.statuses)),
    }
    return write_labels(family, labels, values)
