"""Short reasons for resonator spectroscopy, one `Words` per scenario; PHASE_FEATURES describes the second image."""

from __future__ import annotations

from riverone_hf.calibration.words import Words

_QUIET = Words(
    (
        "Noisy magnitude trace without any resonance.",
        "Flat noisy background, no dip or peak.",
        "Random fluctuations only; no resonance feature.",
    ),
    (
        "No resonance stands out of the noise in this scan.",
        "Magnitude shows only noise and background; no resonator feature.",
        "Nothing like a resonance appears in the scanned band.",
    ),
    (
        "No dip or peak above the noise; move or widen the scan.",
        "Only background and noise; scan elsewhere and check the readout line.",
    ),
    (
        "No resonator responds in this band, so no frequency or quality factor can be extracted. "
        "Check wiring and probe power, then scan a wider or shifted band.",
        "The scan holds noise without a resonance. Either the resonator lies outside the window or the readout chain "
        "is not working. Rescan over another band.",
    ),
)

WORDS = {
    "success_2qubit_wide_scan_resonator": Words(
        (
            "Two sharp {shape}s near {first} and {second} GHz.",
            "Flat baseline with two narrow {shape}s.",
            "Two separated resonance {shape}s on a smooth background.",
        ),
        (
            "Two resonances near {first} and {second} GHz are clearly separated.",
            "Both resonators show as distinct narrow {shape}s.",
        ),
        (
            "Two narrow {shape}s, near {first} and {second} GHz, well above noise.",
            "Both resonances stand clearly out of a stable baseline.",
        ),
        (
            "Both resonators are found, so the readout chain works. The wide scan locates them but hardly resolves "
            "their widths. Zoom in on each before qubit spectroscopy.",
            "Two narrow features identify the two resonators. Step size limits the linewidths. "
            "Repeat with a fine scan around {first} and {second} GHz.",
        ),
    ),
    "success_wide_scan_resonator": Words(
        (
            "One sharp {shape} near {first} GHz.",
            "Flat baseline with a single narrow {shape}.",
            "Single resonance {shape} in a wide scan.",
        ),
        (
            "One clear resonance near {first} GHz in the wide scan.",
            "A single narrow {shape} stands far above the noise.",
        ),
        (
            "Narrow {shape} near {first} GHz, well above the noise.",
            "One resonance is clearly identified in the scanned band.",
        ),
        (
            "The resonator is found near {first} GHz. The step is too coarse for its linewidth. "
            "Zoom in around it, then go on to qubit spectroscopy.",
        ),
    ),
    "success_zoomed_resonator": Words(
        (
            "Resolved resonance {shape} near {first} GHz.",
            "One broad, well-sampled {shape} near the middle.",
            "Smooth resonance {shape} with many points across.",
        ),
        (
            "The resonance near {first} GHz is well resolved.",
            "Clear, well-sampled resonance {shape} above the noise.",
        ),
        (
            "Resolved {shape} near {first} GHz with depth far above noise.",
            "The line shape is resolved; frequency and width can be extracted.",
        ),
        (
            "Depth and width of the {shape} are resolved, so frequency and quality factors can be extracted. "
            "Set the readout to {first} GHz and go on to qubit spectroscopy.",
        ),
    ),
    "failure_wide_scan_no_signal": _QUIET,
    "failure_zoomed_no_signal": _QUIET,
}

PHASE_FEATURES = {
    "lines": (
        "Phase changes abruptly at the resonance.",
        "Phase slope with a kink at the resonance.",
        "Delay slope with a step at resonance.",
    ),
    "slope": (
        "Smooth phase slope without any step.",
        "Phase follows the cable delay; no resonance kink.",
        "Noisy phase without a resonance step.",
    ),
    "random": (
        "Random phase over the whole band.",
        "Phase is pure noise without any trend.",
    ),
}
