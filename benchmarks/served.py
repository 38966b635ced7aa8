"""Does a model behind `riverone serve` say what it says in this process, with eight requests at a time?

Serves MODEL on loopback in a process of its own, asks it the questions of DATASET (QCalEval's layout, its own full
prompts) as the official scripts do, asks the same in this process, and writes results/served.json: requests, failed
ones, answers that differ, times, and the scores of both.

Run: python benchmarks/served.py MODEL DATASET [--limit N] [--icl]
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from riverone_hf.build.run import commit, machine, versions
from riverone_hf.evaluate import Options, load_benchmark, run_evaluation
from riverone_hf.evaluate.backends import Backend, load_backend
from riverone_hf.evaluate.chat import ChatClient
from riverone_hf.evaluate.endpoint import CONCURRENCY, EndpointBackend

RESULTS = Path(__file__).parents[1] / "results" / "served.json"


@contextmanager
def served(model: str) -> Iterator[str]:
    """Base address of `model` behind `riverone serve` on a free port."""
    command = [sys.executable, "-m", "riverone_hf", "serve", model, "--port", "0", "--device", "cpu"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"(http://127\.0\.0\.1:\d+/v1)/chat/completions", line):
                yield found.group(1)
                return
        raise RuntimeError("the server ended before it said its address")
    finally:
        process.kill()
        process.wait(10)


def asked(backend: Backend, dataset: Any, limit: int | None, icl: bool) -> dict[str, Any]:
    """Answers, failed requests, seconds and mean scores of one way of asking."""
    options = Options(prompt="full", references=False, limit=limit, icl=icl)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        outcome = run_evaluation(backend, dataset, options, Path(folder) / "out")
    seconds = round(time.monotonic() - began, 1)
    names = sorted({name for entry in outcome.scores["strict"] for name in entry.flat})
    scores: dict[str, Any] = {}
    for rule, entries in outcome.scores.items():
        told = {name: [e.flat[name] for e in entries if e.flat.get(name) is not None] for name in names}
        scores[rule] = {name: round(sum(values) / len(values), 2) for name, values in told.items() if values}
    return {
        "answers": [entry["responses"] for entry in outcome.results["results"]],
        "failed": outcome.facts["failed_answers"],
        "seconds": seconds,
        "scores": scores,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("dataset")
    parser.add_argument("--limit", type=int, help="plots that are asked about; default: all")
    parser.add_argument("--icl", action="store_true", help="ask behind solved examples as well")
    arguments = parser.parse_args()
    dataset = load_benchmark(arguments.dataset)
    rows = []
    for icl in (False, True)[: 1 + arguments.icl]:
        waits: list[float] = []
        with served(arguments.model) as address:
            client = ChatClient(address, wait=waits.append)
            there = asked(EndpointBackend(client), dataset, arguments.limit, icl)
        here = asked(load_backend(arguments.model, device="cpu"), dataset, arguments.limit, icl)
        pairs = [
            (a[q], b[q]) for a, b in zip(there.pop("answers"), here.pop("answers"), strict=True) for q in sorted(a)
        ]
        rows.append(
            {
                "name": "in context" if icl else "zero-shot",
                "requests": len(pairs),
                "concurrent": CONCURRENCY,
                "retries": len(waits),
                "different_answers": sum(a != b for a, b in pairs),
                "served": there,
                "in_process": here,
            }
        )
        print(json.dumps(rows[-1], indent=1), flush=True)
    content = {
        "command": "python benchmarks/served.py MODEL DATASET",
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "model": Path(arguments.model).resolve().name,
        "rows": rows,
    }
    RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
