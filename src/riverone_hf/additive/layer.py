"""What is minimised for one matrix? tr((W - Wq) H (W - Wq)^T), H being the input statistic plus a ridge.

Notation of this room: a weight W (m, n) is cut in U = m/og units of og rows and G = n/d groups of d inputs; a vector
is one unit x group block, D = og*d numbers; unit u is scales[u] * sum_c books[c, codes[c, u, j]] in group j.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from ..errors import CodingError
from ..model.codes_riverone import AdditiveScheme

DAMPING = 0.03
"""Added to the diagonal for the feedback factor alone (the fraction of its mean); H itself stays as it is."""

LEAST_RIDGE, MOST_RIDGE = 0.01, 0.5


def ridge_for(xtx: torch.Tensor, n_samples: int | None) -> float:
    """Ridge as a fraction of the mean diagonal of XTX (n, n), estimated from `n_samples` tokens.

    A strong optimiser fits the sampling noise of XTX. The ridge r undoes it: XTX + r * mean(diag) * I is proportional
    to the shrinkage estimate of Chen, Wiesel, Eldar and Hero (2010, "oracle approximating"), which needs the trace, the
    squares and the sample size alone; half of `n_samples` is used, for tokens of one text are not independent. It grows
    with the effective rank over the sample size: for a spectrum that falls like 1/i, 0.2 for n/2 tokens, 0.05 for 2n,
    0.02 for 8n. Unknown sizes count as large.
    """
    if n_samples is None:
        return LEAST_RIDGE
    if n_samples < 1:
        raise CodingError(f"got n_samples={n_samples}, expected the number of tokens behind XTX (at least 1)")
    inputs = xtx.shape[0]
    squares = xtx.double().square().sum().item()
    trace = xtx.diagonal().double().sum().item() ** 2
    spread = (n_samples / 2 + 1 - 2 / inputs) * (squares - trace / inputs)
    share = ((1 - 2 / inputs) * squares + trace) / spread if spread > 0 else 1.0
    return min(max(share / (1 - share), LEAST_RIDGE), MOST_RIDGE) if share < 1 else MOST_RIDGE


class Metric:
    """The input statistic of one Linear, ready for the solver; share it between matrices with the same input.

    gram (n, n): XTX / mean diagonal + ridge * I, float32. factor (n, n): upper triangular L with
    L L^T = gram + DAMPING * mean(diag) * I, the Cholesky factor taken from the last input backwards.
    """

    def __init__(self, xtx: torch.Tensor, n_samples: int | None = None, ridge: float | None = None):
        if xtx.dim() != 2 or xtx.shape[0] != xtx.shape[1]:
            raise CodingError(f"got a statistic of shape {tuple(xtx.shape)}, expected (in, in)")
        if not torch.isfinite(xtx).all():
            raise CodingError(
                "got a statistic with infinite or undefined entries. "
                "Remedy: collect it in float32 or float64 and look for overflowing activations"
            )
        mean = xtx.diagonal().double().mean().item()
        if mean <= 0:
            raise CodingError("got a statistic that is all zero: no token reached this Linear. Remedy: more data")
        self.ridge = ridge_for(xtx, n_samples) if ridge is None else ridge
        gram = (xtx.double() / mean).float()
        self.gram = (gram + gram.T) / 2
        self.gram.diagonal().add_(self.ridge)
        damped = self.gram.clone()
        damped.diagonal().add_(DAMPING * self.gram.diagonal().mean())
        lower = torch.linalg.cholesky_ex(damped.flip(0, 1)).L
        if not torch.isfinite(lower).all() or (lower.diagonal() <= 0).any():
            raise CodingError(
                "got a statistic that is not positive semi-definite. Remedy: use a sum of x x^T over tokens"
            )
        self.factor = lower.flip(0, 1).contiguous()

    def without_ridge(self) -> torch.Tensor:
        """(n, n): XTX / mean diagonal, as it was given."""
        plain = self.gram.clone()
        plain.diagonal().sub_(self.ridge)
        return plain

    def diagonal_blocks(self, size: int, of: str = "gram") -> torch.Tensor:
        """(n/size, size, size): the diagonal blocks of gram or factor."""
        matrix = getattr(self, of)
        groups = matrix.shape[0] // size
        blocks = matrix.view(groups, size, groups, size)
        index = torch.arange(groups, device=matrix.device)
        return blocks[index, :, index]


@dataclass
class Layer:
    """The state of one matrix during the fit; a `fit` changes codes, scales, quotient and residual together.

    weight (m, n), product = W H (m, n), codes (K, U, G) int64, scales (U,), quotient (m, n): the decoded weight before
    scaling, residual = (W - Wq) H (m, n); all float32 but the codes. energy = tr(W H W^T).
    """

    weight: torch.Tensor
    metric: Metric
    scheme: AdditiveScheme
    product: torch.Tensor
    codes: torch.Tensor
    scales: torch.Tensor
    quotient: torch.Tensor
    residual: torch.Tensor
    energy: float

    @classmethod
    def start(cls, weight: torch.Tensor, metric: Metric, scheme: AdditiveScheme) -> Layer:
        """Scales are the RMS of each unit and nothing is coded yet. Raises `CodingError` where something cannot fit."""
        check_shapes(tuple(weight.shape), metric.gram.shape[0], scheme)
        if not torch.isfinite(weight).all():
            raise CodingError("got a weight with infinite or undefined entries. Remedy: repair the checkpoint")
        weight = weight.detach().to(metric.gram.device, torch.float32).contiguous()
        units, groups = weight.shape[0] // scheme.out_group_size, weight.shape[1] // scheme.in_group_size
        scales = _root_mean_square(weight, units)
        product = weight @ metric.gram
        energy = (weight * product).sum(dtype=torch.float64).item()
        if energy <= 0:
            raise CodingError("got a weight that is all zero. Remedy: leave this matrix uncoded")
        codes = torch.zeros(scheme.num_codebooks, units, groups, dtype=torch.int64, device=weight.device)
        return cls(weight, metric, scheme, product, codes, scales, torch.zeros_like(weight), product.clone(), energy)

    def part(self, index: torch.Tensor) -> Layer:
        """An uncoded layer made of some units only (their index)."""
        og = self.scheme.out_group_size
        rows = (index[:, None] * og + torch.arange(og, device=index.device)).flatten()
        return Layer.start(self.weight[rows], self.metric, self.scheme)

    @property
    def drift(self) -> float:
        """By which factor fitting has changed the scales, in the mean: the books have changed by its inverse."""
        return (self.scales / _root_mean_square(self.weight, len(self.scales))).mean().item()

    @property
    def row_scales(self) -> torch.Tensor:
        """(m, 1): the scale of each row."""
        return self.scales.repeat_interleave(self.scheme.out_group_size)[:, None]

    def group(self, matrix: torch.Tensor, start: int) -> torch.Tensor:
        """(U, D): the vectors of the group whose first column is `start`, of an (m, n) matrix."""
        return matrix[:, start : start + self.scheme.in_group_size].reshape(len(self.scales), -1)

    def decode_vectors(self, books: torch.Tensor) -> torch.Tensor:
        """(m, n): sum_c books[c, codes[c]], books (K, 2^bits, D); no scales."""
        total = functional.embedding(self.codes[0], books[0])
        for book, codes in zip(books[1:], self.codes[1:], strict=True):
            total += functional.embedding(codes, book)
        return self.as_matrix(total)

    def as_matrix(self, vectors: torch.Tensor) -> torch.Tensor:
        """(U, G, D) vectors as an (m, n) matrix."""
        units, groups, _ = vectors.shape
        og, d = self.scheme.out_group_size, self.scheme.in_group_size
        return vectors.view(units, groups, og, d).transpose(1, 2).reshape(units * og, groups * d)

    def as_vectors(self, matrix: torch.Tensor) -> torch.Tensor:
        """(U, G, D) vectors of an (m, n) matrix."""
        units, og, d = len(self.scales), self.scheme.out_group_size, self.scheme.in_group_size
        return matrix.view(units, og, -1, d).transpose(1, 2).reshape(units, -1, og * d)

    def refresh(self, books: torch.Tensor) -> None:
        """Recompute quotient and residual from codes and books: one matrix product, no accumulated rounding."""
        self.quotient = self.decode_vectors(books)
        self.residual = (self.weight - self.row_scales * self.quotient) @ self.metric.gram

    def objectives(self) -> tuple[float, float]:
        """tr(E H E^T) / tr(W H W^T), E = W - Wq, with and without the ridge; no matrix product."""
        error = torch.addcmul(self.weight, self.row_scales, self.quotient, value=-1)
        loss = (error * self.residual).sum(dtype=torch.float64).item()
        ridge = self.metric.ridge
        plain = loss - ridge * error.square().sum(dtype=torch.float64).item()
        energy = self.energy - ridge * self.weight.square().sum(dtype=torch.float64).item()
        return loss / self.energy, plain / energy if energy > 0 else 0.0


def _root_mean_square(weight: torch.Tensor, units: int) -> torch.Tensor:
    """(units,): a unit of zeros gets a tiny value, so that it decodes to about nothing and divides by no zero."""
    values = weight.view(units, -1).square().mean(1).sqrt()
    return values.clamp_min(1e-6 * values.max().item())


def check_shapes(shape: tuple[int, ...], inputs: int, scheme: AdditiveScheme) -> None:
    """Raises `CodingError` when a weight of this shape cannot be cut into the groups of `scheme`."""
    if len(shape) != 2:
        raise CodingError(f"got a weight of shape {shape}, expected the (out, in) of a Linear")
    if shape[1] != inputs:
        raise CodingError(f"got a weight of shape {shape} and a statistic of {inputs} inputs, which do not fit")
    if shape[1] % scheme.in_group_size or shape[0] % scheme.out_group_size:
        raise CodingError(
            f"got a weight of shape {shape}, which groups of {scheme.out_group_size} x {scheme.in_group_size} weights "
            f"(out x in) do not divide. Remedy: another scheme for this matrix, or leave it uncoded"
        )
