"""How fast are the two renderers? Prints plots/s (median of 7 rounds, same figures, same process) and peak memory.

Run: python benchmarks/render.py [--plots 60] [--size 224]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import numpy as np

from riverone_hf.calibration import SUPPORTED_FAMILIES, draw
from riverone_hf.calibration.raster import _text_weights
from riverone_hf.calibration.render import Backend, render
from riverone_hf.calibration.scene import Figure


def rate(figures: list[Figure], size: tuple[int, int] | None, backend: Backend, cold: bool) -> float:
    """Plots per second of CPU time (other processes do not count), `cold`: with an empty label cache."""
    if cold:
        _text_weights.cache_clear()
    start = time.process_time()
    for figure in figures:
        render(figure, size, backend=backend)
    return len(figures) / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plots", type=int, default=60)
    parser.add_argument("--size", type=int, default=224)
    arguments = parser.parse_args()
    per_family = max(1, arguments.plots // len(SUPPORTED_FAMILIES))
    plots = [draw(family, seed) for family in SUPPORTED_FAMILIES for seed in range(per_family)]
    figures = [figure for plot in plots for figure in plot.figures]
    square = (arguments.size, arguments.size)
    render(figures[0], square, backend="matplotlib")
    rows: dict[str, list[float]] = {}
    for _ in range(7):
        for name, size, backend, cold in (
            (f"fast {arguments.size} px, cold labels", square, "fast", True),
            (f"fast {arguments.size} px, warm labels", square, "fast", False),
            ("fast, own size", None, "fast", False),
            (f"matplotlib {arguments.size} px", square, "matplotlib", False),
            ("matplotlib, own size", None, "matplotlib", False),
        ):
            rows.setdefault(name, []).append(rate(figures, size, backend, cold))  # type: ignore[arg-type]
    names = list(rows)
    ratio = np.array(rows[names[1]]) / np.array(rows[names[3]])
    print(f"{len(figures)} figures of {len(SUPPORTED_FAMILIES)} families, median of 7 rounds (lowest, highest)")
    for name, values in rows.items():
        print(f"{name:30s} {statistics.median(values):7.1f} plots/s ({min(values):.1f}, {max(values):.1f})")
    print(f"fast / matplotlib at {arguments.size} px: {np.median(ratio):.1f} x")
    print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
