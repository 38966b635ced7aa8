"""Where do bits pay? Codes a part of every Linear with several schemes before the real coding, to share out a budget.

The survey runs on the uncoded model, one block in memory at a time, and keeps its measurements on disk like the coding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import CodingError, CompressError
from ..model.codes_riverone import AdditiveScheme
from .budget import CANDIDATES, Option, measure, pick
from .capture import Batch, Gram, Stage
from .coded import CodedWeight
from .source import FolderModel, LoadedModel
from .targets import Plan, Target
from .team import Team
from .walker import Say, Walker, dense_weight, fingerprint
from .workfolder import WorkFolder


def beside(work: Path, what: str = "survey") -> Path:
    """Folder of the preparation that belongs to a work folder."""
    return work.with_name(f"{work.name}.{what}")


def plan_for_budget(
    source: LoadedModel | FolderModel,
    plan: Plan,
    batches: Sequence[Batch],
    folder: Path,
    bits: float,
    *,
    candidates: Sequence[str] = CANDIDATES,
    seed: int = 0,
    say: Say = print,
    team: Team | None = None,
) -> Plan:
    """The plan with the schemes that lose least at `bits` per weight, codebooks and scales included.

    Targets whose scheme an override fixed keep it. Says what was chosen, and where a large codebook costs more than it
    saves. Raises `CodingError` when the budget is too small.
    """
    sizes = {target.name: target.size for target in plan.targets}
    # A budget that cannot be met is refused before the long part.
    pick({target.name: _cheapest(target, candidates) for target in plan.targets}, sizes, bits)
    marks = fingerprint(source, plan, batches, "quick", 0, seed) | {"candidates": list(candidates)}
    team = team or Team()
    work = team.led(lambda: WorkFolder(folder, marks))
    walker = Survey(source, plan, batches, work, candidates, seed=seed, say=say, team=team)
    options = walker.options()
    choice = pick(options, sizes, bits)
    for line in choice.warnings:
        say(f"note: {line}")
    say(f"budget {bits:g} bits per weight: {_summary(choice.schemes)}; {choice.bits:.2f} bits in all")
    return plan.with_schemes(choice.schemes)


class Survey(Walker):
    """Walks over the uncoded model and measures every candidate on every target."""

    def __init__(
        self,
        source: LoadedModel | FolderModel,
        plan: Plan,
        batches: Sequence[Batch],
        work: WorkFolder,
        candidates: Sequence[str],
        *,
        seed: int,
        say: Say,
        team: Team | None,
    ):
        super().__init__(source, plan, batches, work, _no_coder, held_out=0, seed=seed, say=say, team=team)
        self.candidates = candidates

    def options(self) -> dict[str, list[Option]]:
        """Stored bytes and relative error of each scheme that fits, for every target."""
        if not all(self._finished(target.name) for target in self.plan.targets):
            self._walk()
        found = {}
        for target in self.plan.targets:
            rows = self.work.load_json(self._file(target.name))
            found[target.name] = [Option(AdditiveScheme.parse(s), size, error) for s, size, error in rows]
        return found

    def _file(self, name: str) -> str:
        return f"layers/{name}.json"

    def _finished(self, name: str) -> bool:
        return self.work.load_json(self._file(name)) is not None

    def _stages(self, linears: dict[str, nn.Module], run: Callable[[], Any]) -> list[Stage]:
        # Nothing changes while measuring, so one pass gives all statistics of a block.
        stages = super()._stages(linears, run)
        return [Stage({first: names for stage in stages for first, names in stage.groups.items()})]

    def _install(self, names: Sequence[str], linears: dict[str, nn.Module]) -> None:
        """The weights stay as they are."""

    def _code(self, where: str, target: Target, module: nn.Module, gram: Gram) -> None:
        schemes = [target.scheme] if target.fixed else list(self.candidates)
        try:
            options = measure(dense_weight(module), gram.mean(), schemes, n_samples=gram.tokens or None, seed=self.seed)
        except CodingError as error:
            raise CompressError(f"{target.name}: {error}") from None
        self.work.save_json(self._file(target.name), [[str(o.scheme), o.bytes, o.error] for o in options])
        self._tell(where, target, "measured: " + ", ".join(f"{o.scheme} {o.error:.3f}" for o in options))


def _cheapest(target: Target, candidates: Sequence[str]) -> list[Option]:
    schemes = [target.scheme] if target.fixed else map(AdditiveScheme.parse, candidates)
    fitting = [s for s in schemes if not (target.size[0] % s.out_group_size or target.size[1] % s.in_group_size)]
    options = [Option(scheme, scheme.stored_bytes(*target.size), 0.0) for scheme in fitting]
    if not options:
        raise CompressError(f"{target.name}: no candidate scheme fits its size {target.size}. Remedy: --exclude it")
    return [min(options, key=lambda option: option.bytes)]


def _no_coder(*args: Any, **kwargs: Any) -> CodedWeight:
    raise AssertionError("a survey codes nothing")


def _summary(schemes: dict[str, AdditiveScheme]) -> str:
    counts: dict[str, int] = {}
    for scheme in schemes.values():
        counts[str(scheme)] = counts.get(str(scheme), 0) + 1
    return ", ".join(f"{count} x {scheme}" for scheme, count in sorted(counts.items()))
