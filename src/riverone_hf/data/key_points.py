"""What must a good free-text answer mention? Key points of Q1 and Q3, written from the truth."""

from __future__ import annotations

from ..questions import AxisTruth, Truth, get_family


def q1_key_points(truth: Truth) -> list[str]:
    """For every image: kind of plot, both axes with their ranges, and what is seen; never empty."""
    points = []
    for number, panel in enumerate(truth.panels, start=1):
        where = f"Image {number}: " if len(truth.panels) > 1 else ""
        points += [
            f"{where}the plot type is {panel.plot_type}",
            f"{where}the x axis {_axis(panel.x_axis)}",
            f"{where}the y axis {_axis(panel.y_axis)}",
            f"{where}{panel.main_features}",
        ]
    return points


def q3_key_points(truth: Truth) -> list[str]:
    """Three points, as QCalEval asks: what the result means, whether the data suffice, what to do next."""
    family = get_family(truth.family)
    meaning = f"Meaning: {truth.q2_reason}"
    verdict = {
        "Reliable": "the data suffice to extract the parameters",
        "Unreliable": "the parameters cannot be extracted reliably",
        "No fit": "there is no fit; judge the data themselves",
    }[truth.reliability]
    step = family.next_actions.get(truth.status, truth.q6_notes)
    if truth.suggested_range:
        step = f"{step} Suggested: {truth.suggested_range}"
    return [meaning, f"Sufficiency: {verdict} ({truth.outcome})", f"Next step: {step}"]


def _axis(axis: AxisTruth) -> str:
    if axis.unit is not None:
        return f"is labelled {axis.label!r} and is in {axis.unit}"
    low, high = axis.range
    name = f"is labelled {axis.label!r}" if axis.label else "has no label"
    return f"{name} and runs from about {low:.3g} to {high:.3g} ({axis.scale})"
