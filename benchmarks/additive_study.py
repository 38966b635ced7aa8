"""How much of a RiverONE's score is left when its language model is written in codebooks, and do others keep more?

For every base checkpoint (one per seed): schemes from about 1 to 4 bits per weight with and without PV-Tuning, rivals
of about equal bytes with the same tuning (round-to-nearest, GPTQ, HQQ, a narrower dense model), and the uncompressed
model given the same extra steps. All rows see the same plots in the same order; vision tower and projector never
change. Bits per weight are all bytes of the language model's Linears (codes, codebooks, scales, zero points) over the
number of weights that these Linears have uncompressed. A finished (row, seed) is a file in results/rows and skipped.

Run: python benchmarks/additive_study.py [--base SEED=DIR]... [--out results/additive.json] [--rows 'REGEX']
     [--plots 800] [--minutes 20] [--threads 2] [--list]
     python benchmarks/additive_study.py ... --split validation --out FILE --set steps=80 --set fraction=0.03
     python benchmarks/additive_plot.py    # docs/img/additive.png

The second form tries other settings (fields of `Tuning` and of `additive.PVConfig`) on validation plots.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import functools
import json
import re
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from packed_plots import PackedPlots, features_given, first_of
from paired import holm, paired_difference, summary
from rivals import ScalarLinear, pruned, quantized
from study import Plots, bases_of, digests, finished, results, run_rows, study_parser, write
from torch import nn
from transformers import PrinterCallback, TrainingArguments, set_seed

from riverone_hf import additive
from riverone_hf.additive.targets import make_plan
from riverone_hf.additive.trainable import TrainableLinear
from riverone_hf.data import DATA_VERSION
from riverone_hf.model.int8_riverone import int8_tables
from riverone_hf.model.quantization_riverone import SHARED, coded_layers
from riverone_hf.reader.loading import load_model

ALL = {"all": "."}
"""One set of codebooks for all Linears: theirs are too small to pay for sets of their own."""
ATTENTION = r"\.[qkvo]_proj"
STORED = 2
"""Bytes of a weight that is not coded: bfloat16, as base checkpoints are saved."""


@dataclasses.dataclass(frozen=True)
class Tuning:
    """The same for every tuned row; learning rates of AdamW by what is trained.

    share: of the divergence from the uncompressed model in the loss, the rest is the task's. latent: weights behind
    whole numbers (`ScalarLinear`). text: everything of the language model that is not coded.
    """

    steps: int = 300
    batch: int = 12
    warmup: int = 10
    share: float = 0.5
    codebooks: float = 3e-3
    scales: float = 3e-3
    latent: float = 1e-3
    text: float = 3e-3
    calibration: int = 128
    held_out: int = 20


PV = additive.PVConfig()
PRESET = "high"


@dataclasses.dataclass(frozen=True)
class Row:
    """One row: how its model is made from a `Study`, and whether it is tuned."""

    name: str
    make: Callable[[Study], Any]
    tuned: bool = False


def rows() -> list[Row]:
    """All rows but `base`."""
    found = [Row("reference", lambda study: copy.deepcopy(study.model), tuned=True)]
    for name, scheme, options in (
        ("1x8g8 shared", "1x8g8", {"share": ALL}),
        ("2x5g8 shared, attention 2x6g8", "2x5g8", {"share": ALL, "overrides": {ATTENTION: "2x6g8"}}),
        ("2x8g8 shared", "2x8g8", {"share": ALL}),
        ("2x8g8 shared, 8-bit embeddings", "2x8g8", {"share": ALL, "embeddings": "int8"}),
        ("2x4g4 per matrix", "2x4g4", {}),
        ("2x6g4 shared", "2x6g4", {"share": ALL}),
        ("2x8g4 shared", "2x8g4", {"share": ALL}),
    ):
        make = functools.partial(Study.coded, scheme=scheme, options=options)
        found += [Row(name, make), Row(f"{name}, PV", make, tuned=True)]
    for method in ("rtn", "gptq", "hqq"):
        for bits in (4, 3, 2):
            make = functools.partial(Study.scalar, method=method, bits=bits)
            found += [Row(f"{method} {bits} bits", make), Row(f"{method} {bits} bits, tuned", make, tuned=True)]
    for bits in (4, 3, 2):
        make = functools.partial(Study.dense, bits=bits)
        found.append(Row(f"dense, the bytes of {bits} bits, tuned", make, tuned=True))
    return found


class Study:
    """All rows of one base checkpoint."""

    def __init__(self, tuning: Tuning, pv: additive.PVConfig, seed: int, folder: str, test: Plots, split: str = "test"):
        self.tuning, self.pv, self.seed, self.test = tuning, pv, seed, test
        self.model, self.processor = load_model(folder, device="cpu")
        plots = functools.partial(PackedPlots, self.model, self.processor)
        self.calibration = plots(2000 + seed, "train", tuning.calibration, 1).inputs()
        self.held_out = plots(3, split, tuning.held_out, tuning.batch).inputs(labels=True)
        self.weights = sum(target.weights for target in make_plan(self.model, "1x1g1").targets)

    @functools.cached_property
    def lessons(self) -> PackedPlots:
        """What all tuned rows learn from."""
        return PackedPlots(self.model, self.processor, 1000 + self.seed, "train", self.tuning.steps, self.tuning.batch)

    def coded(self, scheme: str, options: dict[str, Any]) -> Any:
        """The model in codebooks."""
        model = copy.deepcopy(self.model)
        with features_given(model):
            additive.quantize(
                model, scheme, self.calibration, preset=PRESET, seed=self.seed, say=lambda line: None, **options
            )
        return model

    def scalar(self, method: str, bits: int) -> Any:
        """The model in whole numbers."""
        model = copy.deepcopy(self.model)
        with features_given(model):
            return quantized(model, method, bits, self.calibration)

    def dense(self, bits: int) -> Any:
        """A narrower model, as large as whole numbers with their scales and zero points would be."""
        like = 8 * stored_bytes(self.scalar("rtn", bits))[0] / self.weights
        with features_given(self.model):
            return pruned(self.model, self.weights * like / (8 * STORED), self.calibration)

    def run(self, row: Row) -> dict[str, Any]:
        """Make the model, tune it if the row wants it, and measure it."""
        lessons = self.lessons if row.tuned else None  # made once, so no part of this row's time
        began = time.monotonic()
        set_seed(self.seed)
        model, trained, losses = row.make(self), 0, []
        if lessons is not None:
            trained, losses = self.tune(model)
        made = self.measure(row.name, model, self.tuning.steps if row.tuned else 0, trained, losses)
        return {**made, "seconds": round(time.monotonic() - began, 1)}

    def tune(self, model: Any) -> tuple[int, list[dict[str, float]]]:
        """Tune the language model in place; (number of trained parameters, losses on the way)."""
        model.requires_grad_(True)
        callbacks = [additive.PVTuning(model, self.pv, others=True)] if coded_layers(model) else []
        for part in (model.model.vision_tower, model.model.multi_modal_projector):
            part.requires_grad_(False)
        # Made while the tower still encodes images.
        groups, lessons = self._groups(model), self.lessons
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0)
        with tempfile.TemporaryDirectory() as folder, features_given(model, self.model):
            arguments = TrainingArguments(
                output_dir=folder,
                max_steps=self.tuning.steps,
                per_device_train_batch_size=1,
                lr_scheduler_type="cosine",
                warmup_steps=self.tuning.warmup,
                logging_steps=max(1, self.tuning.steps // 20),
                train_sampling_strategy="sequential",
                use_cpu=True,
                remove_unused_columns=False,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                seed=self.seed,
            )
            trainer = additive.DistillTrainer(
                model=model,
                args=arguments,
                teacher=self.model,
                share=self.tuning.share,
                train_dataset=lessons,
                data_collator=first_of,
                optimizers=(optimizer, None),
                callbacks=callbacks,
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        for callback in callbacks:
            callback.finish()
        round_uncoded(model)
        losses = [{"step": log["step"], "loss": log["loss"]} for log in trainer.state.log_history if "loss" in log]
        return sum(p.numel() for group in groups for p in group["params"]), losses

    def _groups(self, model: Any) -> list[dict[str, Any]]:
        """Parameters by learning rate."""
        rates: dict[int, float] = {}
        for module in model.modules():
            for name, kind in (("codebooks", "codebooks"), ("scales", "scales"), ("zeros", "scales")):
                if isinstance(part := getattr(module, name, None), nn.Parameter):
                    rates[id(part)] = getattr(self.tuning, kind)
            if isinstance(module, ScalarLinear):
                rates[id(module.latent)] = self.tuning.latent
        rates |= {id(part): self.tuning.codebooks for part in getattr(model, SHARED, {}).values()}
        groups: dict[float, list[nn.Parameter]] = {}
        for parameter in model.parameters():
            if parameter.requires_grad:
                groups.setdefault(rates.get(id(parameter), self.tuning.text), []).append(parameter)
        return [{"params": members, "lr": rate} for rate, members in groups.items()]

    def measure(self, name: str, model: Any, steps: int, trained: int, losses: Any = ()) -> dict[str, Any]:
        """A results row of a finished model."""
        linears, rest = stored_bytes(model)
        with features_given(model):
            perplexity = additive.perplexity(model.eval(), self.held_out)
        return self.test.row(
            name,
            self.seed,
            model,
            self.processor,
            steps=steps,
            trained_params=trained,
            logical_params=logical_parameters(model),
            bytes=round(linears + rest),
            linear_bytes=round(linears),
            bits_per_weight=8 * linears / self.weights,
            perplexity=perplexity,
            losses=list(losses),
        )


def stored_bytes(model: Any) -> tuple[float, float]:
    """(bytes of the language model's Linears, of all else), as a checkpoint holds them."""
    linears, weights = 0.0, 0
    coded: Iterable[Any] = coded_layers(model).values()
    for layer in coded:
        own = layer.books().nbytes if layer.shared_name is None else 0
        linears += layer.codes.nbytes + layer.scales.nbytes + own
    linears += sum(books.nbytes for books in getattr(model, SHARED, {}).values())
    for module in model.modules():
        linears += module.stored_bytes if isinstance(module, ScalarLinear) else 0
    if not linears:
        weights = sum(target.weights for target in make_plan(model, "1x1g1").targets)
        linears = STORED * weights
    coding = {id(p) for p in coding_parameters(model)}
    rest = STORED * (sum(p.numel() for p in model.parameters() if id(p) not in coding) - weights)
    return linears, rest + sum(table.codes.nbytes for table in int8_tables(model).values())


def coding_parameters(model: Any) -> list[nn.Parameter]:
    """Codebooks, scales and the like: what has a stored form of its own."""
    found = list(getattr(model, SHARED, {}).values())
    for layer in (*coded_layers(model).values(), *(m for m in model.modules() if isinstance(m, TrainableLinear))):
        found += [part for part in (layer.codebooks, layer.scales) if part is not None]
    for module in model.modules():
        found += [module.latent, module.scales, module.zeros] if isinstance(module, ScalarLinear) else []
    return found


def logical_parameters(model: Any) -> int:
    """Weights that the model computes with."""
    sizes = [layer.in_features * layer.out_features for layer in coded_layers(model).values()]
    sizes += [table.codes.numel() for table in int8_tables(model).values()]
    sizes += [module.latent.numel() for module in model.modules() if isinstance(module, ScalarLinear)]
    coding = {id(p) for p in coding_parameters(model)}
    coding |= {id(table.scales) for table in int8_tables(model).values()}
    return sum(sizes) + sum(p.numel() for p in model.parameters() if id(p) not in coding)


@torch.no_grad()
def round_uncoded(model: Any) -> None:
    """Everything that is not coded, as bfloat16 would hold it."""
    coding = {id(p) for p in coding_parameters(model)} | {id(t.scales) for t in int8_tables(model).values()}
    for parameter in model.parameters():
        if id(parameter) not in coding:
            parameter.copy_(parameter.to(torch.bfloat16))


def contested(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each tuned rival against our tuned row with the most bits that are no more than the rival's, Holm-corrected."""
    plots: dict[str, dict[int, list[float]]] = {}
    bits: dict[str, float] = {}
    for row in found:
        plots.setdefault(row["name"], {})[row["seed"]] = row["per_plot"]
        bits[row["name"]] = row["bits_per_weight"]
    ours = [name for name in bits if name.endswith(", PV")]
    out = []
    for rival in (name for name in bits if name.endswith(", tuned")):
        # Half a hundredth: whole numbers of equal nominal size may come out a little below ours.
        smaller = [name for name in ours if bits[name] <= bits[rival] + 0.005]
        if not smaller:
            continue
        mine = max(smaller, key=lambda name: bits[name])
        if seeds := sorted(set(plots[mine]) & set(plots[rival])):
            first, second = (np.array([plots[name][seed] for seed in seeds]) for name in (mine, rival))
            sizes = {"bits": [bits[mine], bits[rival]], "seeds": seeds}
            out.append({"comparison": [mine, rival], **sizes, **paired_difference(first, second)})
    for row, p in zip(out, holm([row["p"] for row in out]), strict=True):
        row["p_holm"] = p
    return out


def publish(arguments: argparse.Namespace, settings: int, marks: dict[int, str]) -> None:
    """Write the results file from all finished rows."""
    found = finished(arguments.out, settings, marks)
    plots = {(row["name"], row["seed"]): row["per_plot"] for row in found}
    command = "python benchmarks/additive_study.py"
    command += f" --split {arguments.split}" if arguments.split != "test" else ""
    command += "".join(f" --set {text}" for text in arguments.set)
    kept = summary(found, plots, "reference")
    write(arguments.out, results(command, found, summary=kept, contested=contested(found)))


def changed(texts: list[str]) -> tuple[Tuning, additive.PVConfig]:
    """The study's settings with changes of the form NAME=VALUE. Raises SystemExit for names that are none of them."""
    parts: list[Any] = [Tuning(), PV]
    for text in texts:
        name, _, value = text.partition("=")
        index = next((i for i, part in enumerate(parts) if hasattr(part, name)), None)
        if index is None:
            names = [field.name for part in parts for field in dataclasses.fields(part)]
            raise SystemExit(f"--set {text}: got {name!r}, expected one of {', '.join(names)}")
        parts[index] = dataclasses.replace(parts[index], **{name: json.loads(value)})
    return parts[0], parts[1]


def main() -> None:
    parser = study_parser(__doc__.splitlines()[0], "results/additive.json", work=False)
    parser.add_argument(
        "--split", default="test", choices=("validation", "test"), help="validation: to choose settings"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another setting; repeatable")
    arguments = parser.parse_args()
    every = {row.name: row for row in rows()}
    if arguments.list:
        print("\n".join(["base", *every]))
        return
    bases = bases_of(parser, arguments)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.split != "test" and arguments.out == parser.get_default("out"):
        parser.error("scores on validation plots are no results: name another --out")
    tuning, pv = changed(arguments.set)
    key = json.dumps(
        [dataclasses.asdict(tuning), dataclasses.asdict(pv), arguments.plots, arguments.split, DATA_VERSION]
    )
    studies: dict[int, Study] = {}

    def make(name: str, seed: int) -> dict[str, Any]:
        if seed not in studies:
            families = tuple(load_model(bases[seed], device="cpu")[0].config.families)
            test = next((study.test for study in studies.values()), None) or Plots(
                families, arguments.plots, arguments.split
            )
            studies.clear()
            studies[seed] = Study(tuning, pv, seed, bases[seed], test, arguments.split)
        study = studies[seed]
        return study.measure("base", study.model, 0, 0) if name == "base" else study.run(every[name])

    names = ["base", *(name for name in every if re.search(arguments.rows, name))]
    jobs = [(name, seed) for seed in sorted(bases) for name in names]
    settings, marks = zlib.crc32(key.encode()), digests(bases)
    # A row whose library is not installed is left out, not a failure of the others.
    run_rows(jobs, make, (ImportError,), arguments, settings, lambda: publish(arguments, settings, marks), bases=marks)


if __name__ == "__main__":
    main()
