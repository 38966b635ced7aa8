"""Neutral-atom and electrons-on-helium families (SPEC 2.7)."""

from __future__ import annotations

from .family import Family, Field, type_names

ATOM_FAMILIES = (
    Family(
        name="cz_benchmarking",
        title="CZ gate benchmarking",
        background=(
            "Circuits with a growing number of CZ gates are run on a pair of atoms; retention and polarization are "
            "fitted against depth. It succeeds when both decay slowly and the fits follow the data."
        ),
        types=type_names("cz_benchmarking", "success failure_miscalibrated failure_no_gate"),
        statuses={
            "SUCCESS": "both near one with a gradual decay",
            "NO_GATE": "flat retention but fast depolarization",
            "MISCALIBRATED": "fast decay: the gate works badly",
        },
        fields=(
            Field("site_indices", "array_int_match", schema="[int, int]"),
            Field("retention_per_cz", "pct"),
            Field("retention_per_cz_unc", "pct", tol_full=0.2, tol_half=0.5),
            Field("cycle_polarization", "pct"),
            Field("cycle_polarization_unc", "pct", tol_full=0.2, tol_half=0.5),
            Field("chi_squared_retention", "pct", nullable=True),
            Field("chi_squared_polarization", "pct", nullable=True),
            Field("max_circuit_depth", "int_count"),
        ),
        sweep="",
        unit="",
        implications=(
            "what the two decays say about loss and gate error",
            "whether the depths suffice for the fit",
            "which gate setting to adjust",
        ),
        next_actions={
            "SUCCESS": "Store the gate fidelity.",
            "NO_GATE": "Check that the gate pulse is applied at all.",
            "MISCALIBRATED": "Recalibrate detuning and phase of the gate pulse.",
        },
        platform="atoms",
        n_images=2,
    ),
    Family(
        name="microwave_ramsey",
        title="microwave Ramsey on atoms",
        background=(
            "Two microwave pi/2 pulses with swept detuning act on trapped atoms and retention is recorded. "
            "It succeeds when full-contrast fringes are seen and the centre is found."
        ),
        types=type_names("microwave_ramsey", "success failure_detuned failure_low_contrast"),
        statuses={
            "SUCCESS": "contrast near one",
            "LOW_CONTRAST": "fringes with little contrast",
            "DETUNED": "the minima stay well above zero",
        },
        fields=(
            Field("detuning_Hz", "pct", unit="Hz", nullable=True),
            Field("detuning_Hz_unc", "pct", unit="Hz", nullable=True, tol_full=0.2, tol_half=0.5),
            Field("contrast", "abs", tol_full=0.05, tol_half=0.1),
            Field("retention_min", "abs", tol_full=0.05, tol_half=0.1),
        ),
        sweep="",
        unit="",
        implications=(
            "what contrast and phase say about the microwave",
            "whether the data suffice to find the detuning",
            "how to correct it",
        ),
        next_actions={
            "SUCCESS": "Correct the microwave frequency by the fitted detuning.",
            "LOW_CONTRAST": "Recalibrate the pi/2 pulses.",
            "DETUNED": "Move the microwave frequency towards resonance and repeat.",
        },
        platform="atoms",
    ),
    Family(
        name="mot_loading",
        title="MOT loading image",
        background=(
            "A camera image shows the fluorescence of a magneto-optical trap. "
            "It succeeds when one compact, symmetric cloud is seen."
        ),
        types=type_names("mot_loading", "good no_signal tailed"),
        statuses={
            "SUCCESS": "one symmetric cloud",
            "NO_SIGNAL": "no cloud",
            "ASYMMETRIC": "a cloud with a comet tail",
        },
        fields=(
            Field("has_cloud", "bool"),
            Field("center_x", "int_count", tol_full=5, tol_half=15),
            Field("center_y", "int_count", tol_full=5, tol_half=15),
            Field("cloud_present", "bool"),
        ),
        sweep="",
        unit="",
        implications=(
            "what size and shape say about the trap",
            "whether the image suffices for alignment",
            "what to adjust next",
        ),
        next_actions={
            "SUCCESS": "Go on to loading the tweezers.",
            "NO_SIGNAL": "Check beams, coils and camera timing.",
            "ASYMMETRIC": "Balance the beams and centre the field zero.",
        },
        platform="atoms",
    ),
    Family(
        name="pinchoff",
        title="pinch-off trace",
        background=(
            "The current of electrons on helium is recorded against the gate voltage index. "
            "It succeeds when the current falls from a high to a low plateau in one clean transition."
        ),
        types=type_names(
            "pinchoff",
            "success failure_incomplete_transition failure_noisy_no_transition failure_stabilize_negative "
            "failure_stabilize_positive",
        ),
        statuses={
            "SUCCESS": "one clean transition between plateaus",
            "INVERTED": "the transition has the wrong sign",
            "INCOMPLETE": "the second plateau is not reached",
            "NO_TRANSITION": "noise without a transition",
            "NEGATIVE_OFFSET": "it settles below zero",
            "POSITIVE_OFFSET": "it settles well above zero",
        },
        fields=(
            Field("cut_off_index", "int_count", nullable=True),
            Field("transition_index", "int_count", nullable=True),
            Field("saturation_index", "int_count", nullable=True),
        ),
        sweep="",
        unit="",
        implications=(
            "what the transition says about the channel",
            "whether the range covers both plateaus",
            "which gate setting follows",
        ),
        next_actions={
            "SUCCESS": "Set the gate just past the cut-off.",
            "INVERTED": "Check the sign of gate and amplifier.",
            "INCOMPLETE": "Extend the gate range.",
            "NO_TRANSITION": "Check electron density and wiring.",
            "NEGATIVE_OFFSET": "Zero the amplifier offset.",
            "POSITIVE_OFFSET": "Look for a leak or an amplifier offset.",
        },
        platform="helium",
    ),
    Family(
        name="rydberg_ramsey",
        title="Rydberg Ramsey",
        background=(
            "Ramsey fringes of a ground-Rydberg superposition are sampled in several short windows. "
            "It succeeds when one fit passes through the points of all windows."
        ),
        types=type_names("rydberg_ramsey", "success failure_undersampled"),
        statuses={
            "SUCCESS": "one fit over all windows",
            "UNDERSAMPLED": "too few points to fix the frequency",
        },
        fields=(
            Field("frequency_MHz", "pct", unit="MHz"),
            Field("frequency_MHz_unc", "pct", unit="MHz", tol_full=0.2, tol_half=0.5),
            Field("T2_us", "pct", unit="us"),
            Field("T2_us_unc", "pct", unit="us", tol_full=0.2, tol_half=0.5),
            Field("RChi2", "pct"),
            Field("frequency_noise_kHz", "pct", unit="kHz", nullable=True),
        ),
        sweep="",
        unit="",
        implications=(
            "what frequency and decay say about laser and atom noise",
            "whether the windows fix the frequency",
            "how to improve the sampling",
        ),
        next_actions={
            "SUCCESS": "Store frequency and T2.",
            "UNDERSAMPLED": "Add windows or points per window.",
        },
        platform="atoms",
    ),
    Family(
        name="rydberg_spectroscopy",
        title="Rydberg spectroscopy",
        background=(
            "The optical detuning of a Rydberg excitation is swept and each site's line shape is fitted. "
            "It succeeds when the line has good contrast and the fit follows it."
        ),
        types=type_names("rydberg_spectroscopy", "success failure_low_contrast"),
        statuses={"SUCCESS": "good contrast and fit", "LOW_CONTRAST": "hardly any excitation"},
        fields=(
            Field("site_index", "int_count"),
            Field("f0_kHz", "pct", unit="kHz"),
            Field("f0_kHz_unc", "pct", unit="kHz"),
            Field("t_ns", "pct", unit="ns"),
            Field("t_ns_unc", "pct", unit="ns"),
            Field("f_Rabi_MHz", "pct", unit="MHz"),
            Field("f_Rabi_MHz_unc", "pct", unit="MHz"),
            Field("chi_squared", "pct"),
        ),
        sweep="",
        unit="",
        implications=(
            "what the line says about the drive",
            "whether contrast suffices for the fit",
            "which laser setting follows",
        ),
        next_actions={
            "SUCCESS": "Set the laser to the fitted centre.",
            "LOW_CONTRAST": "Raise the laser power or realign it.",
        },
        platform="atoms",
        list_answer=True,
    ),
    Family(
        name="tweezer_array",
        title="tweezer array image",
        background=(
            "A camera image shows an array of optical tweezers. "
            "It succeeds when all spots are round, equal and on a regular grid."
        ),
        types=type_names("tweezer_array", "success failure_aberrated"),
        statuses={"CORRECTED": "round, equal spots", "ABERRATED": "smeared or unequal spots"},
        fields=(
            Field("grid_regularity", "enum", choices=("regular", "irregular")),
            Field("spot_uniformity", "enum", choices=("uniform", "non-uniform")),
            Field("aberration_corrected", "bool"),
        ),
        sweep="",
        unit="",
        implications=(
            "what the spots say about the optics",
            "whether the image suffices to judge them",
            "which correction follows",
        ),
        next_actions={
            "CORRECTED": "Go on to loading atoms.",
            "ABERRATED": "Run another round of aberration correction.",
        },
        platform="atoms",
    ),
)
