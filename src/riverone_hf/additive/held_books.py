"""How is a Linear coded when its codebooks are given? Codes and scales only, for codebooks shared over layers."""

from __future__ import annotations

import torch

from ..model.codes_riverone import AdditiveScheme
from .coded import CodedWeight
from .layer import Layer, Metric
from .scales import fit_scales
from .sweeps import descent_sweep, ldlq_sweep


@torch.no_grad()
def code_with_books(
    weight: torch.Tensor,
    xtx: torch.Tensor,
    scheme: AdditiveScheme,
    books: torch.Tensor,
    *,
    n_samples: int | None = None,
    rounds: int = 4,
) -> CodedWeight:
    """Codes and scales of one weight (out, in) for codebooks that are held; the best state of some rounds is kept."""
    layer = Layer.start(weight, Metric(xtx, n_samples), scheme)
    flat = books.to(layer.weight).flatten(2)
    ldlq_sweep(layer, flat)
    fit_scales(layer)
    kept, best = (layer.codes.clone(), layer.scales.clone()), layer.objectives()[0]
    # The first sweep met scales that the books were not learnt with, so it is made again with better ones.
    for sweep in (ldlq_sweep, *[descent_sweep] * rounds):
        sweep(layer, flat)
        fit_scales(layer)
        if (now := layer.objectives()[0]) < best:
            kept, best = (layer.codes.clone(), layer.scales.clone()), now
    codes, scales = kept
    shaped = flat.view(scheme.codebooks_shape)
    return CodedWeight(codes.permute(1, 2, 0).to(torch.int32).contiguous(), shaped, scales.view(-1, 1, 1, 1), scheme)
