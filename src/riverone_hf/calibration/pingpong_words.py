"""Short reasons and recommended actions for ping-pong plots, one `Words` per scenario."""

from __future__ import annotations

from riverone_hf.calibration.words import Words

WORDS = {
    "success_well_calibrated": Words(
        ("Points stay near the ideal value with {trend} drift.", "Nearly flat line around the ideal value."),
        ("Signal stays at its ideal value; no relevant accumulation.", "Hardly any error accumulates over the pulses."),
        (
            "Signal is stable up to {pulses} pulses.",
            "With {trend} drift the amplitude is well calibrated.",
        ),
        (
            "Rotation errors hardly accumulate, so the pi amplitude is right. The pulse number is large enough to see "
            "small errors. Keep the amplitude and go on.",
            "The nearly flat signal shows an accurate pi pulse; more pulses would only refine it. "
            "Keep the amplitude and proceed to benchmarking.",
        ),
    ),
    "failure_moderate_error": Words(
        (
            "Signal drifts steadily with the number of pulses.",
            "Monotonic, nearly linear drift away from the ideal value.",
        ),
        (
            "Clear linear error accumulation; amplitude needs correction.",
            "Signal drifts steadily; pi pulse slightly off.",
        ),
        (
            "Linear drift of about {error} per pulse; correct the amplitude.",
            "Error adds up steadily over {pulses} pulses, without oscillating.",
        ),
        (
            "A rotation error of about {error} rad per pulse accumulates linearly. The range suffices to fit it. "
            "Rescale the amplitude by the fitted error and repeat.",
        ),
    ),
    "failure_large_error": Words(
        ("Points swing between both extremes; no linear trend.", "Oscillating points over the whole range."),
        (
            "Signal oscillates; amplitude error is very large.",
            "Strong oscillation instead of slow linear accumulation.",
        ),
        (
            "The signal swings between extremes; a line cannot describe it.",
            "Accumulated error exceeds a turn; recalibrate with Rabi.",
        ),
        (
            "The rotation error is so large that the signal oscillates with the pulse number. A line gives no valid "
            "error. Redo a Rabi calibration, then use fewer pulses.",
        ),
    ),
    "failure_no_excitation": Words(
        ("Flat points near the ground state.", "Constant signal at the ground state, no response."),
        ("Qubit stays in its ground state.", "No response to the pulses; flat at ground level."),
        (
            "Flat near the ground state: the pulses do not drive the qubit.",
            "No excitation; check drive frequency and line first.",
        ),
        (
            "The qubit stays in its ground state whatever the number of pulses, so no rotation error can be found. "
            "Check drive line and qubit frequency, then repeat Rabi.",
        ),
    ),
}

ACTIONS = {
    "MODERATE_ERROR": (
        "Correct the pi amplitude by the fitted error of about {error} rad per pulse and repeat",
        "Rescale the pulse amplitude against the drift (about {error} rad per pulse), then repeat",
    ),
    "LARGE_ERROR": (
        "Recalibrate the pi amplitude with a Rabi scan, then repeat with fewer pulses",
        "Return to Rabi; afterwards use at most 10 pulses with a step of 2",
    ),
    "NO_EXCITATION": (
        "Repeat qubit spectroscopy and Rabi to find frequency and pi amplitude",
        "Check the drive line and qubit frequency, then recalibrate the pi pulse",
    ),
}
