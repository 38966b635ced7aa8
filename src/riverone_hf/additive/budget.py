"""Which scheme does each matrix get when all of them together may take so many bits? Error per bit, measured.

`measure` codes a sample of rows with each candidate scheme; `pick` spends the budget where a byte lowers the summed
relative error most. Bytes always include codebooks and scales.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from ..errors import CodingError
from ..model.codes_riverone import AdditiveScheme
from .coded import CodedWeight
from .layer import Metric
from .solve import code_linear

CANDIDATES = ("2x8g16", "1x8g8", "2x6g8", "1x12g8", "2x8g8", "3x7g8", "3x8g8", "2x8g4")
"""Schemes from about 1 to 4 bits per weight."""


@dataclass(frozen=True)
class Option:
    """What one scheme would cost and lose on one matrix: stored bytes, and error in any unit that adds up."""

    scheme: AdditiveScheme
    bytes: float
    error: float


@dataclass
class Choice:
    """The scheme of every matrix, bits per weight over all of them, the summed error, and remarks in plain words."""

    schemes: dict[str, AdditiveScheme]
    bits: float
    error: float
    warnings: list[str] = field(default_factory=list)


def measure(
    weight: torch.Tensor,
    xtx: torch.Tensor | Metric,
    schemes: Sequence[AdditiveScheme | str] = CANDIDATES,
    *,
    n_samples: int | None = None,
    rows: int = 512,
    preset: str = "quick",
    shared_by: int = 1,
    seed: int = 0,
) -> list[Option]:
    """Relative error of each scheme that divides this weight (out, in), on up to `rows` rows at random.

    A large codebook fits few rows too well: more rows are taken, up to all, so that every code has 16 vectors.
    Raises `CodingError` when no scheme fits.
    """
    parsed = [AdditiveScheme.parse(s) if isinstance(s, str) else s for s in schemes]
    fitting = [s for s in parsed if not (weight.shape[0] % s.out_group_size or weight.shape[1] % s.in_group_size)]
    if not fitting:
        raise CodingError(
            f"got a weight of shape {tuple(weight.shape)}, whose sides none of {', '.join(map(str, parsed))} divides. "
            "Remedy: a scheme with a smaller group"
        )
    metric = xtx if isinstance(xtx, Metric) else Metric(xtx, n_samples)
    order = torch.randperm(len(weight), generator=torch.Generator().manual_seed(seed)).to(weight.device)
    options = []
    for scheme in fitting:
        vectors = 16 * 2**scheme.nbits_per_codebook
        wanted = max(rows, -(-vectors * scheme.in_group_size * scheme.out_group_size // weight.shape[1]))
        count = min(len(weight), -(-wanted // scheme.out_group_size) * scheme.out_group_size)
        part = order[:count].sort().values if count < len(weight) else slice(None)
        coded: CodedWeight = code_linear(weight[part], metric, scheme, preset=preset, seed=seed)
        size = scheme.stored_bytes(weight.shape[0], weight.shape[1], shared_by)
        options.append(Option(scheme, size, coded.errors["train"]))
    return options


def pick(options: Mapping[str, Sequence[Option]], sizes: Mapping[str, tuple[int, int]], bits: float) -> Choice:
    """The schemes with the least summed error among those whose bytes give at most `bits` per weight over all matrices.

    Each matrix starts with its cheapest option and moves along the lower convex hull of its options, the move with the
    largest gain per byte first (the Lagrangian solution); what is left over buys any single move that still fits.
    Raises `CodingError` when even the cheapest options exceed the budget.
    """
    if not options or set(options) != set(sizes):
        raise CodingError(f"got options for {len(options)} and sizes for {len(sizes)} matrices, expected the same")
    weights = sum(out * inputs for out, inputs in sizes.values())
    limit = bits * weights / 8
    hulls = {name: _hull(choices) for name, choices in options.items()}
    place = dict.fromkeys(hulls, 0)
    spent = sum(hull[0].bytes for hull in hulls.values())
    if spent > limit:
        raise CodingError(
            f"got a budget of {bits:g} bits per weight, but the smallest schemes take {8 * spent / weights:.2f}. "
            "Remedy: a larger budget, or smaller codebooks among the schemes"
        )
    queue = [(-_slope(hull[0], hull[1]), name) for name, hull in hulls.items() if len(hull) > 1]
    heapq.heapify(queue)
    chosen = {name: hull[0] for name, hull in hulls.items()}
    while queue:
        _, name = heapq.heappop(queue)
        hull, at = hulls[name], place[name]
        extra = hull[at + 1].bytes - hull[at].bytes
        if spent + extra > limit:
            continue  # later moves of this matrix cost more bytes still
        spent += extra
        place[name] = at + 1
        chosen[name] = hull[at + 1]
        if at + 2 < len(hull):
            heapq.heappush(queue, (-_slope(hull[at + 1], hull[at + 2]), name))
    spent = _spend_rest(options, chosen, spent, limit)
    warnings = [line for name in options if (line := _costly(name, options[name], chosen[name], sizes[name]))]
    schemes = {name: chosen[name].scheme for name in options}
    return Choice(schemes, 8 * spent / weights, sum(option.error for option in chosen.values()), warnings)


def codebook_warning(scheme: AdditiveScheme, out_features: int, in_features: int, shared_by: int = 1) -> str | None:
    """A line when the codebooks of `scheme` take at least half as many bits as the codes they serve, else None."""
    count, size, og, d = scheme.codebooks_shape
    codes = scheme.row_bytes(in_features) * (out_features // scheme.out_group_size)
    books = 2 * count * size * og * d / shared_by
    if books < codes / 2:
        return None
    total = scheme.bits_per_weight(out_features, in_features, shared_by)
    share = 8 * books / (out_features * in_features)
    line = f"{scheme} on {out_features}x{in_features}: {share:.2f} of its {total:.2f} bits per weight are codebooks. "
    half = scheme.nbits_per_codebook // 2
    if half and scheme.nbits_per_codebook > 8:
        smaller = AdditiveScheme(2 * count, half, d, og) if 2 * count <= 8 else scheme
        if smaller != scheme:
            cost = smaller.bits_per_weight(out_features, in_features, shared_by)
            return line + f"Remedy: {smaller} ({cost:.2f} bits), or codebooks shared over layers"
    return line + "Remedy: fewer bits per codebook, or codebooks shared over layers"


def _slope(low: Option, high: Option) -> float:
    """Error saved per byte."""
    return (low.error - high.error) / (high.bytes - low.bytes)


def _hull(options: Sequence[Option]) -> list[Option]:
    """The lower convex hull, cheapest first: each next option costs more bytes, errs less, and gains less per byte."""
    hull: list[Option] = []
    for option in sorted(options, key=lambda o: (o.bytes, o.error, str(o.scheme))):
        if hull and option.error >= hull[-1].error:
            continue
        if hull and option.bytes == hull[-1].bytes:
            continue
        while len(hull) > 1 and _slope(hull[-1], option) >= _slope(hull[-2], hull[-1]):
            hull.pop()
        hull.append(option)
    return hull


def _spend_rest(
    options: Mapping[str, Sequence[Option]], chosen: dict[str, Option], spent: float, limit: float
) -> float:
    """Single moves, off the hull too, as long as one lowers the error within the limit; returns the bytes spent."""
    while True:
        moves = [
            (now.error - other.error, name, other)
            for name, now in chosen.items()
            for other in options[name]
            if other.error < now.error and spent - now.bytes + other.bytes <= limit
        ]
        if not moves:
            return spent
        _, name, other = max(moves, key=lambda move: (move[0], move[1]))
        spent += other.bytes - chosen[name].bytes
        chosen[name] = other


def _costly(name: str, options: Sequence[Option], taken: Option, size: tuple[int, int]) -> str | None:
    """A remark on an option with large codebooks that another one beats in both bytes and error."""
    for option in options:
        better = [o for o in options if o.bytes <= option.bytes and o.error < option.error]
        count, entries, og, d = option.scheme.codebooks_shape
        books = 2 * count * entries * og * d
        if better and books > 0.25 * option.bytes:
            best = min(better, key=lambda o: o.error)
            per_byte = 8 / (size[0] * size[1])
            return (
                f"{name}: {option.scheme} takes {option.bytes * per_byte:.2f} bits per weight, "
                f"{books * per_byte:.2f} of them codebooks, and errs {option.error:.4f}; "
                f"{best.scheme} takes {best.bytes * per_byte:.2f} and errs {best.error:.4f}"
            )
    return codebook_warning(taken.scheme, *size)
