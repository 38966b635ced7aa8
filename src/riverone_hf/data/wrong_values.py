"""How are numbers misread? Wrong Q5 values: unit slips, axis misreads, invented and missed values."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from ..questions import UNRELIABLE, Field, Truth, get_family, write_answers

Change = tuple[str, Callable[[], Any]]


def wrong_parameters(truth: Truth, rng: random.Random, donors: Sequence[Truth] = ()) -> tuple[str, Any]:
    """(kind of mistake, Q5 value as JSON data): one field of the true answer is changed beyond its tolerances.

    `donors` of the same family lend the numbers for values that cannot be determined.
    """
    value = json.loads(write_answers(truth)["q5"])
    sites = value if isinstance(value, list) else [value]
    lent = [json.loads(write_answers(donor)["q5"]) for donor in rng.sample(list(donors), min(8, len(donors)))]
    lent = [site for item in lent for site in (item if isinstance(item, list) else [item])]
    changes: list[tuple[int, Field, Change]] = []
    for index, site in enumerate(sites):
        for field in get_family(truth.family).fields:
            if field.name in site:
                others = [other[field.name] for other in lent if field.name in other]
                changes += [(index, field, change) for change in _changes(field, site[field.name], rng, others)]
    kinds = sorted({change[0] for _, _, change in changes})
    kind = rng.choice(kinds)
    index, field, (_, make) = rng.choice([item for item in changes if item[2][0] == kind])
    wrong = copy.deepcopy(sites)
    wrong[index][field.name] = make()
    return kind, wrong if isinstance(value, list) else wrong[0]


def _changes(field: Field, value: Any, rng: random.Random, lent: Sequence[Any]) -> list[Change]:
    if value is None or value == UNRELIABLE:
        known = [item for item in lent if item is not None and item != UNRELIABLE]
        return [("invented_value", lambda: rng.choice(known) if known else _invent(field, rng))]
    if value == [] and field.kind == "array_float_match":
        return []  # the score of an empty list forgives every answer
    changes: list[Change] = []
    if field.nullable:
        changes.append(("missed_value", lambda: None))
    if field.kind == "bool":
        changes.append(("wrong_reading", lambda: not value))
    elif field.kind == "enum":
        changes.append(("wrong_reading", lambda: rng.choice([name for name in field.choices if name != value])))
    else:
        changes.append(("axis_misread", lambda: _in_order(value, _each(value, lambda it: _misread(field, it, rng)))))
        if field.unit and any(_flat(value)):
            factor = rng.choice([1e-3, 1e3])
            changes.append(("unit_slip", lambda: _each(value, lambda number: _rounded(number * factor))))
    return changes


def _flat(value: Any) -> list[float]:
    return [number for item in value for number in _flat(item)] if isinstance(value, list) else [float(value)]


def _each(value: Any, change: Callable[[float], float | int]) -> Any:
    """`change` applied to a number, or to every number of a list; an empty list gains an entry."""
    if isinstance(value, list):
        return [_each(item, change) for item in value] or [change(1.0)]
    return change(value)


def _in_order(value: Any, wrong: Any) -> Any:
    """`wrong` sorted when the true list is: disorder would give it away."""
    if isinstance(value, list) and len(value) > 1 and value == sorted(value):
        return sorted(wrong)
    return wrong


def _misread(field: Field, number: float, rng: random.Random) -> float | int:
    """A neighbouring reading, clearly outside the tolerance that earns half credit."""
    _, half = field.tolerances()
    sign = rng.choice([-1, 1])
    if field.kind in ("int_count", "array_int_match"):
        step = max(1, round(half)) + rng.randint(1, 3)
        return int(number) - step if sign < 0 and number > step else int(number) + step
    if field.kind == "count_float":
        step_f = round(half + rng.uniform(0.6, 2.5), 1)
        return _like(number, number - step_f if sign < 0 and number > step_f else number + step_f)
    if field.kind in ("abs", "coord_list"):
        return _like(number, number + sign * half * rng.uniform(2, 6))
    if not number:
        return round(rng.uniform(0.02, 1.0), 2)
    factor = 1 + sign * min(0.6, half * rng.uniform(3, 6))
    wrong = _like(number, number * factor)
    return wrong if abs(wrong - number) > 2 * half * abs(number) else _rounded(number * factor)


def _invent(field: Field, rng: random.Random) -> Any:
    number = _rounded(10 ** rng.uniform(-0.5, 1.7))
    return {
        "bool": lambda: True,
        "enum": lambda: rng.choice(field.choices),
        "int_count": lambda: rng.randint(1, 9),
        "coord_list": lambda: [number, _rounded(rng.uniform(-2, 2))],
        "array_int_match": lambda: [rng.randint(1, 30)],
        "array_float_match": lambda: [number, _rounded(number * 1.1)],
    }.get(field.kind, lambda: number)()


def _like(number: float, wrong: float) -> float:
    """`wrong` with as many decimals as the true number: more of them would give it away."""
    decimals = len(repr(float(number)).partition("e")[0].partition(".")[2]) if "e" not in repr(number) else 12
    return round(wrong, decimals)


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
