"""Shared pieces of every experiment: draws, shot noise, drift, readout units, and small least-squares fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

T = TypeVar("T")
Model = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of `options`, uniformly; 20 times faster than `rng.choice` and keeps Python types."""
    return options[int(rng.integers(len(options)))]


def chance(rng: np.random.Generator, probability: float) -> bool:
    """True with the given probability."""
    return bool(rng.random() < probability)


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A Python float, uniform in [low, high)."""
    return low + (high - low) * float(rng.random())


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A Python float whose logarithm is uniform; both bounds positive."""
    return math.exp(uniform(rng, math.log(low), math.log(high)))


def round_sig(value: float, digits: int = 3) -> float:
    """`value` with that many significant digits (0 and non-finite values are returned as they are)."""
    if value == 0 or not math.isfinite(value):
        return value
    return round(value, digits - 1 - math.floor(math.log10(abs(value))))


def number(value: float, digits: int = 3) -> str:
    """Plain decimal text with `digits` significant digits, never in exponent form above 1e-5."""
    rounded = round_sig(value, digits)
    if rounded == int(rounded) and abs(rounded) < 1e7:
        return str(int(rounded))
    return f"{rounded:.10f}".rstrip("0") if abs(rounded) < 1e-4 else repr(rounded)


def decade_below(span: float, fraction: float = 0.1) -> float:
    """The power of ten at or below `fraction * span`: the step in which a reader reads an axis of that span."""
    return float(10.0 ** math.floor(math.log10(abs(span) * fraction)))


def round_to_step(value: float, step: float) -> float:
    """`value` rounded to a multiple of a power of ten `step`, free of binary dust."""
    return round(round(value / step) * step, max(0, -math.floor(math.log10(step))))


def reader_value(value: float) -> float:
    """`value` > 0 in two or three significant digits, the fewest that change it by at most 1 %."""
    return round_to_step(value, decade_below(value, 0.02))


def reader_range(limits: tuple[float, float]) -> tuple[float, float]:
    """Visible axis limits as a reader gives them: two or three significant digits of the span."""
    step = decade_below(limits[1] - limits[0])
    return round_to_step(limits[0], step), round_to_step(limits[1], step)


def padded_limits(*arrays: np.ndarray, pad: float = 0.05) -> tuple[float, float]:
    """(low, high) around all values with a margin of `pad` of the span on both sides, as matplotlib autoscales."""
    low = min(float(a.min()) for a in arrays)
    high = max(float(a.max()) for a in arrays)
    # A single value has no span to take a share of.
    margin = (high - low) * pad if high > low else max(abs(high), 1.0) * 0.05
    return low - margin, high + margin


def unit_log(value: float, low: float, high: float) -> float:
    """Where `value` lies between low (0) and high (1) on a log scale, clipped to [0, 1]."""
    if value <= low:
        return 0.0
    return min(1.0, math.log(value / low) / math.log(high / low))


def clip01(value: float) -> float:
    """`value` limited to [0, 1]."""
    return min(1.0, max(0.0, float(value)))


def shot_noise(rng: np.random.Generator, probability: np.ndarray, sigma: float) -> np.ndarray:
    """Fraction of excited outcomes over finite shots (projection noise), shape as `probability`.

    `sigma` is the standard deviation at probability 0.5; a binomial has sigma^2 = p(1-p)/shots, hence
    shots = 0.25 / sigma^2. Probabilities are clipped to [0, 1] first.
    """
    shots = max(4, round(0.25 / sigma**2))
    return rng.binomial(shots, np.clip(probability, 0.0, 1.0)) / shots


def slow_drift(rng: np.random.Generator, n: int, size: float) -> np.ndarray:
    """A slow baseline (n,) with amplitude about `size`: a random slope plus half a sine, as amplifiers drift."""
    u = np.linspace(-0.5, 0.5, n)
    phase = uniform(rng, 0, 2 * math.pi)
    return size * (rng.normal() * u + 0.5 * rng.normal() * np.sin(math.pi * u + phase))


@dataclass(frozen=True)
class Readout:
    """How an excited population becomes a drawn y value: `offset + gain * population`."""

    label: str
    gain: float
    offset: float
    bounded: bool
    """True for populations and <z>, whose axis a lab may fix."""

    def __call__(self, population: np.ndarray) -> np.ndarray:
        return self.offset + self.gain * population


def rms(values: np.ndarray) -> float:
    """Root mean square of an array."""
    return math.sqrt(float(values @ values) / values.size)


def solve_linear(basis: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least-squares coefficients (k,) of y (n,) in basis (n, k) by the normal equations, slightly regularised."""
    gram = basis.T @ basis
    gram[np.diag_indices_from(gram)] += 1e-10 * gram.trace() + 1e-300
    return np.linalg.solve(gram, basis.T @ y)


def levenberg(model: Model, start: np.ndarray, y: np.ndarray, steps: int = 6) -> np.ndarray:
    """Levenberg-Marquardt: parameters (k,) that lower |y - model|^2 from `start` in at most `steps` trials.

    `model(parameters)` returns values (n,) and Jacobian (n, k). A step that does not lower the sum of squares is
    undone and the damping raised, so the result is never worse than `start`.
    """
    parameters = start
    value, jacobian = model(parameters)
    residual = y - value
    cost = float(residual @ residual)
    damping = 1e-3
    for _ in range(steps):
        gram = jacobian.T @ jacobian
        gram[np.diag_indices_from(gram)] *= 1 + damping
        gram[np.diag_indices_from(gram)] += 1e-12 * gram.trace() + 1e-300
        trial = parameters + np.linalg.solve(gram, jacobian.T @ residual)
        with np.errstate(over="ignore", invalid="ignore"):
            # A wild step may overflow an exponential; its cost is then not lower and it is undone.
            value, trial_jacobian = model(trial)
            trial_residual = y - value
            trial_cost = float(trial_residual @ trial_residual)
        if trial_cost < cost:
            small = cost - trial_cost < 1e-6 * cost
            parameters, jacobian, residual, cost = trial, trial_jacobian, trial_residual, trial_cost
            damping *= 0.2
            if small:
                break
        else:
            damping *= 10
    return parameters


@dataclass(frozen=True)
class Oscillation:
    """c + exp(-(rate x)^power) (a cos 2 pi f x + b sin 2 pi f x)."""

    frequency: float
    rate: float
    a: float
    b: float
    c: float
    power: int = 1

    def envelope(self, x: np.ndarray) -> np.ndarray:
        """Amplitude of the oscillation at x, in units of y."""
        decay = np.exp(-self.rate * x) if self.power == 1 else np.exp(-((self.rate * x) ** 2))
        return math.hypot(self.a, self.b) * decay

    def __call__(self, x: np.ndarray) -> np.ndarray:
        phase = 2 * math.pi * self.frequency * x
        decay = np.exp(-self.rate * x) if self.power == 1 else np.exp(-((self.rate * x) ** 2))
        return self.c + decay * (self.a * np.cos(phase) + self.b * np.sin(phase))


def fit_oscillation(
    x: np.ndarray,
    y: np.ndarray,
    frequency: float,
    rate: float = 0.0,
    *,
    free_decay: bool = False,
    free_frequency: bool = True,
    power: int = 1,
    steps: int = 6,
) -> Oscillation:
    """Least-squares (damped) sine through points x, y (n,), started at `frequency` and `rate` (1/units of x).

    The linear part (a, b, c) is solved at the start values, then Levenberg-Marquardt refines all free parameters.
    """
    scale = float(x[-1] - x[0])
    u = x / scale
    free = [0] * free_frequency + [1] * free_decay

    def model(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        phase = 2 * math.pi * p[0] * u
        decay = np.exp(-p[1] * u) if power == 1 else np.exp(-((p[1] * u) ** 2))
        cos, sin = decay * np.cos(phase), decay * np.sin(phase)
        wave = p[2] * cos + p[3] * sin
        d_frequency = 2 * math.pi * u * (p[3] * cos - p[2] * sin)
        d_rate = -u * wave if power == 1 else -2 * p[1] * u * u * wave
        columns = np.stack([d_frequency, d_rate, cos, sin, np.ones_like(u)], axis=1)
        if not free_frequency:
            columns[:, 0] = 0
        if not free_decay:
            columns[:, 1] = 0
        return wave + p[4], columns

    start = np.array([frequency * scale, rate * scale, 0.0, 0.0, 0.0])
    start[2:] = solve_linear(model(start)[1][:, 2:], y)
    p = levenberg(model, start, y, steps) if free else start
    return Oscillation(float(p[0]) / scale, float(p[1]) / scale, float(p[2]), float(p[3]), float(p[4]), power)


@dataclass(frozen=True)
class Exponential:
    """c + a exp(-rate x)."""

    rate: float
    a: float
    c: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.c + self.a * np.exp(-self.rate * x)


def fit_exponential(x: np.ndarray, y: np.ndarray, rate: float, steps: int = 6) -> Exponential:
    """Least-squares exponential decay through x, y (n,), started at `rate` (1/units of x)."""
    scale = float(x[-1] - x[0])
    u = x / scale

    def model(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        decay = np.exp(-p[0] * u)
        return p[1] * decay + p[2], np.stack([-u * p[1] * decay, decay, np.ones_like(u)], axis=1)

    start = np.array([rate * scale, 0.0, 0.0])
    start[1:] = solve_linear(model(start)[1][:, 1:], y)
    p = levenberg(model, start, y, steps)
    return Exponential(float(p[0]) / scale, float(p[1]), float(p[2]))


@dataclass(frozen=True)
class Lorentzian:
    """c + a / (1 + (2 (x - centre) / fwhm)^2)."""

    centre: float
    fwhm: float
    a: float
    c: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.c + self.a / (1 + (2 * (x - self.centre) / self.fwhm) ** 2)


def fit_lorentzian(x: np.ndarray, y: np.ndarray, centre: float, fwhm: float, steps: int = 8) -> Lorentzian:
    """Least-squares Lorentzian with constant background through x, y (n,), started at `centre`, `fwhm`."""
    scale, middle = float(x[-1] - x[0]), float(x[0] + x[-1]) / 2
    u = (x - middle) / scale

    def model(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        w = p[1] if abs(p[1]) > 1e-4 else 1e-4
        z = 2 * (u - p[0]) / w
        shape = 1 / (1 + z * z)
        slope = 2 * p[2] * z * shape * shape
        return p[2] * shape + p[3], np.stack([slope * 2 / w, slope * z / w, shape, np.ones_like(u)], axis=1)

    start = np.array([(centre - middle) / scale, fwhm / scale, 0.0, 0.0])
    start[2:] = solve_linear(model(start)[1][:, 2:], y)
    p = levenberg(model, start, y, steps)
    return Lorentzian(float(p[0]) * scale + middle, abs(float(p[1])) * scale, float(p[2]), float(p[3]))
