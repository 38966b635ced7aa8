"""How far is a student from its teacher? Relations of Q, K and V, relations of hidden states, and the output.

After MiniViT (Zhang et al., CVPR 2022), which distils relations between tokens: they compare models of any width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F


def qkv_relation_loss(student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor], heads: int = 1) -> torch.Tensor:
    """Mean divergence of token relations over the nine pairs of {Q, K, V} of one layer; a scalar, 0 when equal.

    Each of q, k, v is (T, N, C). R_ij = softmax(M_i M_j' / sqrt(C / heads)) in every relation head; the loss is the
    cross-entropy of the student's R under the teacher's less the teacher's entropy (a constant), averaged over pairs,
    tiles, heads and rows. MiniViT uses one relation head.
    """
    mine, theirs = _relations(student, heads), _relations(teacher, heads)
    return F.kl_div(mine, theirs, reduction="sum", log_target=True) / (mine.numel() / mine.shape[-1])


def _relations(states: Sequence[torch.Tensor], heads: int) -> torch.Tensor:
    """log softmax of all nine products, (T, heads, 3 N, 3, N), in float32."""
    # Q, K and V behind one another as tokens: one product gives all pairs, and nothing is copied for it.
    stacked = torch.cat([s.float() for s in states], dim=1).unflatten(-1, (heads, -1)).transpose(1, 2)
    # Scaled before the product; autocast is off, as in bf16 nearly equal rows would lose their differences.
    with torch.autocast(stacked.device.type, enabled=False):
        stacked = stacked * stacked.shape[-1] ** -0.25
        products = stacked @ stacked.transpose(-1, -2)
        return F.log_softmax(products.unflatten(-1, (3, -1)), dim=-1)


def hidden_relation_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Squared difference of the Gram matrices of normalised tokens, (T, N, C) each: mean over T, N, sum over N."""
    with torch.autocast(student.device.type, enabled=False):
        mine, theirs = (F.normalize(states.float(), dim=-1) for states in (student, teacher))
        difference = mine @ mine.transpose(1, 2) - theirs @ theirs.transpose(1, 2)
    return difference.square().sum(-1).mean()


def output_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Squared error of the output relative to the teacher's square, per tile, then the mean over tiles (T, ...)."""
    mine, theirs = student.float().flatten(1), teacher.float().flatten(1)
    return ((mine - theirs).square().sum(1) / theirs.square().sum(1)).mean()
