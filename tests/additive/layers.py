"""A synthetic Linear: structured weight, correlated inputs with loud channels; for tests and benchmarks."""

from __future__ import annotations

import torch


def synthetic(outputs, inputs, tokens, held_out=0, decay=1.0, seed=0):
    """(weight (out, in), XTX of `tokens` tokens, XTX of `held_out` other tokens or None), float32.

    The input covariance has a spectrum falling like i^-decay in a random basis and log-normal channels; the weight is a
    random matrix plus a part of rank in/16, with log-normal rows.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    basis = torch.linalg.qr(normal(inputs, inputs)).Q
    spectrum = torch.arange(1, inputs + 1).float().pow(-decay / 2)
    mix = spectrum[:, None] * basis * (0.5 * normal(inputs)).exp()
    rank = max(1, inputs // 16)
    weight = normal(outputs, inputs) + normal(outputs, rank) @ normal(rank, inputs) / rank**0.5
    weight = 0.02 * weight * (0.3 * normal(outputs, 1)).exp()

    def second_moment(count):
        x = normal(count, inputs) @ mix
        return x.T @ x / count

    return weight, second_moment(tokens), second_moment(held_out) if held_out else None
