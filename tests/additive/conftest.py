"""The helpers of this folder and those of all tests can be imported; transformers' progress bars are off."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from transformers.utils import logging

for folder in (Path(__file__).resolve().parents[1], Path(__file__).resolve().parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@pytest.fixture(autouse=True)
def no_bars():
    logging.disable_progress_bar()
    yield
    logging.enable_progress_bar()
