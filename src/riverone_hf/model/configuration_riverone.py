"""Configuration of RiverOne: a shared-block vision transformer, a projector and a causal language model."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PreTrainedConfig


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _check_map(name: str, mapping: list[int], num_layers: int) -> None:
    """A layer map names, for each layer, its stored set; the stored sets are numbered 0..K-1 and all are used."""
    _require(
        len(mapping) == num_layers,
        f"{name} needs one entry per layer: got {len(mapping)} entries for num_hidden_layers={num_layers}.",
    )
    _require(
        sorted(set(mapping)) == list(range(max(mapping) + 1)),
        f"{name} must use every stored index from 0 to its maximum without gaps: got {mapping}.",
    )


def _layer_list(layers: list[int] | bool, num_layers: int) -> list[int]:
    """`True` means every layer, `False` none."""
    if isinstance(layers, bool):
        return list(range(num_layers)) if layers else []
    return sorted(layers)


class RiverOneVisionConfig(PreTrainedConfig):
    r"""Vision transformer whose blocks are stored once and indexed per layer.

    Args:
        image_size: side of one tile in pixels; a multiple of `patch_size`.
        temporal_patch_size: frames folded into the patch embedding; a still image fills all of them (2 in towers
            that come from video models: it doubles the patch weights, not the number of tokens).
        num_position_embeddings: size of the learned table (a square number, default one entry per patch); other
            grids interpolate it.
        position_embedding: `"learned"` or `"sincos"` (fixed 2-D sine/cosine, nothing stored).
        rotary: also rotate queries and keys by their row and column.
        patch_stem: `"linear"` (one product per patch) or `"conv"` (a few small convolutions, learns sooner from
            scratch; needs a `patch_size` of 4, 8, 16 ...).
        patch_norm: LayerNorm right after the patch embedding (helps training from scratch).
        layer_map: layer -> stored block (0-based). Sharing blocks means repeating an index.
        qkv_map: layer -> stored q/k/v set, by default `layer_map`.
        head_mixing: layers that mix attention heads before and after the softmax (`True`: all); they leave fused
            attention.
        local_conv: layers with a depth-wise convolution over the patches before the MLP (`True`: all).
        local_conv_size: side of its kernel, an odd number.
        merger_out_size: width after the merger (LayerNorm, unshuffle, Linear, GELU, Linear) that is applied to every
            selected layer; `None` leaves plain pixel unshuffle.
        merger_hidden_size: inner width of the merger, by default its input width `merge_size**2 * hidden_size`.
        merge_size: patches per side that the merger joins; equals `downsample_factor` of the whole model.
    """

    model_type = "riverone_vision"
    base_config_key = "vision_config"

    hidden_size: int = 1152
    intermediate_size: int = 4304
    num_hidden_layers: int = 27
    num_attention_heads: int = 16
    num_channels: int = 3
    image_size: int = 448
    patch_size: int = 16
    temporal_patch_size: int = 1
    position_embedding: str = "learned"
    num_position_embeddings: int = None  # type: ignore[assignment]
    rotary: bool = False
    rotary_theta: float = 10000.0
    patch_stem: str = "linear"
    patch_norm: bool = False
    # `None` is replaced when the configuration is built, so readers see the plain types.
    layer_map: list[int] = None  # type: ignore[assignment]
    qkv_map: list[int] = None  # type: ignore[assignment]
    head_mixing: list[int] = False  # type: ignore[assignment]
    local_conv: list[int] = False  # type: ignore[assignment]
    local_conv_size: int = 7
    merger_out_size: int | None = None
    merger_hidden_size: int | None = None
    merge_size: int = 2
    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6
    attention_dropout: float | int = 0.0
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs):
        if self.layer_map is None:
            self.layer_map = list(range(self.num_hidden_layers))
        if self.qkv_map is None:
            self.qkv_map = list(self.layer_map)
        self.head_mixing = _layer_list(self.head_mixing, self.num_hidden_layers)
        self.local_conv = _layer_list(self.local_conv, self.num_hidden_layers)
        if self.num_position_embeddings is None:
            self.num_position_embeddings = (self.image_size // self.patch_size) ** 2
        if self.merger_out_size is not None and self.merger_hidden_size is None:
            self.merger_hidden_size = self.merge_size**2 * self.hidden_size
        super().__post_init__(**kwargs)
        self._check()

    def _check(self) -> None:
        head_dim, rest = divmod(self.hidden_size, self.num_attention_heads)
        _require(
            rest == 0,
            f"hidden_size must be a multiple of num_attention_heads: got {self.hidden_size} and "
            f"{self.num_attention_heads}.",
        )
        _require(
            self.image_size % self.patch_size == 0,
            f"image_size must be a multiple of patch_size: got {self.image_size} and {self.patch_size}.",
        )
        _require(
            self.patch_stem in ("linear", "conv"),
            f'patch_stem must be "linear" or "conv": got {self.patch_stem!r}.',
        )
        steps = self.patch_size // 4
        _require(
            self.patch_stem == "linear"
            or (self.patch_size == 4 * steps and steps.bit_count() == 1 and self.hidden_size % steps == 0),
            'patch_stem="conv" needs a patch_size of 4 times a power of two, and a hidden_size that it divides: '
            f"got {self.patch_size} and {self.hidden_size}.",
        )
        _require(
            self.position_embedding in ("learned", "sincos"),
            f'position_embedding must be "learned" or "sincos": got {self.position_embedding!r}.',
        )
        _require(
            self.position_embedding != "sincos" or self.hidden_size % 4 == 0,
            f'position_embedding="sincos" needs a hidden_size that is a multiple of 4: got {self.hidden_size}.',
        )
        _require(
            not self.rotary or head_dim % 4 == 0,
            f"rotary needs a head size (hidden_size / num_attention_heads) that is a multiple of 4: got {head_dim}.",
        )
        side = round(self.num_position_embeddings**0.5)
        _require(
            side**2 == self.num_position_embeddings,
            f"num_position_embeddings must be a square number: got {self.num_position_embeddings}.",
        )
        _check_map("layer_map", self.layer_map, self.num_hidden_layers)
        _check_map("qkv_map", self.qkv_map, self.num_hidden_layers)
        for name in ("head_mixing", "local_conv"):
            layers = getattr(self, name)
            _require(
                all(0 <= layer < self.num_hidden_layers for layer in layers) and len(set(layers)) == len(layers),
                f"{name} must name different layers from 0 to {self.num_hidden_layers - 1}: got {layers}.",
            )
        _require(self.local_conv_size % 2 == 1, f"local_conv_size must be odd: got {self.local_conv_size}.")

    @property
    def grid_size(self) -> int:
        """Patches per side of one tile."""
        return self.image_size // self.patch_size

    @property
    def num_stored_blocks(self) -> int:
        return max(self.layer_map) + 1

    @property
    def num_stored_qkv(self) -> int:
        return max(self.qkv_map) + 1


class RiverOneConfig(PreTrainedConfig):
    r"""The whole model: vision tower, projector, language model.

    Args:
        vision_config: a [`RiverOneVisionConfig`], its entries as a dict, or `None` for the defaults.
        text_config: configuration of a causal language model, or a dict with its `model_type` (default `qwen3`).
        projector_hidden_size: inner width of the projector, by default the width of the language model.
        vision_feature_layers: 0-based indices of the blocks whose *outputs* are unshuffled, concatenated and
            projected, by default the last block only.
        downsample_factor: patches per side that one image token stands for.
        image_token_id: id of the placeholder token that image features replace.
        families: experiment families that the model was trained on; a reader asks about no others.
    """

    model_type = "riverone"
    sub_configs = {"vision_config": RiverOneVisionConfig, "text_config": AutoConfig}
    keys_to_ignore_at_inference = ["cache", "past_key_values"]  # the name since transformers 5.24, and before

    vision_config: Any = None
    text_config: Any = None
    projector_hidden_size: int = None  # type: ignore[assignment]
    projector_hidden_act: str = "gelu"
    vision_feature_layers: list[int] = None  # type: ignore[assignment]
    downsample_factor: int = 2
    image_token_id: int = 151671
    tie_word_embeddings: bool = True
    families: list[str] | None = None

    def __post_init__(self, **kwargs):
        if self.vision_config is None or isinstance(self.vision_config, dict):
            self.vision_config = RiverOneVisionConfig(**(self.vision_config or {}))
        if self.text_config is None or isinstance(self.text_config, dict):
            text = dict(self.text_config or {})
            self.text_config = AutoConfig.for_model(text.pop("model_type", "qwen3"), **text)
        if self.vision_feature_layers is None:
            self.vision_feature_layers = [self.vision_config.num_hidden_layers - 1]
        if self.projector_hidden_size is None:
            self.projector_hidden_size = self.text_config.hidden_size
        super().__post_init__(**kwargs)
        self._check()

    def _check(self) -> None:
        vision, factor = self.vision_config, self.downsample_factor
        last = vision.num_hidden_layers - 1
        _require(
            len(self.vision_feature_layers) > 0 and all(0 <= i <= last for i in self.vision_feature_layers),
            f"vision_feature_layers must be 0-based block indices from 0 to {last}: got {self.vision_feature_layers}.",
        )
        _require(
            vision.grid_size % factor == 0,
            f"downsample_factor must divide the {vision.grid_size} patches per side "
            f"(image_size {vision.image_size} / patch_size {vision.patch_size}): got {factor}.",
        )
        _require(
            vision.merger_out_size is None or vision.merge_size == factor,
            f"vision_config.merge_size and downsample_factor must agree: got {vision.merge_size} and {factor}.",
        )
        vocab_size = self.text_config.vocab_size
        _require(
            0 <= self.image_token_id < vocab_size,
            f"image_token_id must lie in the vocabulary of {vocab_size} entries: got {self.image_token_id}.",
        )

    @property
    def tokens_per_tile(self) -> int:
        """Image tokens that one tile takes in the text."""
        return (self.vision_config.grid_size // self.downsample_factor) ** 2

    @property
    def vision_feature_size(self) -> int:
        """Channels that reach the projector: selected layers times channels per token."""
        vision = self.vision_config
        per_layer = vision.merger_out_size or vision.hidden_size * self.downsample_factor**2
        return per_layer * len(self.vision_feature_layers)


RiverOneVisionConfig.register_for_auto_class()
RiverOneConfig.register_for_auto_class()

__all__ = ["RiverOneConfig", "RiverOneVisionConfig"]
