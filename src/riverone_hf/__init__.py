"""How is RiverONE built, compressed, and asked about a quantum-calibration plot?

Importing this package loads nothing heavy; the rooms (`reader`, `model`, ...) are imported by those who enter them.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("riverone-hf")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0.0.0+source"

__all__ = ["__version__"]
