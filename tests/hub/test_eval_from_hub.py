"""`riverone eval` by Hub ids alone: model and data set come down through huggingface_hub, in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from loopback_hub import USER, LoopbackHub
from riverone_hf.data import Plan, build_calibration_data

SOURCE = Path(__file__).parents[2] / "src"


def test_model_and_data_set_are_named_by_id(smoke_folder, tmp_path):
    build_calibration_data(Plan(40, seed=5, families=("t1",)), tmp_path / "plots")
    with LoopbackHub(tmp_path / "hub").serve() as hub:
        environment = {
            **os.environ,
            **hub.client_env(tmp_path / "hf"),
            "HF_HUB_OFFLINE": "0",
            "PYTHONPATH": str(SOURCE),
        }

        def riverone(*words: str) -> None:
            command = [sys.executable, "-m", "riverone_hf", *words]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
            assert done.returncode == 0, done.stderr

        riverone("push", "model", str(smoke_folder), f"{USER}/reader")
        riverone("push", "dataset", str(tmp_path / "plots"), f"{USER}/plots")
        asked = ("--limit", "1", "--no-references")
        riverone("eval", f"{USER}/reader", f"{USER}/plots", *asked, "--out", str(tmp_path / "far"))
    riverone("eval", str(smoke_folder), str(tmp_path / "plots"), *asked, "--out", str(tmp_path / "near"))
    far, near = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("far", "near"))
    assert far["model"].startswith(f"{USER}/reader@") and far["dataset"] == f"{USER}/plots"
    assert [entry["responses"] for entry in far["results"]] == [entry["responses"] for entry in near["results"]]
