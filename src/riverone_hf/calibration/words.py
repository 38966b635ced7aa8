"""How do labs write it? Axis labels, qubit names, legends, and the short reasons that several families share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from riverone_hf.calibration.physics import Readout, chance, log_uniform, pick, uniform

RELIABLE, UNRELIABLE_FIT, NO_FIT = "Reliable", "Unreliable", "No fit"
EXPECTED, SUBOPTIMAL = "Expected behavior", "Suboptimal parameters"
ANOMALOUS, APPARATUS = "Anomalous behavior", "Apparatus issue"

POPULATION_LABELS = (
    "Population",
    "Excited State Population",
    "Excited state population",
    "P(|1>)",
    "P1",
    "P_e",
    "Excited state probability",
    "{qubit} excited state probability []",
    "Probability of |1>",
    "Qubit population",
    "State 1 fraction",
)
Z_LABELS = ("<z>", "<Z>", "Z expectation", "<sigma_z>", "<z> {qubit}", "Expectation value <Z>")
SIGNAL_LABELS = (
    ("Signal", "mV"),
    ("Readout signal", "a.u."),
    ("IQ amplitude", "arb. units"),
    ("Voltage", "mV"),
    ("Magnitude", "a.u."),
    ("Homodyne voltage", "mV"),
    ("Demodulated I", "mV"),
    ("S21 magnitude", "mV"),
    ("Amplitude", "µV"),
)
DATA_LABELS = ("Data", "data", "Measured", "Measurement", "Raw data", "Experiment", None)
FIT_LABELS = ("Fit", "fit", "Best fit", "Model fit", "Least squares", None)

Q4_REASONS = {
    "good": (
        "The fit tracks the data points closely.",
        "Fit curve follows the data; residuals look random.",
        "Fitted curve overlaps the points over the whole window.",
        "The drawn fit captures shape, amplitude and offset.",
    ),
    "wrong": (
        "The fit misses the data points.",
        "Fit curve deviates systematically from the data.",
        "Fitted curve does not follow the measured points.",
        "Large systematic residuals between curve and data.",
    ),
    "unsupported": (
        "The data cannot constrain the fitted parameters.",
        "Fit is drawn, but the data do not support it.",
        "Too little information in the data for this fit.",
    ),
    "none": (
        "No fit curve is drawn.",
        "Only data are shown, without a fitted curve.",
        "The plot has no fit line.",
    ),
}


@dataclass(frozen=True)
class Words:
    """Phrasings for one experiment type; each entry may hold `str.format` fields that the family fills."""

    features: tuple[str, ...]
    q2: tuple[str, ...]
    notes: tuple[str, ...]
    significance: tuple[str, ...]

    def draw(self, rng: np.random.Generator, **values: object) -> dict[str, str]:
        """One phrasing of each: keys main_features, q2_reason, q6_notes, significance."""
        return {
            "main_features": pick(rng, self.features).format(**values),
            "q2_reason": pick(rng, self.q2).format(**values),
            "q6_notes": pick(rng, self.notes).format(**values),
            "significance": pick(rng, self.significance).format(**values),
        }


def assessment(rng: np.random.Generator, quality: str) -> tuple[str, str]:
    """(Q4 assessment, reason) for a fit that is good, wrong, unsupported (by the data) or none (not drawn)."""
    label = {"good": RELIABLE, "none": NO_FIT}.get(quality, UNRELIABLE_FIT)
    return label, pick(rng, Q4_REASONS[quality])


def qubit_name(rng: np.random.Generator) -> str:
    """A qubit name as control software writes it."""
    return pick(rng, ("QB{}", "Q{}", "q{}", "qubit_{}", "qubit {}", "QB {}", "D{}")).format(int(rng.integers(1, 54)))


def with_unit(rng: np.random.Generator, name: str, unit: str, missing: float = 0.03) -> str:
    """`name` with its unit in one of the usual notations; with probability `missing` no label at all."""
    if chance(rng, missing):
        return ""
    if not unit:
        return pick(rng, (name, name, f"{name} []"))
    if unit == "µs" and chance(rng, 0.3):
        unit = "us"
    return pick(rng, ("{} ({})", "{} ({})", "{} [{}]", "{}, {}", "{} / {}")).format(name, unit)


def draw_readout(
    rng: np.random.Generator, qubit: str, kinds: tuple[str, ...] = ("population", "z", "signal")
) -> Readout:
    """The y axis of a population-like experiment: population 0..1, <z> = 1 - 2p, or a raw signal."""
    kind = kinds[min(int(rng.random() ** 1.4 * len(kinds)), len(kinds) - 1)]
    if kind == "population":
        return Readout(pick(rng, POPULATION_LABELS).format(qubit=qubit), 1.0, 0.0, True)
    if kind == "z":
        return Readout(pick(rng, Z_LABELS).format(qubit=qubit), -2.0, 1.0, True)
    name, unit = pick(rng, SIGNAL_LABELS)
    gain = log_uniform(rng, 0.02, 60.0) * pick(rng, (-1.0, 1.0))
    return Readout(with_unit(rng, name, unit), gain, gain * uniform(rng, -2.0, 2.0), False)
