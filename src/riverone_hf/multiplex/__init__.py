"""How do L blocks become K?

A trained vision tower's blocks are stored K times, each layer keeping its own norms and small transforms; the shared
tower is then distilled from the original on images alone. Works on RiverONE and on other Hugging Face ViTs.
"""

from .distill import DistillConfig, distill
from .drop import control_targets, drop_blocks, fresh_blocks
from .foreign import MultiplexedConfig, MultiplexedVisionModel
from .maps import groups, named_map, pairs, repo_map
from .policy import orthogonal_mixing, parameter_groups, set_trainable
from .report import layer_errors, output_error, share_report, skip_cost, stored_size
from .search import search_map
from .share import share_blocks
from .tower import Tower

__all__ = [
    "DistillConfig",
    "MultiplexedConfig",
    "MultiplexedVisionModel",
    "Tower",
    "control_targets",
    "distill",
    "drop_blocks",
    "fresh_blocks",
    "groups",
    "layer_errors",
    "named_map",
    "orthogonal_mixing",
    "output_error",
    "pairs",
    "parameter_groups",
    "repo_map",
    "search_map",
    "set_trainable",
    "share_blocks",
    "share_report",
    "skip_cost",
    "stored_size",
]
