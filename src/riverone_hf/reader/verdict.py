"""The one `Verdict`: what the reader says about one figure, as data with a published JSON schema.

A verdict is advice to a person. Nothing in this package writes to hardware.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION: Literal["1"] = "1"

Value = bool | int | float | str | list[int | float] | list[list[int | float]] | None
"""What a parameter may hold: the JSON forms of the question room's field kinds; None = not determinable."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class _Strict(BaseModel):
    # NaN and infinity have no JSON form; refusing them here keeps every printed verdict parsable.
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Parameter(_Strict):
    """One extracted quantity in `unit` (None: dimensionless or a label)."""

    name: str
    value: Value = None
    unit: str | None = None
    uncertainty: float | None = None
    method: str = Field(default="model", description="How the value was found; 'model' = read by the model itself.")


class Abstention(_Strict):
    """A field that the reader leaves empty, and why."""

    field: str
    reason: str


class Provenance(_Strict):
    """Which model, asked in which form, wrote this verdict."""

    model: str | None = None
    revision: str | None = None
    prompt_form: Literal["short", "full"] | None = None
    prompt_version: str | None = None


class Verdict(_Strict):
    """Everything the reader says about one figure (or one row of figures that belong together).

    A field on which the reader abstains is None and is listed in `abstained`; parameters are named there, and in
    `confidence`, as `parameters.<name>`. A figure that could not be read has `error` set and everything else empty.
    """

    schema_version: Literal["1"] = SCHEMA_VERSION
    source: str | None = Field(default=None, description="Where the figure came from: usually its path.")
    family: str | None = Field(default=None, description="Experiment family, for example 'rabi'.")
    outcome: str | None = Field(default=None, description="Classification of the experiment's result.")
    fit_reliability: str | None = Field(default=None, description="May the drawn fit be used to extract parameters?")
    status: str | None = Field(default=None, description="One of the family's status codes.")
    parameters: list[Parameter] = Field(default_factory=list)
    suggested_range: str | None = None
    next_action: str | None = Field(default=None, description="Advice for a person; never sent to an instrument.")
    description: str | None = None
    significance: str | None = None
    evidence: list[str] = Field(default_factory=list)
    confidence: dict[str, Share] = Field(default_factory=dict)
    abstained: list[Abstention] = Field(default_factory=list)
    provenance: Provenance = Field(default_factory=Provenance)
    error: str | None = None

    @classmethod
    def failed(cls, source: str | None, error: BaseException | str, provenance: Provenance | None = None) -> Verdict:
        """The verdict of a figure that could not be read: only `source`, `error` and the provenance are filled."""
        text = " ".join(str(error).split()) or type(error).__name__
        return cls(source=source, error=text, provenance=provenance or Provenance())


def schema_text() -> str:
    """The published JSON schema of `Verdict`, as docs/verdict.schema.json holds it."""
    return json.dumps(Verdict.model_json_schema(), indent=2, ensure_ascii=False) + "\n"
