"""Tiny tokenizer, configuration, model and processor for all tests: built in memory in well under a second."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import ByteLevel as ByteLevelProcessor
from transformers import PreTrainedTokenizerFast, set_seed
from transformers.tokenization_utils_base import AddedToken

from riverone_hf.model import (
    RiverOneConfig,
    RiverOneForConditionalGeneration,
    RiverOneImageProcessor,
    RiverOneProcessor,
)

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "<IMG_CONTEXT>", "</img>"]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level, no merges: 6 special tokens + 256 bytes. Removes U+E000 in text, never inside special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: index for index, token in enumerate(SPECIAL + alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.normalizer = normalizers.Replace("\ue000", "")
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = ByteLevelProcessor(trim_offsets=False)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens={"image_token": "<IMG_CONTEXT>"},
        padding_side="left",
        model_max_length=4096,
    )


def tiny_config(**changes) -> RiverOneConfig:
    """32-pixel tiles, 16 patches, 4 tokens per tile; `vision` and `text` override entries of the sub-configs."""
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 8,
        **changes.pop("vision", {}),
    }
    text = {
        "model_type": "qwen3",
        "vocab_size": 262,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 4096,
        "bos_token_id": None,
        "eos_token_id": 2,
        "pad_token_id": 0,
        **changes.pop("text", {}),
    }
    changes.setdefault("vision_feature_layers", [0, 2])
    changes.setdefault("image_token_id", SPECIAL.index("<IMG_CONTEXT>"))
    return RiverOneConfig(vision_config=vision, text_config=text, **changes)


def tiny_model(config: RiverOneConfig | None = None, seed: int = 0) -> RiverOneForConditionalGeneration:
    """A float32 model in eval mode. Large weights: it writes varied tokens, and other inputs give other outputs."""
    set_seed(seed)
    model = RiverOneForConditionalGeneration(config or tiny_config())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                parameter.mul_(20 if "embed_tokens" in name else 15)
    return model.eval()


def tiny_processor(config: RiverOneConfig | None = None, **image_options) -> RiverOneProcessor:
    """Processor that fits `tiny_config()`; low-tile mode unless `image_options` say otherwise."""
    vision = (config or tiny_config()).vision_config
    options = {"crop_to_patches": False, **image_options}
    images = RiverOneImageProcessor(
        size={"height": vision.image_size, "width": vision.image_size},
        patch_size=vision.patch_size,
        downsample_factor=(config or tiny_config()).downsample_factor,
        **options,
    )
    return RiverOneProcessor(images, tiny_tokenizer())
