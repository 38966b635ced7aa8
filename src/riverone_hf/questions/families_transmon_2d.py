"""Superconducting families shown as two-dimensional maps (SPEC 2.7)."""

from __future__ import annotations

from .family import Family, Field, type_names

TRANSMON_2D_FAMILIES = (
    Family(
        name="coupler_flux",
        title="tunable-coupler flux spectroscopy",
        background=(
            "The frequency of a qubit is mapped against the bias of its tunable coupler. "
            "It succeeds when the avoided crossings are visible and the fitted branches follow them."
        ),
        types=type_names("coupler_flux", "success failure_bad_fit"),
        statuses={"SUCCESS": "dispersion visible and fitted", "FIT_POOR": "the fitted branches miss the data"},
        fields=(
            # Places on an axis through zero: a relative tolerance would forbid any error near zero.
            Field(
                "crossing_voltages_V",
                "coord_list",
                unit="V",
                nullable=True,
                schema="[left, right]",
                tol_full=0.1,
                tol_half=0.3,
            ),
            Field("left_fig_branch_freqs_GHz", "array_float_match", unit="GHz", nullable=True, schema="[f1, f2, f3]"),
            Field("right_fig_branch_freqs_GHz", "array_float_match", unit="GHz", nullable=True, schema="[f1, f2, f3]"),
        ),
        sweep="bias",
        unit="V",
        implications=(
            "what the avoided crossings say about coupling and idle point",
            "whether the map resolves the branches",
            "which bias to choose next",
        ),
        next_actions={
            "SUCCESS": "Choose the idle bias between the crossings.",
            "FIT_POOR": "Refit with better starting branches before using the numbers.",
        },
    ),
    Family(
        name="qubit_flux_spectroscopy",
        title="qubit spectroscopy against flux",
        background=(
            "The qubit line is mapped against flux bias. "
            "It succeeds when the flux dependence is visible and a dispersion model follows it."
        ),
        types=type_names(
            "qubit_flux_spectroscopy",
            "success failure_bad_fit failure_fit_failed failure_no_data failure_no_response failure_not_tunable",
        ),
        statuses={
            "SUCCESS": "flux dependence visible and fitted",
            "FIT_POOR": "the model misses the line",
            "FIT_FAILED": "no model could be fitted",
            "RANGE_TOO_NARROW": "the line leaves the scanned window",
            "NO_SIGNAL": "no line is visible",
            "NOT_TUNABLE": "the line does not move with flux",
        },
        fields=(
            Field("num_resonances", "int_count"),
            Field("resonance_freq_GHz", "pct", unit="GHz", nullable=True, tol_full=0.001, tol_half=0.005),
        ),
        sweep="flux",
        unit="flux quanta",
        implications=(
            "what the arc says about sweet spot and junction energies",
            "whether range and resolution suffice for the model",
            "which bias or scan follows",
        ),
        next_actions={
            "SUCCESS": "Set the bias to the sweet spot.",
            "FIT_POOR": "Exclude outliers and refit.",
            "FIT_FAILED": "Improve contrast or starting values and refit.",
            "RANGE_TOO_NARROW": "Widen the frequency window.",
            "NO_SIGNAL": "Check drive power and readout.",
            "NOT_TUNABLE": "Check the flux line and the device type.",
        },
    ),
    Family(
        name="qubit_spectroscopy_power_frequency",
        title="qubit spectroscopy against power",
        background=(
            "Magnitude and phase are mapped against drive frequency and drive amplitude. "
            "It succeeds when the line, and at high power its two-photon partner, can be told apart."
        ),
        types=type_names(
            "qubit_spectroscopy_power_frequency",
            "failure_f01_f02half_amp_too_high failure_f01_only_amp_too_high failure_no_signal "
            "success_f01_f02half_full_range success_f01_low_amp_sharp success_f01_only_full_range",
        ),
        statuses={
            "SUCCESS": "transition identified at useful power",
            "AMP_TOO_HIGH": "power-broadened: the drive is too strong",
            "NO_SIGNAL": "no line is visible",
        },
        fields=(
            Field("f01_MHz", "pct", unit="MHz", nullable=True, tol_full=0.001, tol_half=0.005),
            Field("transitions_visible", "enum", choices=("f01_only", "f01_f02half", "none")),
            Field("power_regime", "enum", choices=("optimal", "high", "none")),
            Field("measurement_usable", "bool"),
        ),
        sweep="amplitude",
        unit="a.u.",
        implications=(
            "what the lines and their broadening say about the transitions",
            "whether the power range suffices to identify them",
            "which power to use next",
        ),
        next_actions={
            "SUCCESS": "Use the lowest power with a clear line.",
            "AMP_TOO_HIGH": "Lower the drive amplitude and repeat.",
            "NO_SIGNAL": "Widen the sweep and check the drive line.",
        },
        n_images=2,
    ),
    Family(
        name="ramsey_charge_tomography",
        title="Ramsey charge tomography",
        background=(
            "Ramsey fringes against a charge bias are recorded scan after scan. "
            "A sudden shift of the pattern is a charge jump."
        ),
        types=type_names("ramsey_charge_tomography", "clean few_bursts many_bursts noisy"),
        statuses={
            "NO_EVENT": "coherent pattern without jumps",
            "EVENT": "one or more sudden shifts",
            "NO_COHERENCE": "no fringe pattern at all",
        },
        fields=(
            Field("event_detected", "bool"),
            Field("jump_count", "int_count"),
            Field("jump_positions", "array_int_match", schema="[int, ...]"),
            # The smallest jumps are 0.15 of a period, of which a single scan shows about 0.02.
            Field(
                "jump_sizes_mV",
                "array_float_match",
                unit="mV",
                schema="[float, ...]",
                tol_full=0.15,
                tol_half=0.3,
            ),
        ),
        sweep="",
        unit="",
        implications=(
            "what the pattern says about the charge environment",
            "whether scans are frequent enough to catch jumps",
            "how to react",
        ),
        next_actions={
            "NO_EVENT": "Go on with the measurement.",
            "EVENT": "Correlate the jumps with other qubits or detectors.",
            "NO_COHERENCE": "Recalibrate the qubit before looking for jumps.",
        },
        status_label="Classification",
        asks_range=False,
    ),
)
