"""Which numbers do maps, clouds, scans and images give? Fits of lines along columns, of clusters and of a cloud."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from ..calibration import ramsey_charge_tomography as tomography
from ..calibration.physics import fit_lorentzian, rms
from ..calibration.scene import Figure, Panel
from .audit_points import TO_GHZ, TO_MV, Values, folded, points_of, series_of, unit_of
from .plan import Row


def fit_clusters(row: Row) -> Values:
    """Centres of two equally wide Gaussians (expectation-maximisation), started at the means of both colours."""
    clouds = []
    for role in ("data", "data2"):
        parts = [np.stack([s.x, s.y], axis=1) for panel in _panels(row) for s in panel.series if s.role == role]
        clouds.append(np.concatenate(parts) if parts else np.zeros((0, 2)))
    if not all(len(cloud) for cloud in clouds):
        return {}
    points = np.concatenate(clouds)
    centres = np.stack([cloud.mean(axis=0) for cloud in clouds])
    shares = np.array([len(cloud) / len(points) for cloud in clouds])
    variance = float(np.mean([((cloud - c) ** 2).mean() for cloud, c in zip(clouds, centres, strict=True)]))
    for _ in range(20):
        away = ((points[:, None, :] - centres) ** 2).sum(axis=2)
        weight = shares * np.exp(-(away - away.min(axis=1, keepdims=True)) / (2 * variance))
        weight /= weight.sum(axis=1, keepdims=True)
        shares = weight.mean(axis=0)
        centres = (weight.T @ points) / np.maximum(weight.sum(axis=0)[:, None], 1e-9)
        variance = float((weight * away).sum() / (2 * len(points)))
    return {f"cluster{k}_center": [float(v) for v in centre] for k, centre in enumerate(centres)}


def _panels(row: Row) -> list[Panel]:
    return [panel for figure in row.figures for panel in figure.panels]


def fit_resonator(row: Row) -> Values:
    """Frequency and contrast of one or two lines in the magnitude, low frequency first."""
    panel = _magnitude(row.figures)
    to_ghz = unit_of(panel.xlabel, TO_GHZ) if panel else None
    if panel is None or to_ghz is None:
        return {}
    x, y = points_of(panel)
    if "dB" in panel.ylabel or y.min() < 0:
        y = 10 ** (y / 20)
    rest = y - float(np.median(y))
    side = float(np.sign(rest[np.abs(rest).argmax()]))
    noise = float(np.median(np.abs(np.diff(y)))) / 0.95
    left = side * rest
    first = float(left.max())
    lines: list[tuple[int, float]] = []
    while left.max() > max(8 * noise, 0.4 * first) and len(lines) < 2:
        place = int(left.argmax())
        outside = np.flatnonzero(side * rest < 0.5 * side * rest[place])
        low, high = outside[outside < place].max(initial=0), outside[outside > place].min(initial=y.size - 1)
        lines.append((place, float(high - low)))
        reach = int(max(3 * (high - low), y.size // 20))
        left[max(0, place - reach) : place + reach + 1] = -np.inf
    lines.sort()
    contrasts = []
    for place, width in lines:
        near = int(width / 10)
        extreme = float(y[max(0, place - near) : place + near + 1].mean())
        beside = np.abs(np.arange(y.size) - place) > min(3 * width, 0.2 * y.size)
        level = float(np.median(y[beside]))
        contrasts.append(1 - (level / extreme if side > 0 else extreme / level))
    return {"resonance_freq_GHz": [float(x[place]) * to_ghz for place, _ in lines], "contrast": contrasts}


def _magnitude(figures: tuple[Figure, ...]) -> Panel | None:
    """The first image that is not a phase; a lone one without a label could be either."""
    panels = [figure.panels[0] for figure in figures]
    named = [p for p in panels if "phase" not in f"{p.ylabel} {p.title} {_bar(p)}".lower()]
    return named[0] if named and (len(panels) > 1 or named[0].ylabel or _bar(named[0])) else None


def _bar(panel: Panel) -> str:
    return (panel.heatmap.colorbar or "") if panel.heatmap else ""


def fit_power_map(row: Row) -> Values:
    """The line's centre in the middle amplitudes: strong already, its two-photon partner weak still."""
    panel = row.figures[0].panels[0]
    assert panel.heatmap is not None
    # Amplitudes are at most 1 and powers a few dBm; frequencies are thousands of MHz or at least 3 GHz.
    across = panel.xlim[0] > 2
    limits = panel.xlim if across else panel.ylim
    values = panel.heatmap.values if across else panel.heatmap.values.T
    rows = values.shape[0]
    line = values[rows // 3 : max(rows // 3 + 3, 2 * rows // 3)].mean(axis=0)
    u = (np.arange(line.size) + 0.5) / line.size
    away = np.abs(line - np.median(line))
    start = float(u[np.convolve(away, np.ones(3), "same").argmax()])
    fits = [fit_lorentzian(u, line, start, width, steps=20) for width in (0.02, 0.05, 0.12)]
    best = min(fits, key=lambda fit: rms(line - fit(u)))
    to_mhz = 1.0 if limits[0] > 100 else 1e3
    return {"f01_MHz": (limits[0] + best.centre * (limits[1] - limits[0])) * to_mhz}


def fit_flux_arc(row: Row) -> Values:
    """The top of a fourth-order arc through the drawn peaks, or through the map's brightest pixels."""
    panel = row.figures[0].panels[0]
    drawn = series_of(panel, "data")
    x, y = (drawn[0].x, drawn[0].y) if drawn else _ridge(panel)
    middle, span = float(x[np.argmax(y)]), float(np.ptp(x))
    u = (x - middle) / span
    keep = np.ones(u.size, dtype=bool)
    for _ in range(4):
        arc = np.polynomial.Polynomial.fit(u[keep], y[keep], 4)
        miss = np.abs(arc(u) - y)
        keep = miss <= max(3 * float(np.median(miss)), 1e-12)
    grid = np.linspace(u[keep].min(), u[keep].max(), 400)
    return {"resonance_freq_GHz": float(arc(grid).max()) * (1e-3 if panel.ylim[1] > 100 else 1.0)}


def _ridge(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of every column's most unusual pixel; lines are brighter or darker than the rest of the map."""
    assert panel.heatmap is not None
    values = np.asarray(panel.heatmap.values, float)
    rest = values - np.median(values, axis=0)
    side = np.sign((rest**3).sum())
    rows, columns = values.shape
    x = panel.xlim[0] + (np.arange(columns) + 0.5) / columns * (panel.xlim[1] - panel.xlim[0])
    y = panel.ylim[0] + (np.arange(rows) + 0.5) / rows * (panel.ylim[1] - panel.ylim[0])
    return x, y[np.argmax(side * rest, axis=0)]


def fit_coupler(row: Row) -> Values:
    """Biases where the line jumps from one branch to the other, and every branch's level at its flattest."""
    found: Values = {}
    cuts = []
    for name, panel in zip(("left", "right"), row.figures[0].panels):
        parts = series_of(panel, "guide", "data", "data2")
        if parts:
            x, y = (np.concatenate([getattr(s, axis) for s in parts]) for axis in "xy")
            order = np.argsort(x)
            x, y = x[order], y[order]
        else:
            x, y = _ridge(panel)
        middle, height = sum(panel.ylim) / 2, panel.ylim[1] - panel.ylim[0]
        above = y > middle
        jumps = _branch_starts(above)
        cuts.append([float(x[k - 1] + x[k]) / 2 for k in jumps])
        levels = []
        for part, high in zip(np.split(y, jumps), np.split(above, jumps), strict=True):
            away = np.sort(np.abs(part - middle)[(part > middle) == high[0]])
            flat = float(np.median(away[: max(3, away.size // 3)])) if away.size else 0.2 * height
            levels.append(middle + (flat if high[0] else -flat))
        found[f"{name}_fig_branch_freqs_GHz"] = levels
    same = len(cuts) == 2 and len(cuts[0]) == len(cuts[1])
    found["crossing_voltages_V"] = [float(v) for v in (np.mean(cuts, axis=0) if same else cuts[0])]
    return found


def _branch_starts(above: np.ndarray) -> np.ndarray:
    """Where (k,) booleans (n,) change for at least three entries; shorter runs are stray points and are turned."""
    for shortest in (1, 2):
        edges = np.concatenate([[0], np.flatnonzero(above[1:] != above[:-1]) + 1, [above.size]])
        for start, end in pairwise(edges.tolist()):
            if end - start <= shortest and end - start < above.size:
                above[start:end] = above[start - 1] if start else above[min(end, above.size - 1)]
    return np.flatnonzero(above[1:] != above[:-1]) + 1


def fit_tomography(row: Row) -> Values:
    """Scans in which the fringes' phase jumps, and by how much, from the fringe (`fringe`) nearest to every scan."""
    panel = row.figures[0].panels[0]
    assert panel.heatmap is not None
    values = np.asarray(panel.heatmap.values, float)
    periods = max(np.arange(1.2, 4.6, 0.01), key=lambda trial: float(scan_phases(values, float(trial), 40)[0].sum()))
    power, phase = scan_phases(values, float(periods), 400)
    left = ((values - values.mean(axis=0)) ** 2).sum(axis=0) - power
    positions = jump_scans(phase, left / float(np.median(left)) - 1)
    found: Values = {"jump_count": float(len(positions)), "jump_positions": [float(s) for s in positions]}
    to_mv = unit_of(panel.ylabel, TO_MV)
    if to_mv is not None:
        rows = values.shape[0]
        # `periods` lie between the centres of the first and the last of the cells that fill the axis.
        reach = (panel.ylim[1] - panel.ylim[0]) * to_mv * (rows - 1) / rows
        shifts = np.abs(folded(np.array([phase[s + 1] - phase[s - 1] for s in positions])))
        found["jump_sizes_mV"] = [float(v) for v in shifts * reach / float(periods)]
    return found


def scan_phases(values: np.ndarray, periods: float, phases: int) -> tuple[np.ndarray, np.ndarray]:
    """(squares that fringes of `periods` explain, phase in periods), both for every scan of a map (rows, scans)."""
    grid = np.arange(phases) / phases
    shapes = tomography.fringe(periods * np.linspace(0, 1, values.shape[0]) + grid[:, None])
    shapes = shapes - shapes.mean(axis=1, keepdims=True)
    shapes /= np.sqrt((shapes * shapes).sum(axis=1, keepdims=True))
    likeness = shapes @ (values - values.mean(axis=0))
    # Readouts draw the fringes upright or upside down, all scans alike.
    upright = (likeness.max(axis=0) ** 2).sum() >= (likeness.min(axis=0) ** 2).sum()
    likeness = likeness if upright else -likeness
    return likeness.max(axis=0) ** 2, grid[likeness.argmax(axis=0)]


def jump_scans(phase: np.ndarray, excess: np.ndarray) -> list[int]:
    """The cheapest scans to call jumps (dynamic programming), no two of them neighbours, none at the ends.

    A scan without a jump costs the square of its phase step in thresholds and the `excess` of its squares left over;
    a jump costs one, more when the scan looks like the one before, and much when the phases beside it agree.
    """
    strong = tomography.JUMP_THRESHOLD
    last = phase.size - 1
    step = np.abs(folded(np.diff(phase, prepend=phase[0]))) / strong
    across = np.abs(folded(phase[2:] - phase[:-2]))
    whole: list[tuple[float, list[int]]] = [(0.0, [])]
    jumped: list[tuple[float, list[int]]] = [(np.inf, [])]
    for s in range(1, phase.size):
        own = max(0.0, float(excess[s]))
        stay = whole[s - 1][0] + float(step[s]) ** 2 + own
        land = jumped[s - 1][0] + own
        whole.append(min((stay, whole[s - 1][1]), (land, jumped[s - 1][1]), key=lambda way: way[0]))
        if s == last:
            break
        alike = 0.5 * (step[s] < 0.5 and own < 0.5)
        price = 1.0 + float(alike) + (10.0 if across[s - 1] < strong else 0.0)
        jumped.append((whole[s - 1][0] + price, [*whole[s - 1][1], s]))
    return whole[last][1]


def fit_cloud(row: Row) -> Values:
    """The cloud's centre: light above the background within its half-height, from the brightest blurred pixel out."""
    panel = row.figures[0].panels[0]
    assert panel.heatmap is not None
    image = np.asarray(panel.heatmap.values, float)
    image = image[::-1] if panel.ylim[0] > panel.ylim[1] else image
    image = image - np.median(image)
    size = max(3, min(image.shape) // 40)
    ones = np.ones(size) / size
    smooth = np.apply_along_axis(np.convolve, 0, image, ones, "same")
    smooth = np.apply_along_axis(np.convolve, 1, smooth, ones, "same")
    light = np.where(smooth > 0.5 * smooth.max(), smooth, 0.0)
    rows, columns = np.indices(image.shape)
    return {
        "center_x": float((light * columns).sum() / light.sum()),
        "center_y": float((light * rows).sum() / light.sum()),
    }


MAP_FITS: dict[str, Callable[[Row], Values]] = {
    "gmm": fit_clusters,
    "res_spec": fit_resonator,
    "qubit_spectroscopy_power_frequency": fit_power_map,
    "qubit_flux_spectroscopy": fit_flux_arc,
    "coupler_flux": fit_coupler,
    "ramsey_charge_tomography": fit_tomography,
    "mot_loading": fit_cloud,
}
