"""Fixtures of the hub room: a loopback Hub, client processes, and a folder that looks like a saved model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tests"))

from loopback_hub import TOKEN, LoopbackHub  # noqa: E402

AUTO_MAP = {
    "AutoConfig": "configuration_riverone.RiverOneConfig",
    "AutoModelForImageTextToText": "modeling_riverone.RiverOneForConditionalGeneration",
}
SOURCES = {
    "configuration_riverone.py": "class RiverOneConfig: ...\n",
    "vision_riverone.py": "from .configuration_riverone import RiverOneConfig\n",
    "modeling_riverone.py": "from .vision_riverone import RiverOneConfig\n",
    "processing_riverone.py": "class RiverOneProcessor: ...\n",
}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub(tmp_path / "hub").serve() as running:
        yield running


Client = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def client(hub: LoopbackHub, tmp_path: Path) -> Client:
    """Run Python code in a fresh process against the Hub; `package` decides whether it can import riverone_hf."""

    def run(
        code: str, *args: object, token: str | None = TOKEN, package: bool = True, ok: bool = True, **env: str
    ) -> subprocess.CompletedProcess[str]:
        home = tmp_path / ("home" if token else "home-anonymous")
        paths = {"PYTHONPATH": str(REPO / "src")} if package else {}
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, args)],
            env=hub.client_env(home, token) | paths | env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert not ok or done.returncode == 0, done.stderr[-4000:]
        return done

    return run


def write_model_folder(folder: Path, tensors: dict[str, Any] | None = None) -> Path:
    """The smallest folder that passes the checks of a push; nothing in it is a real network."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    save_file(tensors or {"model.weight": rng.normal(size=(4, 3)).astype(np.float32)}, folder / "model.safetensors")
    processor = {"auto_map": {"AutoProcessor": "processing_riverone.RiverOneProcessor"}}
    files = {"config.json": {"model_type": "riverone", "auto_map": AUTO_MAP}, "processor_config.json": processor}
    for name, content in {**files, "tokenizer.json": {}, "tokenizer_config.json": {}}.items():
        (folder / name).write_text(json.dumps(content))
    for name, source in SOURCES.items():
        (folder / name).write_text(source)
    return folder


@pytest.fixture(name="write_model_folder")
def _write_model_folder() -> Callable[..., Path]:
    return write_model_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model_folder(tmp_path / "model")
