"""Which attention does the language model train with on a CPU?"""

from __future__ import annotations

from typing import Any

import torch

FLOAT32 = "sdpa_float32"


def text_attention(name: str | None) -> str:
    """The name to give to `set_attn_implementation`; registers `sdpa_float32` when it is asked for.

    `sdpa_float32` is fused attention computed in float32 whatever the dtype of the states (B, heads, S, head_dim): on
    a CPU the bfloat16 form is the slower one, its backward above all (docs/log.md).
    """
    if name == FLOAT32:
        from transformers import AttentionInterface, AttentionMaskInterface
        from transformers.masking_utils import sdpa_mask

        AttentionInterface.register(FLOAT32, _float32)
        AttentionMaskInterface.register(FLOAT32, sdpa_mask)
    return name or "sdpa"


def _float32(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if attention_mask is not None and attention_mask.is_floating_point():
        attention_mask = attention_mask.float()
    with torch.autocast(query.device.type, enabled=False):
        output, _ = sdpa_attention_forward(module, query.float(), key.float(), value.float(), attention_mask, **kwargs)
    return output.to(query.dtype), None
