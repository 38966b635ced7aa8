"""What is asked about a drift figure? Questions whose answers are computed from the rows behind it."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

import numpy as np

from .drift_columns import PROPERTIES, Property, variables
from .drift_correlation import Correlations
from .drift_frame import DriftTable
from .drift_statistics import STABLE, UNSTABLE, Curve
from .drift_windows import Window

WORDS: dict[str, tuple[str, ...]] = {
    "extremes": (
        "What are the lowest and the highest {title}, and on which days?",
        "Give the smallest and the largest {title} with their days.",
    ),
    "typical": (
        "What are the median and the standard deviation of the {title}?",
        "Which {title} is typical (median), and how large is its standard deviation?",
    ),
    "trend": (
        "Is the {title} drifting? Say rising, falling or no clear trend, with the rate per day.",
        "Which trend has the {title} over these {days} days, and how fast is it?",
    ),
    "stability": (
        "Is the {title} stable? Stable: standard deviation below {stable} % of the mean; unstable: above {unstable} %.",
        "Rate the stability of the {title}: stable (standard deviation below {stable} % of the mean), moderate, or "
        "unstable (above {unstable} %).",
    ),
    "change": (
        "Does the {title} change abruptly? If so, when and by how much?",
        "Is there a change point in the {title}? Give its day and the levels before and after.",
    ),
    "driver": (
        "What goes most strongly with {what}, and does it survive the correction for {tests} tests?",
        "Which environmental driver is the best candidate for {what}, and is it significant after the Holm correction?",
    ),
    "count": (
        "How many correlations are significant after the Holm correction, and of how many?",
        "Of all correlations tested here, how many remain significant after correction?",
    ),
    "relation": (
        "How does the {title} go with {variable} at a lag of {lag}?",
        "What is the relation between {variable} and the {title} {lag} later?",
    ),
}


@dataclass(frozen=True)
class Question:
    """One question with its answer; `values` are the numbers and labels behind the answer, for scoring."""

    kind: str
    prompt: str
    answer: str
    values: dict[str, Any]


def ask(window: Window, table: DriftTable, sunspots: bool, rng: random.Random) -> list[Question]:
    """All questions that the window's rows answer clearly; borderline ones are not asked. Never empty."""
    if window.layout == "curve":
        return _curve(window, window.curve(table), rng)
    return _map(window, window.columns(table), window.correlations(table, sunspots), sunspots, rng)


def sig(value: float, digits: int = 3) -> str:
    """`value` with `digits` significant ones and no exponent."""
    if value == 0 or not math.isfinite(value):
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, places):.{max(0, places)}f}"


def _prompt(kind: str, rng: random.Random, **words: Any) -> str:
    return rng.choice(WORDS[kind]).format(**words)


def _curve(window: Window, curve: Curve, rng: random.Random) -> list[Question]:
    item = PROPERTIES[window.key[1]]
    title, unit = item.title, item.unit
    words = {"title": title, "days": window.days, "stable": round(100 * STABLE), "unstable": round(100 * UNSTABLE)}
    found = [
        Question(
            "extremes",
            _prompt("extremes", rng, **words),
            f"Lowest {sig(curve.lowest)} {unit} on day {curve.lowest_day:.1f}; "
            f"highest {sig(curve.highest)} {unit} on day {curve.highest_day:.1f}.",
            {"lowest": curve.lowest, "highest": curve.highest, "unit": unit}
            | {"lowest_day": curve.lowest_day, "highest_day": curve.highest_day},
        ),
        Question(
            "typical",
            _prompt("typical", rng, **words),
            f"Median {sig(curve.median)} {unit}, standard deviation {sig(curve.std, 2)} {unit} (n = {curve.n}).",
            {"median": curve.median, "std": curve.std, "n": curve.n, "unit": unit},
        ),
    ]
    if curve.trend != "unclear":
        values = {"trend": curve.trend, "slope": curve.slope, "change": curve.change, "p": curve.p, "unit": f"{unit}/d"}
        found.append(Question("trend", _prompt("trend", rng, **words), _trend(item, curve, window.days), values))
    if not curve.borderline:
        spread = f"{100 * curve.spread:.0f} %"
        answer = f"{curve.stability.capitalize()}: the standard deviation is {spread} of the mean."
        values = {"stability": curve.stability, "spread": curve.spread}
        found.append(Question("stability", _prompt("stability", rng, **words), answer, values))
    if not curve.step_unclear:
        answer, values = "No abrupt change.", {"step": False}
        if curve.step:
            step = curve.step
            answer = (
                f"Yes, near day {step.day:.1f}: from about {sig(step.before)} to {sig(step.after)} {unit} "
                f"({100 * step.relative:+.0f} %)."
            )
            values = {"step": True, "day": step.day, "before": step.before, "after": step.after, "unit": unit}
        found.append(Question("change", _prompt("change", rng, **words), answer, values))
    return found


def _trend(item: Property, curve: Curve, days: int) -> str:
    if curve.trend == "none":
        return f"No clear trend: {sig(curve.slope, 2)} {item.unit} per day is within the scatter."
    better = "better" if (curve.trend == "rising") == item.is_time else "worse"
    return (
        f"{curve.trend.capitalize()}: about {sig(curve.slope, 2)} {item.unit} per day, {100 * curve.change:+.0f} % "
        f"over {days} days; it gets {better}."
    )


def shown_rho(rho: float) -> str:
    """A correlation as figures and answers write it: a sign and two decimals, none of them a negative zero."""
    return f"{round(rho, 2) + 0.0:+.2f}"


def days_of(lag: int) -> str:
    return f"{lag} day" + ("" if lag == 1 else "s")


def _map(
    window: Window, columns: tuple[tuple[str, int], ...], found: Correlations, sunspots: bool, rng: random.Random
) -> list[Question]:
    rows = variables(sunspots)
    significant = int(found.significant.sum())
    asked = [
        Question(
            "count",
            _prompt("count", rng),
            f"{significant or 'None'} of {found.tests}.",
            {"significant": significant, "tests": found.tests},
        )
    ]
    if not found.tests:
        return asked
    values = {"correction": "holm", "tests": found.tests}
    row, column = found.strongest()
    # The figure shows two decimals: with equal ones, nobody could tell which is the strongest.
    shown = np.round(np.abs(found.rho), 2)
    if np.count_nonzero(shown == np.nanmax(shown)) == 1:
        name, lag = columns[column]
        rho, n = float(found.rho[row, column]), int(found.n[row, column])
        title = PROPERTIES[name].title
        what = f"the {title}" if window.layout == "lags" else "this qubit"
        tail = f"at a lag of {days_of(lag)} (rho = {shown_rho(rho)}, n = {n})"
        where = tail if window.layout == "lags" else f"with the {title} {tail}"
        survives = bool(found.significant[row, column])
        variable = rows[row].title
        if survives:
            named = variable[0].upper() + variable[1:]
            answer = f"{named} {where}: significant after Holm over {found.tests} tests; a candidate, not a proof."
        else:
            answer = f"No driver established: the strongest, {variable} {where}, fails Holm over {found.tests} tests."
        facts = {"driver": rows[row].column, "property": name, "lag": lag, "rho": rho, "n": n}
        facts |= {"significant": survives, "p_holm": float(found.p_holm[row, column])}
        facts |= {"n_effective": float(found.n_effective[row, column])}
        asked.append(Question("driver", _prompt("driver", rng, what=what, tests=found.tests), answer, facts | values))
    cells = [(int(i), int(j)) for i, j in np.argwhere(np.isfinite(found.rho))]
    striking = [cell for cell in cells if found.significant[cell]]
    row, column = rng.choice(striking if striking and rng.random() < 0.5 else cells)
    name, lag = columns[column]
    title, variable = PROPERTIES[name].title, rows[row].title
    rho, n, holds = float(found.rho[row, column]), int(found.n[row, column]), bool(found.significant[row, column])
    answer = f"rho = {shown_rho(rho)} (n = {n}): not significant after correction."
    if holds:
        moves = "rises" if rho > 0 else "falls"
        answer = (
            f"rho = {shown_rho(rho)} (n = {n}): the {title} {moves} as {variable} rises; significant after correction."
        )
    prompt = _prompt("relation", rng, title=title, variable=variable, lag=days_of(lag))
    facts = {"driver": rows[row].column, "property": name, "lag": lag, "rho": rho, "n": n, "significant": holds}
    asked.append(Question("relation", prompt, answer, facts | values))
    return asked
