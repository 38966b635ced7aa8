"""What an installed wheel holds: the recipes, the remote code, the verbs; nothing of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_wheel_finds_its_recipes_and_its_model(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "-w", str(tmp_path)],
        check=True,
        capture_output=True,
        timeout=180,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert {f"riverone_hf/_recipes/{name}/0_model.yaml" for name in ("smoke", "nano", "4b")} <= set(names)
    assert {"riverone_hf/_embedded/model.safetensors", "riverone_hf/_embedded/config.json"} <= set(names)
    assert "riverone_hf/model/modeling_riverone.py" in names
    assert not [name for name in names if name.startswith(("tests", "spaces", "docs"))]
    code = (
        "import riverone_hf; from riverone_hf.build import list_recipes, load_recipe;"
        "from riverone_hf.reader.embedded import embedded_model; assert embedded_model().name == '_embedded';"
        "load_recipe('smoke'); print(riverone_hf.__file__, list_recipes())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert str(tmp_path / "site") in done.stdout and "'nano'" in done.stdout
