"""How much does a RiverONE keep when its vision blocks are shared, and is sharing the reason?

For every base checkpoint (one per seed) and K = 1/2, 1/3, 1/6 of the blocks: recovery from nothing to everything, QGP
and classical generators of q/k/v at a matched number of trained parameters, and the controls (the same blocks dropped,
a small tower from scratch). All rows see the same images in the same order and take the same steps. A finished (row,
seed) pair is a file in results/rows and is skipped; a killed one goes on from its checkpoint in --work.

Learning rates of generators are those that `multiplex_rates.py` chose on validation plots.

Run: python benchmarks/multiplex.py --work DIR [--base SEED=DIR]... [--out results/multiplex.json] [--rows 'REGEX']
     [--plots 800] [--steps 400] [--seeds 0 1] [--minutes 20] [--list]
     python benchmarks/multiplex.py ... --contested    # QGP against the best classical method, seeds 0-9
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from multiplex_effects import CLASSICAL, FRACTIONS, SEEDS, best_classical, contested, controls, matched, recovered
from paired import summary
from pydantic import ValidationError
from study import Plots, bases_of, digests, finished, picked, results, run_rows, slug, study_parser, write
from transformers import set_seed

from riverone_hf import multiplex, qgp
from riverone_hf.build import CompressVisionSpec, PlotBatches, distillation_plots, load_compress_spec
from riverone_hf.data import DATA_VERSION
from riverone_hf.reader.loading import load_model
from riverone_hf.train.precision import bf16_here

REST = ("transforms", "norms", "blocks")
"""What trains beside q/k/v in every row from 'shared weights' on."""
OUT = Path("results/multiplex.json")
RATES = Path("results/multiplex_rates.json")
"""Written by multiplex_rates.py."""


@dataclasses.dataclass(frozen=True)
class Method:
    """One way to recover. `generator` are settings of the qgp room, `match` sizes it to the circuit's parameters."""

    name: str
    train: tuple[str, ...] = ()
    kind: str = "share"  # share, drop or scratch
    generator: dict[str, Any] | None = None
    match: bool = False
    unshared_qkv: bool = False
    reset: bool = False
    validated: bool = False


def methods() -> list[Method]:
    """The rows of the study, for one fraction."""
    circuit = {"method": "qgp"}
    with_circuit = (*REST, "generators")
    return [
        Method("no recovery"),
        Method("transforms", ("transforms",)),
        Method("transforms and norms", ("transforms", "norms")),
        Method("shared weights, q/k/v frozen", REST),
        Method("shared weights", (*REST, "qkv")),
        Method("q/k/v unshared", (*REST, "qkv"), unshared_qkv=True),
        # The generators are there but do not train: the cost of everything about a circuit except its learning.
        Method("qgp, angles frozen", REST, generator=circuit),
        Method("qgp", with_circuit, generator=circuit, validated=True),
        Method("qgp, angles reset", with_circuit, generator=circuit, reset=True),
        Method("qgp without entangler", with_circuit, generator={**circuit, "entangler": "none"}),
        Method("qgp with row_col", with_circuit, generator={**circuit, "row_col": True}),
        Method("qgp with row_col, angles reset", with_circuit, generator={**circuit, "row_col": True}, reset=True),
        Method("row_col", with_circuit, generator={"method": "row_col"}),
        *(Method(n, with_circuit, generator=g, match=True, validated=True) for n, g in CLASSICAL.items()),
        Method("LoRA, rank 1", with_circuit, generator={"method": "lora", "rank": 1}),
        Method("control: blocks dropped", (*REST, "qkv"), kind="drop"),
        Method("control: small tower from scratch", (*REST, "qkv"), kind="scratch"),
    ]


class Study:
    """All rows of one base checkpoint."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        seed: int,
        folder: str,
        test: Plots,
        validation: Plots,
        rates: dict[str, float],
    ):
        self.rates = rates
        self.arguments, self.seed, self.test, self.validation = arguments, seed, test, validation
        self.model, self.processor = load_model(folder, device="cpu")
        self.layers = self.model.config.vision_config.num_hidden_layers
        changes = {"distill": {"steps": arguments.steps}} if arguments.steps else {}
        self.spec = load_compress_spec(arguments.recipe, changes)
        side = self.model.config.vision_config.image_size
        families = tuple(self.model.config.families)
        source = distillation_plots(families, side, 1000 + seed)
        count = max(self.spec.distill.steps, self.spec.probe_batches)
        self.batches = PlotBatches(source, self.processor.image_processor, arguments.batch_size, count)
        self.drawn: list[torch.Tensor] = []

    def images(self, steps: int) -> list[torch.Tensor]:
        """Training images of this seed: the same for every row, so drawn once (400 batches are 1.6 GB)."""
        for index in range(len(self.drawn), steps):
            self.drawn.append(self.batches[index])
        return self.drawn[:steps]

    def base(self) -> dict[str, Any]:
        """The uncompressed model, and what skipping each block costs it."""
        row = self._row("base", self.model, 0, 0)
        probe = [self.images(1)[0]]
        row["skip_cost"] = [round(cost, 4) for cost in multiplex.skip_cost(self.model, probe)]
        return row

    def run(self, fraction: str, method: Method) -> dict[str, Any]:
        """Compress, recover and score. Raises pydantic's ValidationError for generators that do not exist."""
        stored = max(1, round(FRACTIONS[fraction] * self.layers))
        layer_map, spec = self._map(stored), self.spec
        set_seed(self.seed)
        student, targets = self._student(method, layer_map)
        row: dict[str, Any] = {"stored_blocks": max(layer_map) + 1, "layer_map": layer_map}
        generator = self._generator(student, method, row)
        if generator is not None:
            qgp.attach(student, generator, restart=True)
        start = {name: copy.deepcopy(made.state_dict()) for name, made in qgp.generators(student).items()}
        trained = 0
        if method.train:
            train = list(method.train)
            if not (spec.head_mixing or spec.local_conv):
                train.remove("transforms")
            settings = spec.distill.model_dump(exclude={"regularizer_weight"}) | {"train": tuple(train)}
            # Worth a tenth of a point or less (docs/log.md); some machines have no other choice.
            row["bf16"] = settings["bf16"] = bf16_here(spec.distill.bf16)
            if "generators" in train:
                settings["generator_learning_rate"] = self.rates[trained_as(method.name)]
                row["generator_learning_rate"] = settings["generator_learning_rate"]
            trained = sum(p.numel() for name in train for p in multiplex.parameter_groups(student)[name])
            # A reset row is the trained model of the row beside it, so it shares that one's finished distillation.
            work = self.arguments.work / f"{slug(f'{fraction} {trained_as(method.name)}')}-{self.seed}"
            losses = multiplex.distill(
                student,
                self.model,
                self.images(spec.distill.steps),
                multiplex.DistillConfig(**settings),
                folder=work,
                **targets,
            )
            row["losses"] = {"first": losses[0], "last": losses[-1]}
            if not method.name.startswith("qgp"):
                shutil.rmtree(work)
        if generator is not None:
            row["generators"] = qgp.report(student).as_dict()
            if method.reset:
                # All else keeps what it learned beside them.
                for name, made in qgp.generators(student).items():
                    made.load_state_dict(start[name])
            qgp.freeze(student)
        probe = [self.images(1)[0]]
        row["output_error"] = multiplex.output_error(student, self.model, probe)
        if method.kind == "share":
            row["layer_error"] = [round(e, 4) for e in multiplex.layer_errors(student, self.model, probe)]
        scored = self._row(f"{fraction} {method.name}", student, spec.distill.steps if method.train else 0, trained)
        if method.validated:
            scored["validation_mean"] = float(np.mean(self.validation.score(student, self.processor)[1]))
        return {**scored, **row}

    def _map(self, stored: int) -> list[int]:
        if self.spec.layer_map == "search":
            return multiplex.search_map(self.model, stored, [self.images(self.spec.probe_batches)[0]])
        return multiplex.groups(self.layers, stored)

    def _student(self, method: Method, layer_map: list[int]) -> tuple[Any, dict[str, Any]]:
        spec: CompressVisionSpec = self.spec
        extras: dict[str, Any] = {
            "head_mixing": spec.head_mixing,
            "local_conv": spec.local_conv,
            "local_conv_size": spec.local_conv_size,
        }
        if method.kind == "share":
            unshared = range(self.layers) if method.unshared_qkv else None
            images = list(self.images(spec.probe_batches))
            return multiplex.share_blocks(
                self.model, layer_map, spec.init, qkv_map=unshared, images=images, **extras
            ), {}
        # The controls get the same transforms in the layers that they keep.
        whole = multiplex.share_blocks(self.model, "identity", **extras)
        make = multiplex.drop_blocks if method.kind == "drop" else multiplex.fresh_blocks
        student = make(whole, layer_map) if method.kind == "drop" else make(whole, layer_map, self.seed)
        return student, multiplex.control_targets(layer_map)

    def _generator(self, student: Any, method: Method, row: dict[str, Any]) -> Any:
        if method.generator is None:
            return None
        config = qgp.config_of({**method.generator, "seed": self.seed})
        if method.match:
            weights = qgp.shapes(student, config)
            circuit = qgp.config_of({"method": "qgp"})
            match = qgp.matched(weights, config, sum(circuit.count(*weight) for weight in weights))
            row["matched"] = {"trained": match.trained, "budget": match.budget, "within_5_percent": match.matched}
            config = match.config
        return config

    def _row(self, name: str, model: Any, steps: int, trained: int) -> dict[str, Any]:
        size = sum(p.numel() * p.element_size() for p in model.parameters())
        logical = logical_parameters(model)
        return self.test.row(
            name,
            self.seed,
            model,
            self.processor,
            steps=steps,
            trained_params=trained,
            logical_params=logical,
            bytes=size,
            bits_per_weight=8 * size / logical,
            vision=multiplex.stored_size(model),
        )


def trained_as(name: str) -> str:
    """The method whose training a method shares: a reset only follows it."""
    return name.removesuffix(", angles reset")


def with_generators() -> list[Method]:
    """Methods that train generators, each with a learning rate of its own."""
    return [method for method in methods() if "generators" in method.train and not method.reset]


def chosen_rates(parser: argparse.ArgumentParser, path: Path) -> dict[str, float]:
    """Method -> learning rate; leaves with the parser's usage when they were not chosen yet."""
    if not path.is_file():
        parser.error(f"{path} does not exist. Remedy: choose learning rates with benchmarks/multiplex_rates.py first")
    return json.loads(path.read_text(encoding="utf-8"))["chosen"]


def logical_parameters(model: Any) -> int:
    """Parameters that the model computes with: a stored block counts once for every layer that uses it."""
    vision = model.model.vision_tower
    total = model.num_parameters()
    for stored, uses in ((vision.blocks, vision.config.layer_map), (vision.qkv, vision.config.qkv_map)):
        for index, module in enumerate(stored):
            total += (uses.count(index) - 1) * sum(p.numel() for p in module.parameters())
    return total


def main() -> None:
    parser = study_parser(__doc__.splitlines()[0], str(OUT))
    parser.add_argument("--validation", type=int, default=400)
    parser.add_argument("--recipe", type=Path, default=None, help="settings; default recipes/multiplex")
    parser.add_argument("--steps", type=int, default=0, help="instead of the recipe's")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rates", type=Path, default=RATES, help="chosen learning rates of generators")
    parser.add_argument("--contested", action="store_true", help="seeds 0-9 of qgp and the best classical method")
    arguments = parser.parse_args()
    names = ["base", *(f"{fraction} {method.name}" for fraction in FRACTIONS for method in methods())]
    if arguments.list:
        print("\n".join(names))
        return
    bases = bases_of(parser, arguments)
    if arguments.work is None:
        parser.error("--work FOLDER is needed to run rows")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    spec, rates = load_compress_spec(arguments.recipe), chosen_rates(parser, arguments.rates)
    key = json.dumps([spec.model_dump(), arguments.steps, arguments.batch_size, arguments.plots, DATA_VERSION, rates])
    settings = zlib.crc32(key.encode())
    wanted = set(picked(names, arguments))
    seeds = sorted(bases)
    if arguments.contested:
        done = finished(arguments.out, settings, digests(bases))
        best = {fraction: best_classical(done, fraction) for fraction in FRACTIONS}
        wanted &= {name for f, best_name in best.items() if best_name for name in (best_name, f"{f} qgp")}
        seeds = list(range(10))
        bases |= {seed: bases[sorted(bases)[seed % len(bases)]] for seed in seeds if seed not in bases}
    marks = digests(bases)
    plots: list[Plots] = []
    studies: dict[int, Study] = {}

    def make(name: str, seed: int) -> dict[str, Any]:
        if seed not in studies:
            folder = bases[seed]
            families = tuple(load_model(folder, device="cpu")[0].config.families)
            if not plots:
                plots.append(Plots(families, arguments.plots, "test"))
                plots.append(Plots(families, arguments.validation, "validation"))
            studies.clear()
            studies[seed] = Study(arguments, seed, folder, *plots, rates)
        return studies[seed].base() if name == "base" else studies[seed].run(name[:3], by_name(name[4:]))

    jobs = [(name, seed) for seed in seeds for name in names if name in wanted or name == "base"]
    run_rows(
        jobs, make, (ValidationError,), arguments, settings, lambda: publish(arguments, settings, marks), bases=marks
    )


def by_name(name: str) -> Method:
    """The method of a row."""
    return next(method for method in methods() if method.name == name)


def publish(arguments: argparse.Namespace, settings: int, marks: dict[int, str]) -> None:
    """Write the results file from all finished rows."""
    rows = finished(arguments.out, settings, marks)
    # Ten seeds of two methods would not compare with three of the others.
    plots = {(row["name"], row["seed"]): row["per_plot"] for row in rows if row["seed"] < SEEDS}
    command = "python benchmarks/multiplex.py --work DIR"
    command += f" --out {arguments.out}" if arguments.out != OUT else ""
    command += "".join(f" --base {seed}=DIR" for seed in marks) if arguments.base else ""
    command += f" --steps {arguments.steps}" if arguments.steps else ""
    effects = {part.__name__: part(rows) for part in (controls, matched, recovered, contested)}
    write(arguments.out, results(command, rows, summary=summary(rows, plots), **effects))


if __name__ == "__main__":
    main()
