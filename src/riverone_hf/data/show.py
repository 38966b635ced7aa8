"""How does a row look? Figures of simulated plots as PNG files, their true answers beside them."""

from __future__ import annotations

import json
from pathlib import Path

from ..calibration import SUPPORTED_FAMILIES
from ..errors import QuestionError
from ..questions import write_answers
from .calibration import PlotSource


def show_plots(out: Path, plots: int, seed: int, family: str | None = None, backend: str = "fast") -> list[Path]:
    """Write `plots` plots of the test split into `out` as `<index>_<type>[_<image>].png`, and `truth.json`.

    `truth.json` maps each file name to its family, type and answers (q0..q6). Returns the figures' paths.
    Raises QuestionError for an unknown family or backend.
    """
    if backend not in ("fast", "matplotlib"):
        raise QuestionError(f"unknown backend {backend!r}. Expected fast or matplotlib")
    if family is not None and family not in SUPPORTED_FAMILIES:
        raise QuestionError(f"no simulator for family {family!r}. Expected one of: {', '.join(SUPPORTED_FAMILIES)}")
    families = (family,) if family else SUPPORTED_FAMILIES
    share = 1.0 if backend == "matplotlib" else 0.0
    source = PlotSource(families, seed=seed, split="test", matplotlib_share=share)
    out.mkdir(parents=True, exist_ok=True)
    truth, written = {}, []
    for index in range(plots):
        row, plot = source.row(index), source.plot(index)
        for number, image in enumerate(row["images"]):
            suffix = f"_{number}" if len(row["images"]) > 1 else ""
            path = out / f"{index:03d}_{row['experiment_type']}{suffix}.png"
            image.save(path)
            written.append(path)
            truth[path.name] = {
                "family": row["family"],
                "experiment_type": row["experiment_type"],
                "answers": write_answers(plot.truth),
            }
    (out / "truth.json").write_text(json.dumps(truth, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return written
