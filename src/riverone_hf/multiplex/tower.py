"""How is any vision model run layer by layer? One view of RiverONE and of other Hugging Face ViTs, through hooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..errors import MultiplexError
from ..model import RiverOneForConditionalGeneration, RiverOneModel, RiverOneVisionModel
from .foreign import MultiplexedVisionModel, SharedLayers, find_blocks

Batch = torch.Tensor | Mapping[str, torch.Tensor]
"""`pixel_values` (tiles, channels, height, width), or the named inputs of a model that needs more."""

QKV_NAMES = {"q_proj": 0, "query": 0, "k_proj": 1, "key": 1, "v_proj": 2, "value": 2, "qkv": 3}
"""Names of the linears that make queries, keys, values, or all three in one (3)."""


@dataclass
class Trace:
    """What one run left behind, per layer: its input and output (T, N, C), and its queries, keys, values (T, N, C)."""

    output: torch.Tensor
    inputs: list[torch.Tensor] = field(default_factory=list)
    states: list[torch.Tensor] = field(default_factory=list)
    qkv: list[tuple[torch.Tensor, ...]] = field(default_factory=list)


class Tower:
    """The L layers of `model` in the order they run, and the output that a student must keep.

    The output is the projected image tokens of a RiverONE, and the last hidden state of a vision tower alone or of
    another model. Raises MultiplexError when no list of blocks is found.
    """

    def __init__(self, model: nn.Module, blocks: str | None = None):
        self.model = model
        core: Any = model.model if isinstance(model, RiverOneForConditionalGeneration) else model
        self.core = core
        self.vision: Any = core.vision_tower if isinstance(core, RiverOneModel) else core
        self.is_riverone = isinstance(self.vision, RiverOneVisionModel)
        if self.is_riverone:
            self.layers = list(self.vision.layers)
            self._attentions = [block.attention for block in self.vision.blocks]
        else:
            stack: Any = core.shared if isinstance(core, MultiplexedVisionModel) else find_blocks(core, blocks)[1]
            self.layers = list(stack.own) if isinstance(stack, SharedLayers) else list(stack)
            holders = list(stack.stored) if isinstance(stack, SharedLayers) else self.layers
            self._linears = [
                (QKV_NAMES[name.rpartition(".")[2]], module)
                for holder in holders
                for name, module in holder.named_modules()
                if name.rpartition(".")[2] in QKV_NAMES and isinstance(module, nn.Linear)
            ]

    @property
    def layer_map(self) -> list[int]:
        """Layer -> stored block."""
        if self.is_riverone:
            return list(self.vision.config.layer_map)
        shared = isinstance(self.core, MultiplexedVisionModel)
        return list(self.core.config.layer_map) if shared else list(range(len(self.layers)))

    def inputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The named inputs of a batch, on the model's device; images in its dtype."""
        named = dict(batch) if isinstance(batch, Mapping) else {"pixel_values": batch}
        parameter = next(self.vision.parameters())
        return {
            key: value.to(parameter.device, parameter.dtype if value.is_floating_point() else None)
            for key, value in named.items()
        }

    def output(self, batch: Batch) -> torch.Tensor:
        """Run the model on a batch."""
        named = self.inputs(batch)
        if isinstance(self.core, RiverOneModel):
            return self.core.get_image_features(**named, return_dict=True).pooler_output
        return self.core(**named, return_dict=True).last_hidden_state

    def run(
        self,
        batch: Batch,
        states: bool = False,
        qkv: bool = False,
        forced: Sequence[torch.Tensor] | None = None,
        skip: int | None = None,
    ) -> Trace:
        """Run and record. `forced` gives every layer its input; layer `skip` passes its input on unchanged."""
        trace = Trace(output=torch.empty(0))
        with _hooks() as handles:
            for index, layer in enumerate(self.layers):
                if forced is not None:
                    handles.append(layer.register_forward_pre_hook(_force(forced[index]), with_kwargs=True))
                if states:
                    handles.append(layer.register_forward_hook(_record(trace), with_kwargs=True))
                if index == skip:
                    handles.append(layer.register_forward_hook(pass_on, with_kwargs=True))
            if qkv:
                parts: list[list[torch.Tensor]] = [[], [], []]
                handles.extend(self._record_qkv(trace, parts))
            trace.output = self.output(batch)
        if qkv and not self.is_riverone:
            trace.qkv = list(zip(*parts, strict=True))
        if qkv and len(trace.qkv) != len(self.layers):
            raise MultiplexError(
                f"saw queries, keys and values {len(trace.qkv)} times in {len(self.layers)} layers; expected linears "
                f"named {', '.join(QKV_NAMES)}. Remedy: distil with qkv_weight=0"
            )
        return trace

    def _record_qkv(self, trace: Trace, parts: list[list[torch.Tensor]]) -> Iterator[Any]:
        if self.is_riverone:
            # Where they are used, not where they are made: a generator may stand in for the stored linears.
            for attention in self._attentions:
                yield attention.register_forward_pre_hook(lambda _, args: trace.qkv.append(tuple(args[:3])))
            return
        for role, linear in self._linears:

            def keep(_module: nn.Module, _args: Any, output: torch.Tensor, role: int = role) -> None:
                for index, part in enumerate(output.chunk(3, dim=-1) if role == 3 else (output,)):
                    parts[index if role == 3 else role].append(part)

            yield linear.register_forward_hook(keep)

    @contextmanager
    def using(self, sources: Sequence[int]) -> Iterator[None]:
        """Let layer i use the stored block `sources[i]` for a while; nothing is copied."""
        holder = self.vision.config if self.is_riverone else self.core.shared
        kept = {name: getattr(holder, name) for name in ("layer_map", "qkv_map") if hasattr(holder, name)}
        try:
            for name in kept:
                setattr(holder, name, list(sources))
            yield
        finally:
            for name, value in kept.items():
                setattr(holder, name, value)


@contextmanager
def _hooks() -> Iterator[list[Any]]:
    handles: list[Any] = []
    try:
        yield handles
    finally:
        for handle in handles:
            handle.remove()


def _hidden(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    return args[0] if args else kwargs["hidden_states"]


def _force(value: torch.Tensor) -> Any:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (value, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": value}

    return hook


def _record(trace: Trace) -> Any:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        trace.inputs.append(_hidden(args, kwargs))
        trace.states.append(output[0] if isinstance(output, tuple) else output)

    return hook


def pass_on(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """A forward hook: the layer's output is its input."""
    hidden = _hidden(args, kwargs)
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden
