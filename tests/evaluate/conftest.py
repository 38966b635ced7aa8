"""A small data set in QCalEval's layout, the smoke model in this process, and short answers."""

from __future__ import annotations

import pytest

from riverone_hf.data import Plan, build_calibration_data
from riverone_hf.evaluate import backends, load_benchmark

FAMILIES = ("t1", "ramsey_t2star")


@pytest.fixture(scope="session")
def qcaleval(tmp_path_factory):
    """Folder of a data set with 9 test rows: every type of t1 and ramsey_t2star once."""
    out = tmp_path_factory.mktemp("qcaleval") / "plots"
    build_calibration_data(Plan(90, seed=5, families=FAMILIES), out)
    return out


@pytest.fixture(scope="session")
def benchmark(qcaleval):
    return load_benchmark(str(qcaleval))


@pytest.fixture(scope="session")
def smoke_backend(smoke_folder):
    return backends.load_backend(str(smoke_folder))


@pytest.fixture
def short_answers(monkeypatch):
    """Answers of at most 24 tokens: a barely trained model never stops by itself."""
    monkeypatch.setattr(backends, "NEW_TOKENS", dict.fromkeys(backends.NEW_TOKENS, 24))
