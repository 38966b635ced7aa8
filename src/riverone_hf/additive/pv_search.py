"""Which codes should change? The V-step of PV-Tuning (arXiv 2405.14852) on the groups that the gradient moves most."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .trainable import TrainableLinear


@dataclass
class Residual:
    """Part of a wished change that no code could express yet: group indices (n,) and vectors (n, group size)."""

    index: torch.Tensor
    delta: torch.Tensor


@dataclass
class Collected:
    """Gradients of one dense weight, added up: their sum and the sum of their squares, both (out, in)."""

    total: torch.Tensor
    squares: torch.Tensor
    count: int

    @classmethod
    def first(cls, gradient: torch.Tensor) -> Collected:
        """A collection of one."""
        return cls(gradient.clone(), gradient.square(), 1)

    def add(self, gradient: torch.Tensor) -> None:
        """Add one."""
        self.total += gradient
        self.squares += gradient.square()
        self.count += 1

    def direction(self) -> torch.Tensor:
        """Where the weight should not go: the sum, each element over the root of its squares when there are several.

        As in AdamW, an element counts by how well the gradients agree. By its size alone the inputs with outliers
        would win, and a change there does most harm.
        """
        if self.count < 2:
            return self.total
        # Elements that never had a gradient stay zero.
        return self.total / (self.squares.sqrt() + 1e-3 * self.squares.mean().sqrt() + torch.finfo(torch.float32).tiny)


def beam_search(
    target: torch.Tensor, books: torch.Tensor, codes: torch.Tensor, beam: int = 4, rounds: int = 2
) -> torch.Tensor:
    """Codes (n, K) with a small ||target - sum_k books[k, code_k]||^2; never worse than the given ones.

    Args:
        target: (n, D). books: (K, entries, D). codes: (n, K), the start.
        beam: hypotheses kept after each codebook; rounds over all codebooks.
    """
    count = codes.shape[1]
    # Bounds the table of losses, (rows, beams, entries), to about 256 MB.
    most = max(1, 2**26 // (beam * books.shape[1]))
    if len(codes) > most:
        parts = zip(target.split(most), codes.split(most))
        return torch.cat([beam_search(part, books, start, beam, rounds) for part, start in parts])
    size, squares = books.shape[1], books.square().sum(-1)
    hypotheses = codes.long()[:, None]  # (n, beams, K)
    for step in range(count * (rounds if count > 1 else 1)):
        k = step % count
        others = sum(books[j][hypotheses[:, :, j]] for j in range(count) if j != k)
        rest = target[:, None] - others  # (n, beams, D)
        loss = rest.square().sum(-1, keepdim=True) - 2 * rest @ books[k].t() + squares[k]
        # The same code from two hypotheses would fill the beam with copies only when all else is equal too.
        best = loss.flatten(1).topk(min(beam, loss.shape[1] * size), largest=False).indices
        parent = best.div(size, rounding_mode="floor")
        hypotheses = hypotheses.gather(1, parent[..., None].expand(-1, -1, count)).clone()
        hypotheses[:, :, k] = best % size
    found = hypotheses[:, 0]
    both = torch.stack([codes.long(), found], 1)
    values = sum(books[j][both[:, :, j]] for j in range(count))
    errors = (target[:, None] - values).square().sum(-1)
    better = errors[:, 1] < errors[:, 0]
    return torch.where(better[:, None], found, codes.long()).to(codes.dtype)


@torch.no_grad()
def v_step(
    layer: TrainableLinear,
    gradient: torch.Tensor,
    *,
    lr: float,
    fraction: float,
    beam: int,
    trust: float | None,
    delta_decay: float,
    residual: Residual | None = None,
) -> tuple[int, Residual | None]:
    """Change codes of the groups with the largest wished change; returns (codes changed, what is left of the wish).

    The wish is W - lr * rms(W) * G / rms(G): the gradient's direction, in the size of the weight. Its groups of largest
    norm, at most `fraction` of all (at least one), are searched again by `beam_search`.

    Args:
        gradient: G (out, in), of the dense weight.
        trust: bound on ||change of W|| / ||W|| of this step; changes are taken by falling norm until it is reached, the
            first one always. None: no bound.
        delta_decay: 1 forgets the part of the wish that the codes could not follow, 0 keeps it for the next visit
            (only for the groups searched: there is no dense copy).
    """
    scheme, weight = layer.scheme, layer.weight
    groups, columns, _ = layer.codes.shape
    norm = gradient.square().mean().sqrt()
    if not torch.isfinite(norm) or norm == 0:
        return 0, residual
    wish = _grouped(gradient, scheme.out_group_size, scheme.in_group_size) * (
        -lr * weight.square().mean().sqrt() / norm
    )
    if residual is not None:
        wish[residual.index] += residual.delta.to(wish)
    count = max(1, int(fraction * groups * columns))
    index = wish.square().sum(-1).topk(count).indices
    scale = layer.scales.flatten()[index // columns][:, None]
    books = layer.books().detach().flatten(2)
    codes = layer.codes.view(groups * columns, -1)
    old = codes[index]
    now = sum(books[k][old[:, k].long()] for k in range(scheme.num_codebooks)) * scale
    target = now + wish[index]
    tiny = torch.finfo(scale.dtype).tiny
    safe = torch.where(scale.abs() < tiny, torch.ones_like(scale), scale)
    new = beam_search(target / safe, books, old, beam)
    then = sum(books[k][new[:, k].long()] for k in range(scheme.num_codebooks)) * scale
    if trust is not None:
        moved = (then - now).square().sum(-1)
        order = moved.argsort(descending=True)
        within = moved[order].cumsum(0) <= (trust * weight.norm()) ** 2
        within[0] = True
        refused = order[~within]
        new[refused], then[refused] = old[refused], now[refused]
    codes[index] = new
    kept = None if delta_decay >= 1 else Residual(index, (1 - delta_decay) * (target - then))
    return int((new != old).sum()), kept


def _grouped(matrix: torch.Tensor, out_group: int, in_group: int) -> torch.Tensor:
    """(out, in) as vectors of groups (out/out_group * in/in_group, out_group * in_group), rows of groups first."""
    rows, columns = matrix.shape[0] // out_group, matrix.shape[1] // in_group
    cut = matrix.view(rows, out_group, columns, in_group).transpose(1, 2)
    return cut.reshape(rows * columns, out_group * in_group)
