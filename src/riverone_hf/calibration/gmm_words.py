"""Short reasons and recommended actions for readout plots, one entry per scenario."""

from __future__ import annotations

from riverone_hf.calibration.words import Words

ACTIONS = {
    "failure_high_power": (
        "Reduce readout power by 3-6 dB and repeat",
        "Lower the readout amplitude until the clusters become round",
    ),
    "failure_no_excitation": (
        "Check qubit drive frequency and pi-pulse amplitude, then repeat",
        "Recalibrate the pi pulse (spectroscopy, Rabi) before readout",
    ),
    "failure_no_res_response": (
        "Redo resonator spectroscopy and set the readout frequency",
        "Check readout frequency, power and cabling",
    ),
    "failure_no_signal": (
        "Raise readout power and integration time, check readout frequency",
        "Increase integration time and verify the readout chain",
    ),
}

WORDS = {
    "success": Words(
        ("Two separated IQ clusters with circular contours.", "Two round clusters, dominated by different states."),
        (
            "Two clearly separated clusters with swapped populations.",
            "Distinct round clusters allow state discrimination.",
        ),
        (
            "Clusters are distinct; populations {p0} and {p1} on target.",
            "Two compact clusters, populations swap between panels.",
        ),
        (
            "Two separated clusters show good readout contrast, with {p0} and {p1} assigned as prepared. "
            "Single-shot discrimination works; proceed to Rabi and coherence measurements.",
        ),
    ),
    "failure_high_power": Words(
        ("Elongated or broken IQ clusters.", "Distorted clusters that circles do not match."),
        ("Clusters are distorted, elongated or fragmented.", "Readout drive distorts the clusters."),
        ("Clusters are not round; reduce readout power.", "Distorted clusters point to too much readout power."),
        (
            "Distorted clusters indicate a readout drive beyond the linear regime. State assignment is unreliable. "
            "Reduce readout power and repeat.",
        ),
    ),
    "failure_no_excitation": Words(
        ("Two clusters with equal populations in both panels.", "Both distributions look the same."),
        ("Both distributions are alike; drive does not excite.", "Prepared states show the same populations."),
        ("No difference between the distributions; check the pi pulse.", "Qubit state unchanged by the drive."),
        (
            "Readout separates two clusters, but both preparations look alike, so the drive does not excite the qubit. "
            "Recalibrate qubit frequency and pi pulse.",
        ),
    ),
    "failure_no_res_response": Words(
        ("All points collapsed to one small spot.", "Single tiny cluster in wide axes."),
        ("All shots collapse to a single region.", "No resonator response; one spot only."),
        ("All points lie in one spot; check readout frequency.", "No state-dependent response of the resonator."),
        (
            "All shots fall on one spot, so the resonator does not respond to the readout tone. "
            "Redo resonator spectroscopy before discrimination.",
        ),
    ),
    "failure_no_signal": Words(
        ("One diffuse cloud without distinct clusters.", "Scattered points fill the IQ plane."),
        ("No distinguishable clusters, only diffuse noise.", "Shots scatter without cluster structure."),
        ("Diffuse points, no clusters; improve readout signal.", "No cluster structure is visible."),
        (
            "No clusters can be told apart, so states cannot be assigned. Check the readout chain and raise power "
            "or integration time.",
        ),
    ),
}
