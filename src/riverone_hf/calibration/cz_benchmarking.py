"""CZ benchmarking: circuits with a growing number of CZ gates on an atom pair; how fast are atoms and states lost?

Physics: the pair survives n gates with probability A r^n; a randomised circuit of n cycles succeeds with
B p^n + 1/4 of the surviving pairs (depolarization of two qubits to 1/4). Every depth has some random circuits of
finite shots, and their mean. Without the gate, each circuit ends in some wrong state: success 0, 1/4, 1/2 or 1,
whatever the depth. Two images: retention, success probability. Both fits are weighted least squares of the means.

Label rule (criteria: SPEC 2.7, family 2; thresholds are the constants below, draws keep clear of them), N = most gates:
type                                   outcome                status         decided by
cz_benchmarking_success                Expected behavior      SUCCESS        r^N > 0.75 and p^N > 0.5
cz_benchmarking_failure_miscalibrated  Suboptimal parameters  MISCALIBRATED  p^N < 0.5 and r^N < 0.96
cz_benchmarking_failure_no_gate        Anomalous behavior     NO_GATE        r^N > 0.96, success lost at the first depth
The fits are always drawn, and Reliable unless there is no gate or polarization is lost before the second depth. Q5
repeats the numbers that title or text box show (of the fit, sensible or not); chi squared is null where not shown.
`targets`: retention_end (r^N), polarization_end (p^N), depth, circuits, misfit, has_fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from riverone_hf.calibration.cz_words import ACTIONS, SECOND_FEATURES, WORDS
from riverone_hf.calibration.physics import chance, clip01, levenberg, log_uniform, number, padded_limits, pick, uniform
from riverone_hf.calibration.scene import Panel, Series, Style
from riverone_hf.calibration.trace import panel_truth
from riverone_hf.calibration.words import ANOMALOUS, EXPECTED, SUBOPTIMAL, assessment
from riverone_hf.questions.truth import Truth

LABELS = {
    "cz_benchmarking_success": (EXPECTED, "SUCCESS"),
    "cz_benchmarking_failure_miscalibrated": (SUBOPTIMAL, "MISCALIBRATED"),
    "cz_benchmarking_failure_no_gate": (ANOMALOUS, "NO_GATE"),
}
TYPES = tuple(LABELS)

POLARIZATION_THRESHOLD = 0.5
"""Polarization left at the deepest circuits above which the decay is gradual; draws leave out 0.35 to 0.6."""
FLAT_THRESHOLD = 0.96
"""Retention left at the deepest circuits above which it is flat; draws of failures leave out 0.93 to 0.985."""
LOST = 0.2
"""Polarization at the second depth below which the fit cannot determine it; draws leave out 0.15 to 0.25."""
LARGEST_ERROR = 1.5
"""A standard error of a rate that the data do not determine is cut here."""
ASYMPTOTE = 0.25
"""Success probability of a fully depolarized pair of qubits."""


@dataclass(frozen=True)
class Decay:
    """offset + scale * rate^n through the means, with the rate's standard error and the reduced chi squared."""

    scale: float
    rate: float
    offset: float
    error: float
    chi_squared: float

    def __call__(self, n: np.ndarray) -> np.ndarray:
        return self.offset + self.scale * self.rate**n


def fit_decay(n: np.ndarray, mean: np.ndarray, sigma: np.ndarray, offset: float, rate: float) -> Decay:
    """Weighted least squares of offset + scale rate^n (offset fixed) through `mean` +- `sigma` (depths,)."""

    def model(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r = min(1.05, max(0.02, float(p[1])))
        power = r**n
        columns = np.stack([power, p[0] * n * power / r], axis=1) / sigma[:, None]
        return (offset + p[0] * power) / sigma, columns

    p = levenberg(model, np.array([float(mean[0]) - offset, rate]), mean / sigma, steps=8)
    p[1] = min(1.05, max(0.02, float(p[1])))
    value, jacobian = model(p)
    chi = float(np.sum((mean / sigma - value) ** 2)) / max(1, n.size - 2)
    gram = jacobian.T @ jacobian
    spread = gram[0, 0] / max(gram[0, 0] * gram[1, 1] - gram[0, 1] ** 2, 1e-12)
    return Decay(float(p[0]), float(p[1]), offset, math.sqrt(spread * max(1.0, chi)), chi)


def simulate(
    experiment_type: str, rng: np.random.Generator, style: Style
) -> tuple[Truth, tuple[tuple[Panel, ...], ...]]:
    """One benchmark: its truth and two images of one panel, retention and success probability."""
    kind = experiment_type.removeprefix("cz_benchmarking_")
    depths = draw_depths(rng)
    deepest = int(depths[-1])
    circuits = int(rng.integers(4, 13))
    n = np.repeat(depths, circuits)
    kept_end, polarized_end = draw_ends(rng, kind)
    kept = uniform(rng, 0.93, 0.985) * kept_end ** (n / deepest)
    start = uniform(rng, 0.6, 0.72)
    if kind == "failure_no_gate":
        wrong = rng.choice([0.02, 0.03, 0.25, 0.5, 0.9], size=n.size, p=[0.4, 0.15, 0.2, 0.15, 0.1])
        succeeded = np.where(n == 0, start + ASYMPTOTE, wrong)
    else:
        # Some circuits suffer a little more from the same error than others.
        succeeded = ASYMPTOTE + start * polarized_end ** (n / deepest * rng.uniform(0.92, 1.08, n.size))
    shots = int(log_uniform(rng, 50, 250))
    order = rng.permutation(depths.size * circuits) if chance(rng, 0.5) else np.arange(n.size)
    sites = [int(rng.integers(0, 200))]
    sites.append(max(0, sites[0] + pick(rng, (-1, 1, 1, 2, 10, -10))) if sites[0] else 1)
    notation = pick(rng, ("{v:.4f} ({u:.0f})", "{v:.4f} ({u:.0f})", "{v:.4f}({u:.0f})", "{v:.4f} ± {w:.4f}"))
    with_chi = chance(rng, 0.9)
    xlabel = pick(rng, ("Number of Cz gates in circuit",) * 4 + ("Number of CZ gates", "Circuit depth (CZ gates)"))
    panels, fits, values, errors, chis = [], [], [], [], []
    for i, probability in enumerate((kept, succeeded)):
        counts = rng.binomial(shots, np.clip(probability, 0.0, 1.0))
        y = counts / shots
        # Agresti-Coull: no vanishing error where all or no shots succeed.
        share = (counts + 1) / (shots + 2)
        sigma = np.sqrt(share * (1 - share) / shots)
        mean = y.reshape(depths.size, circuits).mean(axis=1)
        mean_error = np.sqrt((sigma**2).reshape(depths.size, circuits).sum(axis=1)) / circuits
        guess = (kept_end, polarized_end)[i] ** (1 / deepest) if kind != "failure_no_gate" or i == 0 else 0.5
        fit = fit_decay(depths, mean, mean_error, ASYMPTOTE * i, guess)
        value, error = round(fit.rate, 4), min(LARGEST_ERROR, max(1e-4, round(fit.error, 4)))
        chi = round(fit.chi_squared, 2 if chance(rng, 0.5) else 3)
        name = (
            pick(rng, ("Probability to retain both atoms per Cz",) * 3 + ("Retention per CZ",)),
            pick(rng, ("Cycle polarization",) * 3 + ("Polarization per cycle",)),
        )[i]
        text = f"{name}: " + notation.format(v=value, u=error * 1e4, w=error)
        rows = (f"Sites ({sites[0]}, {sites[1]})", text, *([f"Reduced chi squared: {chi}"] if with_chi else []))
        ylabel = (
            pick(rng, ("Probability to retain both atoms",) * 3 + ("Retention", "Two-atom retention")),
            pick(rng, ("Success probability",) * 3 + ("Return probability", "P(success)")),
        )[i]
        data = (n[order], y[order], sigma[order])
        panels.append(draw_panel(rng, style, data, (depths, mean, mean_error), fit, xlabel, ylabel, rows))
        fits.append(fit)
        values.append(value)
        errors.append(error)
        chis.append(chi if with_chi else None)
    good = kind != "failure_no_gate" and polarized_end ** (depths[1] / deepest) > LOST
    words = WORDS[kind].draw(
        rng,
        r=number(values[0], 4),
        p=number(values[1], 4),
        depth=deepest,
        level=number(float(fits[0](depths).mean()), 2),
    )
    features = (words.pop("main_features"), pick(rng, SECOND_FEATURES[kind]))
    outcome, status = LABELS[experiment_type]
    reliability, q4_reason = assessment(
        rng, "good" if good else "wrong" if kind == "failure_no_gate" else "unsupported"
    )
    return Truth(
        "cz_benchmarking",
        experiment_type,
        outcome,
        reliability,
        status,
        {
            "site_indices": sites,
            "retention_per_cz": values[0],
            "retention_per_cz_unc": errors[0],
            "cycle_polarization": values[1],
            "cycle_polarization_unc": errors[1],
            "chi_squared_retention": chis[0],
            "chi_squared_polarization": chis[1],
            "max_circuit_depth": deepest,
        },
        tuple(panel_truth(panel, "scatter", text) for panel, text in zip(panels, features, strict=True)),
        q4_reason=q4_reason,
        suggested_range=None if status == "SUCCESS" else pick(rng, ACTIONS[kind]),
        targets={
            "retention_end": kept_end,
            "polarization_end": polarized_end,
            "depth": clip01(deepest / 40),
            "circuits": clip01(circuits / 12),
            "misfit": clip01(math.log10(1 + fits[1].chi_squared) / 2),
            "has_fit": 1.0,
        },
        **words,
    ), tuple((panel,) for panel in panels)


def draw_depths(rng: np.random.Generator) -> np.ndarray:
    """Numbers of gates (depths,), float, from zero to 6 ... 40."""
    fixed = ((0, 4, 6, 8), (0, 2, 4, 6, 8), (0, 4, 8, 12), (0, 2, 4, 8, 16), (0, 1, 2, 4, 8), (0, 4, 8, 12, 16, 20))
    if chance(rng, 0.6):
        return np.array(pick(rng, fixed), dtype=float)
    step = int(rng.integers(1, 7))
    return np.arange(0, int(rng.integers(4, 9)) * step, step, dtype=float)[: 1 + 40 // step]


def draw_ends(rng: np.random.Generator, kind: str) -> tuple[float, float]:
    """(retention, polarization) left at the deepest circuits relative to none."""
    if kind == "success":
        polarized = uniform(rng, 0.6, 0.97)
        return uniform(rng, max(0.78, polarized - 0.1), 0.995), polarized
    if kind == "failure_miscalibrated":
        return uniform(rng, 0.3, 0.93), log_uniform(rng, 0.0005, 0.35)
    return uniform(rng, 0.985, 1.0), 0.0


def draw_panel(
    rng: np.random.Generator,
    style: Style,
    data: tuple[np.ndarray, np.ndarray, np.ndarray],
    means: tuple[np.ndarray, np.ndarray, np.ndarray],
    fit: Decay,
    xlabel: str,
    ylabel: str,
    rows: tuple[str, ...],
) -> Panel:
    """Single circuits, their means and the fit; the fit's numbers in the title, or in a box where titles are off."""
    n, y, sigma = data
    depths, mean, mean_error = means
    grid = depths if chance(rng, 0.2) else np.linspace(0.0, depths[-1], 80)
    curve = fit(grid)
    labels = ("Circuits", "Mean", "Fit") if chance(rng, 0.12) else (None, None, None)
    series = (
        Series(n, y, "points", "data", sigma, labels[0]),
        Series(depths, mean, "points", "data2", mean_error, labels[1]),
        Series(grid, curve, "line", "fit", None, labels[2]),
    )
    ylim = padded_limits(y - sigma, y + sigma, curve)
    return Panel(
        padded_limits(depths),
        ylim,
        xlabel,
        ylabel,
        "\n".join(wrap(rows, style)) if style.show_title else "",
        series,
        text=None if style.show_title else "\n".join(rows),
    )


def wrap(rows: tuple[str, ...], style: Style) -> list[str]:
    """Title lines broken after the colon where they are wider than the figure."""
    width, height = style.figsize
    size = 1.2 * 10 * math.sqrt(min(width, 2 * height) * min(height, 2 * width) / (640 * 480)) * 100 / 72
    room = 0.95 * width / (0.56 * size * style.font_scale)
    return [part for row in rows for part in (row.split(": ") if len(row) > room else [row])]
