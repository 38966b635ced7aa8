"""How fast are the circuits? Forward and backward on one core, ours beside other simulators, with the roofline.

Every simulator runs in a process of its own, in turns: milliseconds are the median (and the least) over all rounds,
memory is the peak over what the imports and a small warm-up circuit left behind. A package that is not installed is
said to be absent. Gradients are taken by amplitudes and angles, except where the row says angles only.

Run on a quiet machine:
    pip install --no-deps torchquantum==0.1.8 && pip install pennylane tensorcircuit-ng qulacs
    OMP_NUM_THREADS=1 python benchmarks/qgp.py [--wires 21] [--layers 2] [--rounds 7] [--json out.json]
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

Step = Callable[[], Any]
"""One forward and backward pass."""


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def inputs(wires: int, layers: int, circuits: int, device: str = "cpu") -> tuple[Any, Any, Any]:
    """Unit amplitudes (N,), angles (B, L, n, 3) near zero as in QGP, and a gradient of p (B, N)."""
    import torch

    torch.manual_seed(0)
    amplitudes = torch.randn(2**wires, device=device)
    amplitudes = (amplitudes / amplitudes.norm()).requires_grad_()
    angles = (0.1 * torch.randn(circuits, layers, wires, 3, device=device)).requires_grad_()
    return amplitudes, angles, torch.randn(circuits, 2**wires, device=device)


def ours(wires: int, layers: int, circuits: int, device: str = "cpu", **choice: Any) -> Step:
    import torch

    from riverone_hf.circuits import probabilities

    amplitudes, angles, weight = inputs(wires, layers, circuits, device)

    def step() -> None:
        p = probabilities(amplitudes, angles, **choice)
        torch.autograd.grad(p, (amplitudes, angles), weight)
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def tensorcircuit(wires: int, layers: int, circuits: int) -> Step:
    import tensorcircuit as tc
    import torch

    tc.set_backend("pytorch")
    amplitudes, angles, weight = inputs(wires, layers, circuits)

    def step() -> None:
        for row, grad in zip(angles, weight, strict=True):
            circuit = tc.Circuit(wires, inputs=amplitudes.to(torch.complex64))
            for layer in row:
                for wire in range(wires):
                    circuit.rz(wire, theta=layer[wire, 2])
                    circuit.ry(wire, theta=layer[wire, 1])
                    circuit.rx(wire, theta=layer[wire, 0])
                for wire in range(wires - 1):
                    circuit.cnot(wire, wire + 1)
            p = torch.view_as_real(circuit.state()).square().sum(-1)
            torch.autograd.grad(p, (amplitudes, angles), grad)

    return step


def lightning(wires: int, layers: int, circuits: int) -> Step:
    """Adjoint differentiation of one PauliZ mean: angles only."""
    import numpy as np
    import pennylane as qml

    amplitudes, angles, _ = (x.detach().double().numpy() for x in inputs(wires, layers, circuits))
    state = amplitudes / np.linalg.norm(amplitudes)

    @qml.qnode(qml.device("lightning.qubit", wires=wires), diff_method="adjoint")
    def circuit(layers_: Any) -> Any:
        qml.StatePrep(state, wires=range(wires))
        for layer in layers_:
            for wire in range(wires):
                qml.RZ(layer[wire, 2], wires=wire)
                qml.RY(layer[wire, 1], wires=wire)
                qml.RX(layer[wire, 0], wires=wire)
            for wire in range(wires - 1):
                qml.CNOT(wires=[wire, wire + 1])
        # The cheapest observable that lightning differentiates on this register; a dense diagonal one costs more.
        return qml.expval(qml.PauliZ(0))

    gradient = qml.grad(circuit)

    def step() -> None:
        for row in angles:
            gradient(qml.numpy.array(row, requires_grad=True))

    return step


def qulacs(wires: int, layers: int, circuits: int) -> Step:
    """Forward only: its backpropagation takes Pauli observables, not all chances."""
    import numpy as np
    from qulacs import QuantumCircuit, QuantumState

    amplitudes, angles, _ = (x.detach().double().numpy() for x in inputs(wires, layers, circuits))

    def step() -> None:
        for row in angles:
            circuit = QuantumCircuit(wires)
            for layer in row:
                for wire, (a, b, c) in enumerate(layer):
                    # qulacs turns the other way, and its wire 0 is the least significant bit.
                    place = wires - 1 - wire
                    circuit.add_RZ_gate(place, -c)
                    circuit.add_RY_gate(place, -b)
                    circuit.add_RX_gate(place, -a)
                for wire in range(wires - 1):
                    circuit.add_CNOT_gate(wires - 1 - wire, wires - 2 - wire)
            state = QuantumState(wires)
            state.load(amplitudes.astype(np.complex128))
            circuit.update_quantum_state(state)
            np.abs(state.get_vector()) ** 2

    return step


ROWS: dict[str, tuple[str, Callable[[int, int, int], Step]]] = {
    "ours, compiled": ("numba", lambda *size: ours(*size, engine="numba")),
    "ours, portable": ("torch", lambda *size: ours(*size, engine="portable")),
    "torchquantum": ("torchquantum", lambda *size: ours(*size, backend="torchquantum")),
    "tensorcircuit-ng": ("tensorcircuit-ng", tensorcircuit),
    "pennylane lightning, angles only": ("pennylane-lightning", lightning),
    "qulacs, forward only": ("qulacs", qulacs),
    "pennylane default.qubit": ("pennylane", lambda *size: ours(*size, backend="pennylane")),
    "ours, CUDA": ("torch", lambda wires, layers, circuits: ours(wires, layers, circuits, "cuda")),
}


class Peak:
    """Peak resident memory of this process in MB over that at the start, read every millisecond.

    before: the process's high-water mark until now; where it rises, it is more exact than the readings.
    """

    def __init__(self, before: float):
        self.before = before

    def __enter__(self) -> Peak:
        self.start = self.most = self.resident()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *problem: Any) -> None:
        self.stop.set()
        self.thread.join()
        high = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.most = max(self.most, self.resident(), high if high > self.before else 0)

    def watch(self) -> None:
        while not self.stop.wait(0.001):
            self.most = max(self.most, self.resident())

    @staticmethod
    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def worker(name: str, wires: int, layers: int, circuits: int) -> None:
    """Prints a JSON line for each line read: the milliseconds of one step, the first with the memory as well."""
    import torch

    torch.set_num_threads(1)
    make = ROWS[name][1]
    make(8, layers, 1)()
    with Peak(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024) as peak:
        step = make(wires, layers, circuits)
        step()
    memory = peak.most - peak.start
    for _ in sys.stdin:
        start, spent = time.perf_counter(), time.process_time()
        step()
        row = {"ms": 1e3 * (time.perf_counter() - start), "cpu_ms": 1e3 * (time.process_time() - spent)}
        print(json.dumps({**row, "mb": memory}), flush=True)


def absent(name: str) -> str | None:
    """Why a row cannot be measured here, or None."""
    package = ROWS[name][0]
    try:
        version(package)
    except PackageNotFoundError:
        return f"{package} is not installed"
    if name.endswith("CUDA"):
        import torch

        return None if torch.cuda.is_available() else "no CUDA device"
    return None


def compare(names: list[str], wires: int, layers: int, circuits: int, rounds: int) -> list[dict[str, Any]]:
    """All rows at one size, measured in turns so that a busy moment falls on all of them alike."""
    processes, rows = {}, []
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    for name in names:
        reason = absent(name)
        if reason:
            rows.append({"name": name, "wires": wires, "layers": layers, "circuits": circuits, "absent": reason})
            continue
        size = [str(x) for x in (wires, layers, circuits)]
        command = [sys.executable, "-W", "ignore", __file__, "--worker", name, "--size", *size]
        processes[name] = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
    answers: dict[str, list[dict[str, float]]] = {name: [] for name in processes}
    for _ in range(rounds):
        for name, process in processes.items():
            assert process.stdin and process.stdout
            process.stdin.write("\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"{name} ended without an answer: see its error above")
            answers[name].append(json.loads(line))
    for name, process in processes.items():
        process.communicate()
        times = [answer["ms"] for answer in answers[name]]
        rows.append(
            {
                **{"name": name, "wires": wires, "layers": layers, "circuits": circuits},
                **{"median_ms": statistics.median(times), "least_ms": min(times), "peak_mb": answers[name][0]["mb"]},
                "cpu_ms": min(answer["cpu_ms"] for answer in answers[name]),
            }
        )
    return rows


def roofline() -> dict[str, float]:
    """float32 matrix product in GFLOP/s and copy in GB/s (bytes read and written), best of 20, one core."""
    import torch

    torch.set_num_threads(1)
    a, b, out = (torch.randn(1024, 1024) for _ in range(3))
    source, target = torch.randn(2**22), torch.empty(2**22)

    def best(step: Step) -> float:
        times = []
        for _ in range(20):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        return min(times)

    gemm, copy = best(lambda: torch.mm(a, b, out=out)), best(lambda: target.copy_(source))
    return {"gemm_gflops": 2 * 1024**3 / gemm / 1e9, "copy_gb_s": 2 * source.nbytes / copy / 1e9}


def work(wires: int, layers: int) -> tuple[float, float]:
    """GFLOP and GB that forward and backward of the compiled engine need: see `circuits/passes.py`.

    Per entry and bit, forward: two planes, 2 flops each; backward: four planes, 2 each, and 8 for the Pauli sums.
    Bytes: two passes a layer over two planes forward and four backward, each read and written.
    """
    entries = 2**wires
    flops = entries * wires * layers * (2 * 2 + 4 * 2 + 8)
    return flops / 1e9, entries * 4 * layers * 2 * 2 * (2 + 4) / 1e9


def show(rows: list[dict[str, Any]], baseline: str) -> None:
    base = next(row for row in rows if row["name"] == baseline)
    print(f"{base['wires']} wires, {base['layers']} layers, {base['circuits']} circuits, forward + backward, one core")
    for row in rows:
        if "absent" in row:
            print(f"  {row['name']:34s} absent: {row['absent']}")
            continue
        ratio = row["median_ms"] / base["median_ms"]
        print(
            f"  {row['name']:34s} median {row['median_ms']:9.1f} ms   least {row['least_ms']:9.1f} ms   "
            f"CPU {row['cpu_ms']:9.1f} ms   {ratio:7.1f} x   peak memory {row['peak_mb']:7.0f} MB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wires", type=int, default=21)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", nargs="*", default=list(ROWS), help="only these rows; 'ours, compiled' is always in")
    parser.add_argument("--json", type=Path, help="also write the rows there")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, *options.size)
        return
    names = list(dict.fromkeys(["ours, compiled", *options.rows]))
    roof = roofline()
    big = compare(names, options.wires, options.layers, 1, options.rounds)
    show(big, "ours, compiled")
    small = compare(["ours, compiled", "ours, portable"], 12, options.layers, 81, options.rounds)
    show(small, "ours, compiled")
    flops, size = work(options.wires, options.layers)
    limit = 1e3 * max(flops / roof["gemm_gflops"], size / roof["copy_gb_s"])
    print(
        f"roofline: matrix product {roof['gemm_gflops']:.0f} GFLOP/s, copy {roof['copy_gb_s']:.0f} GB/s. The compiled "
        f"engine's {flops:.1f} GFLOP and {size:.2f} GB take at least {limit:.0f} ms at these rates"
    )
    if options.json:
        about = {
            "command": "OMP_NUM_THREADS=1 python " + " ".join(["benchmarks/qgp.py", *sys.argv[1:]]),
            "date": datetime.date.today().isoformat(),
            "machine": f"one of {os.cpu_count()} CPU cores",
            "versions": {package: _version(package) for package, _ in ROWS.values()},
        }
        options.json.write_text(json.dumps({**about, "roofline": roof, "rows": [*big, *small]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
