"""How much of a RiverONE's score is left when its language model is written in codebooks, and do others keep more?

For every base checkpoint (one per seed): schemes from about 1 to 4 bits per weight with and without PV-Tuning, rivals
of about equal bytes with the same tuning (round-to-nearest, GPTQ, HQQ, a narrower dense model), and the uncompressed
model given the same extra steps. All rows see the same plots in the same order; vision tower and projector never
change. Bits per weight are all bytes of the language model's Linears (codes, codebooks, scales, zero points) over the
number of weights that these Linears have uncompressed. A finished (row, seed) is a file in results/rows and skipped.

Run: python benchmarks/additive_study.py [--base SEED=DIR]... [--out results/additive.json] [--rows 'REGEX']
     [--plots 800] [--minutes 20] [--threads 2] [--list]
     python benchmarks/additive_study.py ... --split validation --out FILE --set steps=80 --set fraction=0.03
     python benchmarks/additive_study.py ... --out FILE --set steps=600 --teacher reference
     python benchmarks/additive_study.py ... --out FILE --constrained
     python benchmarks/additive_plot.py    # docs/img/additive.png

The second form tries other settings (fields of `Tuning` and of `additive.PVConfig`) on validation plots; in the third,
rows in codebooks are distilled from the tuned uncompressed model instead of from the untuned one; in the fourth, models
answer as `riverone read` has them answer, with legal labels and JSON that follows its schema.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import functools
import json
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from packed_plots import PackedPlots, features_given, first_of
from paired import holm, paired_difference, summary
from rivals import ScalarLinear, pruned, quantized
from stored_size import STORED, logical_parameters, round_uncoded, stored_bytes
from study import Plots, bases_of, digests, finished, picked, results, run_rows, study_parser, write
from torch import nn
from transformers import PrinterCallback, TrainingArguments, set_seed
from transformers.modeling_outputs import CausalLMOutput

from riverone_hf import additive
from riverone_hf.additive.targets import make_plan
from riverone_hf.data import DATA_VERSION
from riverone_hf.model.quantization_riverone import SHARED, coded_layers
from riverone_hf.reader.loading import load_model

ALL = {"all": "."}
"""One set of codebooks for all Linears: theirs are too small to pay for sets of their own."""
ATTENTION = r"\.[qkvo]_proj"
OUT = Path("results/additive.json")
BATCH = 96
"""Plots that are answered together."""


@dataclasses.dataclass(frozen=True)
class Tuning:
    """The same for every tuned row; learning rates of AdamW by what is trained.

    share: of the divergence from the uncompressed model in the loss, the rest is the task's. codebooks, scales: ours.
    latent, grid: weights behind whole numbers (`ScalarLinear`), and their scales and zero points. dense: Linears that
    are left as they are. text: the rest of the language model, its embeddings and norms. These rates are what
    `additive_rates.py` chose on validation plots.
    """

    steps: int = 300
    batch: int = 12
    warmup: int = 10
    share: float = 0.5
    codebooks: float = 3e-3
    scales: float = 3e-3
    latent: float = 1e-3
    grid: float = 3e-3
    dense: float = 3e-4
    text: float = 3e-3
    calibration: int = 128
    held_out: int = 20


PV = additive.PVConfig(v_steps=0)
"""P steps only: V steps did not lower the perplexity of validation plots (docs/log.md), so rows named PV have none."""
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


class Recorded(nn.Module):
    """The uncompressed model as a teacher that is asked once per batch: all tuned rows of a base see the same ones.

    Its last hidden states are kept (about 1.4 MB a batch) and give the same logits as the model itself.
    """

    def __init__(self, model: Any):
        super().__init__()
        self.model, self.states = model, dict[bytes, torch.Tensor]()

    def forward(self, input_ids: torch.Tensor, **inputs: Any) -> CausalLMOutput:
        key = input_ids.numpy().tobytes()
        if key not in self.states:
            self.states[key] = self.model.model(input_ids=input_ids, **inputs).last_hidden_state
        return CausalLMOutput(logits=self.model.lm_head(self.states[key]))


class Study:
    """All rows of one base checkpoint."""

    def __init__(
        self,
        tuning: Tuning,
        pv: additive.PVConfig,
        seed: int,
        folder: str,
        test: Plots,
        split: str = "test",
        from_reference: bool = False,
    ):
        self.tuning, self.pv, self.seed, self.test, self.from_reference = tuning, pv, seed, test, from_reference
        self.model, self.processor = load_model(folder, device="cpu")
        plots = functools.partial(PackedPlots, self.model, self.processor)
        self.calibration = plots(2000 + seed, "train", tuning.calibration, 1).inputs()
        self.held_out = plots(3, split, tuning.held_out, tuning.batch).inputs(labels=True)
        targets = make_plan(self.model, "1x1g1").targets
        self.linears, self.weights = {target.name for target in targets}, sum(target.weights for target in targets)
        self.base = Recorded(self.model)
        self.latest: tuple[Any, Any] | None = None

    @functools.cached_property
    def lessons(self) -> PackedPlots:
        """What all tuned rows learn from."""
        return PackedPlots(self.model, self.processor, 1000 + self.seed, "train", self.tuning.steps, self.tuning.batch)

    @functools.cached_property
    def reference(self) -> Recorded:
        """The uncompressed model after the same extra steps, as a teacher; `run` leaves that of its row here."""
        model = copy.deepcopy(self.model)
        set_seed(self.seed)
        self.tune(model, self.base)
        return Recorded(model.eval())

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
        # Both are made once, so no part of this row's time.
        lessons = self.lessons if row.tuned else None
        teacher = self.reference if row.tuned and self.from_reference and row.name != "reference" else self.base
        began = time.monotonic()
        model, trained, losses = self.made(row), 0, []
        set_seed(self.seed)
        if lessons is not None:
            trained, losses = self.tune(model, teacher)
        if row.name == "reference" and self.from_reference:
            self.reference = Recorded(model.eval())
        made = self.measure(row.name, model, self.tuning.steps if row.tuned else 0, trained, losses)
        return {**made, "seconds": round(time.monotonic() - began, 1)}

    def made(self, row: Row) -> Any:
        """The model of a row before it is tuned; the tuned row behind an untuned one starts from the same."""
        if self.latest is None or self.latest[0] is not row.make:
            set_seed(self.seed)
            self.latest = row.make, row.make(self)
        return copy.deepcopy(self.latest[1])

    def tune(self, model: Any, teacher: Recorded) -> tuple[int, list[dict[str, float]]]:
        """Tune the language model in place; (number of trained parameters, losses on the way)."""
        model.requires_grad_(True)
        callbacks = [additive.PVTuning(model, self.pv, others=True)] if coded_layers(model) else []
        for part in (model.model.vision_tower, model.model.multi_modal_projector):
            part.requires_grad_(False)
        # Made while the tower still encodes images.
        groups, lessons = self._groups(model), self.lessons
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0)
        with tempfile.TemporaryDirectory() as folder, features_given(model, teacher.model):
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
                teacher=teacher,
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
        for path, module in model.named_modules():
            kinds = {"codebooks": "codebooks", "scales": "scales"}
            if isinstance(module, ScalarLinear):
                kinds = {"latent": "latent", "scales": "grid", "zeros": "grid"}
            elif path in self.linears and isinstance(module, nn.Linear):
                kinds = {"weight": "dense"}
            for name, kind in kinds.items():
                if isinstance(part := getattr(module, name, None), nn.Parameter):
                    rates[id(part)] = getattr(self.tuning, kind)
        rates |= {id(part): self.tuning.codebooks for part in getattr(model, SHARED, {}).values()}
        groups: dict[float, list[nn.Parameter]] = {}
        for parameter in model.parameters():
            if parameter.requires_grad:
                groups.setdefault(rates.get(id(parameter), self.tuning.text), []).append(parameter)
        return [{"params": members, "lr": rate} for rate, members in groups.items()]

    def measure(self, name: str, model: Any, steps: int, trained: int, losses: Any = ()) -> dict[str, Any]:
        """A results row of a finished model."""
        linears, rest = stored_bytes(model)
        for module in model.modules():
            if isinstance(module, ScalarLinear):
                module.densify()
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


def contested(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each tuned rival against our tuned row with the most bits that are no more than the rival's, Holm-corrected."""
    plots: dict[str, dict[int, list[float]]] = {}
    bits: dict[str, float] = {}
    whole: dict[str, int] = {}
    for row in found:
        plots.setdefault(row["name"], {})[row["seed"]] = row["per_plot"]
        bits[row["name"]], whole[row["name"]] = row["bits_per_weight"], row["bytes"]
    ours = [name for name in bits if name.endswith(", PV")]
    out = []
    for rival in (name for name in bits if name.endswith(", tuned")):
        # Half a hundredth: whole numbers of equal nominal size may come out a little below ours.
        smaller = [name for name in ours if bits[name] <= bits[rival] + 0.005]
        if not smaller:
            continue
        # Of equal ones that with embeddings as large as the rival's.
        mine = max(smaller, key=lambda name: (bits[name], whole[name]))
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
    command += f" --out {arguments.out}" if arguments.out != OUT else ""
    command += f" --split {arguments.split}" if arguments.split != "test" else ""
    command += "".join(f" --set {text}" for text in arguments.set)
    command += f" --teacher {arguments.teacher}" if arguments.teacher != "base" else ""
    command += " --constrained" if arguments.constrained else ""
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
    parser = study_parser(__doc__.splitlines()[0], str(OUT), work=False)
    parser.add_argument(
        "--split", default="test", choices=("validation", "test"), help="validation: to choose settings"
    )
    parser.add_argument(
        "--teacher", default="base", choices=("base", "reference"), help="what tuned codebooks are distilled from"
    )
    parser.add_argument("--constrained", action="store_true", help="answers as `riverone read` gives them")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another setting; repeatable")
    arguments = parser.parse_args()
    every = {row.name: row for row in rows()}
    if arguments.list:
        print("\n".join(["base", *every]))
        return
    bases = bases_of(parser, arguments)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.split != "test" and arguments.out == OUT:
        parser.error("scores on validation plots are no results: name another --out")
    from_reference = arguments.teacher == "reference"
    if from_reference and arguments.out == OUT:
        parser.error("rivals there have the untuned teacher: name another --out")
    if arguments.constrained and arguments.out == OUT:
        parser.error("answers there are free: name another --out")
    tuning, pv = changed(arguments.set)
    parts = [dataclasses.asdict(tuning), dataclasses.asdict(pv), arguments.plots, arguments.split, DATA_VERSION]
    # Rows with the usual teacher and free answers keep the key that they had before there was anything else.
    parts += [arguments.teacher] if from_reference else []
    key = json.dumps([*parts, "constrained"] if arguments.constrained else parts)
    studies: dict[int, Study] = {}

    def make(name: str, seed: int) -> dict[str, Any]:
        if seed not in studies:
            families = tuple(load_model(bases[seed], device="cpu")[0].config.families)
            test = next((study.test for study in studies.values()), None) or Plots(
                families, arguments.plots, arguments.split, BATCH, arguments.constrained
            )
            studies.clear()
            studies[seed] = Study(tuning, pv, seed, bases[seed], test, arguments.split, from_reference)
        study = studies[seed]
        return study.measure("base", study.model, 0, 0) if name == "base" else study.run(every[name])

    names = ["base", *picked(every, arguments)]
    jobs = [(name, seed) for seed in sorted(bases) for name in names]
    settings, marks = zlib.crc32(key.encode()), digests(bases)
    # A row whose library is not installed is left out, not a failure of the others.
    run_rows(jobs, make, (ImportError,), arguments, settings, lambda: publish(arguments, settings, marks), bases=marks)


if __name__ == "__main__":
    main()
