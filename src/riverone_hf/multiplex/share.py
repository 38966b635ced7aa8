"""How do L trained blocks become K? A new model with K stored blocks, own norms and transforms in every layer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from torch import nn

from ..errors import MultiplexError
from ..model import RiverOneForConditionalGeneration, RiverOneModel, RiverOneVisionModel
from ..model.generated_riverone import is_live
from .foreign import MultiplexedConfig, MultiplexedVisionModel, find_blocks
from .maps import check_map, members, named_map
from .merge import mean_blocks, refit_blocks
from .tower import Batch, Tower

Layers = Sequence[int] | bool
Merge = Literal["first", "mean", "lstsq"]


def share_blocks(
    model: nn.Module,
    layer_map: Sequence[int] | str,
    init: Merge = "first",
    *,
    qkv_map: Sequence[int] | None = None,
    head_mixing: Layers = False,
    local_conv: Layers = False,
    local_conv_size: int = 7,
    images: Iterable[Batch] | None = None,
    blocks: str | None = None,
    grid: tuple[int, int] | None = None,
) -> Any:
    """A copy of `model` in which layer i uses the stored block `layer_map[i]`; `model` itself is left as it is.

    Args:
        model: a RiverONE (whole, without head, or its vision tower), or a vision model of transformers whose blocks
            sit in one ModuleList; that one comes back as a `MultiplexedVisionModel`.
        layer_map: one stored index per layer, or a name of `named_map`.
        init: the stored block is that of the `first` layer of its group, the `mean` of the group, or `lstsq`: the
            first, with its two output matrices refitted to what the group's layers put out on `images`.
        qkv_map: layer -> stored q/k/v set (RiverONE only), by default `layer_map`.
        head_mixing, local_conv: layers that get these transforms, or True for all; both start as the identity.
        images: batches, needed by `lstsq` only.
        blocks: name of the ModuleList where it is not the only one (other models).
        grid: rows and columns of the patches, needed by `local_conv` of other models.

    Without sharing (`identity`) the result computes the same as `model`. Raises MultiplexError with the remedy.
    """
    if is_live(model) or any(hasattr(module, "parametrizations") for module in model.modules()):
        raise MultiplexError("weights of this model are still generated. Remedy: share first, then attach generators")
    tower = Tower(model, blocks)
    count = len(tower.layers)
    given = named_map(layer_map, count) if isinstance(layer_map, str) else check_map(layer_map, count)
    if init not in ("first", "mean", "lstsq"):
        raise MultiplexError(f"init is {init!r}; expected first, mean or lstsq")
    if init == "lstsq" and images is None:
        raise MultiplexError("init='lstsq' fits outputs on images: got images=None")
    if tower.is_riverone:
        shared = _share_riverone(model, tower, given, qkv_map, head_mixing, local_conv, local_conv_size)
    elif qkv_map is not None:
        raise MultiplexError("qkv_map is for RiverONE models: the blocks of other models keep q/k/v inside")
    else:
        shared = _share_foreign(model, given, head_mixing, local_conv, local_conv_size, blocks, grid)
    if init == "mean":
        mean_blocks(tower, Tower(shared), given)
    elif init == "lstsq" and images is not None:
        refit_blocks(tower, Tower(shared), given, images)
    return shared


def _share_riverone(
    model: nn.Module,
    tower: Tower,
    layer_map: list[int],
    qkv_map: Sequence[int] | None,
    head_mixing: Layers,
    local_conv: Layers,
    local_conv_size: int,
) -> Any:
    qkv = layer_map if qkv_map is None else check_map(qkv_map, len(layer_map))
    changes: dict[str, Any] = {"layer_map": layer_map, "qkv_map": qkv}
    old = tower.vision.config
    if head_mixing is not False:
        changes["head_mixing"] = head_mixing
    if local_conv is not False:
        changes |= {"local_conv": local_conv, "local_conv_size": local_conv_size}
    # The first layer of a stored set gives it its weights.
    sources = {f"layers.{layer}.": f"layers.{layer}." for layer in range(len(layer_map))}
    for name, new_map, old_map in (("blocks", layer_map, old.layer_map), ("qkv", qkv, old.qkv_map)):
        for stored, group in enumerate(members(new_map)):
            sources[f"{name}.{stored}."] = f"{name}.{old_map[group[0]]}."
    return rebuild(model, changes, sources)


def rebuild(
    model: nn.Module,
    changes: dict[str, Any],
    sources: dict[str, str],
    top: dict[str, Any] | None = None,
    reset: Callable[[str], bool] = lambda key: False,
) -> Any:
    """A copy of a RiverONE model with another vision tower.

    `changes` are entries of its vision configuration (`top`: of the whole configuration); `sources` maps prefixes of
    its state dict to those of the old one, other prefixes stay the same. Entries that the old tower lacks (new
    transforms), or that `reset` names, keep their initial values.
    """
    core: Any = model.model if isinstance(model, RiverOneForConditionalGeneration) else model
    old: Any = core.vision_tower if isinstance(core, RiverOneModel) else core
    config = type(old.config)(**{**old.config.to_dict(), **changes})
    implementation = old.config._attn_implementation
    vision: Any = type(old)(config).to(old.device, old.dtype)
    vision.set_attn_implementation(implementation)
    state, known = {}, old.state_dict()
    for key, value in vision.state_dict().items():
        prefix = next((new for new in sources if key.startswith(new)), "")
        source = sources.get(prefix, "") + key.removeprefix(prefix)
        state[key] = value if reset(key) else known.get(source, value)
    vision.load_state_dict(state)
    vision.train(old.training)
    if isinstance(model, RiverOneVisionModel):
        return vision
    # One deep copy with the old tower already replaced: it is never copied itself.
    copied: Any = copy.deepcopy(model, {id(old): vision})
    for part in (copied, getattr(copied, "model", copied)):
        part.config.vision_config = vision.config
        for name, value in (top or {}).items():
            setattr(part.config, name, value)
    return copied


def _share_foreign(
    model: nn.Module,
    layer_map: list[int],
    head_mixing: Layers,
    local_conv: Layers,
    local_conv_size: int,
    blocks: str | None,
    grid: tuple[int, int] | None,
) -> MultiplexedVisionModel:
    config: Any = getattr(model, "config", None)
    if config is None or isinstance(model, MultiplexedVisionModel):
        raise MultiplexError(f"{type(model).__name__} is not an unshared model of transformers")
    base = config.to_dict()
    count = len(layer_map)

    def listed(layers: Layers) -> list[int]:
        return (list(range(count)) if layers else []) if isinstance(layers, bool) else sorted(layers)

    multiplexed = MultiplexedConfig(
        base_class=type(model).__name__,
        base_config=base,
        blocks=find_blocks(model, blocks)[0],
        layer_map=layer_map,
        head_mixing=listed(head_mixing),
        local_conv=listed(local_conv),
        local_conv_size=local_conv_size,
        grid=list(grid) if grid else None,
    )
    multiplexed.dtype = getattr(model, "dtype", None)
    copied: Any = copy.deepcopy(model)
    shared: Any = MultiplexedVisionModel(multiplexed, copied)
    first = next(model.parameters())
    return shared.to(first.device, first.dtype).train(model.training)
