"""Is it right?

Strict scores of the six answers, baselines that a model must beat, and intervals.
"""

from .baselines import MajorityClass
from .intervals import bootstrap_mean, wilson
from .report import score_table
from .scoring import SCORES, score_answers, score_q5_field
from .simulated import evaluate_answers, model_answers

__all__ = [
    "SCORES",
    "MajorityClass",
    "bootstrap_mean",
    "evaluate_answers",
    "model_answers",
    "score_answers",
    "score_q5_field",
    "score_table",
    "wilson",
]
