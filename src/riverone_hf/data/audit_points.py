"""What does a plot hand to a least-squares fit? Its points, their units, and small grid searches."""

from __future__ import annotations

import re

import numpy as np

from ..calibration.scene import Panel, Series

Values = dict[str, float | list[float]]

TO_US = {"ns": 1e-3, "us": 1.0, "µs": 1.0, "μs": 1.0, "ms": 1e3}
TO_GHZ = {"GHz": 1.0, "MHz": 1e-3, "kHz": 1e-6, "Hz": 1e-9}
TO_MV = {"mV": 1.0, "V": 1e3}


def unit_of(label: str, units: dict[str, float]) -> float | None:
    """The factor of the unit that ends an axis label, or None when there is no known one."""
    words = re.findall(r"[A-Za-zµμ]+", label)
    return units.get(words[-1]) if words else None


def points_of(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """x and y (n,) of the panel's first series."""
    series = panel.series[0]
    return np.asarray(series.x, float), np.asarray(series.y, float)


def series_of(panel: Panel, *roles: str) -> list[Series]:
    """The series of points (or joined points) with one of the `roles`."""
    return [series for series in panel.series if series.role in roles and series.kind != "line"]


def best_shape(shapes: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Rows of `shapes` (g, n), best first, by how well offset + scale * row follows y (n,)."""
    rows = shapes - shapes.mean(axis=1, keepdims=True)
    rest = y - y.mean()
    return np.argsort(-((rows @ rest) ** 2) / np.maximum((rows * rows).sum(axis=1), 1e-12))


def best_columns(columns: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of several linear models `columns` (g, n, k): their order, best first, by least squares through y (n,)."""
    turned = columns.transpose(0, 2, 1)
    gram = turned @ columns + 1e-9 * np.eye(columns.shape[2])
    right = turned @ y
    return np.argsort(-(right * np.linalg.solve(gram, right[..., None])[..., 0]).sum(axis=1))


def folded(turns: np.ndarray) -> np.ndarray:
    """Phases in turns, moved to [-0.5, 0.5)."""
    return (np.asarray(turns) + 0.5) % 1 - 0.5
