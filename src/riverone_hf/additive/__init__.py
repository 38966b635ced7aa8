"""How is a weight written in codebooks?

A Linear's weight W (out, in) becomes codes, codebooks and scales (AQLM's format): each group of `in_group_size` inputs
of a row is a scaled sum of codebook vectors. `code_linear` finds them from W and the second moment of its inputs;
`quantize` does it for every Linear of a model in memory, `compress_folder` for one on disk; `PVTuning` trains it on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .budget import codebook_warning, measure, pick
from .coded import CodedWeight, relative_error
from .export import export_aqlm
from .layer import Metric
from .pv import PVConfig, PVTuning
from .quantize import compress_folder, quantize
from .samples import load_calibration
from .solve import PRESETS, code_linear, code_linears_shared
from .tools import matrix_errors, perplexity, size_table, size_text, swap_diagnosis, swapped
from .tools_text import before_and_after, collapse_check

if TYPE_CHECKING:
    from .pv_distill import DistillTrainer

__all__ = [
    "PRESETS",
    "CodedWeight",
    "DistillTrainer",
    "Metric",
    "PVConfig",
    "PVTuning",
    "before_and_after",
    "code_linear",
    "code_linears_shared",
    "codebook_warning",
    "collapse_check",
    "compress_folder",
    "export_aqlm",
    "load_calibration",
    "matrix_errors",
    "measure",
    "perplexity",
    "pick",
    "quantize",
    "relative_error",
    "size_table",
    "size_text",
    "swap_diagnosis",
    "swapped",
]


def __getattr__(name: str) -> Any:
    # Trainers need accelerate, which a core install does not have.
    if name == "DistillTrainer":
        from .pv_distill import DistillTrainer

        return DistillTrainer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
