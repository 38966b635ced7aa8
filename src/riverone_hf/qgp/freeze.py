"""From generators to plain tensors, and the checkpoints in between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import parametrize

from ..errors import FrozenResumeError, ModelFolderError, NonFiniteWeightError
from ..model import RiverOneConfig, RiverOneForConditionalGeneration, RiverOneVisionConfig, RiverOneVisionModel
from ..model.generated_riverone import FreezingPreTrainedModel, below, frozen_state
from .attach import attach, generators
from .live import RESUME_REMEDY, GeneratedQKV, GeneratedWeight, refuse_plain_weight


def frozen_state_dict(model: nn.Module, safe_merge: bool = True) -> dict[str, torch.Tensor]:
    """The state dict of `model` with plain tensors for all generated weights; the live model is only read.

    For models of others: `model.save_pretrained(folder, state_dict=frozen_state_dict(model))`. RiverOne models do it by
    themselves. Raises NonFiniteWeightError unless `safe_merge` is off.
    """
    return _frozen(model, safe_merge)[0]


def _frozen(model: nn.Module, safe_merge: bool) -> tuple[dict[str, torch.Tensor], list[int] | None]:
    try:
        return frozen_state(model, check_finite=safe_merge)
    except ValueError as error:
        raise NonFiniteWeightError(str(error)) from None


def freeze(model: nn.Module, safe_merge: bool = True) -> nn.Module:
    """Replace all generators of `model` by the weights that they make now; in place, and for good.

    A vision q/k/v set that S layers share becomes up to S stored sets, and `qkv_map` grows with it: the sharing of
    these weights is spent (see `report` for the sizes). An optimizer made before holds parameters that are gone.

    Raises NonFiniteWeightError for infinite or NaN weights, before anything is changed, unless `safe_merge` is off.
    """
    state, qkv_map = _frozen(model, safe_merge)
    for name, module in list(model.named_modules()):
        sets = getattr(module, "qkv", None)
        if isinstance(sets, nn.ModuleList) and any(isinstance(stored, GeneratedQKV) for stored in sets):
            _store_sets(module, qkv_map, name + "." if name else "", state)
        steps = getattr(module, "parametrizations", {})
        if "weight" in steps and any(isinstance(step, GeneratedWeight) for step in steps["weight"]):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, _plain_linear(module, state[name + ".weight"]))
    if isinstance(model, FreezingPreTrainedModel) and model.live_generators:
        model.live_generators = []
        model.config.riverone_frozen = True
    return model


def _store_sets(tower: Any, qkv_map: Any, prefix: str, state: dict[str, torch.Tensor]) -> None:
    plain_class = next(stored.plain_class for stored in tower.qkv if isinstance(stored, GeneratedQKV))
    sets = []
    for index in range(max(qkv_map) + 1):
        # On meta: nothing is drawn from the global random state.
        with torch.device("meta"):
            stored = plain_class(tower.config)
        values = {key: value.clone() for key, value in below(state, f"{prefix}qkv.{index}.").items()}
        stored.load_state_dict(values, assign=True)
        sets.append(stored.train(tower.training))
    tower.qkv = nn.ModuleList(sets)
    tower.config.qkv_map = list(qkv_map)


def _plain_linear(module: Any, weight: torch.Tensor) -> nn.Module:
    """The parametrized Linear with a plain weight.

    A new object: `remove_parametrizations` would edit the class, which copies of the model share.
    """
    kind: Any = parametrize.type_before_parametrizations(module)
    plain = kind.__new__(kind)
    plain.__dict__.update(module.__dict__)
    plain._parameters = {"weight": nn.Parameter(weight), **module._parameters}
    plain._modules = {name: child for name, child in module._modules.items() if name != "parametrizations"}
    hooks = module._load_state_dict_pre_hooks
    kept = {key: hook for key, hook in hooks.items() if getattr(hook, "hook", None) is not refuse_plain_weight}
    plain._load_state_dict_pre_hooks = type(hooks)(kept)
    return plain


@contextmanager
def live_checkpoints(model: nn.Module) -> Iterator[nn.Module]:
    """Inside, `save_pretrained` of RiverOne models writes the generators as they are, so that training can resume.

    Entered by the training code from the first to the last step; what is saved afterwards is frozen again.
    """
    models = [module for module in model.modules() if isinstance(module, FreezingPreTrainedModel)]
    before = [module.live_checkpoints for module in models]
    for module in models:
        module.live_checkpoints = True
    try:
        yield model
    finally:
        for module, value in zip(models, before):
            module.live_checkpoints = value


def _config_of(folder: str | Path) -> dict[str, Any]:
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise ModelFolderError(f"{folder} holds no config.json. Remedy: name the folder of a checkpoint")
    return json.loads(path.read_text(encoding="utf-8"))


def refuse_frozen(folder: str | Path) -> None:
    """Call before resuming a training from `folder`. Raises FrozenResumeError when its generators are gone."""
    if _config_of(folder).get("riverone_frozen"):
        raise FrozenResumeError(f"{folder} is frozen: its generated weights are plain tensors. {RESUME_REMEDY}")


def load_live(folder: str | Path) -> nn.Module:
    """The live model of a checkpoint that was written inside `live_checkpoints`, generators and all, in float32 or its
    own dtype. Raises FrozenResumeError for frozen folders, ModelFolderError for others or when tensors do not fit.
    """
    from .methods import config_of

    refuse_frozen(folder)
    raw = _config_of(folder)
    if raw.get("riverone_frozen") is None:
        raise ModelFolderError(f"{folder} is not a live checkpoint. Remedy: load it with from_pretrained")
    dtype = getattr(torch, raw.get("dtype") or "float32")
    settings = [config_of(entry) for entry in raw["riverone_live"]]
    kept = {key: value for key, value in raw.items() if key not in ("riverone_frozen", "riverone_live")}
    if raw.get("model_type") == RiverOneVisionConfig.model_type:
        model: Any = RiverOneVisionModel(RiverOneVisionConfig.from_dict(kept))
    else:
        model = RiverOneForConditionalGeneration(RiverOneConfig.from_dict(kept))
    model = model.to(dtype)
    for config in settings:
        attach(model, config, restart=True)
    state: dict[str, torch.Tensor] = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        state |= load_file(path)
    missing, unexpected = model.load_state_dict(state, strict=False)
    tied = set(model.all_tied_weights_keys)
    if unexpected or set(missing) - tied:
        raise ModelFolderError(
            f"{folder} does not hold the tensors of its config: missing {sorted(set(missing) - tied)[:4]}, unexpected "
            f"{sorted(unexpected)[:4]}. Remedy: take an earlier checkpoint"
        )
    if not generators(model):
        raise ModelFolderError(f"{folder} names no generators. Remedy: load it with from_pretrained")
    return model
