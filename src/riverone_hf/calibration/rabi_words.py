"""Short reasons for Rabi plots, one `Words` per scenario."""

from __future__ import annotations

from riverone_hf.calibration.words import Words

_CLEAR = (
    "About {periods} oscillation periods with a fitted sine.",
    "Clear sinusoidal Rabi oscillations, about {periods} periods.",
    "Sinusoidal data, about {periods} periods visible.",
)
_PROCEED = (
    "Coherent drive with well-defined Rabi rate. Range and sampling suffice to extract the pi pulse. "
    "Set the pi pulse and proceed to DRAG calibration.",
    "The oscillation shows good drive coupling; about {periods} periods constrain the Rabi rate. "
    "Adopt the pi pulse, then refine it with DRAG.",
)
_SUCCESS = Words(
    _CLEAR,
    (
        "Clear oscillations, about {periods} periods, usable for calibration.",
        "High-contrast Rabi oscillations are well resolved.",
    ),
    (
        "About {periods} clear periods without strong damping.",
        "Oscillations are clear and well sampled across the window.",
    ),
    _PROCEED,
)

WORDS = {
    "success": _SUCCESS,
    "success_off_resonance": Words(
        _CLEAR,
        (
            "Clear periodic oscillations, usable though the drive may be detuned.",
            "About {periods} well-resolved oscillations.",
        ),
        (
            "About {periods} clear periods; contrast is enough for calibration.",
            "Oscillations are clear throughout the sweep.",
        ),
        (
            "Oscillations are coherent, perhaps with a detuned drive. Range and sampling suffice for the rate. "
            "Check the qubit frequency, then set the pi pulse.",
            *_PROCEED,
        ),
    ),
    "successful_limited_range": Words(
        _CLEAR,
        ("Slightly more than one full period, enough to calibrate.", "One clear period is visible; usable data."),
        (
            "About {periods} periods visible, just enough for the rate.",
            "One full oscillation is captured and resolved.",
        ),
        (
            "The drive couples well; about {periods} periods fix the pi pulse with limited precision. "
            "Use it, or extend the sweep for a finer rate.",
        ),
    ),
    "fit_poor": Words(
        _CLEAR,
        ("Data oscillate clearly but the drawn fit misses them.", "Good oscillations, wrong fit; refit needed."),
        (
            "About {periods} periods visible, but the fit deviates from data.",
            "Oscillations are clear; the curve does not follow them.",
        ),
        (
            "The data show coherent oscillations, but the fit misses them, so its Rabi rate is not valid. "
            "Refit with better start values before setting the pi pulse.",
        ),
    ),
    "failure_damped_oscillations": Words(
        (
            "Oscillations whose amplitude decays strongly across the window.",
            "Damped oscillations, about {periods} periods.",
        ),
        ("Oscillation amplitude decays by more than half.", "Strong damping points to short coherence under drive."),
        (
            "Envelope loses more than half its amplitude within the window.",
            "Contrast decays strongly; shorten the sweep and check coherence.",
        ),
        (
            "Oscillations decay by more than half, so coherence under drive is short. The rate is only roughly "
            "determined. Shorten the sweep and check T1 and T2.",
        ),
    ),
    "failure_random_signal": Words(
        ("Scattered points without any oscillation.", "Flat, random data; no periodic structure."),
        ("No oscillation, only noise around a constant level.", "Random points; no meaningful qubit signal."),
        (
            "No periodic structure; check drive, qubit frequency and readout.",
            "Points scatter at random, no oscillation visible.",
        ),
        (
            "No drive response is seen, so no Rabi rate can be extracted. Check drive line, qubit frequency and "
            "readout before repeating with a wider sweep.",
        ),
    ),
    "failure_too_fast": Words(
        ("Many unresolved oscillations with few points per period.", "Dense, aliased oscillation pattern."),
        ("Oscillations too fast for the sampling; aliased.", "Too many periods, few points in each."),
        (
            "Only a few points per period; reduce the sweep range.",
            "Signal is under-resolved; narrow the range or add points.",
        ),
        (
            "The drive is too strong for this sweep: oscillations are undersampled and the rate ambiguous. "
            "Reduce the range or sample more densely and repeat.",
        ),
    ),
    "failure_too_slow": Words(
        ("Part of one oscillation, less than a full period.", "Slow curve covering about {periods} of a period."),
        ("Less than one full period is visible.", "Sweep too short to show a complete oscillation."),
        (
            "Only about {periods} of a period visible; extend the sweep.",
            "Fewer than one period; range must be extended.",
        ),
        (
            "The drive is weak for this range: less than one period is visible, so the Rabi rate is poorly "
            "constrained. Extend the sweep range and repeat.",
        ),
    ),
}
