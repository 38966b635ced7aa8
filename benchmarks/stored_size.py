"""How many bytes does a language model take as a checkpoint holds it, in codes, in whole numbers or dense?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from rivals import ScalarLinear
from torch import nn

from riverone_hf.additive.targets import make_plan
from riverone_hf.additive.trainable import TrainableLinear
from riverone_hf.model.int8_riverone import int8_tables
from riverone_hf.model.quantization_riverone import SHARED, coded_layers

STORED = 2
"""Bytes of a weight that is not coded: bfloat16, as base checkpoints are saved."""


def stored_bytes(model: Any) -> tuple[float, float]:
    """(bytes of the language model's Linears, of all else), as a checkpoint holds them."""
    linears, weights = 0.0, 0
    coded: Iterable[Any] = coded_layers(model).values()
    for layer in coded:
        own = layer.books().nbytes if layer.shared_name is None else 0
        linears += layer.codes.nbytes + layer.scales.nbytes + own
    linears += sum(books.nbytes for books in getattr(model, SHARED, {}).values())
    for module in model.modules():
        linears += module.stored_bytes if isinstance(module, ScalarLinear) else 0
    if not linears:
        weights = sum(target.weights for target in make_plan(model, "1x1g1").targets)
        linears = STORED * weights
    coding = {id(p) for p in coding_parameters(model)}
    rest = STORED * (sum(p.numel() for p in model.parameters() if id(p) not in coding) - weights)
    return linears, rest + sum(table.codes.nbytes for table in int8_tables(model).values())


def coding_parameters(model: Any) -> list[nn.Parameter]:
    """Codebooks, scales and the like: what has a stored form of its own."""
    found = list(getattr(model, SHARED, {}).values())
    for layer in (*coded_layers(model).values(), *(m for m in model.modules() if isinstance(m, TrainableLinear))):
        found += [part for part in (layer.codebooks, layer.scales) if part is not None]
    for module in model.modules():
        found += [module.latent, module.scales, module.zeros] if isinstance(module, ScalarLinear) else []
    return found


def logical_parameters(model: Any) -> int:
    """Weights that the model computes with."""
    sizes = [layer.in_features * layer.out_features for layer in coded_layers(model).values()]
    sizes += [table.codes.numel() for table in int8_tables(model).values()]
    sizes += [module.latent.numel() for module in model.modules() if isinstance(module, ScalarLinear)]
    coding = {id(p) for p in coding_parameters(model)}
    coding |= {id(table.scales) for table in int8_tables(model).values()}
    return sum(sizes) + sum(p.numel() for p in model.parameters() if id(p) not in coding)


@torch.no_grad()
def round_uncoded(model: Any) -> None:
    """Everything that is not coded, as bfloat16 would hold it."""
    coding = {id(p) for p in coding_parameters(model)} | {id(t.scales) for t in int8_tables(model).values()}
    for parameter in model.parameters():
        if id(parameter) not in coding:
            parameter.copy_(parameter.to(torch.bfloat16))
