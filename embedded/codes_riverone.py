"""Weights written in codebooks: the scheme and the decoder, in plain torch.

One Linear of shape (out, in) is cut into groups of `out_group_size x in_group_size` weights; each group is a scale
times a sum of `num_codebooks` codebook entries (AQLM, arXiv 2401.06118):

    codes      (out/out_group, in/in_group, K)          integers below 2^nbits
    codebooks  (K, 2^nbits, out_group, in_group)        floats
    scales     (out/out_group, 1, 1, 1)                 floats
    W[group r, J] = scales[r] * sum_k codebooks[k, codes[r, J, k]]

A checkpoint stores each row of codes bit-packed, so that its bytes are those that `bits_per_weight` counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import nn

_BATCH = 1 << 20


@dataclass(frozen=True)
class AdditiveScheme:
    """`2x8g8`: 2 codebooks of 2^8 entries for groups of 8 inputs; `2x8g8o2` also joins 2 outputs.

    Raises ValueError for values out of range.
    """

    num_codebooks: int
    nbits_per_codebook: int
    in_group_size: int
    out_group_size: int = 1

    def __post_init__(self) -> None:
        limits = {"num_codebooks": 8, "nbits_per_codebook": 16, "in_group_size": 64, "out_group_size": 16}
        for name, most in limits.items():
            value = getattr(self, name)
            if not 1 <= value <= most:
                raise ValueError(f"{name} of an additive scheme must lie in 1..{most}: got {value}.")

    @classmethod
    def parse(cls, text: str) -> AdditiveScheme:
        """The scheme that `text` names. Raises ValueError unless it reads like `2x8g8`."""
        match = re.fullmatch(r"(\d+)x(\d+)g(\d+)(?:o(\d+))?", text.strip())
        if match is None:
            raise ValueError(f"{text!r} is no scheme: expected <codebooks>x<bits>g<inputs per group>, such as 2x8g8.")
        books, bits, group, out_group = match.groups()
        return cls(int(books), int(bits), int(group), int(out_group or 1))

    def __str__(self) -> str:
        out_group = f"o{self.out_group_size}" if self.out_group_size > 1 else ""
        return f"{self.num_codebooks}x{self.nbits_per_codebook}g{self.in_group_size}{out_group}"

    def codes_shape(self, out_features: int, in_features: int) -> tuple[int, int, int]:
        """Shape of the codes of one matrix. Raises ValueError when the groups do not fit it."""
        if out_features % self.out_group_size or in_features % self.in_group_size:
            raise ValueError(
                f"scheme {self} does not fit a {out_features}x{in_features} matrix: its groups are "
                f"{self.out_group_size}x{self.in_group_size}."
            )
        return out_features // self.out_group_size, in_features // self.in_group_size, self.num_codebooks

    @property
    def codebooks_shape(self) -> tuple[int, int, int, int]:
        """Shape of the codebooks of one matrix."""
        return self.num_codebooks, 2**self.nbits_per_codebook, self.out_group_size, self.in_group_size

    def row_bytes(self, in_features: int) -> int:
        """Bytes of one packed row of codes."""
        return -(-(in_features // self.in_group_size) * self.num_codebooks * self.nbits_per_codebook // 8)

    def stored_bytes(self, out_features: int, in_features: int, shared_by: int = 1, value_bytes: int = 2) -> float:
        """Bytes of codes, codebooks and scales of one matrix, the codebooks split over `shared_by` matrices."""
        groups, _, _ = self.codes_shape(out_features, in_features)
        books = self.num_codebooks * 2**self.nbits_per_codebook * self.out_group_size * self.in_group_size
        return groups * self.row_bytes(in_features) + value_bytes * (books / shared_by + groups)

    def bits_per_weight(self, out_features: int, in_features: int, shared_by: int = 1, value_bytes: int = 2) -> float:
        """Stored bits per weight: codes, codebooks (split over `shared_by` matrices) and scales in 16 bits."""
        return 8 * self.stored_bytes(out_features, in_features, shared_by, value_bytes) / (out_features * in_features)


def decode(codes: torch.Tensor, codebooks: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """The dense weight (out, in) in the dtype of `codebooks`; differentiable in codebooks and scales.

    `codes` may be any integer type; values are taken modulo the codebook size, because int8 and int16 wrap around.
    """
    books, entries, out_group, in_group = codebooks.shape
    groups, columns, _ = codes.shape
    # Half precision is summed in float32 and rounded once.
    exact = codebooks.float() if codebooks.dtype in (torch.float16, torch.bfloat16) else codebooks
    flat = exact.reshape(books, entries, out_group * in_group)
    index = codes.long() % entries
    weight = sum(flat[k].index_select(0, index[..., k].reshape(-1)) for k in range(books))
    assert isinstance(weight, torch.Tensor)
    weight = weight.view(groups, columns, out_group, in_group) * scales.to(weight.dtype)
    return weight.transpose(1, 2).reshape(groups * out_group, columns * in_group).to(codebooks.dtype)


def pack_codes(codes: torch.Tensor, nbits: int) -> torch.Tensor:
    """(rows, columns, K) integers -> (rows, bytes) uint8: each row's codes in order, `nbits` each, lowest bit first."""
    rows = codes.shape[0]
    flat = codes.reshape(rows, -1).long() % 2**nbits
    if nbits == 8:
        return flat.to(torch.uint8)
    packed = []
    for part in flat.split(max(1, _BATCH // max(1, flat.shape[1]))):
        bits = (part.unsqueeze(-1) >> torch.arange(nbits, device=codes.device)) & 1
        bits = nn.functional.pad(bits.flatten(1), (0, -(flat.shape[1] * nbits) % 8)).view(len(part), -1, 8)
        packed.append((bits << torch.arange(8, device=codes.device)).sum(-1).to(torch.uint8))
    return torch.cat(packed)


def unpack_codes(packed: torch.Tensor, nbits: int, shape: tuple[int, int, int]) -> torch.Tensor:
    """Inverse of `pack_codes`: int32 codes of `shape`, all in 0..2^nbits-1."""
    if nbits == 8:
        return packed.to(torch.int32).view(shape)
    count, parts = shape[1] * shape[2], []
    for part in packed.split(max(1, _BATCH // max(1, packed.shape[1]))):
        bits = (part.unsqueeze(-1).int() >> torch.arange(8, device=packed.device, dtype=torch.int32)) & 1
        bits = bits.flatten(1)[:, : count * nbits].view(len(part), count, nbits)
        parts.append((bits << torch.arange(nbits, device=packed.device, dtype=torch.int32)).sum(-1, dtype=torch.int32))
    return torch.cat(parts).view(shape)


__all__ = ["AdditiveScheme", "decode", "pack_codes", "unpack_codes"]
