"""Tiny causal language models of several architectures, their calibration batches, and a stand-in for the engine."""

from __future__ import annotations

import copy
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    PhiConfig,
    PreTrainedConfig,
    Qwen3Config,
    set_seed,
)

from riverone_hf.additive.coded import CodedWeight
from riverone_hf.model.quantization_riverone import AdditiveScheme

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CONFIGS: dict[str, PreTrainedConfig] = {
    "qwen3": Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=8),
    "llama": LlamaConfig(**SIZES, num_key_value_heads=2),
    # One layer sees a window of 4 tokens, the other everything: each needs its own mask and rotary table.
    "gemma": Gemma3TextConfig(
        **SIZES,
        num_key_value_heads=1,
        head_dim=8,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention"],
        query_pre_attn_scalar=8,
    ),
    "phi": PhiConfig(**SIZES),
    # Not Linears but Conv1D modules, which store their weight transposed.
    "gpt2": GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2),
}


def tiny_lm(name: str = "qwen3", seed: int = 0) -> Any:
    """A float32 model in eval mode with weights large enough that layers matter."""
    set_seed(seed)
    model = AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[name]))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(6)
            elif parameter.ndim == 1 and parameter.abs().sum() == 0:
                parameter.normal_(std=0.1)  # biases that a coder must keep
    return model.eval()


def batches(count: int = 4, width: int = 12, seed: int = 1) -> list[dict[str, torch.Tensor]]:
    """Random token batches; every second one has three pads on the right of its second row."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for index in range(count):
        ids = torch.randint(3, 64, (2, width), generator=generator)
        mask = torch.ones_like(ids)
        if index % 2:
            mask[1, -3:] = 0
        found.append({"input_ids": ids, "attention_mask": mask})
    return found


def simple_coder(weight, xtx, scheme: AdditiveScheme, *, n_samples=None, held_out_xtx=None, seed=0) -> CodedWeight:
    """Nearest entries of random codebooks, residual after residual: crude, fast, deterministic."""
    groups, columns, books = scheme.codes_shape(*weight.shape)
    og, ig = scheme.out_group_size, scheme.in_group_size
    scales = weight.view(groups, -1).square().mean(1).sqrt().view(-1, 1, 1, 1)
    rest = (weight.view(groups, og, columns, ig).transpose(1, 2) / scales).reshape(-1, og * ig)
    generator = torch.Generator().manual_seed(seed)
    codes, codebooks = [], []
    for _ in range(books):
        pick = torch.randint(len(rest), (2**scheme.nbits_per_codebook,), generator=generator)
        entries = rest[pick].clone()
        code = torch.cdist(rest, entries).argmin(1)
        rest = rest - entries[code]
        codes.append(code.view(groups, columns))
        codebooks.append(entries.view(-1, og, ig))
    return CodedWeight(torch.stack(codes, -1), torch.stack(codebooks), scales, scheme)
