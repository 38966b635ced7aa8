"""Is it right?

Data sets in QCalEval's layout are asked, answers are scored by the benchmark's own rules and by strict ones, beside
references that a model must beat, with intervals. `run_evaluation` does all of it; the parts work alone.
"""

from .baselines import MajorityClass
from .benchmark import Benchmark, load_benchmark
from .entry_scores import score_entry
from .evaluation import Options, run_evaluation
from .intervals import bootstrap_mean, wilson
from .report import score_table, stale
from .scoring import SCORES, score_answers, score_q5_field
from .simulated import evaluate_answers, model_answers

__all__ = [
    "SCORES",
    "Benchmark",
    "MajorityClass",
    "Options",
    "bootstrap_mean",
    "evaluate_answers",
    "load_benchmark",
    "model_answers",
    "run_evaluation",
    "score_answers",
    "score_entry",
    "score_q5_field",
    "score_table",
    "stale",
    "wilson",
]
