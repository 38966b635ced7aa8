"""Can small matrices pay for their codebooks? One set for the same Linear of all layers, fitted jointly, stored once.

The books are learnt from the uncoded model, on some layers; the codes of every layer are then found, with these books
held, on the inputs that it really gets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from .capture import Batch, Gram, Stage
from .solve import code_linears_shared
from .source import FolderModel, LoadedModel
from .survey import Survey
from .targets import Plan, Target
from .team import Team
from .walker import Say, dense_weight, fingerprint
from .workfolder import WorkFolder

LAYERS, MEMORY = 8, 2**27
"""A joint fit looks at so many matrices, or more while their float32 statistics take no more than so many bytes."""


def learn_shared_books(
    source: LoadedModel | FolderModel,
    plan: Plan,
    batches: Sequence[Batch],
    folder: Path,
    *,
    preset: str = "default",
    seed: int = 0,
    say: Say = print,
    team: Team | None = None,
) -> dict[str, torch.Tensor]:
    """Name of shared codebooks -> (K, entries, out_group, in_group), rounded to float16 as they will be stored.

    `folder` keeps the work; a repeated call reads it.
    """
    wanted = {target.shared for target in plan.targets if target.shared}
    if not wanted:
        return {}
    marks = fingerprint(source, plan, batches, preset, 0, seed)
    team = team or Team()
    work = team.led(lambda: WorkFolder(folder, marks))
    gather = _Gather(source, plan, batches, work, [], seed=seed, say=say, team=team)
    found = {}
    for name in sorted(wanted):
        path = folder / f"{name}.safetensors"
        # All processes walk; one fits.
        members = [] if path.is_file() else gather.members(name)
        if members and team.leads:
            say(f"fitting codebooks {name} on {len(members)} of {sum(t.shared == name for t in plan.targets)} layers")
            stored = [gather.load(target) for target in members]
            weights, grams = [pair["weight"] for pair in stored], [pair["xtx"] for pair in stored]
            tokens = min(int(pair["tokens"]) for pair in stored)
            coded = code_linears_shared(
                weights, grams, members[0].scheme, n_samples=tokens or None, preset=preset, seed=seed
            )
            fresh = path.with_suffix(".new")
            save_file({"codebooks": coded[0].codebooks.to(torch.float16).contiguous().cpu()}, fresh)
            fresh.replace(path)
        team.meet()
        found[name] = load_file(path)["codebooks"].clone()
    return found


class _Gather(Survey):
    """Walks over the uncoded model and keeps weight and statistic of the members of every group."""

    def members(self, name: str) -> list[Target]:
        """Some targets of a group, evenly spaced; walks first when they are not all there."""
        group = [target for target in self.plan.targets if target.shared == name]
        largest = max(4 * target.size[1] ** 2 for target in group)
        count = min(max(LAYERS, MEMORY // largest), len(group))
        chosen = [group[round(i * (len(group) - 1) / max(1, count - 1))] for i in range(count)]
        if not all(self._file_of(target).is_file() for target in chosen):
            self._walk()
        return chosen

    def load(self, target: Target) -> dict[str, torch.Tensor]:
        """weight (out, in), xtx (in, in) and the number of tokens."""
        return load_file(self._file_of(target))

    def _file_of(self, target: Target) -> Path:
        return self.work.path / "layers" / f"{target.name}.gram"

    def _finished(self, name: str) -> bool:
        target = next(target for target in self.plan.targets if target.name == name)
        if target.shared is None:
            return True
        return self._file_of(target).is_file()

    def _stages(self, linears: dict[str, nn.Module], run: Callable[[], Any]) -> list[Stage]:
        # Not by what is finished: the processes that share the work must see the same stages.
        shared = {target.name for target in self.plan.targets if target.shared is not None}
        return super()._stages({name: m for name, m in linears.items() if name in shared}, run)

    def _code(self, where: str, target: Target, module: nn.Module, gram: Gram) -> None:
        tensors = {"weight": dense_weight(module), "xtx": gram.mean(), "tokens": torch.tensor(gram.tokens)}
        fresh = self._file_of(target).with_suffix(".new")
        save_file({key: value.contiguous().cpu() for key, value in tensors.items()}, fresh)
        fresh.replace(self._file_of(target))
        self._tell(where, target, "input statistic")
