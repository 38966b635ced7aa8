"""Rydberg spectroscopy: survival of single atoms after a pulse of swept optical detuning, fitted site by site.

Physics: a square pulse of duration t and Rabi frequency Omega excites with probability
P(d) = Omega^2 / (Omega^2 + d^2) sin^2(pi sqrt(Omega^2 + d^2) t), d = detuning - f0 (frequencies in cycles per time);
an excited atom is lost, so that survival = floor + contrast (1 - P). Pulses of several Rabi cycles show side fringes.
Points are means of finitely many shots with their error bars. Each site's panel tells its fit in the title, its
number in the corner and the reduced chi-squared in the legend.

Label rule (criteria: SPEC 2.7, family 19; thresholds are the constants below):
type                                      outcome                status        decided by
rydberg_spectroscopy_success              Expected behavior      SUCCESS       every site's contrast > 0.35
rydberg_spectroscopy_failure_low_contrast Suboptimal parameters  LOW_CONTRAST  most sites' contrast below it, noisy
Draws keep contrasts of 0.25 to 0.58 free; a low-contrast figure may hold one better site of four or more. Fits are
least squares on the drawn points on success (Reliable); with low contrast their numbers are loose or wrong
(Unreliable), and Q5 still is what each title says, one object per site.
`targets`: sites, contrast (mean), noise, f0 (position in the first site's window), rabi (over the window), misfit.
"""

from __future__ import annotations

import math

import numpy as np

from riverone_hf.calibration.physics import chance, clip01, levenberg, log_uniform, pick, rms, uniform, unit_log
from riverone_hf.calibration.scene import Marker, Panel, Series, Style
from riverone_hf.calibration.trace import panel_truth
from riverone_hf.calibration.words import EXPECTED, SUBOPTIMAL, Words, assessment
from riverone_hf.questions.truth import SitesTruth, Truth

LABELS = {
    "rydberg_spectroscopy_success": (EXPECTED, "SUCCESS"),
    "rydberg_spectroscopy_failure_low_contrast": (SUBOPTIMAL, "LOW_CONTRAST"),
}
TYPES = tuple(LABELS)

CONTRAST_THRESHOLD = 0.35
"""Difference between highest and lowest survival of the line; draws leave out 0.25 to 0.58."""
FIT_LENGTH = 200
"""Points of a drawn curve."""

WORDS = {
    "success": Words(
        (
            "Deep central minimum with side fringes and a fit.",
            "Error-bar points follow a fringed resonance curve.",
        ),
        (
            "High-contrast line with side fringes; the fit follows it.",
            "Clear resonance, low chi-squared, centre well determined.",
        ),
        (
            "Contrast is high and the fit matches the points.",
            "The resonance is deep and its fringes are fitted closely.",
        ),
        (
            "The fringed line shows coherent, strong coupling and a stable laser. Resolution and noise allow f0 and "
            "the Rabi frequency to be read. Set the laser to the centre and go on to gate calibration.",
            "Contrast and chi-squared say that the drive is coherent; the points suffice for all parameters. Adopt f0 "
            "and calibrate the pi pulse next.",
        ),
    ),
    "low_contrast": Words(
        (
            "Noisy, nearly flat points with hardly any dip.",
            "Low-contrast scatter without a clear resonance.",
        ),
        (
            "Hardly any excitation; contrast is too low for the fit.",
            "The resonance is shallow and noisy.",
        ),
        (
            "The dip hardly exceeds the error bars; parameters are loose.",
            "Contrast is too small to trust the fitted line.",
        ),
        (
            "The atoms are hardly excited: the Rydberg light is too weak or misaligned. Contrast does not suffice for "
            "the fit. Raise the power or realign, then repeat the scan.",
            "A shallow, noisy line points to weak coupling or a drifting laser. Its fit cannot be used. Check power, "
            "polarisation and overlap at the atoms first.",
        ),
    ),
}
ACTIONS = (
    "Raise the Rydberg laser power and repeat the scan.",
    "Realign the Rydberg beams onto the atoms.",
    "Increase power by a factor of two; check beam overlap.",
    "Check the laser lock and centre the scan on the resonance.",
)

Line = tuple[float, float, float, float, float]
"""f0 (MHz), pulse duration (us), Rabi frequency (MHz), floor, contrast."""


def survival(p: Line | np.ndarray, x: np.ndarray) -> np.ndarray:
    """Share of atoms (n,) that survive at detunings x (n,) in MHz."""
    detuning = x - p[0]
    square = p[2] * p[2] + detuning * detuning
    return p[3] + p[4] * (1 - p[2] * p[2] / square * np.sin(math.pi * np.sqrt(square) * p[1]) ** 2)


def slopes(p: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(survival (n,), Jacobian (n, 5)) at parameters p."""
    detuning, rabi = x - p[0], p[2]
    square = rabi * rabi + detuning * detuning + 1e-12
    speed = np.sqrt(square)
    angle = math.pi * speed * p[1]
    sine, share = np.sin(angle), rabi * rabi / square
    twist = share * np.sin(2 * angle) * math.pi  # d excited / d (speed * t)
    excited = share * sine * sine
    by_speed = twist * p[1] / speed
    by_detuning = by_speed * detuning - 2 * detuning * excited / square
    by_rabi = by_speed * rabi + 2 * (1 - share) / (rabi if abs(rabi) > 1e-6 else 1e-6) * excited
    columns = [p[4] * by_detuning, -p[4] * twist * speed, -p[4] * by_rabi, np.ones_like(x), 1 - excited]
    return p[3] + p[4] * (1 - excited), np.stack(columns, axis=1)


def simulate(
    experiment_type: str, rng: np.random.Generator, style: Style
) -> tuple[Truth, tuple[tuple[Panel, ...], ...]]:
    """One figure of one to six sites: its truth and one image with a panel per site."""
    low = experiment_type.endswith("low_contrast")
    count, rows = draw_grid(rng, style)
    cycles = int(rng.integers(2, 6)) + uniform(rng, -0.12, 0.12) - 0.5
    rabi = log_uniform(rng, 0.8, 4.0)
    duration = cycles / rabi
    half = uniform(rng, 1.7, 3.2) * math.sqrt((cycles + 0.5) ** 2 - cycles**2) / duration
    half = round(min(half, 9.0), 1)
    points = int(rng.integers(13, 26)) if cycles < 3 else int(rng.integers(17, 34))
    x = np.linspace(-half, half, points)
    first = int(rng.integers(0, 200))
    step = pick(rng, (1, 1, 2, 18))
    better = int(rng.integers(count)) if low and count >= 4 and chance(rng, 0.3) else -1
    looks = draw_looks(rng)
    panels, sites, contrasts, misfits = [], [], [], []
    noise = 0.0
    for k in range(count):
        weak = low and k != better
        contrast = uniform(rng, 0.02, 0.25) if weak else uniform(rng, 0.58, 0.93)
        floor = uniform(rng, 0.02, 0.08) if not weak else uniform(rng, 0.3, 0.9 - contrast)
        noise = log_uniform(rng, 0.035, 0.08) if low else log_uniform(rng, 0.015, 0.04)
        speed = rabi * uniform(rng, 0.95, 1.05)
        # Brighter sites turn faster; the pulse as fitted stays near the cycles that empty the line's centre.
        time = cycles / speed * uniform(rng, 0.985, 1.015)
        line = (uniform(rng, -0.12, 0.12) * half, time, speed, floor, contrast)
        errors = noise * rng.uniform(0.7, 1.3, points)
        y = np.clip(survival(line, x) + rng.normal(size=points) * errors, 0.0, 1.0)
        fit = draw_fit(rng, weak, line, x, y, half)
        site, words = tell(fit, x, y, errors, first + k * step, looks)
        panels.append(draw_panel(rng, style, x, y, errors, fit, words, k * rows // count, looks))
        sites.append(site)
        contrasts.append(contrast)
        misfits.append(rms(y - survival(fit, x)) / max(rms(y - y.mean()), 1e-9))
    kind = "low_contrast" if low else "success"
    words_of = WORDS[kind].draw(rng)
    reliability, q4_reason = assessment(rng, "unsupported" if low else "good")
    outcome, status = LABELS[experiment_type]
    f0 = float(np.asarray(sites[0]["f0_kHz"])) * 1e-3
    return SitesTruth(
        "rydberg_spectroscopy",
        experiment_type,
        outcome,
        reliability,
        status,
        sites[0],
        (panel_truth(panels[0], "scatter", words_of.pop("main_features")),),
        q4_reason=q4_reason,
        suggested_range=pick(rng, ACTIONS) if low else None,
        targets={
            "sites": clip01(count / 6),
            "contrast": clip01(float(np.mean(contrasts))),
            "noise": clip01(noise * 8),
            "f0": clip01((f0 + half) / (2 * half)),
            "rabi": unit_log(rabi / half, 0.05, 2.0),
            "misfit": clip01(float(np.mean(misfits))),
        },
        sites=tuple(sites),
        **words_of,
    ), (tuple(panels),)


def draw_grid(rng: np.random.Generator, style: Style) -> tuple[int, int]:
    """(sites, rows): as many panels as the figure's size can carry with readable titles."""
    width, height = style.figsize
    if width < 450:
        return 1, 1
    if width > 2.2 * height:
        return int(rng.integers(2, 5)), 1
    if min(width, height) > 420 and style.font_scale < 0.95 and chance(rng, 0.35):
        columns = int(rng.integers(2, 4))
        return 2 * columns, 2
    return pick(rng, (1, 1, 1, 2)), 1


def draw_looks(rng: np.random.Generator) -> dict[str, str]:
    """What all panels of a figure share: how numbers, axis and legend are written."""
    return {
        "numbers": pick(rng, ("+/-", "+/-", "±", "()")),
        "unit": pick(rng, ("Hz", "Hz", "MHz")),
        "name": pick(rng, ("Optical Detuning", "Optical Detuning", "Detuning", "Rydberg detuning", "Laser detuning")),
        "ylabel": pick(rng, ("", "", "Survival", "Retention", "P_ground")),
        "chi": pick(rng, ("χ²_R : {}", "χ²_R : {}", "χ² = {}", "RChi2 = {}", "chi2_red = {}")),
        "site": pick(rng, ("{}", "{}", "{}", "site {}")),
        "marker": pick(rng, ("v", "v", "v", "")),
    }


def draw_fit(rng: np.random.Generator, weak: bool, line: Line, x: np.ndarray, y: np.ndarray, half: float) -> np.ndarray:
    """Parameters (5,) of the lab's curve: least squares from the truth, or from far off when there is hardly a line."""
    start = np.array(line)
    if weak:
        start[0] = uniform(rng, -0.7, 0.7) * half
        start[2] *= uniform(rng, 0.5, 1.8)
        start[4] = max(start[4], 0.08)
    fit = levenberg(lambda p: slopes(p, x), start, y, 3 if weak else 8)
    if weak and not (abs(fit[0]) < half and 0.02 < fit[1] < 20 and 0.05 < abs(fit[2]) < 20 and abs(fit[4]) < 1.2):
        fit = start
    fit[2] = abs(fit[2])
    return fit


def tell(
    fit: np.ndarray, x: np.ndarray, y: np.ndarray, errors: np.ndarray, index: int, looks: dict[str, str]
) -> tuple[dict[str, object], tuple[str, str, str]]:
    """(Q5 fields of the site, (title, legend, corner)): numbers as printed, uncertainties from the covariance."""
    value, jacobian = slopes(fit, x)
    weighted = jacobian / errors[:, None]
    gram = weighted.T @ weighted
    gram[np.diag_indices(5)] += 1e-4
    spread = np.sqrt(np.diag(np.linalg.inv(gram)))
    residual = (y - value) / errors
    chi = max(round(float(residual @ residual) / (x.size - 5), 1), 0.1)
    f0, f0_unc = round(float(fit[0]) * 1e3, 2), max(round(min(float(spread[0]), 9.0) * 1e3, 1), 0.1)
    t, t_unc = round(float(fit[1]) * 1e3), max(round(min(float(spread[1]), 20.0) * 1e3), 1)
    rabi, rabi_unc = round(float(fit[2]), 3), max(round(min(float(spread[2]), 20.0), 3), 0.001)
    rows = (("f0", f"{f0:.2f}", f"{f0_unc:.1f}", "kHz"), ("t", str(t), str(t_unc), "ns"),
            ("f_Rabi", f"{rabi:.3f}", f"{rabi_unc:.3f}", "MHz"))  # fmt: skip
    way = looks["numbers"]
    form = "{}={}({}) {}" if way == "()" else "{}={} " + way + " {} {}"
    title = "\n".join(form.format(*row) for row in rows)
    site: dict[str, object] = {
        "site_index": index,
        "f0_kHz": f0,
        "f0_kHz_unc": f0_unc,
        "t_ns": float(t),
        "t_ns_unc": float(t_unc),
        "f_Rabi_MHz": rabi,
        "f_Rabi_MHz_unc": rabi_unc,
        "chi_squared": chi,
    }
    return site, (title, looks["chi"].format(chi), looks["site"].format(index))


def draw_panel(
    rng: np.random.Generator,
    style: Style,
    x: np.ndarray,
    y: np.ndarray,
    errors: np.ndarray,
    fit: np.ndarray,
    words: tuple[str, str, str],
    row: int,
    looks: dict[str, str],
) -> Panel:
    """One site: points, fit, its centre, and the three texts; what no legend can tell goes into the box."""
    title, chi, corner = words
    factor = 1e6 if looks["unit"] == "Hz" else 1.0
    grid = np.linspace(x[0], x[-1], FIT_LENGTH)
    margin = 0.1 * float(x[-1])
    boxed = [title] if not style.show_title else []
    boxed += [chi] if style.legend == "none" else []
    top = max(1.0, float((y + errors).max()))
    label = looks["name"] if factor > 1 else f"{looks['name']} (MHz)"
    return Panel(
        ((float(x[0]) - margin) * factor, (float(x[-1]) + margin) * factor),
        (min(0.0, float((y - errors).min())), top),
        label,
        looks["ylabel"],
        title if style.show_title else "",
        (
            Series(x * factor, y, "points", "data", errors),
            Series(grid * factor, survival(fit, grid), "line", "fit", None, chi),
        ),
        (Marker(float(fit[0]) * factor, "v", "fit"),) if looks["marker"] else (),
        text="\n".join(boxed) or None,
        corner=corner,
        row=row,
    )
