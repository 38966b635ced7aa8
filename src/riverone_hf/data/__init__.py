"""What do we train on?

Rows of plots with conversations (DESIGN contract 4): drawn on the fly from the simulator so that data never repeat, or
built once as a data set of parquet files with in-context and preference views, a card and an audit.
"""

from .audit import audit_folder, audit_plan, audit_table, write_audit
from .build_calibration import build_calibration_data
from .calibration import DATA_VERSION, SPLITS, PlotSource, plot_row
from .conversation import conversation
from .icl import demonstrations, icl_messages, icl_prompt
from .plan import BACKENDS, Plan
from .preferences import NEGATIVE_KINDS, Negative, hard_negative
from .schema import VIEWS, view_features

__all__ = [
    "BACKENDS",
    "DATA_VERSION",
    "NEGATIVE_KINDS",
    "SPLITS",
    "VIEWS",
    "Negative",
    "Plan",
    "PlotSource",
    "audit_folder",
    "audit_plan",
    "audit_table",
    "build_calibration_data",
    "conversation",
    "demonstrations",
    "hard_negative",
    "icl_messages",
    "icl_prompt",
    "plot_row",
    "view_features",
    "write_audit",
]
