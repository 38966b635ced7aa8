"""Which codebooks are best for given codes and scales? Conjugate gradients on the exact quadratic.

The objective is quadratic in the books: each step costs one product with H, whatever the size of the books. The
preconditioner inverts, for each code, the d x d block of the quadratic that belongs to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .layer import Layer

_LIMIT = 1 << 25


def fit_codebooks(layers: Sequence[Layer], books: torch.Tensor, steps: int) -> torch.Tensor:
    """New books (K, size, D) after `steps` steps over all layers that share them; layers' state is updated.

    Codes that no vector uses stay where they are.
    """
    inverse = _preconditioner(layers, books)
    gradient = _books_gradient(layers, books)
    preconditioned = _apply(inverse, gradient, layers)
    direction = preconditioned.clone()
    energy = (gradient * preconditioned).sum(dtype=torch.float64)
    enough = 1e-12 * energy
    for _ in range(steps):
        if not energy > enough:
            break
        moves = [layer.decode_vectors(direction) for layer in layers]
        images = [(move * layer.row_scales) @ layer.metric.gram for layer, move in zip(layers, moves, strict=True)]
        image = _scatter(layers, images, books)
        curvature = (direction * image).sum(dtype=torch.float64)
        if not curvature > 0:
            break
        length = (energy / curvature).item()
        books = books + length * direction
        for layer, move, seen in zip(layers, moves, images, strict=True):
            layer.quotient.add_(move, alpha=length)
            layer.residual.sub_(seen, alpha=length)
        gradient.sub_(image, alpha=length)
        preconditioned = _apply(inverse, gradient, layers)
        before, energy = energy, (gradient * preconditioned).sum(dtype=torch.float64)
        direction = preconditioned + (energy / before).float() * direction
    return books


def _books_gradient(layers: Sequence[Layer], books: torch.Tensor) -> torch.Tensor:
    """Minus half the gradient in the books: the residuals summed over the vectors of each code."""
    return _scatter(layers, [layer.residual for layer in layers], books)


def _scatter(layers: Sequence[Layer], matrices: Sequence[torch.Tensor], books: torch.Tensor) -> torch.Tensor:
    """(K, size, D): sum over vectors with that code of scale * matrix; each layer divided by its energy."""
    total = torch.zeros_like(books)
    for layer, matrix in zip(layers, matrices, strict=True):
        vectors = layer.as_vectors(matrix * (layer.row_scales / layer.energy)).flatten(0, 1)
        for book, codes in zip(total, layer.codes, strict=True):
            add_by_code(book, codes.flatten(), vectors)
    return total


def add_by_code(total: torch.Tensor, codes: torch.Tensor, values: torch.Tensor) -> None:
    """total[codes[i]] += values[i], in a fixed order on every device; total (size, D), codes (N,), values (N, D)."""
    if total.device.type == "cpu":
        total.index_add_(0, codes, values)
    else:
        _add_sorted(total, codes, values)


def _add_sorted(total: torch.Tensor, codes: torch.Tensor, values: torch.Tensor) -> None:
    """Atomic sums on a GPU come in any order: sort by code and sum segments instead, so that reruns are identical."""
    order = codes.argsort(stable=True)
    lengths = torch.bincount(codes, minlength=len(total))
    total.add_(torch.segment_reduce(values[order].contiguous(), "sum", lengths=lengths, axis=0, initial=0))


def _preconditioner(layers: Sequence[Layer], books: torch.Tensor) -> torch.Tensor:
    """(K, size, d, d): inverses of sum over (u, J) with that code of scale^2 H_JJ, and a ridge for unused codes."""
    d = layers[0].scheme.in_group_size
    count, size, _ = books.shape
    blocks = torch.zeros(count, size, d * d, device=books.device)
    for layer in layers:
        corners = layer.metric.diagonal_blocks(d).reshape(-1, d * d)
        weights = layer.scales.square() / layer.energy
        groups = len(corners)
        if size * groups > _LIMIT:
            # Books so large hold few vectors per code: one mean block for all groups.
            corners, groups = corners.mean(0, keepdim=True), 1
        place = torch.arange(layer.codes.shape[2], device=books.device) % groups
        shares = weights[:, None].expand(layer.codes.shape[1:]).flatten()
        for c in range(count):
            cell = (layer.codes[c] * groups + place).flatten()
            mass = torch.zeros(size * groups, 1, device=books.device)
            add_by_code(mass, cell, shares[:, None])
            blocks[c].addmm_(mass.view(size, groups), corners)
    blocks = blocks.view(count, size, d, d)
    trace = blocks.diagonal(dim1=2, dim2=3).sum(2) / d
    ridge = 1e-4 * trace + 1e-6 * trace.mean()
    blocks.diagonal(dim1=2, dim2=3).add_(ridge[..., None])
    return torch.cholesky_inverse(torch.linalg.cholesky(blocks))


def _apply(inverse: torch.Tensor, gradient: torch.Tensor, layers: Sequence[Layer]) -> torch.Tensor:
    count, size, d, _ = inverse.shape
    return (gradient.view(count, size, -1, d) @ inverse).view(gradient.shape)
