"""How does a verdict look to a person? One compact rich panel; model text is never interpreted as markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from riverone_hf.reader.verdict import Parameter, Verdict

_TONES = {
    "Expected behavior": "green",
    "Suboptimal parameters": "yellow",
    "Anomalous behavior": "red",
    "Apparatus issue": "red",
    "Reliable": "green",
    "Unreliable": "red",
}


def verdict_panel(verdict: Verdict) -> Panel:
    """A panel with one line per filled field, the confidence behind labels, and what was left open and why."""
    title = Text(verdict.source or "figure", style="bold")
    if verdict.error:
        return Panel(Text(verdict.error, style="red"), title=title, title_align="left", box=box.ROUNDED)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, field, value in (
        ("experiment", "family", verdict.family),
        ("outcome", "outcome", verdict.outcome),
        ("fit", "fit_reliability", verdict.fit_reliability),
        ("status", "status", verdict.status),
    ):
        table.add_row(name, _label(value, verdict.confidence.get(field)))
    for at, parameter in enumerate(verdict.parameters):
        weight = verdict.confidence.get(f"parameters.{parameter.name}")
        table.add_row("parameters" if at == 0 else "", _label(_parameter(parameter), weight))
    for name, text in (
        ("suggested range", verdict.suggested_range),
        ("next action", verdict.next_action),
        ("description", verdict.description),
        ("significance", verdict.significance),
        *(("evidence" if at == 0 else "", line) for at, line in enumerate(verdict.evidence)),
        *(
            ("left open" if at == 0 else "", f"{item.field}: {item.reason}")
            for at, item in enumerate(verdict.abstained)
        ),
    ):
        if text:
            table.add_row(name, Text(text))
    model = verdict.provenance.model
    footer = Text(f"{model}: advice for a person" if model else "advice for a person", style="dim")
    return Panel(table, title=title, title_align="left", subtitle=footer, subtitle_align="right", box=box.ROUNDED)


def _label(value: str | None, weight: float | None) -> Text:
    text = Text(value if value is not None else "?", style=_TONES.get(value or "", ""))
    return text.append(f"  {weight:.0%}", style="dim") if weight is not None else text


def _parameter(parameter: Parameter) -> str:
    value = parameter.value
    shown = "?" if value is None else f"{value:.6g}" if type(value) is float else str(value)
    if parameter.uncertainty is not None:
        shown += f" ± {parameter.uncertainty:.2g}"
    return f"{parameter.name} = {shown}" + (f" {parameter.unit}" if parameter.unit and value is not None else "")
