"""A client that sends what SPEC 2.3 and 2.4 say: QCalEval's zero-shot and in-context requests, eight at a time."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
from PIL import Image

MARK = "<image>"
CONCURRENCY = 8


def noise(seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """An RGB image to send, (width, height) = size."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def image_part(image: Image.Image) -> dict[str, Any]:
    """An image as PNG in RGBA mode inside a data URL."""
    stream = io.BytesIO()
    image.convert("RGBA").save(stream, "PNG")
    url = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def zero_shot(images: Sequence[Image.Image], prompt: str) -> list[dict[str, Any]]:
    """All images first, then the text as it is, literal `<image>` included."""
    return [*(image_part(image) for image in images), {"type": "text", "text": prompt}]


def in_context(images: Sequence[Image.Image], prompt: str) -> list[dict[str, Any]]:
    """The stripped pieces of the text and the images in turns, in one user message."""
    pieces = prompt.split(MARK)
    parts: list[dict[str, Any]] = []
    for piece, image in zip(pieces, [*images, None], strict=True):
        if piece.strip():
            parts.append({"type": "text", "text": piece.strip()})
        if image is not None:
            parts.append(image_part(image))
    return parts


class OfficialClient:
    """`url` is the full address of chat completions; every reply but a 200 raises."""

    def __init__(self, url: str, model: str, no_think: bool = True):
        self.url, self.model = url, model
        self.extra = {"chat_template_kwargs": {"enable_thinking": False}} if no_think else {}

    def ask(self, content: list[dict[str, Any]]) -> str:
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": 16384,
            "temperature": 0.0,
            **self.extra,
        }
        reply = httpx.post(self.url, json=body, headers={"Authorization": "Bearer none"}, timeout=300)
        reply.raise_for_status()
        message = reply.json()["choices"][0]["message"]
        said = message["content"]
        if isinstance(said, list):
            said = "".join(part["text"] for part in said if part["type"] == "text")
        return said if said is not None else message["reasoning"]

    def ask_all(self, contents: Sequence[list[dict[str, Any]]]) -> list[str]:
        """The first one is sent once more, as the scripts warm up; then all, `CONCURRENCY` at a time."""
        self.ask(contents[0])
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            return list(pool.map(self.ask, contents))
