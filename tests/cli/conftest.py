"""Fixtures of the command line: a saved tiny random model, figures on disk, and a runner."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from riverone_hf.cli import app
from riverone_hf.reader import reader as reader_module
from tiny import tiny_model, tiny_processor


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    tiny_model().save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


@pytest.fixture
def plots(tmp_path: Path) -> Path:
    """A folder with a.png, b.png and a text file."""
    folder = tmp_path / "plots"
    folder.mkdir()
    for seed, name in enumerate(("b.png", "a.png")):
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "notes.txt").write_text("not a figure")
    return folder


@pytest.fixture
def run(monkeypatch) -> Callable[..., Result]:
    """Run the command in this process; answers are cut short, an untrained model has nothing to say."""
    monkeypatch.setattr(reader_module, "BUDGETS", {q: 4 for q in reader_module.BUDGETS})
    monkeypatch.delenv("RIVERONE_MODEL", raising=False)
    monkeypatch.delenv("RIVERONE_DEBUG", raising=False)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])
