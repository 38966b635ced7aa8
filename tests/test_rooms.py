"""Rooms import only what DESIGN's table allows, files stay small, and nothing is imported in a circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "riverone_hf"
MAY_IMPORT = {
    "model": set(),
    "questions": set(),
    "calibration": {"questions"},
    "circuits": set(),
    "qgp": {"circuits", "model"},
    "multiplex": {"model"},
    "additive": {"model"},
    "data": {"questions", "calibration"},
    "train": {"model", "questions", "qgp", "data"},
    "reader": {"model", "questions"},
    "evaluate": {"model", "questions", "data", "reader"},
    "hub": {"model", "data", "evaluate"},
    "build": {
        *("model", "questions", "circuits", "qgp", "multiplex", "additive"),
        *("calibration", "data", "train", "reader", "evaluate", "hub"),
    },
    "cli": {
        *("model", "questions", "circuits", "qgp", "multiplex", "additive"),
        *("calibration", "data", "train", "reader", "evaluate", "hub", "build"),
    },
}
OPEN = {"errors", "__version__"}


def rooms_imported(path: Path) -> set[str]:
    """Rooms (first part below riverone_hf) that a file imports, at top level or inside functions."""
    room = path.relative_to(PACKAGE).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = ["riverone_hf", *room]
                base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
            names = [base] if base != "riverone_hf" else [f"riverone_hf.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("riverone_hf.")}
    return found


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_room_imports_only_downwards(room):
    files = sorted((PACKAGE / room).rglob("*.py"))
    assert files, f"room {room} is empty"
    for path in files:
        open_to_all = set() if room == "model" else OPEN
        wrong = rooms_imported(path) - MAY_IMPORT[room] - {room} - open_to_all
        assert not wrong, f"{path.relative_to(PACKAGE)} imports {sorted(wrong)}"


def test_every_room_is_in_the_table():
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").is_file()}
    assert rooms == set(MAY_IMPORT)


def test_every_room_asks_its_question():
    for room in MAY_IMPORT:
        doc = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8")))
        assert doc and "?" in doc.splitlines()[0], f"{room}/__init__.py must begin with its question"


def test_files_hold_one_idea():
    root = PACKAGE.parents[1]
    for path in [*root.glob("src/**/*.py"), *root.glob("tests/**/*.py"), *root.glob("recipes/**/*.py")]:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 400, f"{path} has {lines} lines"


def test_core_import_needs_no_optional_package():
    """Optional packages are hidden from the path finder, as in a minimal install."""
    code = """
import sys
from importlib.machinery import PathFinder
HIDDEN = {"trl", "peft", "datasets", "accelerate", "matplotlib", "gradio", "aqlm", "scipy", "numba", "starlette"}
find = PathFinder.find_spec
def hide(name, path=None, target=None):
    return None if name.split(".")[0] in HIDDEN else find(name, path, target)
PathFinder.find_spec = staticmethod(hide)
import riverone_hf.reader, riverone_hf.model, riverone_hf.cli, riverone_hf.questions, riverone_hf.calibration
assert not HIDDEN & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_cli_starts_without_torch():
    code = "import sys; import riverone_hf.cli; assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
