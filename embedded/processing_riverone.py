"""Conversations and figures -> model inputs. User text can never act as a special token."""

from __future__ import annotations

import re

from transformers.processing_utils import MultiModalData, ProcessorMixin

# The tokenizer's normalizer deletes this private-use character, but only after special tokens were matched: one
# inside a special string makes the tokenizer read that string as plain text.
TEXT_MARK = "\ue000"

CHAT_TEMPLATE = """\
{%- macro render(content) -%}
  {%- if content is string -%}
    {{- content -}}
  {%- else -%}
    {%- for part in content -%}
      {%- if part['type'] == 'image' -%}
        {{- '<img><IMG_CONTEXT></img>' -}}
      {%- elif part['type'] == 'text' -%}
        {{- part['text'] -}}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{%- for message in messages -%}
  {{- '<|im_start|>' + message['role'] + '\\n' -}}
  {%- if message['role'] == 'assistant' -%}
    {%- generation -%}
      {{- render(message['content']) + '<|im_end|>' -}}
    {%- endgeneration -%}
    {{- '\\n' -}}
  {%- else -%}
    {{- render(message['content']) + '<|im_end|>\\n' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


class RiverOneProcessor(ProcessorMixin):
    r"""Image processor and tokenizer in one.

    `text` holds one `<IMG_CONTEXT>` per image (the chat template writes `<img><IMG_CONTEXT></img>`); a call repeats
    it once per image token. `images` is a flat list over the batch or one list per sample.
    """

    # Generation continues at the right end.
    text_kwargs = {"padding_side": "left"}

    def __init__(self, image_processor=None, tokenizer=None, chat_template=None, **kwargs):
        super().__init__(image_processor, tokenizer, chat_template=chat_template or CHAT_TEMPLATE, **kwargs)
        self.image_token = getattr(tokenizer, "image_token", None) or "<IMG_CONTEXT>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        special = {str(token) for token in tokenizer.all_special_tokens}
        special |= {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
        ordered = sorted(special | {self.image_token}, key=len, reverse=True)
        self._special = re.compile(f"(?=(?:{'|'.join(map(re.escape, ordered))}))(.)", flags=re.DOTALL)

    @property
    def unused_input_names(self) -> list[str]:
        return ["num_patches"]

    def __call__(self, images=None, text=None, **kwargs):
        """Returns `input_ids`, `attention_mask` and, with images, `pixel_values` (sum of tiles, 3, S, S).

        Raises ValueError when the numbers of images and placeholders differ, in total or in one sample.
        """
        if isinstance(images, (list, tuple)) and any(isinstance(sample, (list, tuple)) for sample in images):
            samples = [list(s) if isinstance(s, (list, tuple)) else [s] for s in images]
            self._check_counts(samples, [text] if isinstance(text, str) else text)
            images = [image for sample in samples for image in sample]
        if isinstance(images, (list, tuple)) and not images:
            images = None
        return super().__call__(images=images, text=text, **kwargs)

    def _check_counts(self, samples: list[list], text: list[str] | None) -> None:
        if text is None:
            return
        if len(samples) != len(text):
            raise ValueError(f"Got images for {len(samples)} samples but {len(text)} texts.")
        for index, (sample, prompt) in enumerate(zip(samples, text)):
            placeholders = prompt.count(self.image_token)
            if placeholders != len(sample):
                raise ValueError(
                    f"Sample {index} has {len(sample)} images but {placeholders} {self.image_token} placeholders in "
                    "its text: give one image part per image."
                )

    def replace_image_token(self, image_inputs: dict, image_idx: int, **kwargs) -> str:
        """The image tokens of one image."""
        height, width = image_inputs["pixel_values"][0].shape[-2:]
        tiles = int(image_inputs["num_patches"][image_idx])
        return self.image_token * (tiles * self.image_processor.tokens_per_tile(height, width))

    def protect(self, text: str) -> str:
        """`text` with every special string broken by `TEXT_MARK`, so that it is encoded as text."""
        return self._special.sub(lambda match: match.group() + TEXT_MARK, text)

    def _protect_content(self, content):
        if isinstance(content, str):
            return self.protect(content)
        parts: list = []
        for part in content:
            part = {key: value for key, value in part.items() if value is not None}
            if part.get("type") == "text" and parts and parts[-1].get("type") == "text":
                # Joined first: two halves must not form a special string either.
                parts[-1] = {"type": "text", "text": parts[-1]["text"] + part["text"]}
            else:
                parts.append(part)
        return [{**part, "text": self.protect(part["text"])} if part.get("type") == "text" else part for part in parts]

    def _protect_conversation(self, conversation):
        return [
            {**message, "content": self._protect_content(message["content"])}
            if message.get("content") is not None
            else message
            for message in conversation
        ]

    def apply_chat_template(self, conversation, chat_template=None, **kwargs):  # type: ignore[override]
        """As in transformers; special strings inside message texts (`<img>`, `<|im_end|>`, ...) stay text."""
        batched = isinstance(conversation[0], (list, tuple)) or hasattr(conversation[0], "content")
        if batched:
            conversation = [self._protect_conversation(getattr(c, "messages", c)) for c in conversation]
        else:
            conversation = self._protect_conversation(conversation)
        return super().apply_chat_template(conversation, chat_template, **kwargs)

    def _get_num_multimodal_tokens(self, image_sizes=None, **kwargs) -> MultiModalData:
        """Image tokens and tiles for images of sizes [(height, width), ...]; serving engines plan with it."""
        if image_sizes is None:
            return MultiModalData()
        tiles = [self.image_processor.get_number_of_image_patches(h, w, kwargs) for h, w in image_sizes]
        per_tile = self.image_processor.tokens_per_tile()
        return MultiModalData(num_image_tokens=[n * per_tile for n in tiles], num_image_patches=tiles)


RiverOneProcessor.register_for_auto_class()

__all__ = ["CHAT_TEMPLATE", "RiverOneProcessor"]
