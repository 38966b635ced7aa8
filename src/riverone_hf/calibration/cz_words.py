"""What is said of CZ benchmarking with atoms?"""

from __future__ import annotations

from riverone_hf.calibration.words import Words

WORDS = {
    "success": Words(
        ("Retention stays high with slow decay; fit follows.", "High retention with gentle decay over {depth} gates."),
        (
            "Retention and polarization stay high and decay gradually.",
            "Slow decays in both plots; fits follow the means.",
        ),
        (
            "Retention {r} and polarization {p} per gate, gradual decays.",
            "Both decays are slow and well fitted up to {depth} gates.",
        ),
        (
            "Retention {r} and polarization {p} per gate show little loss and a good gate. Depths up to {depth} "
            "suffice for the fit. Store the fidelity; go deeper for more precision.",
        ),
    ),
    "failure_miscalibrated": Words(
        ("Retention falls quickly with the number of gates.", "Clear loss of atoms with growing depth."),
        ("Both retention and polarization decay too fast.", "Fast decays: the gate works badly."),
        (
            "Polarization {p} and retention {r} per gate are poor; recalibrate.",
            "Both decays are fast; the gate is miscalibrated.",
        ),
        (
            "Fast loss and depolarization show a miscalibrated gate. The deepest circuits hold little information. "
            "Recalibrate detuning, amplitude and phase of the pulse, then repeat with shallower circuits.",
        ),
    ),
    "failure_no_gate": Words(
        ("Retention flat near {level} at all depths.", "Flat retention line; hardly any atom loss."),
        ("Retention is flat while polarization is lost at once.", "No atom loss but no success: gate probably absent."),
        (
            "Flat retention with polarization gone at first gates: gate not applied.",
            "Retention {r} per gate but no polarization; check the pulse.",
        ),
        (
            "Flat retention with immediately lost polarization suggests that no gate pulse acts on the atoms. "
            "The polarization fit means nothing. Check that the pulse fires, then rerun shallow circuits.",
        ),
    ),
}
SECOND_FEATURES = {
    "success": ("Success probability decays slowly with depth.", "Gradual polarization decay followed by the fit."),
    "failure_miscalibrated": ("Success probability falls quickly towards 0.25.", "Fast decay to a low asymptote."),
    "failure_no_gate": (
        "Success drops after zero gates; circuits scatter widely.",
        "Sudden loss of success, widely scattered points, poor fit.",
    ),
}
ACTIONS = {
    "failure_miscalibrated": (
        "Recalibrate detuning and phase of the CZ pulse and benchmark shallower circuits.",
        "Rescan the CZ pulse amplitude and detuning, then repeat with fewer gates.",
    ),
    "failure_no_gate": (
        "Verify that the CZ pulse fires (power, timing, detuning), then rerun depths 0 to 4.",
        "Check that the gate pulse is applied at all and repeat with shallow circuits.",
    ),
}
