"""Put generators on the weights of a model, of ours or of others."""

from __future__ import annotations

import zlib
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from ..errors import FrozenResumeError
from ..model.generated_riverone import FreezingPreTrainedModel
from .config import GeneratorConfig
from .generator import RowBlocks, WeightGenerator
from .live import RESUME_REMEDY, GeneratedLinear, GeneratedQKV, GeneratedWeight, refuse_plain_weight
from .matching import plan_attach, row_blocks


def attach(model: nn.Module, config: GeneratorConfig, restart: bool = False) -> nn.Module:
    """Let generators make the weights that `config` names; the outputs of `model` stay bitwise the same.

    In RiverOne's vision tower a stored q/k/v set used by S layers gets one generator per projection with a slot per
    selected layer. Any other `nn.Linear`, of any model, gets a torch parametrization. The stored weights stop training
    unless `config.train_shared`.

    Args:
        model: changed in place and returned.
        restart: allow a model that was loaded from a frozen folder to get new generators.

    Raises:
        GeneratorError: no Linear matches, a layer or slice does not exist, or a weight cannot be generated (tied,
            coded, not loaded, already generated). Nothing is changed then.
        FrozenResumeError: the model comes from a frozen folder.
    """
    if getattr(getattr(model, "config", None), "riverone_frozen", False) and not restart:
        raise FrozenResumeError(f"the generated weights of this model are frozen to plain tensors. {RESUME_REMEDY}")
    modules: dict[str, Any] = dict(model.named_modules())
    plain, sets = plan_attach(modules, config)

    # All generators are built before the first one is put in place, so that an error leaves the model as it was.
    parametrizations = [(modules[name], GeneratedWeight(_generator(config, modules[name], 1, name))) for name in plain]
    replacements = []
    for stored in sets:
        names = {projection: f"{stored.name}.{projection}" for projection in stored.projections}
        made = {p: _generator(config, modules[name], stored.slots, name) for p, name in names.items()}
        replacements.append((stored.name, GeneratedQKV(modules[stored.name], made, stored.positions)))
    for linear, generated in parametrizations:
        linear.weight.requires_grad_(linear.weight.requires_grad and config.train_shared)
        parametrize.register_parametrization(linear, "weight", generated)
        linear.register_load_state_dict_pre_hook(refuse_plain_weight)
    for name, replacement in replacements:
        for module in replacement.children():
            if isinstance(module, GeneratedLinear):
                module.weight.requires_grad_(module.weight.requires_grad and config.train_shared)
        parent, _, index = name.rpartition(".")
        modules[parent][int(index)] = replacement.train(modules[name].training)
    if isinstance(model, FreezingPreTrainedModel):
        model.live_generators = [*model.live_generators, config.model_dump(mode="json", by_alias=True)]
    return model


def generators(model: nn.Module) -> dict[str, WeightGenerator]:
    """All live generators by the name of the weight they make."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, GeneratedLinear):
            found[name] = module.generator
        elif isinstance(module, GeneratedWeight):
            found[name.partition(".parametrizations.")[0]] = module.generator
    return found


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of all generators: few and small, they want a learning rate of their own and no weight decay."""
    return [parameter for generator in generators(model).values() for parameter in generator.parameters()]


def _generator(config: GeneratorConfig, linear: Any, slots: int, name: str) -> WeightGenerator:
    rows, columns = linear.weight.shape
    # The name is mixed in, so that the draw of a weight depends neither on the others nor on their order.
    seed = (config.seed + zlib.crc32(name.encode())) % 2**31
    blocks = row_blocks(config.row_slices, rows, name)
    parts = [config.build((stop - start, columns), slots, seed + index) for index, (start, stop) in enumerate(blocks)]
    whole = blocks == [(0, rows)]
    generator = parts[0] if whole else RowBlocks((rows, columns), slots, blocks, parts)
    return generator.to(linear.weight.device).train(linear.training)
