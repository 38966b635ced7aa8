"""Which Linears are coded, and how? Found by walking the modules of a model, never by its name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from ..errors import CompressError
from ..model.quantization_riverone import AdditiveScheme, linear_size

PROJECTOR = re.compile(
    r"proj(ector|ection)?$|connector|merger|multi_modal|mlp1|aligner|adapter|resampler", re.IGNORECASE
)
"""Names of modules beside a language model that bridge vision and text; everything else beside it is `vision`."""


@dataclass(frozen=True)
class Target:
    """One Linear to be coded: full name, scheme, (out, in), the name of codebooks it shares, if any.

    fixed: the scheme comes from an override, so a bits budget leaves it alone.
    """

    name: str
    scheme: AdditiveScheme
    size: tuple[int, int]
    shared: str | None = None
    fixed: bool = False

    @property
    def weights(self) -> int:
        """Number of weights."""
        return self.size[0] * self.size[1]


@dataclass
class Plan:
    """What is coded where.

    decoder: full name of the module that calls the blocks of the language model ("" when the model itself does)
    blocks:  full names of those blocks, in order of call
    front:   targets before the language model (vision, projector), by part
    text:    targets of each block
    """

    decoder: str
    blocks: list[str]
    front: dict[str, list[Target]] = field(default_factory=dict)
    text: list[list[Target]] = field(default_factory=list)

    def with_schemes(self, schemes: Mapping[str, AdditiveScheme]) -> Plan:
        """The same plan with other schemes for the targets named."""

        def changed(targets: list[Target]) -> list[Target]:
            return [replace(target, scheme=schemes.get(target.name, target.scheme)) for target in targets]

        front = {part: changed(targets) for part, targets in self.front.items()}
        return Plan(self.decoder, self.blocks, front, [changed(targets) for targets in self.text])

    def sharing(self, pattern: str | Mapping[str, str] | None) -> Plan:
        """The same plan with codebooks shared by several Linears of equal scheme.

        Args:
            pattern: a regular expression: like-named Linears of all layers whose name matches it have one set. Or a
                mapping from names (without a dot) to expressions: all that the first fitting one matches have one set.

        Raises `CompressError` for a pattern that matches nothing.
        """
        if pattern is None:
            return self
        sets = {"": pattern} if isinstance(pattern, str) else dict(pattern)
        expressions = {name: _pattern(text) for name, text in sets.items()}
        used: set[str] = set()

        def named(target: Target) -> Target:
            for name, expression in expressions.items():
                if expression.search(target.name):
                    used.add(name)
                    return replace(target, shared=f"{name or target.name.rpartition('.')[2]}_{target.scheme}")
            return target

        plan = Plan(self.decoder, self.blocks, self.front, [[named(t) for t in targets] for targets in self.text])
        if idle := [sets[name] for name in sets if name not in used]:
            raise CompressError(f"no Linear matches {', '.join(map(repr, idle))}. Remedy: check the module names")
        return plan

    def stored_bytes(self) -> float:
        """Bytes of all codes, scales and codebooks, shared ones once."""
        groups = Counter(target.shared for target in self.targets)
        return sum(t.scheme.stored_bytes(*t.size, groups[t.shared] if t.shared else 1) for t in self.targets)

    @property
    def targets(self) -> list[Target]:
        """All targets in the order in which they are coded."""
        front = [target for part in self.front.values() for target in part]
        return front + [target for block in self.text for target in block]


def find_text_tower(model: Any) -> tuple[str, list[str]]:
    """(full name of the module that runs the language model's blocks, full names of the blocks).

    It is the nearest module above the input embeddings that owns a list of blocks with Linears. Raises `CompressError`
    when there is none.
    """
    embeddings = model.get_input_embeddings()
    name = next((name for name, module in model.named_modules() if module is embeddings), None)
    while name:
        name = name.rpartition(".")[0]
        for child_name, child in model.get_submodule(name).named_children():
            if isinstance(child, nn.ModuleList) and any(linear_size(m) for m in child.modules()):
                path = f"{name}.{child_name}" if name else child_name
                return name, [f"{path}.{index}" for index in range(len(child))]
    raise CompressError(
        f"{type(model).__name__}: no list of blocks with Linears was found beside its text embeddings. "
        "Remedy: give a causal language model, or a vision-language model with one"
    )


def make_plan(
    model: Any,
    scheme: AdditiveScheme | str,
    *,
    overrides: Mapping[str, AdditiveScheme | str] | None = None,
    include: Iterable[str] = (),
    exclude: str | None = None,
) -> Plan:
    """Decide the scheme of every Linear.

    Args:
        overrides: regular expression over full names -> scheme, or "none" to leave a module as it is; first match wins.
        include: "vision", "projector" to code those parts too.
        exclude: regular expression of full names to leave as they are.

    Raises:
        CompressError: an unknown part, a pattern that matches nothing, a scheme that does not fit its matrix, or no
            Linear at all.
    """
    decoder, blocks = find_text_tower(model)
    plan = Plan(decoder, blocks)
    rules = _Rules(scheme, overrides or {}, exclude)
    wanted = list(dict.fromkeys(include))
    unknown = sorted(set(wanted) - {"vision", "projector"})
    if unknown:
        raise CompressError(f"--include got {', '.join(unknown)}, expected vision and/or projector")
    head = model.get_output_embeddings()
    inside = decoder + "." if decoder else ""
    parts: dict[str, list[Target]] = {"vision": [], "projector": []}
    for name, module in model.named_modules():
        size = linear_size(module)
        if size is None or module is head or name.startswith(inside):
            continue
        part = "projector" if PROJECTOR.search(_outermost(name, decoder)) else "vision"
        if part in wanted:
            parts[part] += rules.target(name, size)
    for part in wanted:
        if not parts[part]:
            raise CompressError(
                f"--include {part}: {type(model).__name__} has no Linear outside its language model there"
            )
    plan.front = {part: parts[part] for part in ("vision", "projector") if part in wanted}
    for block in blocks:
        found = ((f"{block}.{name}", linear_size(m)) for name, m in model.get_submodule(block).named_modules())
        plan.text.append([target for name, size in found if size for target in rules.target(name, size)])
    rules.check_used()
    if not plan.targets:
        raise CompressError(f"{type(model).__name__}: no Linear is left to code. Remedy: a narrower --exclude")
    return plan


def not_linear(model: Any, plan: Plan) -> dict[str, int]:
    """Full name -> weights of the matrices in the blocks that no Linear holds, and that are therefore never coded.

    Experts of a mixture, for one, are often kept as one tensor (experts, in, out).
    """
    linears = {f"{name}.weight" for name, module in model.named_modules() if linear_size(module)}
    inside = tuple(f"{block}." for block in plan.blocks)
    return {
        name: parameter.numel()
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1 and name.startswith(inside) and name not in linears
    }


def _outermost(name: str, decoder: str) -> str:
    """The child of the decoder's parent that `name` lies in: the module that is the projector or the tower."""
    parent = decoder.rpartition(".")[0]
    inner = name.removeprefix(parent + ".") if parent and name.startswith(parent + ".") else name
    return inner.partition(".")[0]


class _Rules:
    def __init__(
        self,
        scheme: AdditiveScheme | str,
        overrides: Mapping[str, AdditiveScheme | str],
        exclude: str | None,
    ):
        self.scheme = _scheme(scheme)
        self.overrides = [(_pattern(p), None if str(s) == "none" else _scheme(s)) for p, s in overrides.items()]
        self.exclude = _pattern(exclude) if exclude else None
        self.used: set[str] = set()

    def target(self, name: str, size: tuple[int, int]) -> list[Target]:
        """The target for a Linear, or nothing when a rule leaves it as it is."""
        if self.exclude and self.exclude.search(name):
            self.used.add(self.exclude.pattern)
            return []
        scheme: AdditiveScheme | None = self.scheme
        fixed = False
        for pattern, chosen in self.overrides:
            if pattern.search(name):
                self.used.add(pattern.pattern)
                scheme, fixed = chosen, True
                break
        if scheme is None:
            return []
        try:
            scheme.codes_shape(*size)
        except ValueError as error:
            raise CompressError(
                f"{name}: {error} Remedy: another scheme for it, --override '{name}: 2x8g4', or --exclude it"
            ) from None
        return [Target(name, scheme, size, fixed=fixed)]

    def check_used(self) -> None:
        """A pattern without a match is a typing error that would silently give another model."""
        known = [pattern.pattern for pattern, _ in self.overrides] + ([self.exclude.pattern] if self.exclude else [])
        idle = [pattern for pattern in known if pattern not in self.used]
        if idle:
            raise CompressError(f"no Linear matches {', '.join(map(repr, idle))}. Remedy: check the module names")


def _scheme(text: AdditiveScheme | str) -> AdditiveScheme:
    try:
        return text if isinstance(text, AdditiveScheme) else AdditiveScheme.parse(text)
    except ValueError as error:
        raise CompressError(str(error)) from None


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise CompressError(f"{text!r} is not a regular expression ({error})") from None
