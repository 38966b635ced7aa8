"""Superconducting families shown as one-dimensional traces or point clouds (SPEC 2.7)."""

from __future__ import annotations

from .family import Family, Field, type_names

_RAMSEY_STATUSES = {
    "SUCCESS": "clear fringes under a decay envelope, and the fit follows them",
    "NO_DETUNING": "flat or purely decaying trace without fringes",
    "BEATING": "the fringe amplitude comes and goes: more than one frequency",
    "TOO_MANY_OSC": "the detuning is too large for this window",
    "TOO_FEW_OSC": "the detuning is too small for this window",
    "WINDOW_TOO_SHORT": "the decay is not captured by the window",
    "SAMPLING_TOO_COARSE": "too few points per fringe; aliasing",
}
_RAMSEY_ACTIONS = {
    "SUCCESS": "Update the qubit frequency by the fitted detuning and store T2*.",
    "NO_DETUNING": "Add an intentional detuning of a few fringes per window and repeat.",
    "BEATING": "Look for charge-parity or TLS splitting; repeat later or use an echo.",
    "TOO_MANY_OSC": "Reduce the detuning or shorten the window.",
    "TOO_FEW_OSC": "Increase the detuning or lengthen the window.",
    "WINDOW_TOO_SHORT": "Extend the delay to about three times T2*.",
    "SAMPLING_TOO_COARSE": "Use a finer delay step, at least four points per fringe.",
}
_RAMSEY_FIELDS = (
    Field("T2_star_us", "pct", unit="us", nullable=True),
    Field("detuning_MHz", "pct", unit="MHz", nullable=True),
    Field("fringes_visible", "int_count"),
)
_RABI_FIELDS = (
    Field("periods_visible", "count_float"),
    Field("amplitude_decay", "enum", choices=("stable", "decaying", "growing")),
    Field("signal_quality", "enum", choices=("clean", "noisy", "distorted")),
)
_RABI_IMPLICATIONS = (
    "what the oscillation says about the drive coupling and the pi pulse",
    "whether range and sampling suffice to extract the Rabi rate",
    "which calibration step follows",
)


TRANSMON_FAMILIES = (
    Family(
        name="drag",
        title="DRAG calibration",
        background=(
            "In a DRAG calibration the inverse coefficient 1/alpha is swept for two pulse sequences of opposite error. "
            "It succeeds when the two fitted lines cross inside the window; the crossing minimises leakage."
        ),
        types=type_names(
            "drag",
            "success failure_no_signal failure_position_far_offset failure_position_first_quarter "
            "failure_position_last_quarter",
        ),
        statuses={
            "SUCCESS": "the crossing lies clearly inside the window",
            "NO_SIGNAL": "flat or random data without a crossing",
            "OPTIMAL_NOT_CENTERED": "the crossing is in the first or last quarter, or outside the window",
        },
        fields=(Field("optimal_alpha_inv", "pct", nullable=True), Field("intersection_clear", "bool")),
        sweep="1/alpha",
        unit="",
        implications=(
            "what the crossing and the slopes say about the DRAG coefficient and leakage",
            "whether the window holds the crossing with enough resolution",
            "which step follows",
        ),
        next_actions={
            "SUCCESS": "Store the crossing as the DRAG coefficient and go on to gate benchmarking.",
            "NO_SIGNAL": "Check drive and readout first, then repeat.",
            "OPTIMAL_NOT_CENTERED": "Recentre the 1/alpha window on the crossing and repeat.",
        },
    ),
    Family(
        name="gmm",
        title="single-shot readout clusters",
        background=(
            "In a readout discrimination measurement single shots of the prepared states 0 and 1 are drawn in the IQ "
            "plane and described by a Gaussian mixture. It succeeds when the two clusters are well separated."
        ),
        types=type_names(
            "gmm", "success failure_high_power failure_no_excitation failure_no_res_response failure_no_signal"
        ),
        statuses={
            "SUCCESS": "two clearly separated clusters",
            "NO_SIGNAL": "no clusters can be told apart",
            "NO_EXCITATION": "both preparations give the same distribution: the drive did not change the state",
            "HIGH_POWER": "clusters stretched, bent or broken up",
            "NO_RES_RESPONSE": "all shots collapse into one region",
        },
        fields=(
            Field("separation", "enum", choices=("well-separated", "touching", "overlapping")),
            Field("cluster0_center", "coord_list", schema="[I, Q]", nullable=True, tol_full=0.1, tol_half=0.3),
            Field("cluster1_center", "coord_list", schema="[I, Q]", nullable=True, tol_full=0.1, tol_half=0.3),
        ),
        sweep="",
        unit="",
        implications=(
            "what separation, shape and overlap say about readout fidelity",
            "whether single shots can be assigned reliably",
            "which readout setting to adjust next",
        ),
        next_actions={
            "SUCCESS": "Store the discriminator and go on.",
            "NO_SIGNAL": "Check the readout line, its frequency and the integration weights.",
            "NO_EXCITATION": "Calibrate the qubit drive (frequency, then pi pulse) and repeat.",
            "HIGH_POWER": "Lower the readout power and repeat.",
            "NO_RES_RESPONSE": "Find the resonator frequency again before reading out.",
        },
    ),
    Family(
        name="pingpong",
        title="ping-pong amplitude calibration",
        background=(
            "In a ping-pong calibration pairs of rotations are repeated so that a small amplitude error adds up. "
            "It succeeds when the signal stays near its ideal value as the number of pulses grows."
        ),
        types=type_names(
            "pingpong", "success_well_calibrated failure_large_error failure_moderate_error failure_no_excitation"
        ),
        statuses={
            "SUCCESS": "stable signal, hardly any accumulated error",
            "NO_EXCITATION": "the qubit does not respond at all",
            "MODERATE_ERROR": "a clear but linear accumulation",
            "LARGE_ERROR": "the error is so large that the signal oscillates",
        },
        fields=(
            Field("error_per_gate", "pct", nullable=True),
            Field("accumulation_type", "enum", choices=("linear", "oscillatory", "none")),
        ),
        sweep="",
        unit="",
        implications=(
            "what the accumulation says about the rotation error",
            "whether the number of pulses suffices to see it",
            "how to correct the pulse amplitude",
        ),
        next_actions={
            "SUCCESS": "Keep the amplitude.",
            "NO_EXCITATION": "Repeat qubit spectroscopy and Rabi first.",
            "MODERATE_ERROR": "Correct the amplitude by the fitted error and repeat.",
            "LARGE_ERROR": "Go back to a Rabi calibration.",
        },
    ),
    Family(
        name="qubit_spectroscopy",
        title="qubit spectroscopy",
        background=(
            "In qubit spectroscopy the drive frequency is swept to find the qubit transition. "
            "It succeeds when one clear line stands out and a Lorentzian follows it."
        ),
        types=type_names("qubit_spectroscopy", "success failure_multiple_peaks failure_no_peaks"),
        statuses={
            "SUCCESS": "one clear line with a good fit",
            "NO_SIGNAL": "no line is visible",
            "MULTIPLE_PEAKS": "several lines; the transition is ambiguous",
        },
        fields=(
            Field("num_resonances", "int_count"),
            Field("resonance_freq_GHz", "pct", unit="GHz", nullable=True, tol_full=0.001, tol_half=0.005),
            Field("resonance_type", "enum", choices=("peak", "dip"), nullable=True),
        ),
        sweep="frequency",
        unit="GHz",
        implications=(
            "what position, width and shape say about frequency and coherence",
            "whether span and resolution identify the transition",
            "which step follows",
        ),
        next_actions={
            "SUCCESS": "Set the drive frequency to the line and run Rabi.",
            "NO_SIGNAL": "Widen the sweep or raise the drive power.",
            "MULTIPLE_PEAKS": "Lower the drive power and zoom on the lowest line.",
        },
    ),
    Family(
        name="rabi",
        title="Rabi oscillation",
        background=(
            "In a Rabi experiment the amplitude or length of a resonant pulse is swept to find the pi pulse. "
            "It succeeds when clear sinusoidal oscillations are seen and the fit follows them."
        ),
        types=type_names(
            "rabi",
            "success success_off_resonance rabi_successful_limited_range failure_damped_oscillations "
            "failure_random_signal failure_too_fast failure_too_slow",
        ),
        statuses={
            "SUCCESS": "clear oscillations and a fit that follows them",
            "FIT_POOR": "oscillations are visible but the fit misses them",
            "RANGE_TOO_NARROW": "less than one full period is visible",
            "NO_SIGNAL": "flat or random, no oscillation",
            "DAMPED": "the amplitude falls by more than half within the window",
            "UNDERSAMPLED": "too many periods for the sampling",
        },
        fields=_RABI_FIELDS,
        sweep="amplitude",
        unit="",
        implications=_RABI_IMPLICATIONS,
        next_actions={
            "SUCCESS": "Set the pi pulse from the fitted period and go on to Ramsey or DRAG.",
            "FIT_POOR": "Refit with a better starting frequency before using the numbers.",
            "RANGE_TOO_NARROW": "Extend the sweep to at least two periods.",
            "NO_SIGNAL": "Check drive frequency, drive line and readout.",
            "DAMPED": "Check T1, T2 and the drive for inhomogeneity, then use shorter pulses.",
            "UNDERSAMPLED": "Shorten the sweep or use a finer step.",
        },
    ),
    Family(
        name="rabi_hw",
        title="Rabi oscillation on hardware",
        background=(
            "In this hardware Rabi measurement the amplitude of a drive pulse is swept to find the pi pulse. "
            "It succeeds when at least one period with good contrast is seen and the fit follows it."
        ),
        types=type_names(
            "rabi_hw",
            "success failure_incorrect_fit failure_insufficient_amplitude_range failure_off_resonant_drive",
        ),
        statuses={
            "SUCCESS": "clear oscillation and a fit that follows it",
            "FIT_POOR": "an oscillation is visible but the fit misses it",
            "OFF_RESONANCE": "low contrast or distorted: the drive is detuned",
            "RANGE_TOO_NARROW": "less than one full period is visible",
        },
        fields=_RABI_FIELDS,
        sweep="amplitude",
        unit="",
        implications=_RABI_IMPLICATIONS,
        next_actions={
            "SUCCESS": "Set the pi pulse from the fitted period.",
            "FIT_POOR": "Refit with a better starting frequency.",
            "OFF_RESONANCE": "Repeat spectroscopy and correct the drive frequency.",
            "RANGE_TOO_NARROW": "Extend the amplitude range.",
        },
    ),
    Family(
        name="ramsey_freq_cal",
        title="Ramsey frequency calibration",
        background=(
            "In a Ramsey frequency calibration two pi/2 pulses with a swept delay measure the detuning of the drive. "
            "It succeeds when the fringe frequency can be read without ambiguity."
        ),
        types=type_names(
            "ramsey_freq_cal",
            "ramsey_success_freq_cal ramsey_failure_freq_cal_beating ramsey_failure_freq_cal_too_few_osc "
            "ramsey_failure_freq_cal_too_many_osc",
        ),
        statuses=_RAMSEY_STATUSES,
        fields=_RAMSEY_FIELDS,
        sweep="delay",
        unit="us",
        implications=(
            "what the fringes say about the detuning",
            "whether the window suffices to read the frequency",
            "how to correct the qubit frequency",
        ),
        next_actions=_RAMSEY_ACTIONS,
        n_images=2,
    ),
    Family(
        name="ramsey_t2star",
        title="Ramsey T2* measurement",
        background=(
            "In a Ramsey T2* measurement two pi/2 pulses with a swept delay measure dephasing. "
            "It succeeds when decaying fringes are seen and a fit gives T2*."
        ),
        types=type_names(
            "ramsey_t2star",
            "ramsey_success_t2star ramsey_failure_t2star_beating ramsey_failure_t2star_sampling_too_coarse "
            "ramsey_failure_t2star_window_too_short ramsey_failure_t2star_zero_detuning",
        ),
        statuses=_RAMSEY_STATUSES,
        fields=_RAMSEY_FIELDS,
        sweep="delay",
        unit="us",
        implications=(
            "what the fringes say about detuning and coherence",
            "whether the measurement suffices for extraction",
            "which adjustment or step follows",
        ),
        next_actions=_RAMSEY_ACTIONS,
        n_images=2,
    ),
    Family(
        name="res_spec",
        title="resonator spectroscopy",
        background=(
            "In resonator spectroscopy the readout frequency is swept and magnitude and phase are recorded. "
            "It succeeds when the resonance stands clearly out of the background."
        ),
        types=type_names(
            "res_spec",
            "failure_wide_scan_no_signal failure_zoomed_no_signal success_2qubit_wide_scan_resonator "
            "success_wide_scan_resonator success_zoomed_resonator",
        ),
        statuses={"SUCCESS": "one or more clear resonances", "NO_SIGNAL": "no resonance above the noise"},
        fields=(
            Field("resonance_freq_GHz", "array_float_match", unit="GHz", nullable=True, schema="[low, high] | null"),
            Field("contrast", "array_float_match", nullable=True, schema="[low, high] | null"),
        ),
        sweep="frequency",
        unit="GHz",
        implications=(
            "what depth, width and phase say about the resonator",
            "whether the scan identifies the resonance",
            "which step follows",
        ),
        next_actions={
            "SUCCESS": "Set the readout frequency to the resonance.",
            "NO_SIGNAL": "Scan a wider band or check the readout line.",
        },
        n_images=2,
    ),
    Family(
        name="t1",
        title="T1 relaxation",
        background=(
            "In a T1 measurement the qubit is excited and its population is read after a swept delay. "
            "It succeeds when an exponential decay to the baseline is seen and fitted."
        ),
        types=type_names("t1", "success failure_no_signal failure_sampling_too_coarse failure_window_too_short"),
        statuses={
            "SUCCESS": "clear exponential decay and a fit that follows it",
            "NO_SIGNAL": "flat: never excited, or decayed at once",
            "WINDOW_TOO_SHORT": "the signal has not reached its baseline",
            "SAMPLING_TOO_COARSE": "the delay steps are too large to resolve the decay",
        },
        fields=(Field("T1_us", "pct", unit="us", nullable=True), Field("decay_visible", "bool")),
        sweep="delay",
        unit="us",
        implications=(
            "what the decay and the residual population say about relaxation and thermal excitation",
            "whether window and sampling suffice",
            "which step follows",
        ),
        next_actions={
            "SUCCESS": "Store T1 and go on to Ramsey.",
            "NO_SIGNAL": "Recalibrate the pi pulse and the readout.",
            "WINDOW_TOO_SHORT": "Extend the delay to about five times T1.",
            "SAMPLING_TOO_COARSE": "Use a finer delay step near zero.",
        },
    ),
    Family(
        name="t1_fluctuations",
        title="T1 over time",
        background=(
            "Here T1 is measured again and again to see whether it is stable. "
            "Jumps between levels point to two-level systems, slow wandering to drift."
        ),
        types=type_names("t1_fluctuations", "stable telegraphic_fluctuations random_walk"),
        statuses={
            "STABLE": "scatter around one level only",
            "TELEGRAPHIC": "jumps between two or more levels",
            "RANDOM_WALK": "slow drift without fixed levels",
        },
        fields=(
            Field("classification", "enum", choices=("stable", "telegraphic", "random_walk")),
            Field("mean_t1_us", "pct", unit="us"),
        ),
        sweep="",
        unit="",
        implications=(
            "what the fluctuations say about defects near the qubit",
            "whether the record is long enough to tell",
            "how to react",
        ),
        next_actions={
            "STABLE": "Keep the present operating point.",
            "TELEGRAPHIC": "Shift the qubit frequency away from the two-level system.",
            "RANDOM_WALK": "Measure T1 more often and look for slow drift of the environment.",
        },
    ),
)
