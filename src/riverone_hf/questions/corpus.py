"""Which words must the tokenizer know? Seeded question text of all 22 families."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from .enums import ASSESSMENTS, IDENTIFY, OUTCOMES, PLOT_TYPES, QUESTIONS, SCALES
from .families import FAMILIES
from .prompts import full_prompt, short_prompt


def question_texts(seed: int, rounds: int = 4) -> Iterator[str]:
    """Prompts in both forms and answer skeletons with every label, code, field and unit; same seed, same texts."""
    rng = random.Random(seed)
    yield short_prompt(None, IDENTIFY)
    for _ in range(rounds):
        for family in FAMILIES.values():
            yield f"Experiment: {family.name}"
            for question in QUESTIONS:
                yield short_prompt(family.name, question)
                yield full_prompt(family.name, question, family.n_images, rng)
            for status, action in family.next_actions.items():
                low, high = sorted((round(rng.uniform(0, 10), 2), round(rng.uniform(0, 100), 1)))
                unit = f" [{family.unit}]" if family.unit else ""
                yield f"{family.status_label}: {status}\nSuggested range: ({low}, {high}){unit}\nNotes: {action}"
                yield f"{family.status_label}: {status}\nSuggested range: N/A\nNotes: {family.statuses[status]}"
            for outcome in OUTCOMES:
                yield f"Classification: {outcome}\nReason: {rng.choice(list(family.statuses.values()))}"
            for assessment in ASSESSMENTS:
                yield f"Assessment: {assessment}\nReason: the fit"
            values: dict[str, object] = {}
            for item in family.fields:
                number = round(rng.uniform(-10, 10), 3)
                values[item.name] = rng.choice([*item.choices, number, None, True, False])
            yield json.dumps(values)
            axis = {"label": f"{family.sweep} ({family.unit})", "scale": rng.choice(SCALES), "range": [0, 1]}
            yield json.dumps({"plot_type": rng.choice(PLOT_TYPES), "x_axis": axis, "y_axis": axis, "main_features": ""})
