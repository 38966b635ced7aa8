"""How does any Hugging Face ViT share its blocks? Heavy modules are stored K times, each layer keeps its own norms.

Every layer object of the original model stays, with its norms and other vectors; its linears (whatever owns a tensor
of two or more dimensions) are taken out and looked up in the stored block at every pass. So nothing is tied: a state
dict holds each tensor once, and `save_pretrained` / `AutoModel.from_pretrained` work with this package imported.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AttentionInterface, AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from ..errors import MultiplexError
from ..model.transforms_riverone import RiverOneHeadMixing, RiverOneLocalConv
from .maps import check_map, members

MIXING = "riverone_head_mixing"


def find_blocks(model: nn.Module, path: str | None = None) -> tuple[str, Any]:
    """(name, ModuleList or SharedLayers) of the transformer blocks of `model`.

    Without a `path` it is the one outermost ModuleList of two or more modules of one class. Raises MultiplexError when
    there is none, or more than one.
    """
    if path is not None:
        try:
            return path, model.get_submodule(path)
        except AttributeError as error:
            raise MultiplexError(f"{type(model).__name__} has no module {path!r}: {error}") from error
    found: dict[str, nn.ModuleList] = {}
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or any(name.startswith(f"{outer}.") for outer in found):
            continue
        if len(module) > 1 and len({type(block) for block in module}) == 1 and list(module.parameters()):
            found[name] = module
    if len(found) != 1:
        raise MultiplexError(
            f"{type(model).__name__} has {len(found)} lists of blocks ({', '.join(found) or 'none'}), expected one. "
            "Remedy: give blocks='name.of.the.list', and pass the vision model alone"
        )
    return next(iter(found.items()))


def _heavy(layer: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Modules below `layer` that own a tensor of two or more dimensions, and containers that only their list calls."""
    for name, child in layer.named_children():
        if isinstance(child, RiverOneHeadMixing | RiverOneLocalConv):
            continue
        listed = isinstance(child, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        tensors = child.parameters() if listed else child.parameters(recurse=False)
        if any(tensor.ndim > 1 for tensor in tensors):
            yield prefix + name, child
        else:
            yield from _heavy(child, f"{prefix}{name}.")


class SharedLayers(nn.Module):
    """Stands for the list of L layers that it replaces: K stored blocks and L layers (`own`) without them."""

    def __init__(self, layers: Sequence[nn.Module], layer_map: Sequence[int]):
        super().__init__()
        self.layer_map = check_map(layer_map, len(layers))
        self.paths = [path for path, _ in _heavy(layers[0])]
        self.stored = nn.ModuleList(nn.Module() for _ in range(max(self.layer_map) + 1))
        for block, group in zip(self.stored, members(self.layer_map)):
            for path in self.paths:
                _place(block, path, layers[group[0]].get_submodule(path))
        for layer in layers:
            for path in self.paths:
                parent, _, name = path.rpartition(".")
                del layer.get_submodule(parent)._modules[name]
        self.own = nn.ModuleList(layers)
        self._link()

    def _link(self) -> None:
        # Afresh at each pass: adapters and quantizers replace stored modules. Written beside the registered children,
        # so that a layer finds the module by name but neither saves nor counts it.
        for layer, block in zip(self.own, self.layer_map):
            for path in self.paths:
                parent, _, name = path.rpartition(".")
                layer.get_submodule(parent).__dict__[name] = self.stored[block].get_submodule(path)

    def __len__(self) -> int:
        return len(self.own)

    def __iter__(self) -> Iterator[nn.Module]:
        self._link()
        return iter(self.own)

    def __getitem__(self, index: Any) -> Any:
        self._link()
        return self.own[index] if isinstance(index, int) else list(self.own)[index]


def _place(root: nn.Module, path: str, module: nn.Module) -> None:
    """Register `module` below `root` at a dotted path."""
    *parents, name = path.split(".")
    for parent in parents:
        if parent not in root._modules:
            root.add_module(parent, nn.Module())
        root = root.get_submodule(parent)
    root.add_module(name, module)


def _mixing_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return module.head_mixing(query, key, value, scaling, attention_mask, dropout)


AttentionInterface.register(MIXING, _mixing_attention)


def _add_head_mixing(layer: nn.Module) -> None:
    """Let the attention of `layer` mix its heads. Raises MultiplexError without an exchangeable attention function."""
    for module in layer.modules():
        heads = getattr(module, "num_heads", None) or getattr(module, "num_attention_heads", None)
        config: Any = getattr(module, "config", None)
        if isinstance(heads, int) and hasattr(module, "is_causal") and config is not None:
            module.head_mixing = RiverOneHeadMixing(heads)
            module.config = copy.copy(config)
            module.config._attn_implementation = MIXING  # type: ignore[union-attr]
            return
    raise MultiplexError(
        f"{type(layer).__name__} has no attention module with num_heads, is_causal and config, so its heads cannot be "
        "mixed. Remedy: share it without head_mixing"
    )


class MultiplexedConfig(PreTrainedConfig):
    """A vision model of transformers whose blocks are shared: its own configuration and class name, and the map."""

    model_type = "riverone_multiplexed"

    base_class: str = ""
    base_config: dict[str, Any] = None  # type: ignore[assignment]
    blocks: str = ""
    layer_map: list[int] = None  # type: ignore[assignment]
    head_mixing: list[int] = None  # type: ignore[assignment]
    local_conv: list[int] = None  # type: ignore[assignment]
    local_conv_size: int = 7
    grid: list[int] | None = None


class MultiplexedVisionModel(PreTrainedModel):
    """A vision model of transformers with shared blocks; called exactly as the original, which lies in `.model`.

    A layer's local convolution acts on the states that enter the layer (in RiverONE: between attention and MLP),
    because the inside of a foreign layer is not ours to change.
    """

    config: MultiplexedConfig
    config_class = MultiplexedConfig
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    def __init__(self, config: MultiplexedConfig, model: PreTrainedModel | None = None):
        super().__init__(config)
        if model is None:
            kind = getattr(transformers, config.base_class, None)
            if not (isinstance(kind, type) and issubclass(kind, PreTrainedModel)):
                raise MultiplexError(f"transformers has no model class {config.base_class!r}: is it too old?")
            model = kind._from_config(AutoConfig.for_model(**copy.deepcopy(config.base_config)))
        self.model = model
        layers = list(find_blocks(model, config.blocks)[1])
        parent, _, name = config.blocks.rpartition(".")
        shared = SharedLayers(layers, config.layer_map)
        setattr(model.get_submodule(parent), name, shared)
        for index, layer in enumerate(layers):
            if index in config.head_mixing:
                _add_head_mixing(layer)
            if index in config.local_conv:
                self._add_local_conv(layer)
        self.post_init()

    def _add_local_conv(self, layer: nn.Module) -> None:
        if self.config.grid is None:
            raise MultiplexError("a local convolution needs the patches' grid=(rows, columns): got None")
        rows, cols = self.config.grid
        width = next(module.normalized_shape[-1] for module in layer.modules() if isinstance(module, nn.LayerNorm))
        layer.local_conv = RiverOneLocalConv(width, self.config.local_conv_size, 1e-6)

        def enter(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args:
                return (module.local_conv(args[0], (rows, cols)), *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": module.local_conv(kwargs["hidden_states"], (rows, cols))}

        layer.register_forward_pre_hook(enter, with_kwargs=True)

    @property
    def shared(self) -> SharedLayers:
        """The stored blocks and the layers."""
        stack = self.model.get_submodule(self.config.blocks)
        assert isinstance(stack, SharedLayers)
        return stack

    def get_input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """The original model initialises its own modules."""
        self.model._init_weights(module)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the original model's."""
        return self.model(*args, **kwargs)


AutoConfig.register(MultiplexedConfig.model_type, MultiplexedConfig, exist_ok=True)
AutoModel.register(MultiplexedConfig, MultiplexedVisionModel, exist_ok=True)
