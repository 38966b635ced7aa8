"""Which scale is best for each unit of rows? The closed form, from quantities that are already there."""

from __future__ import annotations

import torch

from .layer import Layer


def fit_scales(layer: Layer) -> None:
    """Set scales[u] = (q W H)_u / (q H q)_u, the minimum of the quadratic with codes and books held.

    No matrix product: q H = (product - residual) / s. A unit whose quotient is zero, or whose best scale would be zero
    or negative, keeps its scale.
    """
    units = len(layer.scales)
    coded = layer.product - layer.residual  # Wq H
    wanted = (layer.quotient * layer.product).view(units, -1).sum(1)
    got = (layer.quotient * coded).view(units, -1).sum(1)
    factor = wanted / got
    factor = torch.where(torch.isfinite(factor) & (factor > 0) & (got > 0), factor, torch.ones_like(factor))
    layer.scales = layer.scales * factor
    rows = factor.repeat_interleave(layer.scheme.out_group_size)[:, None]
    layer.residual = torch.addcmul(layer.product, coded, rows, value=-1)
