"""What comes out of the solver? Codes, codebooks and scales of one matrix, with the errors that were measured."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from ..errors import CodingError
from ..model.codes_riverone import AdditiveScheme, decode


@dataclass
class CodedWeight:
    """One coded matrix in the layout of AQLM; out and in are the sizes of the weight, K the number of codebooks.

    codes:     (out/out_group, in/in_group, K), int32, in 0 .. 2^bits - 1
    codebooks: (K, 2^bits, out_group, in_group), float32
    scales:    (out/out_group, 1, 1, 1), float32
    errors:    "train" (on the given statistic), "held_out" when a second statistic was given, "objective" (with ridge)
    seconds:   time of the fit
    history:   (seconds, train error of the best state so far) after each sweep over the codes
    """

    codes: torch.Tensor
    codebooks: torch.Tensor
    scales: torch.Tensor
    scheme: AdditiveScheme
    errors: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    history: list[tuple[float, float]] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the weight."""
        return (
            self.codes.shape[0] * self.scheme.out_group_size,
            self.codes.shape[1] * self.scheme.in_group_size,
        )

    def decode(self) -> torch.Tensor:
        """The weight (out, in), in the dtype of the codebooks."""
        return decode(self.codes, self.codebooks, self.scales)

    def relative_error(self, weight: torch.Tensor, xtx: torch.Tensor) -> float:
        """tr((W - Wq) XTX (W - Wq)^T) / tr(W XTX W^T); weight (out, in), xtx (in, in)."""
        return relative_error(weight, self.decode(), xtx)

    def rounded(self, dtype: torch.dtype) -> CodedWeight:
        """The same with codebooks and scales rounded to `dtype` and kept as float32 (what a checkpoint would give)."""
        return replace(self, codebooks=self.codebooks.to(dtype).float(), scales=self.scales.to(dtype).float())


def relative_error(weight: torch.Tensor, approximation: torch.Tensor, xtx: torch.Tensor) -> float:
    """Share of the output energy that an approximation of W loses: tr(D XTX D^T) / tr(W XTX W^T), D = W - Wq.

    Computed in float32 with the trace in float64. Raises `CodingError` when the outputs of W are all zero.
    """
    weight, xtx = weight.float(), xtx.to(weight.device).float()
    energy = output_energy(weight, xtx)
    if energy <= 0:
        raise CodingError(
            "got a weight whose outputs are all zero on this statistic: a relative error is undefined. "
            "Remedy: leave this matrix uncoded"
        )
    return output_energy(weight - approximation.to(weight), xtx) / energy


def output_energy(weight: torch.Tensor, gram: torch.Tensor) -> float:
    """tr(W G W^T) of (out, in) and (in, in) float32 tensors, summed in float64."""
    return (weight @ gram).mul_(weight).sum(dtype=torch.float64).item()
