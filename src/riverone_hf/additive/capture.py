"""What do the inputs of a Linear look like? Runs parts of a model and sums x x^T, without loading the rest of it.

A decoder is called as a whole for every block, with all other blocks replaced by stubs: so masks, rotary tables and
whatever else the decoder prepares per layer are exactly those of the real forward pass, for any architecture.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..errors import CompressError

Batch = dict[str, Any]


class _Stop(Exception):
    """Leaves a forward pass at the module whose call or result was wanted."""


class _Enough(Exception):
    """Leaves a forward pass once every Linear of a stage was called."""


@dataclass
class Gram:
    """Mean of x x^T over tokens, separately over the calibration and the held-out batches; float32 (in, in)."""

    total: torch.Tensor
    held_out: torch.Tensor
    tokens: int = 0
    held_tokens: int = 0

    @classmethod
    def empty(cls, inputs: int, device: Any) -> Gram:
        """Nothing seen yet. Sums are kept in float64 while that is cheap (up to 4096 inputs)."""
        dtype = torch.float64 if inputs <= 4096 and device.type != "mps" else torch.float32
        zero = torch.zeros(inputs, inputs, dtype=dtype, device=device)
        return cls(zero, zero.clone())

    def add(self, rows: torch.Tensor, held_out: bool) -> None:
        """Add tokens (n, in)."""
        rows = rows.float()
        product = (rows.t() @ rows).to(self.total.dtype)
        if held_out:
            self.held_out += product
            self.held_tokens += len(rows)
        else:
            self.total += product
            self.tokens += len(rows)

    def mean(self) -> torch.Tensor:
        """Second moment of the calibration tokens; the identity when there were none (an expert never called)."""
        if self.tokens == 0:
            return torch.eye(len(self.total), device=self.total.device)
        return (self.total / self.tokens).float()

    def held_out_mean(self) -> torch.Tensor | None:
        """Second moment of the held-out tokens, None when there were none."""
        return (self.held_out / self.held_tokens).float() if self.held_tokens else None


@dataclass
class Stage:
    """Linears that are coded together, because none of them depends on another.

    groups: representative -> all that share its very inputs (and so its second moment)
    """

    groups: dict[str, list[str]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """All Linears of the stage."""
        return [name for group in self.groups.values() for name in group]


def to_device(value: Any, device: Any, dtype: Any = None) -> Any:
    """Tensors inside dicts, lists and tuples moved to `device`; floating ones to `dtype` as well when it is given."""
    if isinstance(value, torch.Tensor):
        return value.to(device, dtype if dtype is not None and value.is_floating_point() else None)
    if isinstance(value, dict):
        return {key: to_device(item, device, dtype) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(to_device(item, device, dtype) for item in value)
    return value


@contextmanager
def patched(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """`module` runs `forward` instead of its own."""
    own = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if own is not None:
            module.forward = own


@torch.no_grad()
def decoder_call(model: nn.Module, decoder: nn.Module, batch: Batch) -> dict[str, Any]:
    """Keyword arguments with which `model(**batch)` calls its decoder; the model runs no further than that.

    Raises `CompressError` when the decoder is never called.
    """
    seen: dict[str, Any] = {}
    names = list(inspect.signature(decoder.forward).parameters)

    def forward(*args: Any, **kwargs: Any) -> Any:
        seen.update(zip(names, args), **kwargs)
        raise _Stop

    with patched(decoder, forward), suppress(_Stop):
        model(**{**batch, "use_cache": False})
    if not seen:
        raise CompressError(f"{type(model).__name__} did not run {type(decoder).__name__} on a calibration batch")
    for name in ("cache", "past_key_values"):  # the name since transformers 5.24, and before
        seen.pop(name, None)
    return {**seen, "use_cache": False}


class BlockRunner:
    """Runs one block of a decoder on stored inputs.

    Args:
        decoder: the module that calls the blocks.
        blocks: its blocks, in order; only the one that runs needs real weights.
    """

    def __init__(self, decoder: nn.Module, blocks: Sequence[nn.Module]):
        self.decoder, self.blocks = decoder, list(blocks)
        self.width: int | None = None  # entries of a block's output tuple; None: it returns a tensor

    def run(self, index: int, call: dict[str, Any], hidden: torch.Tensor | None) -> torch.Tensor:
        """Output of block `index` for the decoder call `call`; `hidden` is the output of the block before it."""
        out: list[torch.Tensor] = []
        block = self.blocks[index]
        own = block.forward

        def wrapped(value: torch.Tensor) -> Any:
            return value if self.width is None else (value, *[None] * (self.width - 1))

        def earlier(*args: Any, **kwargs: Any) -> Any:
            return wrapped(args[0] if args else kwargs["hidden_states"])

        def previous(*args: Any, **kwargs: Any) -> Any:
            assert hidden is not None
            return wrapped(hidden)

        def wanted(*args: Any, **kwargs: Any) -> Any:
            result = own(*args, **kwargs)
            self.width = len(result) if isinstance(result, tuple) else None
            out.append(result[0] if isinstance(result, tuple) else result)
            raise _Stop

        with ExitStack() as stubs:
            for position, other in enumerate(self.blocks[:index]):
                stubs.enter_context(patched(other, previous if position == index - 1 else earlier))
            stubs.enter_context(patched(block, wanted))
            try:
                self.decoder(**call)
            except _Stop:
                return out[0]
        raise CompressError(f"{type(self.decoder).__name__} did not reach its block {index}")


@torch.no_grad()
def find_stages(linears: dict[str, nn.Module], run: Callable[[], Any]) -> list[Stage]:
    """Order of the Linears in one run, those next to each other with the same input tensor in one stage.

    Linears that the run never called make one last stage, each with its own (empty) statistic.
    """
    calls: dict[str, list[torch.Tensor]] = {}
    hooks = [
        module.register_forward_pre_hook(lambda m, args, name=name: calls.setdefault(name, []).append(args[0]))
        for name, module in linears.items()
    ]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    stages: list[Stage] = []
    last: tuple[Any, ...] | None = None
    for name, inputs in calls.items():
        # The list keeps every input alive, so equal addresses mean the same tensor.
        same = tuple((x.data_ptr(), x.shape) for x in inputs)
        if same == last:
            next(iter(stages[-1].groups.values())).append(name)
        else:
            stages.append(Stage({name: [name]}))
        last = same
    idle = [name for name in linears if name not in calls]
    return stages + ([Stage({name: [name] for name in idle})] if idle else [])


@torch.no_grad()
def collect(
    stage: Stage,
    linears: dict[str, nn.Module],
    runs: Iterable[tuple[bool, torch.Tensor | None, Callable[[], Any]]],
    last_call: bool = True,
) -> dict[str, Gram]:
    """Second moments of the stage's inputs: representative -> `Gram`.

    Args:
        runs: (held out?, padding mask (B, S) or None, function that runs the batch). Tokens whose mask is 0 do not
            count wherever the input is laid out as (B, S, in).
        last_call: stop each run once every Linear of the stage was called (wrong where one is called repeatedly).
    """
    grams: dict[str, Gram] = {}
    state: dict[str, Any] = {}

    def hook(name: str) -> Callable[..., None]:
        def add(module: nn.Module, args: tuple[Any, ...]) -> None:
            x = args[0]
            mask = state["mask"]
            rows = x[mask.to(x.device).bool()] if mask is not None and x.shape[:2] == mask.shape else x.flatten(0, -2)
            if name not in grams:
                grams[name] = Gram.empty(x.shape[-1], x.device)
            grams[name].add(rows, state["held_out"])
            state["seen"].add(name)
            if last_call and len(state["seen"]) == len(stage.groups):
                raise _Enough

        return add

    hooks = [linears[name].register_forward_pre_hook(hook(name)) for name in stage.groups]
    try:
        for held_out, mask, run in runs:
            state.update(held_out=held_out, mask=mask, seen=set())
            with suppress(_Enough):
                run()
    finally:
        for handle in hooks:
            handle.remove()
    return grams
