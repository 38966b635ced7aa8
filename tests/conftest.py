"""Shared fixtures, and the rule that a skip which is not on the list below fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

ALLOWED_SKIPS: tuple[str, ...] = ()
"""Reasons that may skip a test. Empty: everything that a test needs is installed by `make test`."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        _fail_unless_allowed(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    report = yield
    if report.skipped:
        _fail_unless_allowed(report)
    return report


def _fail_unless_allowed(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = str(report.longrepr[-1]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not any(allowed in reason for allowed in ALLOWED_SKIPS):
        report.outcome = "failed"
        report.longrepr = f"skipped without being on the list of allowed skips: {reason}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The file that builds the smoke model comes first, others that use it last: no test process waits for it."""
    users = dict.fromkeys(item.path for item in items if "smoke_folder" in getattr(item, "fixturenames", ()))
    builder = next(iter(users), None)
    items.sort(key=lambda item: -1 if item.path == builder else item.path in users)


@pytest.fixture(scope="session")
def smoke_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model built by the smoke recipe, once for all test processes."""
    from filelock import FileLock

    from riverone_hf.build import run_recipe

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    out = shared / "smoke-model"
    with FileLock(str(shared / "smoke-model.lock")):
        if not out.is_dir():
            run_recipe("smoke", out, quiet=True)
    return out
