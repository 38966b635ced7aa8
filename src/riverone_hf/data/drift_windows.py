"""Which stretches of the drift table become rows? Windows split by time and device, balanced over what they show."""

from __future__ import annotations

import dataclasses
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..errors import DriftError
from .calibration import SPLITS
from .drift_columns import variables
from .drift_correlation import Correlations, correlate, daily_means
from .drift_frame import DriftTable, Key
from .drift_statistics import Curve, describe
from .plan import HELD_OUT_MOST, HELD_OUT_SHARE

DRIFT_VERSION = 1
CURVE_DAYS, MAP_DAYS = 14, 30
LAGS = (0, 1, 2, 3)
MAP_SHARE = 0.3
"""Share of the rows that are maps, where the table allows it."""
HELD_OUT_TIME = 0.2
"""Validation and test each take this share of the time, but at least one map's or, in short tables, curve's length."""
STRIDE = {"curve": 3, "lags": 5, "properties": 5}
"""Days between the starts of windows of one key: windows of one split may overlap, those of two splits never do."""
LEAST_POINTS, LEAST_SPAN, LEAST_DAYS = 10, 11.0, 20
OVERSAMPLE = 3
MAPPED = ("T1", "T2", "readout_error", "sx_gate_error")

Layout = Literal["curve", "lags", "properties"]


@dataclass(frozen=True)
class DriftPlan:
    """`rows` figures with questions over all splits, from the table whose contents have the sha256 `digest`.

    `source` is what rows and card name as their origin. Raises DriftError for bad numbers.
    """

    rows: int
    source: str
    digest: str
    seed: int = 0
    sunspots: bool = False
    shard_rows: int = 256

    def __post_init__(self) -> None:
        if self.rows < 3 or self.shard_rows < 1 or self.seed < 0:
            raise DriftError(
                f"got {self.rows} rows, {self.shard_rows} rows per shard and seed {self.seed}. "
                "Expected at least 3 rows and a seed of at least 0. Remedy: --rows 1000 --seed 0"
            )

    def fingerprint(self) -> dict[str, Any]:
        """All that decides on the bytes of the data set, as JSON values."""
        return {"drift_version": DRIFT_VERSION} | dataclasses.asdict(self)

    def count(self, split: str, splits: Iterable[str] = SPLITS) -> int:
        """Rows of a split when the table has `splits`."""
        held_out = max(1, min(round(self.rows * HELD_OUT_SHARE), HELD_OUT_MOST))
        return held_out if split != "train" else self.rows - held_out * (len(list(splits)) - 1)


@dataclass(frozen=True)
class Window:
    """One figure: `days` from the day `start` (since 1970) on of `key`; of a "properties" map the property is "".

    `lag` in days: of a "properties" map, 0 for the others.
    """

    layout: Layout
    key: Key
    start: int
    days: int
    lag: int = 0

    @property
    def date(self) -> str:
        return str(np.datetime64(self.start, "D"))

    @property
    def where(self) -> str:
        """The qubit or pair: q3 or q3-q4."""
        return f"q{self.key[2]}" + (f"-q{self.key[3]}" if self.key[3] >= 0 else "")

    @property
    def id(self) -> str:
        shown = self.layout if self.layout == "properties" else f"{self.layout}_{self.key[1]}"
        return f"drift_{self.key[0]}_{self.where}_{shown}_{self.date}_lag{self.lag}".replace("-q", "q")

    def points(self, table: DriftTable, name: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(days since the start (n,), values (n,)) of the property `name`, by default its own."""
        backend, own, a, b = self.key
        t, v = table.series[backend, own if name is None else name, a, b]
        low, high = np.searchsorted(t, (self.start, self.start + self.days))
        return t[low:high] - self.start, v[low:high]

    def curve(self, table: DriftTable) -> Curve:
        return describe(*self.points(table), self.days)

    def columns(self, table: DriftTable) -> tuple[tuple[str, int], ...]:
        """(property, lag) of each column of a map."""
        if self.layout == "lags":
            return tuple((self.key[1], lag) for lag in LAGS)
        backend, _, a, b = self.key
        return tuple((name, self.lag) for name in MAPPED if (backend, name, a, b) in table.series)

    def correlations(self, table: DriftTable, sunspots: bool = False) -> Correlations:
        """The map of this window: rows as in `variables`, columns as in `columns`."""
        names, lags = zip(*self.columns(table), strict=True)
        series = [daily_means(*self.points(table, name), self.days) for name in names]
        first = self.start - table.first_day
        rows = [table.environment[item.column][first : first + self.days] for item in variables(sunspots)]
        return correlate(series, lags, np.array(rows))


def periods(table: DriftTable, seed: int) -> dict[str, tuple[tuple[str, ...], int, int]]:
    """split -> (devices, first day, day after the last): no two splits share a device or a day.

    The last stretch of time of one device is the test, the one before it of another the validation (left out when
    there are two devices), and all earlier time of the others is for training.
    Raises DriftError for fewer than two devices or too short a table.
    """
    devices = list(table.devices)
    random.Random(f"{seed} devices").shuffle(devices)
    if len(devices) < 2:
        raise DriftError(
            f"the table has one device ({devices[0]}), but splits by device need at least two. Remedy: a fuller table"
        )
    splits = SPLITS if len(devices) > 2 else ("train", "test")
    least = MAP_DAYS if table.days >= MAP_DAYS * len(splits) else CURVE_DAYS
    part = max(round(HELD_OUT_TIME * table.days), least)
    if table.days < part * len(splits):
        raise DriftError(
            f"the table spans {table.days} days. Expected at least {CURVE_DAYS * len(splits)}: "
            f"{len(splits)} splits of {CURVE_DAYS} days that share none. Remedy: a longer table"
        )
    end = table.first_day + table.days
    found: dict[str, tuple[tuple[str, ...], int, int]] = {}
    for split in reversed(splits[1:]):
        # A device that was switched off before the period has nothing to hold out.
        counts = [_points(table, device, end - part, end) for device in devices]
        held = next(device for device, count in zip(devices, counts, strict=True) if 2 * count >= max(counts))
        devices.remove(held)
        found[split] = ((held,), end - part, end)
        end -= part
    found["train"] = (tuple(sorted(devices)), table.first_day, end)
    return {split: found[split] for split in splits}


def _points(table: DriftTable, device: str, first: int, end: int) -> int:
    spans = (np.searchsorted(t, (first, end)) for key, (t, _) in table.series.items() if key[0] == device)
    return sum(int(high - low) for low, high in spans)


def choose(plan: DriftPlan, table: DriftTable) -> dict[str, list[Window]]:
    """The windows of every split in their order; the same plan and table give the same ones.

    Curves take turns over property and what they show (trend, step, none), maps over whether a driver is significant,
    so that answers are balanced as far as the table allows. Raises DriftError when it holds too few windows.
    """
    chosen = {}
    found = periods(table, plan.seed)
    for split, (devices, first, end) in found.items():
        rng = random.Random(f"{plan.seed} {split} windows")
        need = plan.count(split, found)
        curves, maps = _candidates(table, devices, first, end)
        want_maps = max(min(len(maps), round(MAP_SHARE * need)), need - len(curves))
        if len(curves) + len(maps) < need or want_maps > len(maps):
            raise DriftError(
                f"split {split} was to have {need} rows, but the table holds {len(curves) + len(maps)} windows for it "
                f"({', '.join(devices)}, {end - first} days). Remedy: fewer --rows"
            )
        shown = _balanced(curves, need - want_maps, rng, lambda window: _shows(window, table))
        shown += _balanced(maps, want_maps, rng, lambda window: _drives(window, table, plan.sunspots))
        rng.shuffle(shown)
        chosen[split] = shown
    return chosen


def _candidates(table: DriftTable, devices: tuple[str, ...], first: int, end: int) -> tuple[list[Window], list[Window]]:
    """(curves, maps) that lie wholly in the period and hold enough points."""
    curves, maps = [], []
    for key, (t, _) in table.series.items():
        if key[0] not in devices:
            continue
        for start in range(first, end - CURVE_DAYS + 1, STRIDE["curve"]):
            low, high = np.searchsorted(t, (start, start + CURVE_DAYS))
            if high - low >= LEAST_POINTS and t[high - 1] - t[low] >= LEAST_SPAN:
                curves.append(Window("curve", key, start, CURVE_DAYS))
        for start in range(first, end - MAP_DAYS + 1, STRIDE["lags"]):
            low, high = np.searchsorted(t, (start, start + MAP_DAYS))
            if np.unique(t[low:high].astype(int)).size < LEAST_DAYS:
                continue
            maps.append(Window("lags", key, start, MAP_DAYS))
            backend, name, a, b = key
            if name == "T1" and sum((backend, other, a, b) in table.series for other in MAPPED) >= 3:
                maps.append(Window("properties", (backend, "", a, b), start, MAP_DAYS, start % 3))
    return curves, maps


def _shows(window: Window, table: DriftTable) -> tuple[str, str]:
    curve = window.curve(table)
    return window.key[1], "step" if curve.step else curve.trend


def _drives(window: Window, table: DriftTable, sunspots: bool) -> tuple[str, str] | None:
    found = window.correlations(table, sunspots)
    if not found.tests:
        return None
    return "map" if window.layout == "properties" else window.key[1], str(bool(found.significant.any()))


def _balanced(candidates: list[Window], need: int, rng: random.Random, label: Callable[[Window], Any]) -> list[Window]:
    """`need` of the candidates: the labels of a sample take turns; what has no label only fills up."""
    pool = list(candidates)
    rng.shuffle(pool)
    seen = pool[: OVERSAMPLE * need + 20]
    buckets: dict[Any, list[Window]] = defaultdict(list)
    for window in seen:
        buckets[label(window)].append(window)
    spare = [*buckets.pop(None, []), *pool[len(seen) :]]
    order = [buckets[name] for name in sorted(buckets)]
    return [*_in_turns(order), *spare][:need]


def _in_turns(groups: list[list[Window]]) -> Iterator[Window]:
    for turn in range(max(map(len, groups), default=0)):
        for group in groups:
            if turn < len(group):
                yield group[turn]
