"""What does the drift table hold? Its 31 columns, the properties that become curves, and the environment (SPEC 3)."""

from __future__ import annotations

from dataclasses import dataclass

COLUMNS = (
    *("backend", "property_family", "property", "qubit_a", "qubit_b", "value", "unit", "scope", "is_failure_ceiling"),
    *("observed_time", "calibrated_time", "snapshot_update_time", "calibration_age_seconds", "is_new_measurement"),
    *("chipwide_recal_event_id", "latitude", "longitude", "solar_zenith_deg", "temperature_c", "pressure_hpa"),
    *("humidity_pct", "bz_gsm_nt", "neutron_flux", "kp_index", "ap_index", "Ap_daily", "SN", "f107_observed_sfu"),
    *("f107_adjusted_sfu", "solar_flux_sfu", "dst_nt"),
)
"""All columns of the public table, in order."""
MEASURED = (
    *("backend", "property", "qubit_a", "qubit_b", "value", "unit"),
    *("is_failure_ceiling", "observed_time", "calibrated_time", "is_new_measurement"),
)
"""The columns that a measurement is read from."""
CEILING = 0.999
"""An error rate from here on is the table's word for "the calibration failed", not a measurement."""
SOURCE_ID = "phanerozoic/qiskit-calibration-drift"


@dataclass(frozen=True)
class Property:
    """A property of a qubit or gate: how it is named in figures, its unit there, and in which kind of row it goes.

    `scale` turns seconds (times) or shares of one (errors) into `unit`.
    """

    title: str
    unit: str
    scale: float
    experiment_type: str

    @property
    def is_time(self) -> bool:
        return self.unit == "us"

    @property
    def better(self) -> str:
        return "longer" if self.is_time else "lower"


PROPERTIES = {
    "T1": Property("T1", "us", 1e6, "drift_t1"),
    "T2": Property("T2", "us", 1e6, "drift_t2"),
    "readout_error": Property("readout error", "%", 100.0, "drift_readout_error"),
    "sx_gate_error": Property("sx gate error", "%", 100.0, "drift_gate_error"),
    "cz_gate_error": Property("cz gate error", "%", 100.0, "drift_gate_error"),
    "rzz_gate_error": Property("rzz gate error", "%", 100.0, "drift_gate_error"),
}
"""id, x and sx gates of these devices are one pulse with one error, so that only sx is kept."""
ENVIRONMENT_TYPE = "drift_environment"
SECONDS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
SHARES = {"": 1.0, "none": 1.0, "nan": 1.0, "1": 1.0, "probability": 1.0, "dimensionless": 1.0, "%": 0.01}


@dataclass(frozen=True)
class Variable:
    """A column of the environment, its words in figures and answers, its unit, and how often the source renews it."""

    column: str
    title: str
    unit: str
    every_hours: float


VARIABLES = (
    Variable("temperature_c", "temperature", "C", 1),
    Variable("pressure_hpa", "pressure", "hPa", 1),
    Variable("humidity_pct", "humidity", "%", 1),
    Variable("neutron_flux", "neutron flux", "1/s", 1),
    Variable("bz_gsm_nt", "Bz (GSM)", "nT", 1),
    Variable("dst_nt", "Dst index", "nT", 1),
    Variable("kp_index", "Kp index", "", 3),
    Variable("Ap_daily", "Ap index", "", 24),
    Variable("f107_observed_sfu", "F10.7 flux", "sfu", 24),
)
"""One column per cause: ap is Kp on another scale, the other two radio fluxes repeat F10.7, and the sun's zenith angle
says only at what hour a calibration ran."""
SUNSPOTS = Variable("SN", "sunspot number", "", 24)
"""Left out unless asked for: a third party says that it is CC BY-NC 4.0."""


def variables(sunspots: bool = False) -> tuple[Variable, ...]:
    """The environment that maps show, top to bottom."""
    return (*VARIABLES, SUNSPOTS) if sunspots else VARIABLES
