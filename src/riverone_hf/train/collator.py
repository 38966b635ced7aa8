"""How do all questions of a plot share its images? One sequence per plot: image prefix, then independent branches.

Every branch (question and answer) sees the image prefix and itself, never another branch, and its positions start
right behind the prefix. So the packed logits equal those of each question asked alone, at the cost of one prefix.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import torch

if TYPE_CHECKING:
    from ..model import RiverOneProcessor

IGNORE = -100
_LABEL = re.compile(r"(Classification|Assessment|Status): ")


class PackedCollator:
    """Rows {images, messages} -> model inputs for training.

    Returns input_ids, labels (B, S) int64 (-100 outside answers), position_ids (B, S) int64, attention_mask
    (B, 1, S, S) bool (True = may attend), pixel_values (tiles, 3, H, W) float32 and loss_weights (B, S) float32:
    every answer token weighs 1/sqrt(answer length) ("sqrt": short label answers are not drowned by long ones) or 1
    ("token"). Tokens of a label line (class, assessment or status, before the reason) weigh `label_weight` times that:
    they decide what the answer is worth. `answer_weights` (beginning of an answer -> factor) help rare answers.
    Of a row with a true `brief` such answers are cut behind their label line, and nothing says that they end there.
    """

    def __init__(
        self,
        processor: RiverOneProcessor,
        loss_weighting: Literal["sqrt", "token"] = "sqrt",
        label_weight: float = 1.0,
        answer_weights: Mapping[str, float] | None = None,
    ):
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.loss_weighting = loss_weighting
        self.label_weight = label_weight
        self.answer_weights = dict(answer_weights or {})
        self._ids = lru_cache(maxsize=4096)(self._tokenize)
        # The template's own strings, found by rendering it, so that packing can never drift away from it.
        text, image = {"type": "text", "text": "x"}, {"type": "image", "text": None}
        self._opening, self._asking = self._render([text]).split("x")
        self._image = self._render([image, text]).removeprefix(self._opening).split("x")[0]
        self._closing = self._render([text], answer="y").split("y")[1]

    def _render(self, content: list[dict[str, Any]], answer: str | None = None) -> str:
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if answer is not None:
            messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        return self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer is None)

    def _tokenize(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def prefix(self, tiles_per_image: list[int]) -> list[int]:
        """Token ids of the shared image prefix for images of that many tiles."""
        token, per_tile = self.processor.image_token, self.processor.image_processor.tokens_per_tile()
        text = self._opening
        for tiles in tiles_per_image:
            text += self._image.replace(token, token * (tiles * per_tile))
        return list(self._ids(text))

    def branch(self, question: str, answer: str) -> tuple[list[int], list[int]]:
        """(context ids, answer ids): the answer's end-of-turn token is trained, what follows it is dropped."""
        context = self._ids(self.processor.protect(question) + self._asking)
        closing = self._ids(self._closing)
        end = closing.index(self.tokenizer.eos_token_id)
        return list(context), [*self._ids(self.processor.protect(answer)), *closing[: end + 1]]

    def weights(self, text: str, answer: list[int]) -> list[float]:
        """Loss weights of the ids `answer` of the answer `text`."""
        weight = 1.0 / math.sqrt(len(answer)) if self.loss_weighting == "sqrt" else 1.0
        weight *= next((times for start, times in self.answer_weights.items() if text.startswith(start)), 1.0)
        labels = self._label_length(text)
        return [weight * self.label_weight] * labels + [weight] * (len(answer) - labels)

    def _label_length(self, text: str) -> int:
        """Tokens of the label line that the answer `text` begins with; 0 without one."""
        line, newline, _ = text.partition("\n")
        return len(self._ids(self.processor.protect(line))) if newline and _LABEL.match(line) else 0

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        images = [image for row in rows for image in row["images"]]
        inputs: dict[str, torch.Tensor] = {}
        tiles: list[int] = []
        if images:
            features = self.processor.image_processor(images, return_tensors="pt")
            inputs["pixel_values"], tiles = features["pixel_values"], [int(n) for n in features["num_patches"]]
        packed = []
        for row in rows:
            count = len(row["images"])
            if _images_first(row["messages"]):
                packed.append(self._pack(row["messages"], tiles[:count], row.get("brief", False)))
            else:
                packed.append(self._pack_shown(row["messages"], tiles[:count]))
            tiles = tiles[count:]
        return inputs | self._stack(packed)

    def _pack(self, messages: list[dict[str, Any]], tiles: list[int], brief: bool) -> dict[str, list]:
        prefix = self.prefix(tiles)
        ids, positions, groups = list(prefix), list(range(len(prefix))), [0] * len(prefix)
        labels, weights = [IGNORE] * len(prefix), [0.0] * len(prefix)
        for group, (user, assistant) in enumerate(zip(messages[::2], messages[1::2], strict=True), start=1):
            context, answer = self.branch(_text(user), _text(assistant))
            if brief:
                answer = answer[: self._label_length(_text(assistant)) or None]
            length = len(context) + len(answer)
            ids += context + answer
            positions += range(len(prefix), len(prefix) + length)
            groups += [group] * length
            labels += [IGNORE] * len(context) + answer
            weights += [0.0] * len(context) + self.weights(_text(assistant), answer)
        return {"ids": ids, "positions": positions, "groups": groups, "labels": labels, "weights": weights}

    def _pack_shown(self, messages: list[dict[str, Any]], tiles: list[int]) -> dict[str, list]:
        """One question behind solved examples: images and text alternate, so nothing is shared and nothing packed."""
        if len(messages) != 2:
            raise ValueError(
                f"got {len(messages)} messages with images between texts; expected one question and its answer"
            )
        token, per_tile = self.processor.image_token, self.processor.image_processor.tokens_per_tile()
        pieces = self._render(messages[0]["content"]).split(token)
        text = "".join(piece + token * (n * per_tile) for piece, n in zip(pieces, [*tiles, 0], strict=True))
        context = self._tokenize(text)
        answer = self.branch("", _text(messages[1]))[1]
        size = len(context) + len(answer)
        return {
            "ids": [*context, *answer],
            "positions": list(range(size)),
            "groups": [0] * size,
            "labels": [IGNORE] * len(context) + answer,
            "weights": [0.0] * len(context) + self.weights(_text(messages[1]), answer),
        }

    def _stack(self, packed: list[dict[str, list]]) -> dict[str, torch.Tensor]:
        size = max(len(item["ids"]) for item in packed)

        def pad(key: str, value: float, dtype: torch.dtype) -> torch.Tensor:
            return torch.tensor([item[key] + [value] * (size - len(item[key])) for item in packed], dtype=dtype)

        groups = pad("groups", -1, torch.int64)
        causal = torch.ones(size, size, dtype=torch.bool).tril()
        same = groups[:, :, None] == groups[:, None, :]
        # Padding rows may attend to themselves: a row without any key would make the softmax NaN.
        mask = causal & (same | (groups == 0)[:, None, :])
        return {
            "input_ids": pad("ids", self.tokenizer.pad_token_id, torch.int64),
            "labels": pad("labels", IGNORE, torch.int64),
            "position_ids": pad("positions", 0, torch.int64),
            "attention_mask": mask[:, None],
            "loss_weights": pad("weights", 0.0, torch.float32),
        }


def _images_first(messages: list[dict[str, Any]]) -> bool:
    """Whether all images stand before the first text, so that every question can share them."""
    content = messages[0]["content"]
    kinds = [] if isinstance(content, str) else [part["type"] for part in content]
    return "image" not in kinds[kinds.index("text") :] if "text" in kinds else True


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content if part["type"] == "text")
