"""How is a truth written down? The six answers in QCalEval's formats, with our short reasons (DESIGN contract 6)."""

from __future__ import annotations

import json

from ..errors import QuestionError
from .enums import ASSESSMENTS, IDENTIFY, OUTCOMES
from .families import get_family
from .truth import AxisTruth, PanelTruth, SitesTruth, Truth

WORD_LIMITS = {"main_features": 10, "q2_reason": 12, "q4_reason": 12, "q6_notes": 15, "significance": 40}


def write_answers(truth: Truth) -> dict[str, str]:
    """All answers of one plot: question (q0..q6) -> text.

    Raises QuestionError when the truth is not legal for its family: unknown label, missing Q5 field, long reason.
    """
    check_truth(truth)
    family = get_family(truth.family)
    panels = [_panel(panel) for panel in truth.panels]
    status = f"{family.status_label}: {truth.status}\n"
    if family.asks_range:
        status += f"Suggested range: {truth.suggested_range or 'N/A'}\n"
    return {
        IDENTIFY: f"Experiment: {truth.family}",
        "q1": json.dumps(panels[0] if len(panels) == 1 else panels, ensure_ascii=False),
        "q2": f"Classification: {truth.outcome}\nReason: {truth.q2_reason}",
        "q3": truth.significance,
        "q4": f"Assessment: {truth.reliability}\nReason: {truth.q4_reason}",
        "q5": json.dumps(_parameters(truth), ensure_ascii=False),
        "q6": f"{status}Notes: {truth.q6_notes}",
    }


def check_truth(truth: Truth) -> None:
    """Raise QuestionError unless every label, field and word limit of `truth` is legal for its family."""
    family = get_family(truth.family)
    for what, got, allowed in (
        ("experiment_type", truth.experiment_type, family.types),
        ("outcome", truth.outcome, OUTCOMES),
        ("reliability", truth.reliability, ASSESSMENTS),
        ("status", truth.status, tuple(family.statuses)),
    ):
        if got not in allowed:
            raise QuestionError(f"{truth.family}: {what} is {got!r}; expected one of: {', '.join(allowed)}")
    expected = [item.name for item in family.fields]
    sites = truth.sites if isinstance(truth, SitesTruth) else ()
    for parameters in (truth.parameters, *sites):
        if list(parameters) != expected:
            raise QuestionError(f"{truth.family}: Q5 fields are {list(parameters)}; expected {expected} in this order")
    if family.list_answer != bool(sites) or (sites and sites[0] != truth.parameters):
        raise QuestionError(
            f"{truth.family}: Q5 has {len(sites)} sites; expected "
            + ("at least one, the first equal to the parameters" if family.list_answer else "none: it is one object")
        )
    if not truth.panels:
        raise QuestionError(f"{truth.family}: a truth needs at least one panel for Q1")
    texts = {name: getattr(truth, name) for name in WORD_LIMITS if name != "main_features"}
    texts |= {"main_features": max((panel.main_features for panel in truth.panels), key=lambda text: len(text.split()))}
    for name, text in texts.items():
        if len(text.split()) > WORD_LIMITS[name]:
            raise QuestionError(f"{truth.family}: {name} has {len(text.split())} words, at most {WORD_LIMITS[name]}")


def _parameters(truth: Truth) -> object:
    return list(truth.sites) if isinstance(truth, SitesTruth) else truth.parameters


def _axis(axis: AxisTruth) -> dict[str, object]:
    if axis.unit is not None:
        return {"label": axis.label, "unit": axis.unit}
    low, high = (_short(value) for value in axis.range)
    return {"label": axis.label, "scale": axis.scale, "range": [low, high]}


def _panel(panel: PanelTruth) -> dict[str, object]:
    return {
        "plot_type": panel.plot_type,
        "x_axis": _axis(panel.x_axis),
        "y_axis": _axis(panel.y_axis),
        **({} if panel.colorbar is None else {"colorbar": {"label": panel.colorbar}}),
        "main_features": panel.main_features,
    }


def _short(value: float) -> float | int:
    """Three significant digits; whole numbers without a decimal point, as people write axis ranges."""
    rounded = float(f"{value:.3g}")
    return int(rounded) if rounded == int(rounded) and abs(rounded) < 1e6 else rounded
