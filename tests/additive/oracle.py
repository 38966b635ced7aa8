"""The reference AQLM algorithm for one Linear, written plainly: what the solver of `additive` is measured against.

Residual k-means on the scaled weight; then epochs of 100 Adam steps (lr 1e-4, betas 0 and 0.95, amsgrad) on codebooks
and scales followed by a beam search over the codes, until an epoch gains less than `tolerance` (arXiv 2401.06118).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch
from torch.nn import functional


@dataclass
class Reference:
    """codes (m, G, K), books (K, size, d), scales (m,), and (seconds, relative error) after each epoch."""

    codes: torch.Tensor
    books: torch.Tensor
    scales: torch.Tensor
    history: list[tuple[float, float]] = field(default_factory=list)

    def decode(self) -> torch.Tensor:
        """The weight (m, n)."""
        vectors = sum(functional.embedding(self.codes[:, :, k], self.books[k]) for k in range(len(self.books)))
        return vectors.flatten(1) * self.scales[:, None]


def relative_error(weight, approximation, xtx):
    error = weight - approximation
    return ((error @ xtx * error).sum() / (weight @ xtx * weight).sum()).item()


def residual_kmeans(vectors, count, size, iterations, generator):
    """Codes (N, count) and books (count, size, d) by plain Euclidean k-means on what is left."""
    rest, codes, books = vectors.clone(), [], []
    for _ in range(count):
        book = rest[torch.randperm(len(rest), generator=generator)[:size]]
        if len(book) < size:
            book = torch.cat([book, torch.zeros(size - len(book), rest.shape[1])])
        for _ in range(iterations):
            nearest = torch.addmm(book.square().sum(1), rest, book.T, alpha=-2).argmin(1)
            sums = torch.zeros_like(book).index_add_(0, nearest, rest)
            used = torch.bincount(nearest, minlength=size)
            book = torch.where(used[:, None] > 0, sums / used[:, None].clamp_min(1), book)
        nearest = torch.addmm(book.square().sum(1), rest, book.T, alpha=-2).argmin(1)
        rest = rest - book[nearest]
        codes.append(nearest)
        books.append(book)
    return torch.stack(codes, 1), torch.stack(books)


def beam_search(weight, xtx, state: Reference, beam: int, order) -> torch.Tensor:
    """New codes (m, G, K): input groups in this order, one codebook after another, the best `beam` kept per row."""
    rows, groups, count = state.codes.shape
    d, size = state.books.shape[2], state.books.shape[1]
    books, scales = state.books, state.scales
    codes = state.codes[:, None].clone()  # (m, beams, G, K)
    gradient = ((weight - state.decode()) @ xtx)[:, None].clone()  # (W - Wq) XTX of each beam
    loss = torch.zeros(rows, 1)  # relative to the start
    for j in order:
        cols = slice(j * d, j * d + d)
        block = xtx[cols, cols]
        for k in range(count):
            present = books[k][codes[:, :, j, k]]  # (m, beams, d)
            # Changing q by c - present changes the loss by -2 s (c - present).g + s^2 |c - present|^2 in the block.
            linear = scales[:, None, None] * gradient[:, :, cols] + scales[:, None, None].square() * present @ block
            norms = ((books[k] @ block) * books[k]).sum(1)
            change = scales[:, None, None].square() * norms - 2 * linear @ books[k].T
            held = (2 * linear * present).sum(2) - scales[:, None].square() * (present @ block * present).sum(2)
            total = (loss + held)[:, :, None] + change  # (m, beams, size)
            kept = total.flatten(1).topk(min(beam, total[0].numel()), 1, largest=False)
            parent, code = kept.indices // size, kept.indices % size
            loss = kept.values
            codes = codes.gather(1, parent[:, :, None, None].expand(-1, -1, groups, count)).clone()
            gradient = gradient.gather(1, parent[:, :, None].expand(-1, -1, weight.shape[1])).clone()
            move = books[k][code] - books[k][codes[:, :, j, k]]
            codes[:, :, j, k] = code
            gradient -= scales[:, None, None] * (move @ xtx[cols])
    return codes[torch.arange(rows), loss.argmin(1)]


def reference_aqlm(
    weight, xtx, count, bits, d, *, kmeans_iterations=100, steps=100, lr=1e-4, beam=1, tolerance=0.01,
    epochs=1000, seconds=float("inf"), seed=0,
) -> Reference:  # fmt: skip
    """Code `weight` (m, n) with `count` books of 2^bits vectors of d inputs; at most `epochs`, or about `seconds`."""
    begin = time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    rows, inputs = weight.shape
    scales = weight.norm(dim=1) + 1e-9
    vectors = (weight / scales[:, None]).reshape(-1, d)
    codes, books = residual_kmeans(vectors, count, 2**bits, kmeans_iterations, generator)
    state = Reference(codes.view(rows, inputs // d, count), books.requires_grad_(), scales.requires_grad_())
    xtx = xtx / xtx.diagonal().mean()
    energy = (weight @ xtx * weight).sum()
    optimizer = torch.optim.Adam([state.books, state.scales], lr=lr, betas=(0.0, 0.95), amsgrad=True)
    previous, history = float("inf"), []
    for _ in range(epochs + 1):
        for step in range(steps):
            error = weight - state.decode()
            loss = (error @ xtx).flatten() @ error.flatten() / rows
            if step == 0:
                history.append((time.perf_counter() - begin, (loss * rows / energy).item()))
                if loss.item() / previous > 1 - tolerance or history[-1][0] > seconds or len(history) > epochs:
                    break
                previous = min(previous, loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        else:
            with torch.no_grad():
                order = torch.randperm(inputs // d, generator=generator).tolist()
                state.codes = beam_search(weight, xtx, state, beam, order)
            continue
        break
    return Reference(state.codes, state.books.detach(), state.scales.detach(), history)
