"""How much sooner and better does the layer engine code a Linear than the reference AQLM algorithm?

Run: python benchmarks/additive.py [--sizes 512 1024 2560] [--schemes 2x8g8 1x8g8] [--cap 900] [--out FILE.json]
     python benchmarks/additive.py --sizes 2560 --reference-epochs 3 --repeats 1    # a reference that is not finished
A row that FILE has already, of the same kind, is not measured again.

Per size and scheme, one process, same weights, float32: the reference (k-means of 100 iterations, epochs of 100 Adam
steps and a beam search; tests/additive/oracle.py) once, until it stops by itself or after --cap seconds; each preset of
ours three times, the median counts. A reference that --cap or --reference-epochs stopped is marked `unfinished`: its
error is what it had reached by then, nothing is extrapolated. Printed and written: time to the reference's final error,
final errors, and the held-out errors for XTX from 8n and from n/2 tokens. Compiling the numba kernel (once per machine)
is not counted.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import sys
import time
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from study import write

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / "additive"), str(Path(__file__).parents[1] / "src")]

# The oracle belongs to the tests; the path must be set before the imports.
from layers import synthetic  # noqa: E402
from oracle import reference_aqlm, relative_error  # noqa: E402

from riverone_hf.additive import kernels  # noqa: E402
from riverone_hf.additive.solve import PRESETS, code_linear  # noqa: E402
from riverone_hf.model.codes_riverone import AdditiveScheme  # noqa: E402

HEADER = ("layer", "tokens", "reference s", "error", "held-out", "ours to it", "sooner", "preset: s, error, held-out")


def kind(size: int, scheme: AdditiveScheme, factor: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """What makes two rows measurements of the same."""
    return {
        "size": size,
        "scheme": str(scheme),
        "tokens": int(factor * size),
        "decay": arguments.decay,
        "presets": arguments.presets,
        "cap": arguments.cap,
        "reference_epochs": arguments.reference_epochs,
        "clock": "CPU seconds" if arguments.cpu_time else "wall",
        "kernel": "numba" if kernels.prepare() else "torch",
    }


def measure(size: int, scheme: AdditiveScheme, factor: float, arguments: argparse.Namespace) -> dict:
    """One row: the reference and every preset on a size x size layer with XTX from factor * size tokens."""
    tokens = int(factor * size)
    weight, xtx, other = synthetic(size, size, tokens, held_out=8 * size, decay=arguments.decay)
    code_linear(weight[:64], xtx, scheme, preset="quick")  # first calls allocate and compile
    reference = reference_aqlm(
        weight,
        xtx,
        scheme.num_codebooks,
        scheme.nbits_per_codebook,
        scheme.in_group_size,
        seconds=arguments.cap,
        epochs=arguments.reference_epochs,
    )
    seconds, error = reference.history[-1]
    epochs = len(reference.history) - 1
    row = {
        **kind(size, scheme, factor, arguments),
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, no GPU used",
        "reference": {
            "seconds": seconds,
            "error": error,
            "held_out": relative_error(weight, reference.decode(), other),
            "epochs": epochs,
            "unfinished": seconds > arguments.cap or epochs == arguments.reference_epochs,
        },
    }
    for preset in arguments.presets:
        runs = [
            code_linear(weight, xtx, scheme, n_samples=tokens, preset=preset, held_out_xtx=other)
            for _ in range(arguments.repeats)
        ]
        reached = [next((t for t, e in run.history if e <= error), float("inf")) for run in runs]
        row[preset] = {
            "seconds": statistics.median(run.seconds for run in runs),
            "seconds_to_reference": statistics.median(reached),
            "error": runs[0].errors["train"],
            "held_out": runs[0].errors["held_out"],
            "history": [[round(t, 4), round(e, 6)] for t, e in runs[0].history],
        }
    first = min(row[preset]["seconds_to_reference"] for preset in arguments.presets)
    row["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    row["versions"] = {"python": platform.python_version()} | {p: found(p) for p in ("torch", "numpy", "numba")}
    row["times_sooner"] = seconds / first
    row["seconds_to_reference"] = first
    return row


def tell(row: dict, presets: list[str]) -> None:
    """One line of the table."""
    ours = "; ".join(
        f"{name}: {row[name]['seconds']:.2f} s (1/{row['reference']['seconds'] / row[name]['seconds']:.0f}), "
        f"{row[name]['error']:.4f} ({row[name]['error'] / row['reference']['error']:.2f}x), "
        f"{row[name]['held_out']:.4f} ({row[name]['held_out'] / row['reference']['held_out']:.2f}x)"
        for name in presets
    )
    one = row["reference"]
    print(
        f"{row['size']} {row['scheme']} | {row['tokens']} | {one['seconds']:.1f}"
        f"{' unfinished' if one['unfinished'] else ''} | {one['error']:.4f} | "
        f"{one['held_out']:.4f} | {row['seconds_to_reference']:.3f} s | {row['times_sooner']:.0f}x | {ours}",
        flush=True,
    )


def found(package: str) -> str | None:
    """Version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2560])
    parser.add_argument("--schemes", nargs="+", default=["2x8g8", "1x8g8"])
    parser.add_argument("--presets", nargs="+", default=list(PRESETS), choices=list(PRESETS))
    parser.add_argument("--cap", type=float, default=900, help="most seconds that one run of the reference may take")
    parser.add_argument("--reference-epochs", type=int, default=1000, help="most epochs of the reference")
    parser.add_argument("--held-out-up-to", type=int, default=1024, help="largest size for the run with n/2 tokens")
    parser.add_argument("--decay", type=float, default=1.0, help="the input spectrum falls like i^-decay")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, help="torch threads, for both; default: torch's choice")
    parser.add_argument("--cpu-time", action="store_true", help="one thread, CPU seconds: for a busy machine")
    parser.add_argument("--no-kernel", action="store_true", help="PyTorch operations only, as without numba")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.cpu_time:
        # Both sides read this clock; with one thread it does not run while other processes do.
        torch.set_num_threads(1)
        time.perf_counter = time.process_time
    if arguments.no_kernel:
        kernels._compiled = lambda: None
    print(" | ".join(HEADER))
    known = arguments.out is not None and arguments.out.exists()
    before = json.loads(arguments.out.read_text(encoding="utf-8")) if known else {"command": "", "rows": []}
    rows, command = before["rows"], " ".join(["python", *sys.argv])
    commands = list(dict.fromkeys([*filter(None, before["command"].split(" && ")), command]))
    for size in arguments.sizes:
        for scheme in map(AdditiveScheme.parse, arguments.schemes):
            for factor in (8, 0.5) if size <= arguments.held_out_up_to else (8,):
                same = kind(size, scheme, factor, arguments).items()
                if any(same <= row.items() for row in rows):
                    continue
                rows.append(measure(size, scheme, factor, arguments))
                tell(rows[-1], arguments.presets)
                if arguments.out:
                    write(arguments.out, {"command": " && ".join(commands), "rows": rows})


if __name__ == "__main__":
    main()
