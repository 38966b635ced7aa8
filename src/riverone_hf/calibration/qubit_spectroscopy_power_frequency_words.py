"""Short reasons for power-frequency maps, one `Words` per scenario; PHASE_FEATURES describes the second image."""

from __future__ import annotations

from riverone_hf.calibration.words import Words

_HIGH_NOTES = (
    "Lines are power broadened already at the lowest amplitude; reduce drive.",
    "Broad, shifting features: drive amplitude is too high.",
)

WORDS = {
    "success_f01_low_amp_sharp": Words(
        ("Sharp line near {f01} MHz at all amplitudes.", "One narrow f01 line near {f01} MHz."),
        ("Sharp f01 line near {f01} MHz at low power.", "Narrow, unbroadened transition near {f01} MHz."),
        (
            "Narrow line near {f01} MHz persists over the amplitude range.",
            "Sharp f01 near {f01} MHz without broadening.",
        ),
        (
            "A single narrow line near {f01} MHz marks f01 without power broadening. The data fix the frequency. "
            "Use it for Rabi, or raise the power to find f02/2.",
        ),
    ),
    "success_f01_only_full_range": Words(
        ("f01 line near {f01} MHz broadening with power.", "Line near {f01} MHz grows and widens upwards."),
        ("f01 near {f01} MHz with its power dependence visible.", "One line, faint to broadened, clearly identified."),
        ("One line near {f01} MHz appears and broadens with amplitude.", "f01 near {f01} MHz is clear over the sweep."),
        (
            "The line near {f01} MHz emerges and then broadens with drive, as one transition does. "
            "The power range suffices. Choose a low amplitude with a clear line.",
        ),
    ),
    "success_f01_f02half_full_range": Words(
        ("f01 near {f01} MHz and f02/2 below it.", "Two lines; the lower one appears at high power."),
        ("f01 and f02/2 are both visible and separated.", "Two lines near {f01} and {f02} MHz, clearly resolved."),
        ("f01 near {f01} MHz, f02/2 near {f02} MHz at higher power.", "Both transitions show their power dependence."),
        (
            "The lines near {f01} and {f02} MHz are f01 and the two-photon f02/2; twice their distance is the "
            "anharmonicity. The ranges suffice. Use low power for f01.",
        ),
    ),
    "failure_f01_only_amp_too_high": Words(
        ("One broad washed-out feature at all amplitudes.", "Broad line widening and shifting with amplitude."),
        ("The line is power broadened over the whole sweep.", "Saturated broad feature; drive amplitude too high."),
        _HIGH_NOTES,
        (
            "The transition is saturated and shifted, so f01 is not accurate. All amplitudes are too strong. "
            "Lower the drive at least tenfold and repeat.",
        ),
    ),
    "failure_f01_f02half_amp_too_high": Words(
        ("Two broad features, f01 and f02/2, nearly merging.", "Broad double structure at all amplitudes."),
        ("f01 and f02/2 are both strongly power broadened.", "Two saturated, broad lines; drive amplitude too high."),
        _HIGH_NOTES,
        (
            "f01 and f02/2 are saturated and shifted, so frequencies are not accurate. "
            "All amplitudes are too strong. Lower the drive at least tenfold and repeat.",
        ),
    ),
    "failure_no_signal": Words(
        ("Random speckle without any line.", "Noise over the whole map."),
        ("No transition line appears in the map.", "Only noise; no qubit response in this window."),
        ("No line at any amplitude; move the frequency window.", "The map is noise; widen the frequency range."),
        (
            "No transition lies in this window or the drive does not reach the qubit. "
            "Nothing can be extracted. Widen the frequency range and check the drive line.",
        ),
    ),
}

PHASE_FEATURES = {
    "low": ("Phase map with the same sharp line.", "Narrow phase stripe near {f01} MHz."),
    "full": ("Phase shows the same lines, broadening with amplitude.", "Phase stripes match the magnitude map."),
    "high": ("Broad phase change, washed out.", "Phase map with the same broad features."),
    "none": ("Phase map is noise without structure.", "Random phase speckle, no line."),
}
