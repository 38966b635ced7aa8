"""Rydberg Ramsey: fringes of a ground-Rydberg superposition, sampled in a few short windows far apart.

Physics: occupancy(t) = c + A e^-(t/T2)^2 cos(2 pi f t + phi); slow Gaussian frequency noise of standard deviation
sigma gives T2 = sqrt(2) / (2 pi sigma). Each point is the mean of finitely many shots. The lab fits one curve to all
windows; its values, uncertainties (from the covariance) and reduced chi-squared stand above the plot.

Label rule (criteria: SPEC 2.7, family 18, and the row's text; thresholds are the constants below):
type                                outcome                status        decided by
rydberg_ramsey_success              Expected behavior      SUCCESS       a window spans > 0.65 periods with > 4 points
rydberg_ramsey_failure_undersampled Suboptimal parameters  UNDERSAMPLED  the windows span less, or hold fewer points
Draws keep 0.45 to 0.85 periods and 4 points free. Undersampled data are fitted with the frequency of another alias of
the windows' spacing, by a fit of the first window only, or with the true one by luck: in most plots the curve misses
the later windows, whatever the title says, and no choice can be told apart from the data alone, so the fit is
Unreliable. Q5 is what the title (or the box) says, good or bad. RChi2 may be small on failures and near 2 on success.
`targets`: fringes, span (periods per window), points (per window), windows, t2_over_range, noise, misfit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from riverone_hf.calibration.physics import (
    Oscillation,
    chance,
    clip01,
    fit_oscillation,
    log_uniform,
    pick,
    rms,
    round_sig,
    uniform,
    unit_log,
)
from riverone_hf.calibration.rydberg_ramsey_words import ACTIONS, WORDS
from riverone_hf.calibration.scene import Panel, Series, Style
from riverone_hf.calibration.trace import panel_truth
from riverone_hf.calibration.words import EXPECTED, SUBOPTIMAL, assessment, with_unit
from riverone_hf.questions.truth import Truth

LABELS = {
    "rydberg_ramsey_success": (EXPECTED, "SUCCESS"),
    "rydberg_ramsey_failure_undersampled": (SUBOPTIMAL, "UNDERSAMPLED"),
}
TYPES = tuple(LABELS)

SPAN_THRESHOLD = 0.65
"""Windows that span fewer periods than this are undersampled; draws leave out 0.45 to 0.85."""
POINTS_THRESHOLD = 4
"""Windows with fewer points than this are undersampled; draws have at most 3 or at least 5."""


@dataclass(frozen=True)
class Sampling:
    """Delays (n,) in ns, and the number of the window that each belongs to."""

    times: np.ndarray
    window: np.ndarray
    span: float
    """Length of a window in periods."""
    points: int
    """Points per window."""


def simulate(
    experiment_type: str, rng: np.random.Generator, style: Style
) -> tuple[Truth, tuple[tuple[Panel, ...], ...]]:
    """One Rydberg Ramsey plot: its truth and one image of one panel."""
    kind = experiment_type.removeprefix("rydberg_ramsey_").removeprefix("failure_")
    frequency = log_uniform(rng, 1.5, 16.0)
    fringes = log_uniform(rng, 9.0, 70.0)
    length = fringes / frequency * 1e3
    t2 = length * log_uniform(rng, 0.7, 2.2)
    sampling = draw_sampling(rng, kind, frequency, length)
    low, contrast = uniform(rng, 0.03, 0.15), uniform(rng, 0.7, 0.92)
    phase = uniform(rng, -0.4, 0.4) + pick(rng, (0.0, 0.0, math.pi))
    sigma = log_uniform(rng, 0.012, 0.035)
    x = sampling.times
    wave = np.exp(-((x / t2) ** 2)) * np.cos(2 * math.pi * frequency * 1e-3 * x + phase)
    # The lab states error bars of its own; the true scatter is a little larger or smaller than them.
    y = low + contrast * (0.5 + 0.5 * wave) + rng.normal(size=x.size) * sigma * pick(rng, (0.8, 1.0, 1.0, 1.2, 1.4))
    fit = draw_fit(rng, kind, sampling, y, frequency, t2, length)
    values = measured(fit, x, y, sigma)
    panel = draw_panel(rng, style, sampling, y, sigma, fit, values)
    windows = int(sampling.window[-1]) + 1
    words = WORDS[kind].draw(
        rng, windows=windows, f=round_sig(values["frequency_MHz"]), t2=round_sig(values["T2_us"], 2)
    )
    reliability, q4_reason = assessment(rng, "good" if kind == "success" else "unsupported")
    noise_told = "Noise" in panel.title + (panel.text or "")
    parameters: dict[str, object] = {**values}
    parameters["frequency_noise_kHz"] = values["frequency_noise_kHz"] if noise_told else None
    outcome, status = LABELS[experiment_type]
    period = 1e3 / frequency
    action = pick(rng, ACTIONS).format(n=int(rng.integers(6, 11)), period=round(period), step=max(1, round(period / 7)))
    return Truth(
        "rydberg_ramsey",
        experiment_type,
        outcome,
        reliability,
        status,
        parameters,
        (panel_truth(panel, "scatter", words.pop("main_features")),),
        q4_reason=q4_reason,
        suggested_range=None if status == "SUCCESS" else action,
        targets={
            "fringes": unit_log(fringes, 8.0, 80.0),
            "span": clip01(sampling.span / 2),
            "points": clip01(sampling.points / 12),
            "windows": clip01(windows / 8),
            "t2_over_range": unit_log(t2 / length, 0.5, 2.5) if kind == "success" else 0.0,
            "noise": clip01(sigma * 20),
            "misfit": clip01(rms(y - fit(x)) / rms(y - y.mean())),
        },
        **words,
    ), ((panel,),)


def draw_sampling(rng: np.random.Generator, kind: str, frequency: float, length: float) -> Sampling:
    """Where the lab measured: three to six windows of a few points over `length` ns, clear of the thresholds."""
    windows = int(rng.integers(3, 7))
    span, points = uniform(rng, 0.85, 1.6), int(rng.integers(5, 11))
    if kind == "undersampled":
        if chance(rng, 0.5):
            span, points = uniform(rng, 0.08, 0.45), int(rng.integers(2, 6))
        else:
            span, points = uniform(rng, 0.15, 0.8), int(rng.integers(2, 4))
        windows = int(rng.integers(2, 5))
    width = span * 1e3 / frequency
    starts = np.linspace(0, 1, windows) ** uniform(rng, 1.0, 1.5) * (length - width)
    starts[1:-1] += rng.uniform(-0.04, 0.04, max(0, windows - 2)) * length
    starts[0] += uniform(rng, 0.0, 0.012) * length
    grid = np.linspace(0, width, points)
    times = (starts[:, None] + grid).ravel()
    keep = np.ones(times.size, dtype=bool)
    if kind == "success" and chance(rng, 0.3):  # shots lost here and there
        keep[rng.integers(times.size)] = False
    return Sampling(times[keep], np.repeat(np.arange(windows), points)[keep], span, points)


def draw_fit(
    rng: np.random.Generator,
    kind: str,
    sampling: Sampling,
    y: np.ndarray,
    frequency: float,
    t2: float,
    length: float,
) -> Oscillation:
    """The lab's curve: least squares over all windows; one of several bad ones when undersampled."""
    x, rate = sampling.times, 1 / t2
    if kind == "success":
        return fit_oscillation(x, y, frequency * 1e-3, rate, free_decay=True, power=2)
    way = float(rng.random())
    if way < 0.4:  # a wrong fringe between windows: neighbours are one over the windows' distance apart
        gap = length / int(sampling.window[-1])
        start = frequency * 1e-3 + pick(rng, (-1, 1)) * uniform(rng, 0.7, 2.6) / gap
        start = max(start, 0.3 * frequency * 1e-3)
        fit = fit_oscillation(x, y, start, rate * uniform(rng, 0.3, 1.5), free_frequency=False, power=2)
    elif way < 0.7:  # the first windows only
        first = sampling.window <= (0 if sampling.points >= 4 else 1)
        start = frequency * 1e-3 * (1 + pick(rng, (-1, 1)) * uniform(rng, 0.02, 0.2))
        few = fit_oscillation(x[first], y[first], start, rate, free_frequency=False, power=2)
        amplitude = math.hypot(few.a, few.b)
        shrink = min(1.0, uniform(rng, 0.35, 0.5) / max(amplitude, 1e-9))
        fit = Oscillation(start, rate * uniform(rng, 0.3, 1.8), few.a * shrink, few.b * shrink, 0.5, 2)
    else:
        return fit_oscillation(x, y, frequency * 1e-3, rate, power=2, free_frequency=False)
    if math.hypot(fit.a, fit.b) < 0.12:  # a lab fit keeps a sensible contrast
        return Oscillation(fit.frequency, fit.rate, 0.35, 0.1, 0.5, 2)
    largest = min(1.0, 0.5 / math.hypot(fit.a, fit.b))
    return Oscillation(fit.frequency, fit.rate, fit.a * largest, fit.b * largest, min(0.6, max(0.4, fit.c)), 2)


def measured(fit: Oscillation, x: np.ndarray, y: np.ndarray, sigma: float) -> dict[str, float]:
    """Values and uncertainties as a header prints them: the latter from the covariance sigma^2 (J^T J)^-1."""
    phase = 2 * math.pi * fit.frequency * x
    decay = np.exp(-((fit.rate * x) ** 2))
    cos, sin = decay * np.cos(phase), decay * np.sin(phase)
    wave = fit.a * cos + fit.b * sin
    columns = [2 * math.pi * x * (fit.b * cos - fit.a * sin), -2 * fit.rate * x * x * wave, cos, sin, np.ones_like(x)]
    jacobian = np.stack(columns, axis=1)
    scale = np.sqrt((jacobian * jacobian).sum(axis=0)) + 1e-12
    gram = (jacobian / scale).T @ (jacobian / scale)
    gram[np.diag_indices(5)] += 1e-6
    spread = sigma * np.sqrt(np.diag(np.linalg.inv(gram))) / scale
    residual = (y - fit(x)) / sigma
    chi = float(residual @ residual) / max(1, x.size - 5)
    frequency, rate = abs(fit.frequency) * 1e3, max(abs(fit.rate), 1e-9)
    t2 = 1e-3 / rate
    frequency_unc = max(float(spread[0]) * 1e3, 1e-3)
    t2_unc = min(max(float(spread[1]) / rate * t2, 0.01 * t2), 9 * t2)
    places = 1 if t2 >= 3 else 2
    return {
        "frequency_MHz": round(frequency, 3),
        "frequency_MHz_unc": round(frequency_unc, 3),
        "T2_us": round(t2, places),
        "T2_us_unc": max(round(t2_unc, places), 10.0**-places),
        "RChi2": max(round(chi, 1), 0.1),
        "frequency_noise_kHz": round(math.sqrt(2) / (2 * math.pi * t2) * 1e3, 1),
    }


def draw_header(rng: np.random.Generator, values: dict[str, float], boxed: bool) -> str:
    """The lines that tell the fit, above the plot or (short ones) in a box."""
    f, df = f"{values['frequency_MHz']:.3f}", f"{values['frequency_MHz_unc']:.3f}"
    t2, dt2 = values["T2_us"], values["T2_us_unc"]
    told = chance(rng, 0.75)
    noise, chi = values["frequency_noise_kHz"], values["RChi2"]
    run = pick(rng, ("Exp ID: {}", "Run {}", "rid {}", "Experiment {}")).format(int(rng.integers(2000, 900000)))
    way = 2 if boxed else int(rng.integers(3))
    if way == 0:
        end = f" (Frequency Noise σ = sqrt(2)/T2 = {noise} kHz)" if told else ""
        return f"{run}\nFreq={f} +/- {df} MHz\nT2={t2} us +/- {dt2} us\nRChi2={chi}{end}"
    if way == 1:
        end = f", Noise σ = {noise} kHz" if told else ""
        return f"{run}\nf = {f} ± {df} MHz, T2 = {t2} ± {dt2} us\nRChi2 = {chi}{end}"
    end = f"\nFreq. Noise = {noise} kHz" if told else ""
    return f"Freq: {f} +/- {df} MHz\nT2: {t2} +/- {dt2} us\nRChi2: {chi}{end}"


def draw_panel(
    rng: np.random.Generator,
    style: Style,
    sampling: Sampling,
    y: np.ndarray,
    sigma: float,
    fit: Oscillation,
    values: dict[str, float],
) -> Panel:
    """Points with joins and ribbons within each window, the fit over the whole range, the numbers in the title."""
    x = sampling.times
    last = float(x[-1])
    unit, factor = ("us", 1e-3) if chance(rng, 0.25) else ("ns", 1.0)
    joined, ribbon = chance(rng, 0.5), chance(rng, 0.4)
    bars = None if ribbon else np.full(x.size, sigma)
    # The sampling of the drawn curve is the lab's: 6 points a period leave corners, as in many a real plot.
    count = int(np.clip(last * abs(fit.frequency) * pick(rng, (7, 10, 14)), 80, 900))
    grid = np.linspace(0, last, count)
    curve = Series(grid * factor, fit(grid), "line", "fit", None, pick(rng, ("fit", "Fit", None)))
    label = pick(rng, ("data", "Data", "measured", None))
    series = [Series(x * factor, y, "points", "data", bars, label)]
    for window in range(int(sampling.window[-1]) + 1) if joined or ribbon else ():
        mine = sampling.window == window
        band = np.full(int(mine.sum()), sigma) if ribbon else None
        if mine.sum() > 1:
            series.append(Series(x[mine] * factor, y[mine], "points+line" if joined else "points", "data", None, None,
                                 band))  # fmt: skip
    parts = [*series, curve] if chance(rng, 0.4) else [*series[:1], curve, *series[1:]]
    name = pick(rng, ("time", "Time", "Delay", "Ramsey time", "delay time", "Dark time"))
    header = draw_header(rng, values, not style.show_title)
    low, high = min(float(y.min()) - 0.02, 0.0), max(float(y.max()) + 0.02, 1.0)
    ends = (0.0, last * factor) if chance(rng, 0.6) else (-0.02 * last * factor, 1.02 * last * factor)
    return Panel(
        ends,
        (0.0, 1.0) if low >= -0.01 and high <= 1.02 and chance(rng, 0.7) else (low - 0.02, high + 0.02),
        with_unit(rng, name, unit),
        pick(rng, ("occupancy", "Occupancy", "retention", "Survival probability", "P_ground", "Ground population", "")),
        header if style.show_title else "",
        tuple(parts),
        text=None if style.show_title else header,
    )
