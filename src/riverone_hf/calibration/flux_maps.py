"""How does a transmon line move with flux, and how does software read it off a measured map?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from riverone_hf.calibration.physics import levenberg, rms

CHARGING = 0.2
"""Charging energy E_C / h in GHz, as typical transmons have."""


@dataclass(frozen=True)
class Arc:
    """f(x) = top (cos^2 + d^2 sin^2)^(1/4) - E_C with angle pi (x - centre) / period (Koch et al. 2007, eq. 2.18).

    `top` = maximum frequency + E_C in GHz; `asymmetry` d of the junctions; x, `centre`, `period` in bias units.
    """

    top: float
    centre: float
    period: float
    asymmetry: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        angle = math.pi / self.period * (x - self.centre)
        return self.top * (1 - (1 - self.asymmetry**2) * np.sin(angle) ** 2) ** 0.25 - CHARGING

    def angle_of(self, frequency: float) -> float:
        """Angle in (0, pi/2] at which the line has fallen to `frequency` (GHz); pi/2 where it never does."""
        share = (1 - ((frequency + CHARGING) / self.top) ** 4) / (1 - self.asymmetry**2)
        return math.asin(math.sqrt(min(1.0, max(0.0, share))))


def fit_arc(x: np.ndarray, y: np.ndarray, start: Arc, steps: int = 5) -> Arc:
    """Least-squares arc through points x, y (n,): top, centre and period are free, the asymmetry is kept."""
    keep = 1 - start.asymmetry**2

    def model(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        offset = x - p[1]
        angle = p[2] * offset
        squares = np.maximum(1 - keep * np.sin(angle) ** 2, 1e-6)
        root = squares**0.25
        slope = -0.25 * p[0] * keep * root / squares * np.sin(2 * angle)
        return p[0] * root - CHARGING, np.stack([root, -p[2] * slope, offset * slope], axis=1)

    p = levenberg(model, np.array([start.top, start.centre, math.pi / start.period]), y, steps)
    return Arc(float(p[0]), float(p[1]), math.pi / max(abs(float(p[2])), 1e-9), start.asymmetry)


def miss(arc: Arc, x: np.ndarray, wanted: float, mode: str, sign: float) -> Arc:
    """An arc that misses `arc` on x (n,) by about `wanted` GHz rms, its centre, top or period wrong, as bad fits are.

    `sign` +1 or -1 says to which side. The distance may saturate below `wanted`: check it.
    """
    size = 0.1
    wrong = arc
    for _ in range(14):
        if mode == "centre":
            wrong = replace(arc, centre=arc.centre + sign * size * float(np.ptp(x)))
        elif mode == "top":
            wrong = replace(arc, top=arc.top + sign * wanted)
        else:
            wrong = replace(arc, period=arc.period / (1 + 3 * size) if sign > 0 else arc.period * (1 + 4 * size))
        distance = rms(wrong(x) - arc(x))
        if abs(distance - wanted) < 0.03 * wanted:
            break
        size *= min(2.0, max(0.4, (wanted / max(distance, 1e-9)) ** 0.8))
    return wrong


def lines(frequency: np.ndarray, centre: np.ndarray, width: float) -> np.ndarray:
    """Lorentzian lines of FWHM `width`: (rows, columns) of height 1 at `centre` (columns,) on `frequency` (rows,)."""
    return 1 / (1 + (2 / width * (frequency[:, None] - centre[None, :])) ** 2)


def pick_peaks(values: np.ndarray, frequency: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """(line position, its error), both (columns,), of the highest peak in each column of `values` (rows, columns).

    The position is the centroid within `reach` rows of the smoothed maximum; the error grows as the contrast falls.
    """
    rows = values.shape[0]
    smooth = values.copy()
    smooth[1:-1] = (values[:-2] + 2 * values[1:-1] + values[2:]) / 4
    base = smooth.mean(axis=0)
    near = np.clip(np.argmax(smooth, axis=0) + np.arange(-reach, reach + 1)[:, None], 0, rows - 1)
    weight = np.maximum(np.take_along_axis(smooth, near, axis=0) - base, 0.0) + 1e-12
    centre = (weight * frequency[near]).sum(axis=0) / weight.sum(axis=0)
    noise = np.abs(np.diff(values, axis=0)).mean(axis=0)
    step = abs(float(frequency[1] - frequency[0]))
    return centre, step * (0.15 + 2.0 * noise / (weight.max(axis=0) + 1e-9)).clip(max=4.0)


def map_limits(axis: np.ndarray) -> tuple[float, float]:
    """Axis limits of a map whose pixels are centred on the equally spaced `axis`."""
    half = float(axis[1] - axis[0]) / 2
    return float(axis[0]) - half, float(axis[-1]) + half
