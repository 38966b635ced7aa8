"""What is said of a map of two qubits beside a tunable coupler?"""

from __future__ import annotations

from riverone_hf.calibration.words import Words

WORDS = {
    "success": Words(
        (
            "Two maps with {n} avoided crossings; fits follow branches.",
            "Side-by-side qubit maps, fitted branches between {n} crossings.",
        ),
        ("Avoided crossings are clear and the fitted branches follow.", "Coupler dispersion visible; fit tracks it."),
        (
            "{n} crossings between {first} and {last} V; fits track branches.",
            "Branches and crossings resolved; fits follow the bright lines.",
        ),
        (
            "Avoided crossings near {first} to {last} V show coherent coupling of both qubits to the coupler. "
            "The range resolves all branches. Choose an idle bias between crossings and calibrate the gate.",
        ),
    ),
    "failure_bad_fit": Words(
        (
            "Two maps with crossings; fitted branches miss the lines.",
            "Qubit maps whose fits deviate from bright lines.",
        ),
        ("Branches are visible, but the fit misses them.", "Avoided crossings visible; fitted curves deviate clearly."),
        ("Fit deviates from the bright branches; refit before use.", "Crossings visible, but fitted branches are off."),
        (
            "The avoided crossings show coupling, but the fit misses the branches, so crossings and coupling strength "
            "are not usable. Refit with better starting values over one full period.",
        ),
    ),
}
