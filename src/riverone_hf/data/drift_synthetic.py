"""What stands in for the drift table offline? A frame with its 31 columns and drifts whose truth is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .drift_columns import COLUMNS, PROPERTIES, variables
from .drift_frame import Key

if TYPE_CHECKING:
    import pandas as pd

BACKENDS = ("ibm_fez", "ibm_kingston", "ibm_marrakesh", "ibm_torino")
FIRST_DAY = 20458
"""2026-01-05, as a day since 1970-01-01."""
LATITUDE, LONGITUDE = 41.27, -73.78
SYNTHETIC_VERSION = 1

TYPICAL = {"T1": 180e-6, "T2": 120e-6, "readout_error": 0.012, "sx_gate_error": 2.6e-4, "cz_gate_error": 3.2e-3}
"""Typical values in seconds or shares of one, of the size that such devices publish."""
FAMILIES = {"T1": "coherence", "T2": "coherence", "readout_error": "readout"}
_EVERY = {"temperature_c": (6.0, 7.0, 4), "pressure_hpa": (1015.0, 8.0, 3), "humidity_pct": (62.0, 14.0, 2),
          "neutron_flux": (98.0, 1.5, 6), "bz_gsm_nt": (0.0, 3.0, 1), "dst_nt": (-12.0, 12.0, 2),
          "kp_index": (2.3, 1.0, 1.5), "f107_observed_sfu": (150.0, 18.0, 8), "SN": (110.0, 25.0, 8)}  # fmt: skip
"""Column -> mean, standard deviation, memory in days."""
_LEAST = {"humidity_pct": 12.0, "kp_index": 0.0, "f107_observed_sfu": 66.0, "SN": 0.0}

Kind = Literal["flat", "rising", "falling", "step", "driven"]


@dataclass(frozen=True)
class Planted:
    """What was put into the series of `key` between the days `start` and `end` (since 1970, floats).

    `amount`: relative change over the stretch (rising, falling), at `at` (step), or per standard deviation of the
    daily environment column `driver` of `lag` days before (driven).
    """

    key: Key
    kind: Kind
    start: float
    end: float
    amount: float = 0.0
    at: float = 0.0
    driver: str = ""
    lag: int = 0


def synthetic_frame(days: int = 180, qubits: int = 4, seed: int = 0) -> tuple[pd.DataFrame, list[Planted]]:
    """A frame with the public table's columns for four devices of `qubits` qubits in a row, and all that was planted.

    Every key is calibrated about every 14 hours and seen in one to three snapshots; one calibration in 80 fails at
    the ceiling. A third of the keys follow one column of the environment; the others go through stretches of 30 days
    without trend, with a steady one, or with one step. The same arguments give the same frame.
    """
    import pandas as pd

    rng = np.random.default_rng([seed, days, qubits, SYNTHETIC_VERSION])
    environment = _environment(rng, days)
    keys: list[Key] = []
    for backend in BACKENDS:
        for qubit in range(qubits):
            keys += [(backend, name, qubit, -1) for name in ("T1", "T2", "readout_error", "sx_gate_error")]
        keys += [(backend, "cz_gate_error", qubit, qubit + 1) for qubit in range(qubits - 1)]
    planted: list[Planted] = []
    parts = []
    for key in keys:
        times, shape, found = _shape(rng, key, days, environment)
        planted += found
        parts.append(_calibrations(rng, key, times, shape))
    frame = pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)
    frame = frame.sort_values(["observed", "backend", "property", "qubit_a"], kind="stable", ignore_index=True)
    return _columns(frame, environment), planted


def _environment(rng: np.random.Generator, days: int) -> dict[str, np.ndarray]:
    """Hourly values (24 * (days + 1),) per column: noise with a memory, plus seasons and nights for the weather."""
    hours = np.arange(24 * (days + 1)) / 24
    values = {}
    for name, (mean, spread, memory) in _EVERY.items():
        keep = math.exp(-1 / (24 * memory))
        noise = rng.normal(size=hours.size) * math.sqrt(1 - keep**2)
        state = np.empty(hours.size)
        last = rng.normal()
        for i, step in enumerate(noise):
            last = keep * last + step
            state[i] = last
        values[name] = np.maximum(mean + spread * state, _LEAST.get(name, -np.inf))
    values["temperature_c"] += 8 * np.sin(2 * np.pi * (hours - 60) / 365) + 3 * np.sin(2 * np.pi * (hours - 0.6))
    values["humidity_pct"] = np.minimum(values["humidity_pct"], 100.0)
    values["kp_index"] = np.round(np.minimum(np.repeat(values["kp_index"][::3], 3)[: hours.size], 9.0) * 3) / 3
    values["ap_index"] = np.round(3.2 * np.exp(0.55 * values["kp_index"]))
    for name in ("f107_observed_sfu", "SN"):
        values[name] = np.repeat(values[name][::24], 24)[: hours.size].round(1)
    values["Ap_daily"] = np.repeat(values["ap_index"].reshape(-1, 24).mean(axis=1).round(), 24)
    values["f107_adjusted_sfu"] = (values["f107_observed_sfu"] * 0.97).round(1)
    values["solar_flux_sfu"] = values["f107_observed_sfu"].round()
    return values


def _shape(
    rng: np.random.Generator, key: Key, days: int, environment: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, list[Planted]]:
    """Calibration times (n,) in days since the start, relative values (n,), and what they hold."""
    times = np.cumsum(rng.gamma(6.0, 0.58 / 6, size=int(days / 0.58 * 1.3)))
    times = times[times < days]
    shape = np.ones(times.size)
    planted = []
    if rng.random() < 1 / 3:
        variable = variables()[int(rng.integers(len(variables())))].column
        lag, amount = int(rng.integers(0, 3)), float(rng.choice([-1, 1]) * rng.uniform(0.10, 0.16))
        daily = environment[variable].reshape(-1, 24).mean(axis=1)
        daily = (daily - daily.mean()) / daily.std()
        # A device has some heat capacity: it follows the day's mean, not the hour.
        shape = np.exp(amount * daily[np.maximum(times.astype(int) - lag, 0)])
        planted.append(Planted(key, "driven", FIRST_DAY, FIRST_DAY + days, amount, 0.0, variable, lag))
        noise = 0.05
    else:
        level, noise = 0.0, float(rng.choice([0.03, 0.06, 0.12, 0.3], p=[0.4, 0.3, 0.15, 0.15]))
        for start in range(0, days, 30):
            inside = (times >= start) & (times < start + 30)
            since = times[inside] - start
            kind: Kind = (["flat", "rising", "falling", "step"] * 2)[int(rng.integers(8))]  # type: ignore[assignment]
            amount = float(rng.uniform(0.5, 1.0) * (1 if level < 0 else -1))
            begin, end = FIRST_DAY + start, FIRST_DAY + min(days, start + 30)
            at = float(rng.uniform(6, 24))
            if kind == "flat":
                shape[inside] = math.exp(level)
                planted.append(Planted(key, kind, begin, end))
                continue
            if kind == "step":
                shape[inside] = np.exp(level + amount * (since > at))
                planted.append(Planted(key, kind, begin, end, math.expm1(amount), begin + at))
            else:
                amount = abs(amount) if kind == "rising" else -abs(amount)
                shape[inside] = np.exp(level + amount * since / 30)
                planted.append(Planted(key, kind, begin, end, math.expm1(amount)))
            level += amount
            if abs(level) > 1.2:  # brought back by hand between two stretches, as by a new cool-down
                level = 0.0
    return times, shape * np.exp(noise * rng.normal(size=times.size)), planted


def _calibrations(rng: np.random.Generator, key: Key, times: np.ndarray, shape: np.ndarray) -> dict[str, Any]:
    """Columns of one key, a row per snapshot; `calibrated` and `observed` in days since the start."""
    backend, name, a, b = key
    value = TYPICAL[name] * float(np.exp(rng.normal(0, 0.3))) * shape
    failed = np.zeros(times.size, dtype=bool)
    if not PROPERTIES[name].is_time:
        failed = rng.random(times.size) < 1 / 80
        value = np.where(failed, 1.0, np.minimum(value, 0.5))
    repeats = rng.integers(1, 4, size=times.size)
    which = np.repeat(np.arange(times.size), repeats)
    nth = np.arange(which.size) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    return {
        "backend": backend,
        "property": name,
        "qubit_a": a,
        "qubit_b": b,
        "value": value[which],
        "is_failure_ceiling": failed[which],
        "is_new_measurement": nth == 0,
        "calibrated": times[which],
        "observed": times[which] + (nth + 0.5) / 48,
    }


def _columns(frame: pd.DataFrame, environment: dict[str, np.ndarray]) -> pd.DataFrame:
    """The public columns in their order, times as UTC text, the environment by the hour of the calibration."""
    import pandas as pd

    hour = (frame["calibrated"] * 24).astype(int).to_numpy()
    start = pd.Timestamp(FIRST_DAY, unit="D", tz="UTC")
    calibrated = start + pd.to_timedelta(frame["calibrated"], unit="D")
    observed = start + pd.to_timedelta(frame["observed"], unit="D")
    time = calibrated.dt.strftime("%Y-%m-%d %H:%M:%S UTC")
    shown = {name: values[hour].round(2) for name, values in environment.items()}
    name = frame["property"]
    is_time = name.isin(["T1", "T2"])
    noon = np.abs((frame["calibrated"] % 1) * 24 - 16.9)
    rest = {
        "property_family": name.map(FAMILIES).fillna("gate_error"),
        "qubit_b": frame["qubit_b"].where(frame["qubit_b"] >= 0).astype("Int64"),
        "unit": np.where(is_time, "s", ""),
        "scope": np.where(frame["qubit_b"] >= 0, "gate2q", np.where(name == "sx_gate_error", "gate1q", "qubit")),
        "observed_time": observed.dt.strftime("%Y-%m-%dT%H:%M:%S+00:00"),
        "calibrated_time": time,
        "snapshot_update_time": time,
        "calibration_age_seconds": ((frame["observed"] - frame["calibrated"]) * 86400).round(),
        "chipwide_recal_event_id": pd.Series([None] * len(frame), dtype=object),
        "latitude": LATITUDE,
        "longitude": LONGITUDE,
        "solar_zenith_deg": (30 + 9 * np.minimum(noon, 24 - noon)).round(2),
    }
    return frame.assign(**rest, **shown)[list(COLUMNS)]
