"""What is true of a plot: the labels, numbers and short reasons that all six answers are written from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

PlotType = Literal["scatter", "line", "heatmap", "histogram", "image"]
Scale = Literal["linear", "log"]

UNRELIABLE = "Unreliable"
"""Written in place of a number that a bad fit cannot give (QCalEval Q5 ground truth)."""


@dataclass(frozen=True)
class AxisTruth:
    """One axis as a viewer reads it: `label` as drawn (with its unit), `range` = (min, max) of the visible axis.

    Camera images are described by a bare label and a `unit` instead (QCalEval Q1 of mot_loading, tweezer_array).
    """

    label: str
    range: tuple[float, float]
    scale: Scale = "linear"
    unit: str | None = None


@dataclass(frozen=True)
class PanelTruth:
    """One image of the row as Q1 describes it; `main_features` has at most 10 words.

    `colorbar` is the label of the colour bar in families whose Q1 asks for one (None: not asked for).
    """

    plot_type: PlotType
    x_axis: AxisTruth
    y_axis: AxisTruth
    main_features: str
    colorbar: str | None = None


@dataclass(frozen=True)
class Truth:
    """Everything the six answers say about one plot.

    `experiment_type` is the full QCalEval type name; `outcome`, `reliability` and `status` are members of
    `enums.OUTCOMES`, `enums.ASSESSMENTS` and of the family's status codes. `parameters` holds the Q5 fields of the
    family, in order; a value is a bool, a number, a string, a list, None (not determinable) or `UNRELIABLE`.
    `suggested_range` is the text after "Suggested range:" (None is written "N/A"). The reasons are short: q2/q4 at
    most 12 words, q6 at most 15, `significance` at most 40.
    """

    family: str
    experiment_type: str
    outcome: str
    reliability: str
    status: str
    parameters: dict[str, object]
    panels: tuple[PanelTruth, ...]
    q2_reason: str
    q4_reason: str
    q6_notes: str
    significance: str
    suggested_range: str | None = None
    targets: dict[str, float] = field(default_factory=dict)
    """Continuous facts that only the ViT warm-up regresses, each scaled to about [0, 1]."""


@dataclass(frozen=True)
class SitesTruth(Truth):
    """The truth of a family whose Q5 answer is a list (`Family.list_answer`), one object per site.

    `sites` holds the Q5 fields of every site in the order of the plot; `parameters` is the first of them.
    """

    sites: tuple[dict[str, object], ...] = ()
