"""What is said of a map of the qubit line against flux?"""

from __future__ import annotations

from riverone_hf.calibration.words import Words

WORDS = {
    "success": Words(
        ("One arc with sweet spot near {freq} GHz, fit overlaid.", "Bright arc followed by points and fitted curve."),
        (
            "A clear flux arc is followed by the dispersion fit.",
            "One continuous line moves with flux; the fit tracks it.",
        ),
        ("Arc with maximum near {freq} GHz; fit follows it.", "Clear dispersion; sweet spot near {at} {unit}."),
        (
            "The arc shows a tunable qubit with its sweet spot near {freq} GHz. The scan covers the curvature well. "
            "Set the bias to the sweet spot near {at} {unit} and recalibrate there.",
        ),
    ),
    "shifted": Words(
        ("Visible arc; the fitted curve misses it.", "Flux arc with a displaced dispersion curve."),
        ("The line moves with flux, but the fit deviates.", "Dispersion is visible; the model misses the bright line."),
        ("Fitted curve deviates from the visible arc; refit.", "Arc is clear but the model misses it."),
        (
            "The qubit tunes with flux, but the model misses the measured line, so its sweet spot and energies "
            "are not usable. Refit with better starting values.",
        ),
    ),
    "branch": Words(
        ("Arc plus a second branch of outlier points.", "Fitted upper arc; many outliers on another branch."),
        ("The fit explains only one of two branches.", "Many points form a second branch that the fit ignores."),
        ("Many outliers on a second branch; identify it and refit.", "Two branches; the fit follows only one."),
        (
            "A qubit-like arc is seen, but many points belong to another branch, so the assignment is ambiguous. "
            "Rescan with lower power, exclude the outliers and refit.",
        ),
    ),
    "failure_fit_failed": Words(
        ("Faint arc with scattered points, no sensible fit.", "Arc in the map without a converged fit."),
        ("The dispersion is visible, but no fit converged.", "The fit failed completely; the arc itself is visible."),
        ("Fit did not converge on the visible arc; refit.", "No usable model curve; better starting values needed."),
        (
            "The line moves with flux, but the fit failed, so no parameters follow. "
            "Raise the contrast or give better starting values and refit.",
        ),
    ),
    "partial": Words(
        ("A line enters only one corner of the map.", "Short piece of a line at the window's edge."),
        ("Only part of the dispersion lies in the window.", "The line leaves the scanned window; no arc visible."),
        ("Line leaves the window; widen the frequency range.", "Only a piece of the arc is seen."),
        (
            "Only a piece of the dispersion lies in the scanned window, so the sweet spot is unknown. "
            "Widen the frequency window and repeat the scan.",
        ),
    ),
    "failure_no_data": Words(
        ("Map without line; part of it is blank.", "Empty map with missing columns."),
        ("No data of the qubit line were recorded.", "The map is empty; no line is visible."),
        ("Map is empty; check acquisition and drive.", "No usable data; repeat the scan."),
        (
            "The map holds no qubit line, so nothing can be extracted. Check acquisition, drive power and frequency "
            "window, then repeat.",
        ),
    ),
    "failure_no_response": Words(
        ("Noise over the whole map, no line.", "Featureless noisy map without dispersion."),
        ("No spectral line stands out of the noise.", "The qubit does not respond anywhere in the map."),
        ("No line visible; check drive power and readout.", "Only noise; no qubit response."),
        (
            "No qubit response is seen at any bias, so no dispersion can be extracted. "
            "Check drive power and readout, then scan a wider window.",
        ),
    ),
    "failure_not_tunable": Words(
        ("Flat horizontal line near {freq} GHz.", "One line that stays constant with flux."),
        ("The line does not move with flux.", "Flat line over the whole flux range; no dispersion."),
        ("Line stays near {freq} GHz; check the flux line.", "No flux dependence; qubit or flux line not tunable."),
        (
            "The qubit line stays near {freq} GHz for all biases, so the qubit is fixed or the flux line is dead. "
            "Check wiring and device type, then widen the sweep.",
        ),
    ),
}
