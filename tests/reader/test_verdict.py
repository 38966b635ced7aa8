from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from rich.console import Console

from riverone_hf.reader.verdict import Abstention, Parameter, Verdict, schema_text
from riverone_hf.reader.verdict_text import verdict_panel

SCHEMA = Path(__file__).parents[2] / "docs" / "verdict.schema.json"

CONTRACT = {
    *("schema_version", "source", "family", "outcome", "fit_reliability", "status", "parameters", "suggested_range"),
    *("next_action", "description", "significance", "evidence", "confidence", "abstained", "provenance", "error"),
}


def text_of(verdict: Verdict) -> str:
    stream = io.StringIO()
    Console(file=stream, width=100).print(verdict_panel(verdict))
    return stream.getvalue()


def test_fields_are_those_of_the_contract() -> None:
    assert set(Verdict().model_dump()) == CONTRACT
    assert list(Parameter(name="x").model_dump()) == ["name", "value", "unit", "uncertainty", "method"]
    assert list(Verdict().provenance.model_dump()) == ["model", "revision", "prompt_form", "prompt_version"]


def test_published_schema_is_current() -> None:
    remedy = "write schema_text() of riverone_hf.reader.verdict to docs/verdict.schema.json"
    assert SCHEMA.read_text(encoding="utf-8") == schema_text(), remedy


def test_failed_verdict_is_one_line_and_otherwise_empty() -> None:
    verdict = Verdict.failed("a.png", ValueError("two\n lines"))
    assert verdict.error == "two lines"
    assert verdict.model_dump(exclude={"error", "source"}) == Verdict().model_dump(exclude={"error", "source"})
    assert Verdict.failed(None, KeyboardInterrupt()).error == "KeyboardInterrupt"


@pytest.mark.parametrize("bad", [{"confidence": {"status": 1.2}}, {"colour": "red"}, {"schema_version": "2"}])
def test_illegal_verdicts_are_refused(bad: dict) -> None:
    with pytest.raises(ValidationError):
        Verdict(**bad)


def test_numbers_without_json_form_are_refused() -> None:
    with pytest.raises(ValidationError):
        Parameter(name="x", value=float("nan"))


@pytest.mark.parametrize("value", [True, 3, 3.5, "peak", [1, 2], [1.5, 2], [[0.1, 0.2], [1, 2]], None])
def test_values_survive_json_with_their_kind(value: object) -> None:
    verdict = Verdict(parameters=[Parameter(name="x", value=value)])
    back = Verdict.model_validate_json(verdict.model_dump_json())
    assert back == verdict
    assert json.dumps(back.parameters[0].value) == json.dumps(value)


def test_panel_shows_fields_and_takes_model_text_literally() -> None:
    verdict = Verdict(
        source="<image>[red].png",
        outcome="Expected behavior",
        parameters=[Parameter(name="T1_us", value=41.25, unit="us", uncertainty=0.5)],
        evidence=["[bold]not markup[/]", "[/closing]"],
        confidence={"outcome": 0.87},
        abstained=[Abstention(field="status", reason="confidence 0.30 < 0.50")],
    )
    shown = text_of(verdict)
    for part in ("<image>[red].png", "87%", "T1_us = 41.25 ± 0.5 us", "[bold]not markup[/]", "[/closing]", "status:"):
        assert part in shown
    assert "no such file" in text_of(Verdict.failed("x", "no such file"))
