"""What a layer adds to a shared block: mixing of attention heads, and a local convolution. Both start as the identity.

After MiniViT (Zhang et al., CVPR 2022): a heads x heads linear map on the attention scores before the softmax and
another on the maps after it, and a depth-wise 2-D convolution with a residual in front of the MLP. MiniViT starts the
maps at random; here they start at the identity and the convolution at zero, so that adding them changes nothing.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import initialization as init


def mix_heads(mix: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Weighted sums of heads: mix (H, H), maps (T, H, N, M) -> (T, H, N, M), row h of `mix` makes head h.

    One matrix product per tile on the flattened maps, cheaper than a 1 x 1 convolution. The other exact form, each
    head's query scaled by its row and multiplied with the keys of *all* heads, keeps fused attention but takes H times
    its operations. In training on one CPU core (benchmarks/head_mixing.py) attention with mixing takes 1.6 times (100
    patches, 6 heads) and 2.7 times (784, 16) as long as fused attention, the other form 6 and 15 times.
    """
    return torch.bmm(mix.to(maps.dtype).expand(len(maps), -1, -1), maps.flatten(2)).view_as(maps)


class RiverOneHeadMixing(nn.Module):
    """`before`: mixes the scores of the heads before the softmax; `after`: mixes the maps behind it. Both (H, H)."""

    def __init__(self, num_heads: int):
        super().__init__()
        self.before = nn.Parameter(torch.eye(num_heads))
        self.after = nn.Parameter(torch.eye(num_heads))

    @torch.no_grad()
    def reset_to_identity(self) -> None:
        """Let the layer compute what it would compute without this module."""
        for mix in (self.before, self.after):
            init.copy_(mix, torch.eye(len(mix), dtype=mix.dtype, device=mix.device))

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
        attention_mask: torch.Tensor | None = None,
        dropout: float = 0.0,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attention with mixed heads: query, key, value (T, H, N, D) -> output (T, N, H, D) and maps (T, H, N, N).

        `attention_mask` broadcasts to the maps: bool (True = may attend) or additive.
        """
        scores = mix_heads(self.before, torch.matmul(query * scaling, key.transpose(2, 3)))
        if attention_mask is not None:
            if attention_mask.dtype == torch.bool:
                scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
            else:
                scores = scores + attention_mask
        maps = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
        maps = nn.functional.dropout(mix_heads(self.after, maps), p=dropout, training=dropout > 0)
        return torch.matmul(maps, value).transpose(1, 2).contiguous(), maps


class RiverOneLocalConv(nn.Module):
    """x + depth-wise 2-D convolution of LayerNorm(x) over the grid of patches."""

    def __init__(self, hidden_size: int, kernel_size: int, eps: float):
        super().__init__()
        self.norm = nn.LayerNorm(hidden_size, eps=eps)
        self.weight = nn.Parameter(torch.zeros(hidden_size, 1, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(hidden_size))

    def reset_to_identity(self) -> None:
        """Let the layer compute what it would compute without this module."""
        init.zeros_(self.weight)
        init.zeros_(self.bias)

    def forward(self, hidden_states: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """hidden_states (T, P + rows*cols, C): the first P tokens (a class token, say) pass unchanged."""
        rows, cols = grid
        prefix = hidden_states.shape[1] - rows * cols
        if prefix < 0:
            raise ValueError(f"{hidden_states.shape[1]} tokens cannot fill a grid of {rows}x{cols} patches.")
        patches = self.norm(hidden_states[:, prefix:]).transpose(1, 2).unflatten(2, (rows, cols))
        local = nn.functional.conv2d(
            patches, self.weight, self.bias, padding=self.weight.shape[-1] // 2, groups=self.weight.shape[0]
        )
        local = local.flatten(2).transpose(1, 2)
        if prefix:
            local = nn.functional.pad(local, (0, 0, prefix, 0))
        return hidden_states + local


__all__ = ["RiverOneHeadMixing", "RiverOneLocalConv", "mix_heads"]
