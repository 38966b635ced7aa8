"""One small data set, built once for all tests of the data room."""

from __future__ import annotations

from pathlib import Path

import pytest

from riverone_hf.data import Plan, build_calibration_data

FAMILIES = ("t1", "ramsey_t2star", "gmm")


@pytest.fixture(scope="session")
def plan() -> Plan:
    """48 plots, of which 5 for validation and 5 for test; a shard covers every type of the families once."""
    return Plan(48, seed=1, families=FAMILIES, shard_rows=20)


@pytest.fixture(scope="session")
def built(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "set"
    build_calibration_data(plan, out)
    return out
