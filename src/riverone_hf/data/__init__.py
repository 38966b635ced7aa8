"""What do we train on?

Rows of plots with conversations (DESIGN contract 4): drawn on the fly from the simulator so that data never repeat, or
built once as a data set of parquet files with in-context and preference views, a card and an audit.
"""

from .audit import audit_folder, audit_plan, audit_table, write_audit
from .build_calibration import build_calibration_data
from .build_source import SourcePlan, build_source_data
from .calibration import DATA_VERSION, SPLITS, PlotSource, plot_row
from .conversation import conversation
from .icl import demonstrations, icl_messages, icl_prompt
from .in_context import InContextSource
from .lab import lab_dataset, lab_rows, mixed_dataset
from .mixture import Mixture, Part, load_view, mixture_probabilities
from .plan import BACKENDS, Plan
from .preference_rows import Mistake, PreferenceSource
from .preferences import NEGATIVE_KINDS, Negative, hard_negative
from .report import data_report, report_table
from .schema import VIEWS, view_features
from .source import Origin

__all__ = [
    "BACKENDS",
    "DATA_VERSION",
    "NEGATIVE_KINDS",
    "SPLITS",
    "VIEWS",
    "InContextSource",
    "Mistake",
    "Mixture",
    "Negative",
    "Origin",
    "Part",
    "Plan",
    "PlotSource",
    "PreferenceSource",
    "SourcePlan",
    "audit_folder",
    "audit_plan",
    "audit_table",
    "build_calibration_data",
    "build_source_data",
    "conversation",
    "data_report",
    "demonstrations",
    "hard_negative",
    "icl_messages",
    "icl_prompt",
    "lab_dataset",
    "lab_rows",
    "load_view",
    "mixed_dataset",
    "mixture_probabilities",
    "plot_row",
    "report_table",
    "view_features",
    "write_audit",
]
