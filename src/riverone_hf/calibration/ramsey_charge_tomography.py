"""Ramsey charge tomography: repeat a Ramsey measurement against charge bias; the fringes jump when a charge moves.

Physics: for a charge-sensitive transmon idling long enough, averaged over parity,
P = [1 + nu cos(pi cos(2 pi n_g))] / 2 with n_g = bias / (2 period) + offset (Wilen et al., Nature 594, 369, 2021):
narrow ridges between wide valleys, one per `period` of the bias. A charge jump shifts the pattern; within the scan in
which it happens, the bias values already measured keep the old pattern.

Label rule (criteria: SPEC 2.7, family 14; thresholds are the constants below, draws keep clear of them):
type         outcome             status        decided by
clean        Expected behavior   NO_EVENT      fringes move less than 0.09 period between neighbouring scans
few_bursts   Expected behavior   EVENT         one to three shifts of at least 0.09 period
many_bursts  Expected behavior   EVENT         four or more of them
noisy        Anomalous behavior  NO_COHERENCE  fringes below 0.3 noise deviations
No fit is drawn in this family (SPEC 2.2), so Q4 is always "No fit". `jump_positions` are the scan numbers in which the
jumps happen; `jump_sizes_mV` the apparent shifts on the drawn axis from the scan before to the scan after (slow motion
included), at most half a period and without sign, rounded by at most 1 %.
`targets`: jumps, contrast, periods, first_jump, largest_jump, wander.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from riverone_hf.calibration.physics import (
    chance,
    clip01,
    log_uniform,
    number,
    pick,
    reader_value,
    slow_drift,
    uniform,
    unit_log,
)
from riverone_hf.calibration.scene import Heatmap, Panel, Style
from riverone_hf.calibration.trace import panel_truth
from riverone_hf.calibration.words import ANOMALOUS, EXPECTED, Words, assessment, qubit_name, with_unit
from riverone_hf.questions.truth import Truth

LABELS = {
    "ramsey_charge_tomography_clean": (EXPECTED, "NO_EVENT"),
    "ramsey_charge_tomography_few_bursts": (EXPECTED, "EVENT"),
    "ramsey_charge_tomography_many_bursts": (EXPECTED, "EVENT"),
    "ramsey_charge_tomography_noisy": (ANOMALOUS, "NO_COHERENCE"),
}
TYPES = tuple(LABELS)

JUMP_THRESHOLD = 0.09
"""A shift between neighbouring scans of this many fringe periods is a jump; draws leave out 0.05 to 0.15."""
LARGEST_WANDER = 0.05
SMALLEST_JUMP = 0.15
COHERENCE_THRESHOLD = 0.3
"""Fringes of less than this many noise deviations (peak to peak) count as none; draws leave out 0.08 to 4.5."""
FEW_BURSTS, MANY_BURSTS = (1, 3), (4, 8)
"""Numbers of jumps of the two types with events."""

WORDS = {
    "clean": Words(
        (
            "Continuous horizontal fringes without any jump.",
            "Stable stripe pattern over all {scans} scans.",
            "Undisturbed fringes against charge bias.",
        ),
        (
            "Fringes are continuous and well resolved in all scans.",
            "Stable coherent pattern without a charge jump.",
        ),
        (
            "Fringes run undisturbed through all scans; no jump.",
            "No horizontal discontinuity appears; only slow drift at most.",
        ),
        (
            "The charge environment is quiet over {scans} scans and coherence is good. "
            "Go on monitoring to gather statistics on rare charge jumps.",
        ),
    ),
    "few_bursts": Words(
        (
            "Stripe pattern with {jumps} abrupt shift(s).",
            "Fringes jump near scan {first}, stable otherwise.",
            "Discrete fringe discontinuity near scan {first}.",
        ),
        (
            "Fringes are resolved and {jumps} discrete charge jump(s) detected.",
            "Clear charge jump near scan {first} between stable fringes.",
        ),
        (
            "The stripes shift abruptly near scan {first}; fringes stay coherent.",
            "{jumps} sudden shift(s) of the pattern, first near scan {first}.",
        ),
        (
            "Stable fringes between {jumps} sudden shift(s) show single charge rearrangements near the qubit. "
            "Sizes and times can be read off. Collect more scans for rate statistics.",
        ),
    ),
    "many_bursts": Words(
        (
            "Stripe pattern broken by {jumps} abrupt shifts.",
            "Fringes jump again and again between scans.",
            "Many fringe discontinuities across the scans.",
        ),
        (
            "Fringes are resolved and {jumps} charge jumps are detected.",
            "Many discrete charge jumps between coherent fringe segments.",
        ),
        (
            "The pattern shifts abruptly about {jumps} times; fringes stay coherent.",
            "Frequent sudden shifts, first near scan {first}, with coherent fringes.",
        ),
        (
            "About {jumps} jumps in {scans} scans mean a busy charge environment, though coherence is kept. "
            "Correlate the jumps with other qubits and improve shielding.",
        ),
    ),
    "noisy": Words(
        (
            "Random speckle without any fringe pattern.",
            "Noise over the whole map, no stripes.",
        ),
        (
            "No fringes are visible: coherence is lost.",
            "Only noise appears, so jumps cannot be assessed.",
        ),
        (
            "No fringe pattern at all; charge jumps cannot be assessed.",
            "The map is noise; recalibrate before looking for jumps.",
        ),
        (
            "Coherence is lost over the whole map, so nothing can be said on charge jumps. "
            "Recalibrate frequency, pulses and readout, then repeat the scan.",
        ),
    ),
}


def simulate(
    experiment_type: str, rng: np.random.Generator, style: Style
) -> tuple[Truth, tuple[tuple[Panel, ...], ...]]:
    """One tomography map: its truth and one image of one panel."""
    kind = experiment_type.removeprefix("ramsey_charge_tomography_")
    scans, rows = int(log_uniform(rng, 12, 41)), int(log_uniform(rng, 31, 101))
    reach, unit = draw_bias(rng)
    bias = np.linspace(-reach, reach, rows)
    periods = uniform(rng, 1.4, 4.2)
    period = 2 * reach / periods
    starts, shifts = draw_jumps(rng, kind, scans)
    wander = draw_wander(rng, scans)
    offset = float(rng.random()) + wander[None, :] + jump_offsets(rng, starts, shifts, rows, scans)
    fringes = fringe(bias[:, None] / period + offset)
    contrast = uniform(rng, 0.0, 0.08) if kind == "noisy" else log_uniform(rng, 4.5, 30.0)
    values = contrast * fringes + rng.normal(size=(rows, scans))
    values += pick(rng, (0.0, 0.0, 0.05)) * contrast * slow_drift(rng, scans, 1.0)[None, :]
    to_mv = 1e3 if unit == "V" else 1.0
    first = starts[0] if starts else 0
    words = WORDS[kind].draw(rng, scans=scans, jumps=number(len(starts)), first=first)
    panel = draw_panel(rng, values, contrast, bias, unit, scans)
    # Cells that fill the axis from the first bias to the last are drawn a little lower than the bias steps are.
    cell = (panel.ylim[1] - panel.ylim[0]) / rows / float(bias[1] - bias[0])
    seen = apparent_shifts(starts, shifts, wander)
    sizes = [reader_value(shift * period * cell * to_mv) for shift in seen]
    described = panel_truth(panel, "heatmap", words.pop("main_features"))
    bar = panel.heatmap.colorbar if panel.heatmap else None
    outcome, status = LABELS[experiment_type]
    reliability, q4_reason = assessment(rng, "none")
    quiet = kind == "noisy"
    return Truth(
        "ramsey_charge_tomography",
        experiment_type,
        outcome,
        reliability,
        status,
        {
            "event_detected": bool(starts),
            "jump_count": len(starts),
            "jump_positions": starts,
            "jump_sizes_mV": sizes,
        },
        (replace(described, colorbar=bar or ""),),
        q4_reason=q4_reason,
        targets={
            "jumps": len(starts) / MANY_BURSTS[1],
            "contrast": 0.0 if quiet else unit_log(contrast, 1.0, 30.0),
            "periods": 0.0 if quiet else periods / 5,
            "first_jump": first / scans,
            "largest_jump": 2 * max(seen, default=0.0),
            "wander": 0.0 if quiet else clip01(2 * float(np.ptp(wander))),
        },
        q2_reason=words["q2_reason"],
        q6_notes=words["q6_notes"],
        significance=words["significance"],
    ), ((panel,),)


def fringe(turns: np.ndarray) -> np.ndarray:
    """Excited share 0..1 of the parity-averaged Ramsey signal; `turns` counts its periods (n_g = turns / 2)."""
    return (1 + np.cos(math.pi * np.cos(math.pi * turns))) / 2


def draw_bias(rng: np.random.Generator) -> tuple[float, str]:
    """(largest bias, unit): the axis runs from minus to plus this value."""
    if chance(rng, 0.25):
        return float(pick(rng, (5, 20, 50, 100, 200, 300, 500))), "mV"
    return pick(rng, (0.5, 0.5, 0.5, 0.4, 0.3, 0.25, 0.2, 1.0)), "V"


def draw_jumps(rng: np.random.Generator, kind: str, scans: int) -> tuple[list[int], list[float]]:
    """(scans in which a jump happens, signed shifts in periods of at most a half), at least two scans apart."""
    if kind not in ("few_bursts", "many_bursts"):
        return [], []
    low, high = FEW_BURSTS if kind == "few_bursts" else MANY_BURSTS
    # Scans 1 .. scans - 2 hold jumps: before the first and after the last one whole scan shows the pattern.
    wanted = int(rng.integers(low, min(high, (scans - 3) // 2) + 1))
    free = np.sort(rng.permutation(scans - 2 - (wanted - 1))[:wanted])
    starts = [int(start) + 1 + index for index, start in enumerate(free)]
    shifts = [uniform(rng, SMALLEST_JUMP, 0.5) * pick(rng, (-1.0, 1.0)) for _ in starts]
    return starts, shifts


def draw_wander(rng: np.random.Generator, scans: int) -> np.ndarray:
    """Slow motion of the pattern (scans,) in periods: small random steps, or a drift."""
    size = pick(rng, (0.0, 0.01, 0.02))
    steps = size * rng.normal(size=scans) + uniform(rng, -0.6, 0.6) * size
    return np.cumsum(np.clip(steps, -LARGEST_WANDER, LARGEST_WANDER))


def apparent_shifts(starts: list[int], shifts: list[float], wander: np.ndarray) -> list[float]:
    """Sizes 0..0.5 (periods) of the jumps as seen: whole fringes cannot be counted, and slow motion `wander` adds."""
    moved = [shift + float(wander[s + 1] - wander[s - 1]) for s, shift in zip(starts, shifts, strict=True)]
    return [abs(move - round(move)) for move in moved]


def jump_offsets(rng: np.random.Generator, starts: list[int], shifts: list[float], rows: int, scans: int) -> np.ndarray:
    """Shift (rows, scans) in periods: whole from the scan after each jump on, in its own scan for the later biases.

    The bias is stepped upwards or downwards within each scan; half of the maps are so quick that a jump falls
    between scans.
    """
    offset = np.zeros((rows, scans))
    upwards, quick = chance(rng, 0.5), chance(rng, 0.5)
    for start, shift in zip(starts, shifts, strict=True):
        offset[:, start + 1 :] += shift
        done = 0 if quick else int(rows * uniform(rng, 0.0, 0.8))
        rest = slice(done, rows) if upwards else slice(0, rows - done)
        offset[rest, start] += shift
    return offset


def draw_panel(
    rng: np.random.Generator, values: np.ndarray, contrast: float, bias: np.ndarray, unit: str, scans: int
) -> Panel:
    """The map in the units of the readout."""
    name, y_unit, low, span = pick(
        rng,
        (
            ("Amplitude", "ADC Units", log_uniform(rng, 4, 60), log_uniform(rng, 2, 30)),
            ("Amplitude", "ADC Units", log_uniform(rng, 4, 60), log_uniform(rng, 2, 30)),
            ("P(|1>)", "", 0.15, 0.6),
            ("Signal", "a.u.", 0.0, 1.0),
            ("Readout signal", "mV", uniform(rng, -5, 5), log_uniform(rng, 0.2, 8)),
        ),
    )
    # A map without fringes has only its noise to fill the range.
    sign = -1.0 if chance(rng, 0.15) else 1.0
    scaled = sign * values / (contrast + 5.0)
    label = None if chance(rng, 0.08) else f"{name} ({y_unit})" if y_unit else name
    half_cells = chance(rng, 0.25)
    margin = float(bias[1] - bias[0]) / 2 if chance(rng, 0.4) else 0.0
    xlabel = pick(
        rng, ("Scan Number (Time)", "Scan Number (Time)", "Scan number", "Scan index", "Repetition", "Scan #")
    )
    ylabel = with_unit(rng, pick(rng, ("Charge Bias", "Charge Bias", "Charge bias", "Gate bias", "Offset bias")), unit)
    title = pick(
        rng,
        (
            "Ramsey Charge Tomography",
            "Ramsey Charge Tomography",
            "Charge tomography",
            f"Charge tomography {qubit_name(rng)}",
            "Ramsey tomography scan",
            "Charge jumps",
            "",
        ),
    )
    return Panel(
        (-0.5, scans - 0.5) if half_cells else (0.0, float(scans)),
        (float(bias[0]) - margin, float(bias[-1]) + margin),
        xlabel,
        ylabel,
        title,
        heatmap=Heatmap(low + span * scaled, label),
    )
