"""Short reasons for Ramsey plots, one `Words` per scenario."""

from __future__ import annotations

from riverone_hf.calibration.words import Words

WORDS = {
    "success_t2star": Words(
        ("Decaying Ramsey fringes, about {fringes} visible.", "Oscillations decaying to a steady level."),
        ("Clear decaying fringes at one frequency.", "Fringes are resolved and decay fully in the window."),
        ("About {fringes} fringes decay fully within the window.", "Single frequency {f} MHz, decay well captured."),
        (
            "Fringes at {f} MHz decay with T2* near {t2} µs. Window and sampling suffice. "
            "Correct the drive frequency by the detuning and continue with echo measurements.",
        ),
    ),
    "failure_t2star_beating": Words(
        (
            "Fringes with amplitude modulation, about {fringes} visible.",
            "Beating oscillations with nodes in the envelope.",
        ),
        ("Amplitude modulation shows two interfering frequencies.", "Beating; the spectrum holds two peaks."),
        ("Contrast waxes and wanes; two spectral peaks.", "Beating from two frequencies; one sine cannot fit."),
        (
            "Two frequencies beat, for example charge parity or a coupled defect, so a single-frequency T2* is not "
            "valid. Use a two-frequency model and look for the source.",
        ),
    ),
    "failure_t2star_sampling_too_coarse": Words(
        ("Jagged points, too few per oscillation.", "Sparse points with unresolved oscillations."),
        ("Oscillations are undersampled.", "Too few points per fringe; aliased."),
        (
            "Points are too sparse for the fringes; use shorter steps.",
            "Spectral peak near the Nyquist edge; sample finer.",
        ),
        (
            "The fringes are undersampled, so detuning and T2* are ambiguous. "
            "Use shorter delay steps or a smaller detuning and repeat.",
        ),
    ),
    "failure_t2star_window_too_short": Words(
        ("Fringes with hardly any decay, about {fringes} visible.", "Oscillations not decayed at the window's end."),
        ("Fringes hardly decay within the window.", "Window ends before the envelope decays."),
        ("Decay is not captured; extend the delay window.", "Envelope is still large at the last delay."),
        (
            "Fringes at {f} MHz give the detuning, but the window ends before they decay, so T2* is an extrapolation. "
            "Extend the delay range and repeat.",
        ),
    ),
    "failure_t2star_zero_detuning": Words(
        ("No oscillations, only a flat or decaying trace.", "Trace without fringes."),
        ("No fringes; detuning is zero or too small.", "Signal does not oscillate."),
        ("No oscillation visible; add a deliberate detuning.", "Flat or purely decaying signal, no fringes."),
        (
            "Without fringes the detuning is near zero, so neither frequency offset nor a sound T2* follows. "
            "Add an artificial detuning and repeat.",
        ),
    ),
}
