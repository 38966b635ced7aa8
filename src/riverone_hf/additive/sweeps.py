"""How are all codes renewed? An LDLQ sweep starts afresh, a coordinate-descent sweep improves what is there.

Both go through the groups of inputs in order, all units at once. Corrections to later groups are applied at once inside
a block of columns and by one matrix product per block beyond it. Feedback as in GPTQ and QuIP's LDLQ, here with vector
codes and a Cholesky factor taken from the last input backwards.
"""

from __future__ import annotations

import torch

from .layer import Layer
from .search import search

_BLOCK = 128


def _blocks(inputs: int, size: int) -> list[tuple[int, int]]:
    step = max(size, _BLOCK // size * size)
    return [(start, min(start + step, inputs)) for start in range(0, inputs, step)]


def _by_unit(books: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """(K, size, D): every row of d inputs of every codebook vector multiplied by a (d, d) matrix."""
    size = matrix.shape[0]
    return (books.view(-1, size) @ matrix).view(books.shape)


def ldlq_sweep(layer: Layer, books: torch.Tensor) -> None:
    """Renew all codes with error feedback: group J codes w_J plus what the errors of earlier groups cost there.

    With A = L L^T (L upper triangular) the damped objective is sum_J |e_J L_JJ + sum_(i<J) e_i L_iJ|^2, so group J
    takes the vector nearest to (w_J L_JJ + sum_(i<J) e_i L_iJ) / s among books @ L_JJ. Ends with one product for the
    residual.
    """
    d, factor = layer.scheme.in_group_size, layer.metric.factor
    units, scales = len(layer.scales), layer.row_scales
    diagonal = layer.metric.diagonal_blocks(d, "factor")
    error = torch.zeros_like(layer.weight)
    quotient = torch.empty_like(layer.weight)
    feedback = torch.zeros_like(layer.weight)
    inverse = 1 / scales
    found = []
    for start, end in _blocks(layer.weight.shape[1], d):
        for low in range(start, end, d):
            high = low + d
            corner = diagonal[low // d]
            image = _by_unit(books, corner)
            weight = layer.weight[:, low:high]
            target = (feedback[:, low:high] + weight @ corner) * inverse
            codes = search(target.view(units, -1), image, image, exact=False)
            found.append(codes)
            vectors = sum(book[code] for book, code in zip(books, codes, strict=True)).view(-1, d)
            quotient[:, low:high] = vectors
            now = error[:, low:high]
            torch.addcmul(weight, scales, vectors, value=-1, out=now)
            if high < end:
                feedback[:, high:end].addmm_(now, factor[low:high, high:end])
        if end < factor.shape[1]:
            feedback[:, end:].addmm_(error[:, start:end], factor[start:end, end:])
    layer.codes = torch.stack(found, 2)
    layer.quotient = quotient
    layer.residual = error @ layer.metric.gram


def descent_sweep(layer: Layer, books: torch.Tensor) -> None:
    """Renew the codes group by group, each against the exact quadratic with all other groups held: never worse.

    Group J minimises |t - q|^2 in the metric H_JJ, where t H_JJ = R_J / s + q_old H_JJ.
    """
    d, gram = layer.scheme.in_group_size, layer.metric.gram
    units, scales = len(layer.scales), layer.row_scales
    diagonal = layer.metric.diagonal_blocks(d)
    inverse = 1 / scales
    residual, quotient = layer.residual, layer.quotient
    for start, end in _blocks(layer.weight.shape[1], d):
        moved = torch.empty_like(quotient[:, start:end])
        for low in range(start, end, d):
            high = low + d
            corner = diagonal[low // d]
            before = quotient[:, low:high]
            lin = torch.addmm(residual[:, low:high] * inverse, before, corner)
            old = layer.codes[:, :, low // d]
            codes = search(lin.view(units, -1), books, _by_unit(books, corner), old, exact=False)
            layer.codes[:, :, low // d] = codes
            vectors = sum(book[code] for book, code in zip(books, codes, strict=True)).view(-1, d)
            change = moved[:, low - start : high - start]
            torch.mul(scales, vectors - before, out=change)
            quotient[:, low:high] = vectors
            residual[:, start:end].addmm_(change, gram[low:high, start:end], alpha=-1)
        for first, last in ((0, start), (end, gram.shape[1])):
            if first < last:
                residual[:, first:last].addmm_(moved, gram[start:end, first:last], alpha=-1)
