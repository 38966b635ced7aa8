"""Which closed sets of answers does QCalEval allow? (SPEC 2.2, names as the benchmark spells them.)"""

from __future__ import annotations

QUESTIONS = ("q1", "q2", "q3", "q4", "q5", "q6")
IDENTIFY = "q0"
"""Our own extra question, "which experiment is this?", asked by the reader when no family is given."""

RESPONSE_KEYS = {
    "q1": "technical_description",
    "q2": "experimental_conclusion",
    "q3": "experimental_significance",
    "q4": "fit_reliability",
    "q5": "parameter_extraction",
    "q6": "calibration_diagnosis",
}
"""Question -> key of `results.json` (SPEC 2.2)."""

OUTCOMES = ("Expected behavior", "Suboptimal parameters", "Anomalous behavior", "Apparatus issue")
ASSESSMENTS = ("Reliable", "Unreliable", "No fit")
PLOT_TYPES = ("scatter", "line", "heatmap", "histogram", "image")
SCALES = ("linear", "log")

STATUS_CODES = (
    "SUCCESS",
    "NO_SIGNAL",
    "BEATING",
    "NO_DETUNING",
    "SAMPLING_TOO_COARSE",
    "TOO_FEW_OSC",
    "TOO_MANY_OSC",
    "WINDOW_TOO_SHORT",
    "DAMPED",
    "FIT_POOR",
    "RANGE_TOO_NARROW",
    "AMP_TOO_HIGH",
    "NO_EXCITATION",
    "NO_RES_RESPONSE",
    "HIGH_POWER",
    "OPTIMAL_NOT_CENTERED",
    "LARGE_ERROR",
    "MODERATE_ERROR",
    "FIT_FAILED",
    "MULTIPLE_PEAKS",
    "INVERTED",
    "INCOMPLETE",
    "NO_TRANSITION",
    "NEGATIVE_OFFSET",
    "POSITIVE_OFFSET",
    "EVENT",
    "NO_EVENT",
    "NO_COHERENCE",
    "STABLE",
    "TELEGRAPHIC",
    "RANDOM_WALK",
    "ASYMMETRIC",
    "UNDERSAMPLED",
    "NOT_TUNABLE",
    "OFF_RESONANCE",
    "LOW_CONTRAST",
    "DETUNED",
    "NO_GATE",
    "MISCALIBRATED",
    "ABERRATED",
    "CORRECTED",
)
"""The 41 codes that the official judge knows."""

OUTCOME_MEANINGS = {
    "Expected behavior": "the experiment gave data that can be used for calibration",
    "Suboptimal parameters": "it works, but the settings of this experiment need adjusting",
    "Anomalous behavior": "something upstream must be recalibrated, or a quantum effect is out of control",
    "Apparatus issue": "there is no meaningful signal; the setup is misconfigured",
}
