"""Short reasons for Rydberg Ramsey plots, one `Words` per scenario, and what to do about undersampling."""

from __future__ import annotations

from riverone_hf.calibration.words import Words

WORDS = {
    "success": Words(
        (
            "{windows} point clusters follow one decaying sinusoid.",
            "Clustered points on a dense decaying sine fit.",
        ),
        (
            "One decaying sinusoid passes through all {windows} windows.",
            "All point clusters follow the same fitted fringes.",
        ),
        (
            "The single fit agrees with every window, early and late.",
            "Points of all {windows} windows lie on the fitted fringes.",
        ),
        (
            "Coherence lasts over many fringes, so laser and atom noise are small. The windows fix frequency and decay "
            "together. Store f = {f} MHz and T2 = {t2} us, then go on to gate sequences.",
            "The decay gives a frequency noise consistent with T2 = {t2} us. One fit describes early and late windows, "
            "so no more are needed. Correct the laser frequency and proceed.",
        ),
    ),
    "undersampled": Words(
        (
            "Sparse point clusters that do not resolve the fringes.",
            "Few points per window under a dense fit curve.",
        ),
        (
            "The windows cover too little of a fringe to fix the frequency.",
            "Too few points per window; several frequencies fit equally.",
        ),
        (
            "Each window samples too little of a period; the fit is ambiguous.",
            "Clusters are too short or sparse for one unique fit.",
        ),
        (
            "The points cannot tell apart neighbouring frequencies, so f and T2 have no meaning. Sampling is "
            "insufficient. Put at least six points over one full period into each window and repeat.",
            "Coherence may be fine, but the sampling hides it. Add windows or points per window before adjusting the "
            "laser.",
        ),
    ),
}
ACTIONS = (
    "Sample each window with {n} points over one full period ({period} ns).",
    "Add points: steps of at most {step} ns within every window.",
    "Widen each window to {period} ns and take {n} points in it.",
    "Add windows and use at least {n} points per window.",
)
