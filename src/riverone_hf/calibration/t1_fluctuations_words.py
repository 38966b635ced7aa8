"""Short reasons and recommended actions for records of T1 over time, one `Words` per scenario."""

from __future__ import annotations

from riverone_hf.calibration.words import Words

WORDS = {
    "stable": Words(
        ("T1 scatters around one level near {mean} µs.", "Noisy but steady T1, no jumps or drift."),
        ("T1 stays at one level; scatter only.", "No jumps or drift; values cluster around {mean} µs."),
        (
            "Values scatter around {mean} µs without steps or trend.",
            "One baseline near {mean} µs; fluctuations are scatter.",
        ),
        (
            "T1 stays near {mean} µs within its scatter, so no strong defect or drift acts in this record. "
            "Use the mean and repeat the check from time to time.",
        ),
    ),
    "telegraphic_fluctuations": Words(
        ("T1 jumps abruptly between levels near {low} and {high} µs.", "Abrupt switching between separate T1 levels."),
        ("T1 switches abruptly between discrete levels.", "Jumps between metastable levels, typical of a defect."),
        (
            "Plateaus near {low} and {high} µs with sudden switches.",
            "Abrupt jumps between levels point to a two-level system.",
        ),
        (
            "T1 switches between discrete levels near {low} and {high} µs: a two-level defect couples to the qubit. "
            "A single mean is misleading. Record longer and tune the qubit away.",
        ),
    ),
    "random_walk": Words(
        ("T1 wanders slowly between {least} and {most} µs.", "Slow correlated drift of T1 without fixed levels."),
        ("T1 drifts slowly over a wide range.", "Continuous correlated drift, no fixed baseline."),
        (
            "T1 wanders from {least} to {most} µs without plateaus.",
            "Slow drift over a wide range, neither stable nor stepping.",
        ),
        (
            "T1 wanders continuously, a sign of slow environmental change or many weak defects. No single value "
            "describes it. Log temperature and bias and measure T1 more often.",
        ),
    ),
}

ACTIONS = {
    "TELEGRAPHIC": (
        "Shift the qubit frequency away from the two-level system and record again",
        "Record longer and sweep the qubit frequency to locate the defect",
    ),
    "RANDOM_WALK": (
        "Measure T1 before every run and track temperature and bias drift",
        "Stabilise temperature and flux bias, then record for several hours",
    ),
}
