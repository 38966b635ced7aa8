"""How does a circuit make a weight, and stop?

`attach(model, config)` lets a simulated circuit, or a classical method of the same interface, make weights of a model
while it trains; `freeze` and every `save_pretrained` turn them into plain tensors, and no circuit is left.
"""

from __future__ import annotations

from .attach import attach, generators, trained_parameters
from .baselines import BitMaskConfig, KroneckerConfig, LoRAConfig, MLPConfig, RowColumnConfig
from .config import GeneratorConfig, QGPConfig
from .foreign import PEFT_METHODS, peft_baseline
from .freeze import freeze, frozen_state_dict, live_checkpoints, load_live, refuse_frozen
from .generator import WeightGenerator
from .matching import shapes
from .methods import Match, config_of, matched
from .noise import DepolarizingNoise
from .paramgen import ParamGenConfig, VQCGeneratedLinear, VQCWeightGenerator
from .report import Report, regularizer, report

__all__ = [
    "PEFT_METHODS",
    "BitMaskConfig",
    "DepolarizingNoise",
    "GeneratorConfig",
    "KroneckerConfig",
    "LoRAConfig",
    "MLPConfig",
    "Match",
    "ParamGenConfig",
    "QGPConfig",
    "Report",
    "RowColumnConfig",
    "VQCGeneratedLinear",
    "VQCWeightGenerator",
    "WeightGenerator",
    "attach",
    "config_of",
    "freeze",
    "frozen_state_dict",
    "generators",
    "live_checkpoints",
    "load_live",
    "matched",
    "peft_baseline",
    "refuse_frozen",
    "regularizer",
    "report",
    "shapes",
    "trained_parameters",
]
