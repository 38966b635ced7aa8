"""Short reasons for Ramsey frequency-calibration plots, one `Words` per scenario."""

from __future__ import annotations

from riverone_hf.calibration.words import Words

WORDS = {
    "success_freq_cal": Words(
        ("Ramsey fringes at one frequency, about {fringes} visible.", "Decaying oscillations, single frequency."),
        ("Clear fringes at one frequency; detuning can be read.", "Well-resolved fringes give the detuning."),
        ("About {fringes} resolved fringes at {f} MHz.", "One spectral peak at {f} MHz; the fit follows the fringes."),
        (
            "Fringes at {f} MHz give the detuning without ambiguity. Window and sampling suffice. "
            "Correct the qubit frequency by this amount and verify with a second Ramsey.",
        ),
    ),
    "failure_freq_cal_beating": Words(
        (
            "Fringes whose amplitude comes and goes, about {fringes} visible.",
            "Beating oscillations with nodes in the envelope.",
        ),
        ("Amplitude modulation shows two interfering frequencies.", "Beating: two close frequencies in the fringes."),
        ("Contrast waxes and wanes; the spectrum has two peaks.", "Beating of two frequencies; one sine cannot fit."),
        (
            "Two frequencies beat, as from charge parity, a defect or crosstalk, so the detuning is ambiguous. "
            "Find the source or use a two-frequency model before correcting the frequency.",
        ),
    ),
    "failure_freq_cal_too_few_osc": Words(
        ("Slow curve with less than two oscillations.", "Fewer than two fringes in the window."),
        ("Too few oscillations to fix the detuning.", "Less than two fringes; the frequency is poorly determined."),
        (
            "Fewer than two fringes visible; lengthen the window.",
            "Detuning is too small for this window; add detuning.",
        ),
        (
            "The detuning is small against the window, so its value is poorly determined. "
            "Extend the delay range or add an artificial detuning and repeat.",
        ),
    ),
    "failure_freq_cal_too_many_osc": Words(
        ("Dense fringes with few points per oscillation.", "Crowded, jagged oscillations over the whole window."),
        ("Too many oscillations for this window and sampling.", "Detuning is too large; fringes are hardly resolved."),
        (
            "About {fringes} crowded fringes; shorten the window.",
            "Detuning too large for this window; only a few points per fringe.",
        ),
        (
            "The detuning is large against this window: fringes crowd and are hardly sampled, so the fit is not "
            "trustworthy. Shorten the window or reduce the detuning and repeat.",
        ),
    ),
}
