"""The table's traps are filtered: repeats, ceilings, units, missing columns; what is dropped is counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from riverone_hf.data.drift_columns import COLUMNS
from riverone_hf.data.drift_frame import check_columns, clean, digest, parquet_files, read_table
from riverone_hf.data.drift_synthetic import FIRST_DAY, synthetic_frame
from riverone_hf.errors import DriftError

T1 = ("ibm_fez", "T1", 0, -1)


def frame_of(**columns: object) -> pd.DataFrame:
    """Rows of one qubit's T1 (or what `columns` say), half a day apart; every other column is there."""
    count = max(len(value) for value in columns.values() if isinstance(value, list))
    start = pd.Timestamp("2026-02-01", tz="UTC")
    times = [str(start + pd.Timedelta(days=0.5 * k)) for k in range(count)]
    row: dict[str, object] = dict.fromkeys(COLUMNS, 1.0)
    row |= {"backend": "ibm_fez", "property": "T1", "qubit_a": 0, "qubit_b": None, "unit": "s"}
    row |= {"is_failure_ceiling": False, "is_new_measurement": True, "observed_time": times, "calibrated_time": times}
    return pd.DataFrame(row | columns)


def test_the_stand_in_has_the_public_columns():
    frame, planted = synthetic_frame(days=20, qubits=2, seed=1)
    assert tuple(frame.columns) == COLUMNS and len(COLUMNS) == 31
    assert set(frame["scope"]) == {"qubit", "gate1q", "gate2q"}
    assert frame["qubit_b"].isna().eq(frame["scope"] != "gate2q").all()
    assert len({p.key for p in planted}) == frame.drop_duplicates(["backend", "property", "qubit_a"]).shape[0]
    again, _ = synthetic_frame(days=20, qubits=2, seed=1)
    pd.testing.assert_frame_equal(frame, again)


@pytest.mark.parametrize(("unit", "value"), [("s", 180e-6), ("us", 180.0), ("µs", 180.0), ("ms", 0.18), ("ns", 180e3)])
def test_times_become_microseconds(unit: str, value: float):
    table = clean([frame_of(value=[value], unit=unit)])
    assert table.series[T1][1] == pytest.approx([180.0])


def test_errors_become_percent_and_bad_values_are_counted():
    values = [0.012, 1.0, 0.9995, None, -0.01, 0.013, 0.5]
    flags = [False, True, False, False, False, False, True]
    units = ["", "", None, "", "", "furlong", ""]
    table = clean([frame_of(value=values, unit=units, is_failure_ceiling=flags, property="readout_error")])
    assert table.series["ibm_fez", "readout_error", 0, -1][1] == pytest.approx([1.2])
    assert table.dropped == {"failure ceiling": 3, "no value": 1, "out of range": 1, "unknown unit": 1}
    assert table.rows == 7


def test_a_wrong_unit_is_not_a_long_time():
    with pytest.raises(DriftError, match=r"no usable measurement in 1 rows \(1 out of range\)"):
        clean([frame_of(value=[180.0], unit="s")])


def test_repeated_snapshots_count_once():
    once = frame_of(value=[1e-4, 2e-4, 3e-4])
    later = once.assign(observed_time=once["observed_time"].str.replace("+00:00", ".5+00:00"), value=9e-4)
    both, alone = clean([later, once, later]), clean([once])
    np.testing.assert_array_equal(both.series[T1], alone.series[T1])
    assert both.dropped == {"repeated snapshot": 6}


def test_times_in_several_spellings():
    spelled = ["2026-02-01 06:00:00 UTC", "2026-02-01T12:00:00+00:00", "2026-02-01T13:00:00-05:00", "soon", None]
    table = clean([frame_of(value=[1e-4] * 5, calibrated_time=spelled)])
    assert table.series[T1][0] - table.first_day == pytest.approx([0.25, 0.5, 0.75])
    assert table.dropped == {"no calibration time": 2}
    real = frame_of(value=[1e-4]).assign(calibrated_time=pd.Timestamp("2026-02-01T06", tz="UTC"))
    stamped = clean([real])
    assert stamped.series[T1][0] - stamped.first_day == pytest.approx([0.25])


def test_pairs_and_other_properties():
    frame = frame_of(value=[3e-3, 4e-3, 60.0], property=["cz_gate_error", "cz_gate_error", "cz_gate_length"], unit="")
    table = clean([frame.assign(qubit_b=[1, 2, 1])])
    assert set(table.series) == {("ibm_fez", "cz_gate_error", 0, 1), ("ibm_fez", "cz_gate_error", 0, 2)}
    assert table.dropped == {"other property": 1}


def test_hours_weigh_the_same_in_a_day():
    times = ["2026-02-01 01:10:00 UTC"] * 9 + ["2026-02-01 20:00:00 UTC", "2026-02-03 20:00:00 UTC"]
    warm = [10.0] * 9 + [20.0, None]
    new = frame_of(value=[1e-4] * 11, calibrated_time=times, temperature_c=warm)
    repeated = new.assign(temperature_c=99.0, is_new_measurement=False)
    table = clean([new, repeated])
    np.testing.assert_array_equal(table.environment["temperature_c"], [15.0, np.nan, np.nan])
    assert table.first_day == FIRST_DAY + 27 and table.days == 3


def test_sunspots_are_left_out_unless_asked_for():
    frame = frame_of(value=[1e-4])
    assert "SN" not in clean([frame.drop(columns="SN")]).environment
    assert "SN" in clean([frame], sunspots=True).environment
    with pytest.raises(DriftError, match="lacks 1 of 20 needed columns: SN"):
        clean([frame.drop(columns="SN")], sunspots=True)


def test_missing_and_renamed_columns_are_named():
    names = [{"kp_index": "Kp_Index", "calibrated_time": "calibration_time"}.get(name, name) for name in COLUMNS]
    with pytest.raises(DriftError) as caught:
        check_columns(names, "x.parquet")
    said = str(caught.value)
    assert "x.parquet: lacks 2 of 19 needed columns" in said and "Remedy" in said
    assert "calibrated_time (renamed to calibration_time?)" in said and "kp_index (renamed to Kp_Index?)" in said
    with pytest.raises(DriftError, match="older table with one qubit column"):
        check_columns(["backend", "qubit", "property", "value"], "old.parquet")


def test_files_are_read_in_batches_and_broken_ones_named(tmp_path: Path, monkeypatch):
    frame, _ = synthetic_frame(days=15, qubits=2)
    half = len(frame) // 2
    frame[:half].to_parquet(tmp_path / "a.parquet")
    frame[half:].to_parquet(tmp_path / "b.parquet")
    monkeypatch.setattr("riverone_hf.data.drift_frame.BATCH", 1500)
    monkeypatch.setattr("riverone_hf.data.drift_frame.COMPACT", 4000)
    read, whole = read_table(tmp_path), clean([frame])
    assert read.series.keys() == whole.series.keys() and read.dropped == whole.dropped
    for key, values in whole.series.items():
        np.testing.assert_array_equal(read.series[key], values)
    before = digest(parquet_files(tmp_path))
    (tmp_path / "b.parquet").write_bytes((tmp_path / "b.parquet").read_bytes()[:-30])
    assert digest(parquet_files(tmp_path)) != before
    with pytest.raises(DriftError, match=r"b\.parquet: cannot be read after row 0"):
        read_table(tmp_path)
    frame.rename(columns={"value": "Value"}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(DriftError, match=r"b\.parquet: lacks 1 .* value \(renamed to Value\?\)"):
        read_table(tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(DriftError, match="no parquet file"):
        read_table(tmp_path / "none")
