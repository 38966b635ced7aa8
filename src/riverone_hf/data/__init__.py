"""What do we train on?

Rows of plots with conversations (DESIGN contract 4), drawn on the fly from the simulator so that data never repeat.
"""

from .calibration import DATA_VERSION, SPLITS, PlotSource, plot_row
from .conversation import conversation

__all__ = ["DATA_VERSION", "SPLITS", "PlotSource", "conversation", "plot_row"]
