"""RiverOne: vision tower -> pixel unshuffle of selected layers -> projector -> causal language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, GenerationMixin
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, BaseModelOutputWithPooling, CausalLMOutputWithPast
from transformers.utils import can_return_tuple

from .configuration_riverone import RiverOneConfig
from .generated_riverone import FreezingPreTrainedModel
from .quantization_riverone import register as register_quantizer
from .vision_riverone import RiverOneVisionModel, pixel_unshuffle

# transformers 5.24 renamed `past_key_values` to `cache`, in arguments and outputs alike.
CACHE_NAME = "cache" if hasattr(CausalLMOutputWithPast, "cache") else "past_key_values"


@dataclass
class RiverOneModelOutputWithPast(BaseModelOutputWithPast):
    """`image_hidden_states`: projected image tokens (tiles, tokens per tile, hidden), or None without images."""

    image_hidden_states: torch.FloatTensor | None = None


@dataclass
class RiverOneCausalLMOutputWithPast(CausalLMOutputWithPast):
    """`image_hidden_states`: projected image tokens (tiles, tokens per tile, hidden), or None without images."""

    image_hidden_states: torch.FloatTensor | None = None


class RiverOneProjector(nn.Module):
    """LayerNorm, Linear, GELU, Linear: concatenated vision channels -> width of the language model."""

    def __init__(self, config: RiverOneConfig):
        super().__init__()
        self.norm = nn.LayerNorm(config.vision_feature_size)
        self.linear_1 = nn.Linear(config.vision_feature_size, config.projector_hidden_size)
        self.activation = ACT2FN[config.projector_hidden_act]
        self.linear_2 = nn.Linear(config.projector_hidden_size, config.text_config.hidden_size)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.linear_2(self.activation(self.linear_1(self.norm(features))))


class RiverOnePreTrainedModel(FreezingPreTrainedModel):
    config: RiverOneConfig
    config_class = RiverOneConfig
    base_model_prefix = "model"
    input_modalities = ["image", "text"]
    supports_gradient_checkpointing = True
    _no_split_modules = ["RiverOneVisionModel"]
    _skip_keys_device_placement = [CACHE_NAME]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Projector and head; the tower and the language model initialise their own modules."""
        if isinstance(module, nn.Linear):
            init.trunc_normal_(module.weight, std=self.config.text_config.initializer_range)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)


def _prepared_mask(
    attention_mask: torch.Tensor | None, embeds: torch.Tensor, implementation: str | None
) -> torch.Tensor | None:
    """A ready 4-D mask in the form that the attention adds; 2-D masks and others pass.

    Eager attention *adds* masks, so a boolean one (True = may attend) would silently mask nothing.
    """
    if not isinstance(attention_mask, torch.Tensor) or attention_mask.ndim != 4:
        return attention_mask
    if attention_mask.dtype != torch.bool:
        return attention_mask.to(embeds.dtype)
    if implementation != "eager":
        return attention_mask
    blocked = torch.zeros_like(attention_mask, dtype=embeds.dtype)
    return blocked.masked_fill(~attention_mask, torch.finfo(embeds.dtype).min)


class RiverOneModel(RiverOnePreTrainedModel):
    """The model without its language-model head. Image tokens are ordinary causal positions of the text."""

    def __init__(self, config: RiverOneConfig):
        super().__init__(config)
        self.vision_tower = RiverOneVisionModel._from_config(config.vision_config)
        self.multi_modal_projector = RiverOneProjector(config)
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    @can_return_tuple
    def get_image_features(self, pixel_values: torch.Tensor, **kwargs) -> BaseModelOutputWithPooling:
        """Encode tiles (T, C, H, W) into image tokens.

        Returns:
            `pooler_output` holds the projected tokens (T, tokens per tile, hidden of the language model);
            `hidden_states` the selected block outputs (the others are `None`).
        """
        wanted = [index + 1 for index in self.config.vision_feature_layers]
        outputs = self.vision_tower(pixel_values.to(self.vision_tower.dtype), output_hidden_states=wanted)
        grid = self.vision_tower.grid(pixel_values)
        merger, factor = self.vision_tower.merger, self.config.downsample_factor
        features = torch.cat(
            [
                merger(outputs.hidden_states[i], grid)
                if merger is not None
                else pixel_unshuffle(outputs.hidden_states[i], grid, factor)
                for i in wanted
            ],
            dim=-1,
        )
        return BaseModelOutputWithPooling(
            last_hidden_state=outputs.last_hidden_state,
            pooler_output=self.multi_modal_projector(features),
            hidden_states=outputs.hidden_states,
        )

    def get_placeholder_mask(
        self, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor, image_features: torch.Tensor
    ) -> torch.Tensor:
        """Where image features go: bool, shape of `inputs_embeds`. Raises ValueError when the counts differ."""
        if input_ids is None:
            token = torch.tensor(self.config.image_token_id, device=inputs_embeds.device)
            mask = (inputs_embeds == self.get_input_embeddings()(token)).all(-1)
        else:
            mask = input_ids == self.config.image_token_id
        if not torch.compiler.is_compiling():
            expected, got = image_features.shape[0] * image_features.shape[1], int(mask.sum())
            if got != expected:
                raise ValueError(
                    f"The text holds {got} image tokens (id {self.config.image_token_id}) but the images give "
                    f"{expected} features ({image_features.shape[0]} tiles x {image_features.shape[1]}). Build text "
                    "and pixel_values with one processor call and do not truncate the text."
                )
        return mask.unsqueeze(-1).expand_as(inputs_embeds)

    def _check_images_given(self, input_ids: torch.Tensor | None, cache: Cache | None) -> None:
        if input_ids is None or torch.compiler.is_compiling():
            return
        if cache is not None and cache.get_seq_length() > 0:
            return
        if bool((input_ids == self.config.image_token_id).any()):
            raise ValueError("The text holds image tokens but pixel_values is missing: pass the processor's output.")

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        past_key_values: Cache | None = None,
        **kwargs,
    ) -> RiverOneModelOutputWithPast:
        """Run the model.

        Args:
            input_ids: (B, S); every image token id is replaced by one image feature, in order.
            pixel_values: (T, C, H, W), the tiles of all images of the batch, in order of appearance.
            attention_mask: (B, S) padding mask, or (B, 1, S, S) ready mask (additive, or bool with True = attend).
            cache: keys and values of the positions before `input_ids`; grows in place.
            past_key_values: the name of `cache` before transformers 5.24.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Pass exactly one of input_ids and inputs_embeds.")
        cache = past_key_values if cache is None else cache
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)

        image_features: Any = None
        if pixel_values is not None and len(pixel_values) > 0:
            image_features = self.get_image_features(pixel_values, return_dict=True).pooler_output
            image_features = image_features.to(inputs_embeds.device, inputs_embeds.dtype)
            mask = self.get_placeholder_mask(input_ids, inputs_embeds, image_features)
            inputs_embeds = inputs_embeds.masked_scatter(mask, image_features)  # type: ignore[assignment]
        else:
            self._check_images_given(input_ids, cache)

        outputs = self.language_model(
            attention_mask=_prepared_mask(
                attention_mask, inputs_embeds, self.language_model.config._attn_implementation
            ),
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            **{**kwargs, CACHE_NAME: cache, "return_dict": True},
        )
        return RiverOneModelOutputWithPast(
            last_hidden_state=outputs.last_hidden_state,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=image_features,
            **{CACHE_NAME: outputs.get(CACHE_NAME)},
        )


class RiverOneForConditionalGeneration(RiverOnePreTrainedModel, GenerationMixin):
    """Images and text in, text out."""

    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}

    def __init__(self, config: RiverOneConfig):
        super().__init__(config)
        self.model = RiverOneModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()
        # An image token that the model wrote itself would have no image behind it.
        self.generation_config.suppress_tokens = [config.image_token_id]

    def get_input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def set_output_embeddings(self, value: nn.Module) -> None:
        self.lm_head = value

    def get_image_features(self, pixel_values: torch.Tensor, **kwargs) -> BaseModelOutputWithPooling:
        """See [`RiverOneModel.get_image_features`]."""
        return self.model.get_image_features(pixel_values, **kwargs)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        past_key_values: Cache | None = None,
        **kwargs,
    ) -> RiverOneCausalLMOutputWithPast:
        """Arguments as in [`RiverOneModel.forward`].

        Args:
            labels: (B, S), -100 is ignored; shifted inside.
            logits_to_keep: number of last positions (0 = all), the indices of the positions to score, or a bool mask
                (B, S) of n positions, which gives flat logits (n, vocabulary): training scores answer tokens only.
        """
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=past_key_values if cache is None else cache,
            inputs_embeds=inputs_embeds,
            **{**kwargs, "return_dict": True},
        )
        hidden_states = outputs.last_hidden_state
        if isinstance(logits_to_keep, torch.Tensor) and logits_to_keep.dtype == torch.bool:
            hidden_states = hidden_states[logits_to_keep]
        else:
            keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
            hidden_states = hidden_states[:, keep, :]
        logits = self.lm_head(hidden_states)
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=self.config.text_config.vocab_size, **kwargs
            )
        return RiverOneCausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=outputs.image_hidden_states,
            **{CACHE_NAME: outputs.get(CACHE_NAME)},
        )

    def prepare_inputs_for_generation(
        self, input_ids, pixel_values=None, is_first_iteration=False, use_cache=True, **kwargs
    ):
        """Pass `pixel_values` only while their tokens are not yet in the cache."""
        inputs = super().prepare_inputs_for_generation(
            input_ids, is_first_iteration=is_first_iteration, use_cache=use_cache, **kwargs
        )
        if is_first_iteration or not use_cache:
            inputs["pixel_values"] = pixel_values
        return inputs

    def _expand_inputs_for_generation(self, expand_size=1, is_encoder_decoder=False, input_ids=None, **model_kwargs):
        """Repeat samples for beams; tiles are a flat stack, so they are repeated per sample, not per tile."""
        pixel_values = model_kwargs.pop("pixel_values", None)
        per_sample = None
        if pixel_values is not None and expand_size > 1 and input_ids is not None:
            tokens = (input_ids == self.config.image_token_id).sum(1)
            rows, cols = self.model.vision_tower.grid(pixel_values)
            per_sample = tokens // (rows * cols // self.config.downsample_factor**2)
        input_ids, model_kwargs = super()._expand_inputs_for_generation(  # type: ignore[misc]
            expand_size=expand_size, is_encoder_decoder=is_encoder_decoder, input_ids=input_ids, **model_kwargs
        )
        if per_sample is not None:
            tiles = pixel_values.split(per_sample.tolist())
            pixel_values = torch.cat([tile for tile in tiles for _ in range(expand_size)])
        if pixel_values is not None:
            model_kwargs["pixel_values"] = pixel_values
        return input_ids, model_kwargs


# Coded checkpoints name a quantization method that transformers does not have; also where this file is remote code.
register_quantizer()
RiverOneModel.register_for_auto_class("AutoModel")
RiverOneForConditionalGeneration.register_for_auto_class("AutoModelForImageTextToText")

__all__ = ["RiverOneForConditionalGeneration", "RiverOneModel", "RiverOnePreTrainedModel"]
