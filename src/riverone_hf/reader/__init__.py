"""A plot in, a verdict out: what does this calibration figure say, and how sure is the model?

>>> from riverone_hf.reader import PlotReader
>>> reader = PlotReader.from_pretrained("path/to/model")        # doctest: +SKIP
>>> reader.read("rabi.png", family="rabi").outcome              # doctest: +SKIP

`Verdict` is importable without torch; the other names are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from riverone_hf.reader.verdict import Abstention, Parameter, Provenance, Verdict

if TYPE_CHECKING:
    from riverone_hf.reader.figures import load_figure
    from riverone_hf.reader.loading import load_model
    from riverone_hf.reader.reader import PlotReader, Row

__all__ = [
    "Abstention",
    "Parameter",
    "PlotReader",
    "Provenance",
    "Row",
    "Verdict",
    "load_figure",
    "load_model",
]

_HOMES = {"PlotReader": "reader", "Row": "reader", "load_figure": "figures", "load_model": "loading"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"riverone_hf.reader.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'riverone_hf.reader' has no attribute {name!r}")
