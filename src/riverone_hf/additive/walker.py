"""How is a whole model coded? Block after block, each Linear on the inputs that the coded layers before it give.

One block is in memory at a time. Between blocks the activations lie on disk; every finished Linear is a file, so a run
that was killed goes on where it was and ends bit-identical to one that was not.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from ..errors import CodingError, CompressError
from ..model.codes_riverone import decode
from .block_tune import tune_block
from .capture import Batch, BlockRunner, Gram, Stage, collect, decoder_call, find_stages, to_device
from .coded import CodedWeight, relative_error
from .held_books import code_with_books
from .preflight import coding_work
from .source import FolderModel, LoadedModel
from .targets import Plan, Target
from .team import Team
from .workfolder import Code, WorkFolder, digest

FORMAT = 1
"""Raised when the files of a work folder change their meaning."""
Say = Callable[[str], None]


class Coder(Protocol):
    """Codes one weight (out, in); `code_linear` is one."""

    def __call__(
        self,
        weight: torch.Tensor,
        xtx: torch.Tensor,
        scheme: Any,
        *,
        n_samples: int | None = None,
        held_out_xtx: torch.Tensor | None = None,
        seed: int = 0,
    ) -> CodedWeight: ...


def fingerprint(
    source: LoadedModel | FolderModel,
    plan: Plan,
    batches: Sequence[Batch],
    preset: str,
    held_out: int,
    seed: int,
    tune_steps: int = 0,
) -> dict[str, Any]:
    """What the result depends on: digests of the model and the calibration data, and the recipe in words."""
    tensors = [part for batch in batches for key in sorted(batch) for part in (key, batch[key])]
    targets = [[t.name, str(t.scheme), t.shared] for t in plan.targets]
    settings = {"preset": preset, "held_out": held_out, "seed": seed, "tune_steps": tune_steps}
    recipe = {"targets": digest(targets), "format": FORMAT} | settings
    return {"model": source.digest(), "calibration": digest(*tensors), "recipe": recipe}


def dense_weight(module: nn.Module) -> torch.Tensor:
    """The weight (out, in) of a Linear or Conv1D, float32."""
    assert isinstance(module, (nn.Linear, Conv1D))
    weight = module.weight.detach().float()
    return weight.t().contiguous() if isinstance(module, Conv1D) else weight


@torch.no_grad()
def put_code(module: nn.Module, code: Code) -> None:
    """Overwrite the weight of a Linear or Conv1D by the decoded code."""
    assert isinstance(module, (nn.Linear, Conv1D))
    codes, codebooks, scales = (tensor.to(module.weight.device) for tensor in code)
    weight = decode(codes, codebooks.float(), scales.float()).to(module.weight.dtype)
    module.weight.copy_(weight.t() if isinstance(module, Conv1D) else weight)


class Walker:
    """Codes the targets of a plan, one block at a time.

    Args:
        source: the model, in memory or in a folder. Its Linears hold the decoded weights afterwards (in memory).
        batches: calibration inputs, without labels; every `held_out`-th batch only measures (0: none does).
        work: where finished Linears and activations are kept.
        say: is given one line per Linear.
        books: the codebooks of targets that share them (see `learn_shared_books`).
        tune_steps: after coding a block, steps that bring its output nearer to the original one's (see `tune_block`).
    """

    def __init__(
        self,
        source: LoadedModel | FolderModel,
        plan: Plan,
        batches: Sequence[Batch],
        work: WorkFolder,
        coder: Coder,
        *,
        held_out: int = 8,
        seed: int = 0,
        say: Say = print,
        team: Team | None = None,
        books: Mapping[str, torch.Tensor] | None = None,
        tune_steps: int = 0,
    ):
        self.tune_steps = tune_steps
        self.books = books or {}
        self.source, self.plan, self.work, self.coder, self.seed = source, plan, work, coder, seed
        self.model: Any = source.model
        self.batches = [{k: v for k, v in batch.items() if k != "labels"} for batch in batches]
        self.team = team or Team()
        self.say: Say = say if self.team.leads else (lambda line: None)
        self.held_out = held_out if len(self.batches) >= held_out else 0
        self.decoder = self.model.get_submodule(plan.decoder)
        self.blocks: list[nn.Module] = [self.model.get_submodule(name) for name in plan.blocks]
        self.runner = BlockRunner(self.decoder, self.blocks)
        self.began, self.done, self.left = time.monotonic(), 0.0, 0.0

    def run(self) -> list[dict[str, Any]]:
        """Code everything that is not finished; returns the measured facts of every target, in order."""
        self._walk()
        rows = [self.facts(target) for target in self.plan.targets]
        # Whoever leads goes on to delete the work folder: not before all have read it.
        self.team.meet()
        return rows

    def _walk(self) -> None:
        plan = self.plan
        self.left = sum(coding_work(t) for t in plan.targets if not self._finished(t.name))
        self.team.meet()
        outside = self._outside()
        self.source.load(*outside)
        self._front()
        self._keep("calls", self._call)
        inside = plan.decoder + "." if plan.decoder else ""
        embedded = self.work.load_tree("calls", 0).get("inputs_embeds") is not None
        tables = [n for n in outside if self._holds_embeddings(n)] if embedded else []
        self.source.free(*(name for name in outside if not name.startswith(inside)), *tables)
        # Blocks before the newest complete activations need not run again.
        start = max((i for i in range(len(self.blocks)) if self.work.has_trees(f"into-{i}")), default=0)
        self.team.meet()  # all see the same activations before the first new ones appear
        for index in range(len(self.blocks)):
            self._block(index, skip=index < start)

    def facts(self, target: Target) -> dict[str, Any]:
        """Name, scheme, sizes and measured errors of a finished target."""
        return {"name": target.name, "scheme": str(target.scheme), "size": list(target.size)} | self.work.load_layer(
            target.name
        )[1]

    def _outside(self) -> list[str]:
        """Names of everything but the blocks and the output head; the blocks are loaded one by one."""
        head = self.model.get_output_embeddings()
        skip = [*self.plan.blocks, *(name for name, m in self.model.named_modules() if m is head)]
        names = self.model.state_dict()
        return [n for n in names if not any(n == s or n.startswith(s + ".") for s in skip)]

    def _holds_embeddings(self, tensor: str) -> bool:
        return self.model.get_submodule(tensor.rpartition(".")[0]) is self.model.get_input_embeddings()

    def _batch(self, index: int) -> Batch:
        device = next(self.decoder.parameters()).device if isinstance(self.source, LoadedModel) else self.source.device
        dtype = next((p.dtype for p in self.decoder.parameters() if p.is_floating_point()), None)
        return to_device(self.batches[index], device, dtype)

    def _call(self, batch: int) -> dict[str, Any]:
        return decoder_call(self.model, self.decoder, self._batch(batch))

    def _is_held_out(self, index: int) -> bool:
        return bool(self.held_out) and index % self.held_out == self.held_out - 1

    def _front(self) -> None:
        """Vision tower and projector: whole parts, because their blocks may be shared or called several times."""
        for part, targets in self.plan.front.items():
            linears = {t.name: self.model.get_submodule(t.name) for t in targets}
            seeing = [i for i, batch in enumerate(self.batches) if "pixel_values" in batch]
            if not seeing:
                raise CompressError(f"--include {part} needs calibration rows with images, got none")

            for stage in self._stages(linears, lambda first=seeing[0]: self._call(first)):  # type: ignore[misc]
                runs = [(self._is_held_out(i), None, lambda i=i: self._call(i)) for i in seeing]
                self._stage(part, stage, linears, targets, runs, last_call=False)

    def _block(self, index: int, skip: bool) -> None:
        name, targets, last = self.plan.blocks[index], self.plan.text[index], index == len(self.blocks) - 1
        linears = {t.name: self.model.get_submodule(t.name) for t in targets}
        self.source.load(name)
        if skip:
            self._install([t.name for t in targets], linears)
        else:
            where = f"layer {index + 1}/{len(self.blocks)}"
            if self.tune_steps and targets:
                self._keep(f"wish-{index}", lambda batch: self._run_block(index, batch))
            for stage in self._stages(linears, lambda: self._run_block(index, 0)) if targets else []:
                runs = [
                    (self._is_held_out(i), batch.get("attention_mask"), lambda i=i: self._run_block(index, i))
                    for i, batch in enumerate(self.batches)
                ]
                self._stage(where, stage, linears, targets, runs, last_call=True)
            if self.tune_steps and targets:
                self._tune(index, where, targets, linears)
            if not last:
                self._keep(f"into-{index + 1}", lambda batch: self._run_block(index, batch))
                self._drop(f"into-{index}", f"wish-{index}", f"tuned-{index}")
        self.source.free(name)

    def _tune(self, index: int, where: str, targets: Sequence[Target], linears: dict[str, nn.Module]) -> None:
        """Tune the block; all its tuned codes appear at once, then replace those of the Linears one by one."""
        if self.team.leads and not self.work.has_trees(f"tuned-{index}"):
            learn = [i for i in range(len(self.batches)) if not self._is_held_out(i)]
            codes, before, after = tune_block(
                self.model,
                targets,
                {target.name: self.work.load_layer(target.name)[0] for target in targets},
                lambda batch: self._forward(index, batch),
                lambda batch: to_device(self.work.load_tree(f"wish-{index}", batch), _device(linears)),
                learn,
                steps=self.tune_steps,
            )
            self.work.save_trees(f"tuned-{index}", iter([codes]))
            self.say(f"{where} tuned: error of the block's output {before:.4f} -> {after:.4f}")
        self.team.meet()
        if self.team.leads:
            codes = self.work.load_tree(f"tuned-{index}", 0)
            for target in targets:
                facts = self.work.load_layer(target.name)[1] | {"tuned": True}
                self.work.save_layer(target.name, target.scheme, codes[target.name], facts)
        self.team.meet()
        self._install([target.name for target in targets], linears)

    def _keep(self, name: str, make: Callable[[int], Any]) -> None:
        """Store what `make` gives for every batch, unless it is there already."""
        if not self.work.has_trees(name) and self.team.leads:
            self.work.save_trees(name, map(make, range(len(self.batches))))
        self.team.meet()

    def _drop(self, *names: str) -> None:
        if self.team.leads:
            for name in names:
                self.work.drop_trees(name)

    @torch.no_grad()
    def _run_block(self, index: int, batch: int) -> torch.Tensor:
        return self._forward(index, batch)

    def _forward(self, index: int, batch: int) -> torch.Tensor:
        weight = next(self.blocks[index].parameters())
        call = to_device(self.work.load_tree("calls", batch), weight.device)
        hidden = to_device(self.work.load_tree(f"into-{index}", batch), weight.device) if index else None
        return self.runner.run(index, call, hidden)

    def _finished(self, name: str) -> bool:
        return self.work.has_layer(name)

    def _stages(self, linears: dict[str, nn.Module], run: Callable[[], Any]) -> list[Stage]:
        return find_stages(linears, run)

    def _install(self, names: Sequence[str], linears: dict[str, nn.Module]) -> None:
        for name in names:
            put_code(linears[name], self.work.load_layer(name)[0])

    def _stage(
        self,
        where: str,
        stage: Stage,
        linears: dict[str, nn.Module],
        targets: Sequence[Target],
        runs: Sequence[tuple[bool, torch.Tensor | None, Callable[[], Any]]],
        last_call: bool,
    ) -> None:
        """Code the Linears of a stage that are not finished, then let the model use all of them."""
        by_name = {target.name: target for target in targets}
        mine = [name for name in self.team.share(stage.names) if not self._finished(name)]
        groups = {first: [n for n in names if n in mine] for first, names in stage.groups.items()}
        wanted = Stage({first: names for first, names in groups.items() if names})
        grams = collect(wanted, linears, runs, last_call) if mine else {}
        for first, names in wanted.groups.items():
            gram = grams.get(first) or Gram.empty(by_name[first].size[1], dense_weight(linears[first]).device)
            for name in names:
                self._code(where, by_name[name], linears[name], gram)
        self.team.meet()
        self._install(stage.names, linears)

    def _code(self, where: str, target: Target, module: nn.Module, gram: Gram) -> None:
        weight, xtx, held = dense_weight(module), gram.mean(), gram.held_out_mean()
        # The seed depends on the name alone: order and number of processes change nothing.
        seed = (self.seed + zlib.crc32(target.name.encode())) % 2**31
        try:
            count = gram.tokens or None
            if target.shared is not None:
                coded = code_with_books(weight, xtx, target.scheme, self.books[target.shared], n_samples=count)
            else:
                coded = self.coder(weight, xtx, target.scheme, n_samples=count, held_out_xtx=held, seed=seed)
        except CodingError as error:
            raise CompressError(f"{target.name}: {error}") from None
        code = (coded.codes.to(torch.int32), coded.codebooks.to(torch.float16), coded.scales.to(torch.float16))
        # What is stored is rounded, so that is what is measured.
        stored = decode(code[0], code[1].float(), code[2].float())
        facts: dict[str, Any] = {
            "error": relative_error(weight, stored, xtx),
            "held_out_error": None if held is None else relative_error(weight, stored, held),
            "weight_error": float((weight - stored).square().sum() / weight.square().sum()),
            "tokens": gram.tokens,
        }
        self.work.save_layer(target.name, target.scheme, code, facts)
        held_text = "" if held is None else f" held-out {facts['held_out_error']:.4f}"
        unseen = "" if gram.tokens else " (never called in calibration: coded without data)"
        self._tell(where, target, f"{target.scheme} rel.err {facts['error']:.4f}{held_text}{unseen}")

    def _tell(self, where: str, target: Target, text: str) -> None:
        """One line, with the time left as far as the speed until now tells."""
        self.done += coding_work(target)
        rate = (time.monotonic() - self.began) / self.done
        eta = max(0.0, (self.left - self.done * self.team.size) / self.team.size * rate)
        self.say(f"{where} {'.'.join(target.name.split('.')[-2:])} {text} ETA {_clock(eta)}")


def _device(linears: dict[str, nn.Module]) -> torch.device:
    return next(next(iter(linears.values())).parameters()).device


def _clock(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
