"""Which codes come nearest to a target vector? One book: all codes. Two small books: all pairs, exactly.

The cost of codes (k_1 .. k_K) for a row is |sum_c books[c, k_c]|_S^2 - 2 lin . sum_c books[c, k_c], that is the squared
distance from the target t in the metric S (lin = t S) but for a constant. `image` holds books @ S.
"""

from __future__ import annotations

import torch

from .kernels import best_pairs, near_pairs, pairs_are_fast

EXACT_PAIR = 256
"""Books up to this size get the exact pair search; larger ones the best partners of `SHORTLIST` codes of each book."""
SHORTLIST = 8
_CHUNK = 1 << 20


def search(
    lin: torch.Tensor,
    books: torch.Tensor,
    image: torch.Tensor,
    old: torch.Tensor | None = None,
    exact: bool = True,
) -> torch.Tensor:
    """(K, U) int64 codes. lin (U, D), books and image (K, size, D), old (K, U): codes that the result must not lose to.

    Exact for one book and for two books of at most `EXACT_PAIR` codes; otherwise never worse than `old`. With
    exact=False two small books get a shortlist too, where all pairs would be slow.
    """
    if len(books) == 1:
        return _single(lin, books[0], image[0])[None]
    if len(books) == 2:
        return _pair(lin, books, image, old, exact)
    return _cyclic(lin, books, image, old)


def cost(lin: torch.Tensor, books: torch.Tensor, image: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """(U,): the cost of given codes (K, U)."""
    vector = sum(book[code] for book, code in zip(books, codes, strict=True))
    mapped = sum(book[code] for book, code in zip(image, codes, strict=True))
    return ((mapped - 2 * lin) * vector).sum(1)


def _tables(lin: torch.Tensor, book: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """(U, size): cost of each code alone."""
    return torch.addmm((book * image).sum(1), lin, book.T, alpha=-2)


def _single(lin: torch.Tensor, book: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    step = max(1, _CHUNK // len(book))
    parts = [_tables(lin[start : start + step], book, image).min(1).indices for start in range(0, len(lin), step)]
    return torch.cat(parts)


def _pair(
    lin: torch.Tensor, books: torch.Tensor, image: torch.Tensor, old: torch.Tensor | None, exact: bool = True
) -> torch.Tensor:
    if books.shape[1] <= EXACT_PAIR:
        cross = 2 * books[0] @ image[1].T
        left, right = (_tables(lin, books[c], image[c]) for c in (0, 1))
        if exact or pairs_are_fast(lin.device):
            return best_pairs(left, right, cross)
        width = SHORTLIST // 2 if old is None else SHORTLIST
        return near_pairs(left, right, cross, width, None if old is None else old[0])
    step = max(1, _CHUNK // (SHORTLIST * books.shape[1]))
    parts = []
    for start in range(0, len(lin), step):
        known = None if old is None else old[:, start : start + step]
        parts.append(_shortlisted(lin[start : start + step], books, image, known))
    return torch.cat(parts, 1)


def _shortlisted(lin: torch.Tensor, books: torch.Tensor, image: torch.Tensor, old: torch.Tensor | None) -> torch.Tensor:
    """Best of: each book's shortlist with the best partner of the other book, and the old codes with one of the two
    renewed."""
    found = []
    for this, other in ((0, 1), (1, 0)):
        listed = _tables(lin, books[this], image[this]).topk(SHORTLIST, 1, largest=False).indices
        if old is not None:
            listed = torch.cat([listed, old[this][:, None]], 1)
        width = listed.shape[1]
        rest = (lin[:, None] - image[this][listed]).flatten(0, 1)
        partner = _tables(rest, books[other], image[other]).min(1).indices.view(-1, width)
        codes = torch.stack([listed, partner] if this == 0 else [partner, listed])
        found.append(codes)
    codes = torch.cat(found, 2)
    width = codes.shape[2]
    costs = cost(lin.repeat_interleave(width, 0), books, image, codes.flatten(1)).view(-1, width)
    best = costs.min(1).indices
    return codes.gather(2, best[None, :, None].expand(2, -1, 1)).squeeze(2)


def _cyclic(lin: torch.Tensor, books: torch.Tensor, image: torch.Tensor, old: torch.Tensor | None) -> torch.Tensor:
    """Neighbouring pairs of books in turn, the others held: from the old codes, or from a greedy start."""
    count = len(books)
    if old is None:
        rest, codes = lin, []
        for c in range(count):
            codes.append(_single(rest, books[c], image[c]))
            rest = rest - image[c][codes[c]]
        now = torch.stack(codes)
    else:
        now = old.clone()
    for _ in range(2):
        for c in range(count):
            pair = [c, (c + 1) % count]
            held = sum(image[o][now[o]] for o in range(count) if o not in pair)
            now[pair] = _pair(lin - held, books[pair], image[pair], now[pair])
    return now
