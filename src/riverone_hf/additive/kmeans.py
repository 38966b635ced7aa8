"""Where do codebooks start? Residual k-means on scaled weight vectors, in the metric of each input group.

The distance between two vectors of group J is measured by L_JJ, the feedback factor's diagonal block, because the first
sweep will measure it so; a vector counts with the square of its scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .codebook_cg import add_by_code
from .layer import Layer

_CHUNK = 1 << 22


@dataclass
class _Points:
    """Sampled vectors, by the metric they are measured in: vectors (B, N, D), corners (B, d, d), weights (N,)."""

    vectors: torch.Tensor
    corners: torch.Tensor
    weights: torch.Tensor


def start_books(layers: Sequence[Layer], points_per_code: int, steps: int, generator: torch.Generator) -> torch.Tensor:
    """(K, size, D) codebooks: each fits what the earlier ones leave of up to points_per_code * size vectors."""
    scheme = layers[0].scheme
    size = 2**scheme.nbits_per_codebook
    points = [_sample(layer, points_per_code * size // len(layers), generator) for layer in layers]
    books = []
    for index in range(scheme.num_codebooks):
        books.append(_lloyd(points, size, steps, generator))
        if index + 1 < scheme.num_codebooks:
            for part, codes in zip(points, _assign(points, books[-1])[0], strict=True):
                part.vectors -= books[-1][codes]
    return torch.stack(books)


def _sample(layer: Layer, wanted: int, generator: torch.Generator) -> _Points:
    """Whole units at random, so that every group of inputs is seen equally often."""
    units, groups = layer.codes.shape[1:]
    count = min(units, max(1, -(-wanted // groups)))
    index = torch.randperm(units, generator=generator)[:count].to(layer.scales.device)
    vectors = layer.as_vectors(layer.weight)[index] / layer.scales[index, None, None]
    corners = layer.metric.diagonal_blocks(layer.scheme.in_group_size, "factor")
    return _Points(vectors.transpose(0, 1).contiguous(), corners, layer.scales[index].square() / layer.energy)


def _lloyd(points: Sequence[_Points], size: int, steps: int, generator: torch.Generator) -> torch.Tensor:
    """A book (size, D) by Lloyd's iteration; codes that nothing uses move to the costliest points."""
    everything = torch.cat([part.vectors.flatten(0, 1) for part in points])
    picks = torch.randperm(len(everything), generator=generator)[:size].to(everything.device)
    book = everything[picks]
    if len(book) < size:
        book = torch.cat([book, book.new_zeros(size - len(book), book.shape[1])])
    for _ in range(steps):
        codes, costs = _assign(points, book)
        book = _centres(points, codes, book)
        used = torch.zeros(size, dtype=torch.bool, device=book.device)
        for part in codes:
            used[part.flatten()] = True
        dead = (~used).nonzero().flatten()
        if len(dead):
            worst = torch.cat([cost.flatten() for cost in costs]).topk(min(len(dead), len(everything))).indices
            book[dead[: len(worst)]] = everything[worst]
    return book


def _assign(points: Sequence[_Points], book: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Nearest codes (B, N) and their weighted costs (B, N), for each part; tables of distances stay small."""
    codes, costs = [], []
    for part in points:
        count = part.vectors.shape[1]
        step = max(1, _CHUNK // (count * len(book)))
        width = max(1, _CHUNK // len(book))
        near = torch.empty(part.vectors.shape[:2], dtype=torch.int64, device=book.device)
        far = torch.empty(part.vectors.shape[:2], device=book.device)
        for start in range(0, len(part.vectors), step):
            block = slice(start, start + step)
            centres = _map(book, part.corners[block])
            norms = centres.square().sum(2)
            for first in range(0, count, width):
                piece = (block, slice(first, first + width))
                mapped = _map(part.vectors[piece], part.corners[block])
                table = torch.baddbmm(norms[:, None], mapped, centres.transpose(1, 2), alpha=-2)
                least = table.min(2)
                near[piece] = least.indices
                far[piece] = least.values + mapped.square().sum(2)
        codes.append(near)
        costs.append(far * part.weights)
    return codes, costs


def _map(vectors: torch.Tensor, corners: torch.Tensor) -> torch.Tensor:
    """Vectors (B, N, D) or (N, D), each run of d numbers multiplied by every corner (B, d, d): (B, N, D)."""
    d = corners.shape[1]
    batched = vectors if vectors.dim() == 3 else vectors.expand(len(corners), -1, -1)
    return (batched.reshape(len(corners), -1, d) @ corners).view(batched.shape)


def _centres(points: Sequence[_Points], codes: Sequence[torch.Tensor], book: torch.Tensor) -> torch.Tensor:
    """The weighted mean of each code's vectors in their metrics: (sum w S)^-1 sum w S v. Unused codes stay."""
    size, d = len(book), points[0].corners.shape[1]
    sums, blocks = torch.zeros_like(book), book.new_zeros(size, d * d)
    for part, near in zip(points, codes, strict=True):
        metrics = part.corners @ part.corners.transpose(1, 2)
        vectors = part.vectors.reshape(len(metrics), -1, d) @ metrics
        weighted = vectors.view(part.vectors.shape) * part.weights[:, None]
        add_by_code(sums, near.flatten(), weighted.flatten(0, 1))
        mass = book.new_zeros(len(metrics) * size, 1)
        cell = near + size * torch.arange(len(metrics), device=near.device)[:, None]
        add_by_code(mass, cell.flatten(), part.weights.expand(near.shape).reshape(-1, 1))
        blocks.addmm_(mass.view(len(metrics), size).T, metrics.reshape(len(metrics), -1))
    blocks = blocks.view(size, d, d)
    trace = blocks.diagonal(dim1=1, dim2=2).mean(1)
    ridge = 1e-6 * trace + 1e-9 * trace.mean()
    sums += (book.view(size, -1, d) * ridge[:, None, None]).view(book.shape)
    blocks.diagonal(dim1=1, dim2=2).add_(ridge[:, None])
    return torch.linalg.solve(blocks, sums.view(size, -1, d).transpose(1, 2)).transpose(1, 2).reshape(book.shape)
