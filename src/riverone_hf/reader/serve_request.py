"""Which requests does the server take? A chat body becomes a conversation with figures; all else is a clear 4xx.

Only `data:` images are taken: an address or a path would let a client make this machine fetch or open things.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from riverone_hf.errors import FigureError, RequestError
from riverone_hf.reader.figures import load_figure

ROLES = ("system", "user", "assistant")
MAX_STOPS = 16
MAX_SCHEMA = 20_000
_DATA_URL = re.compile(r"data:image/[\w.+-]+(?:;[\w=.+-]+)*;base64,", re.IGNORECASE)


@dataclass(frozen=True)
class Limits:
    """What one request may hold at most.

    `answer_tokens` caps answers beside the context; None leaves only the context, to which every wish is clamped.
    """

    body_bytes: int = 64 * 1024**2
    images: int = 32
    total_pixels: int = 80_000_000
    text_chars: int = 1_000_000
    answer_tokens: int | None = None


@dataclass(frozen=True)
class ChatRequest:
    """A request that can be answered: `messages` as the chat template takes them, `images` RGB and in order."""

    messages: list[dict[str, Any]]
    images: list[Image.Image]
    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stream: bool = False
    usage_chunk: bool = False
    schema: dict[str, Any] | None = None


def parse_chat(body: bytes, names: Sequence[str], limits: Limits) -> ChatRequest:
    """The request in a JSON body. Unknown fields are ignored; a missing temperature means greedy.

    `names` are the model names that are served here.

    Raises:
        RequestError: no JSON object, another model, a field of the wrong type or range, no message, a role or part
            that is not known, an image that is no `data:` URL or cannot be read, or more of something than `limits`.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError(
            "the body is not JSON. Expected an object with model and messages", code="invalid_json"
        ) from None
    if not isinstance(fields, dict):
        raise RequestError(f"the body is a JSON {type(fields).__name__}. Expected an object", code="invalid_json")
    _check_model(fields.get("model"), names)
    if fields.get("n") not in (None, 1):
        raise RequestError("n: one answer per request is given here. Remedy: send several requests", param="n")
    options = fields.get("stream_options")
    # All that is cheap is checked before any image is decoded.
    settings: dict[str, Any] = {
        "max_tokens": _max_tokens(fields),
        "temperature": _number(fields, "temperature", 0.0, 0.0, 2.0),
        "top_p": _number(fields, "top_p", 1.0, 0.0, 1.0),
        "seed": _seed(fields.get("seed")),
        "stop": _stop(fields.get("stop")),
        "schema": _schema(fields.get("response_format")),
        "stream": fields.get("stream") is True,
        "usage_chunk": isinstance(options, dict) and options.get("include_usage") is True,
    }
    messages, urls = _conversation(fields.get("messages"), limits)
    return ChatRequest(messages, _images(urls, limits), **settings)


def _check_model(model: Any, names: Sequence[str]) -> None:
    if model is None:
        return
    if not isinstance(model, str):
        raise RequestError("model: expected a string", param="model")
    if model not in names:
        raise RequestError(
            f"model {_short(model)!r} is not served here. Expected {names[0]!r}",
            status=404,
            code="model_not_found",
            param="model",
        )


def _conversation(messages: Any, limits: Limits) -> tuple[list[dict[str, Any]], list[str]]:
    """Messages whose contents are lists of {type, text}, and the URLs of their images in order."""
    if not isinstance(messages, list) or not messages:
        raise RequestError("messages: expected a list of at least one message", param="messages")
    urls: list[str] = []
    parsed: list[dict[str, Any]] = []
    for at, message in enumerate(messages):
        where = f"messages[{at}]"
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            # The role stands unprotected in the chat text, so no other string may get there.
            raise RequestError(f"{where}: expected an object with a role of {', '.join(ROLES)}", param=where)
        parts = _parts(message.get("content"), where)
        content: list[dict[str, Any]] = []
        for number, part in enumerate(parts):
            spot = f"{where}.content[{number}]"
            if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
                content.append({"type": "text", "text": part["text"]})
            elif isinstance(part, dict) and part.get("type") == "image_url" and message["role"] == "user":
                urls.append(_url(part.get("image_url"), spot))
                content.append({"type": "image"})
            else:
                raise RequestError(
                    f"{spot}: expected {{type: text, text}} or, from the user, {{type: image_url, image_url: {{url}}}}",
                    param=spot,
                )
        parsed.append({"role": message["role"], "content": content})
    if parsed[-1]["role"] != "user" or not parsed[-1]["content"]:
        raise RequestError("messages: the last one must be the user's and not empty", param="messages")
    if len(urls) > limits.images:
        raise RequestError(f"{len(urls)} images. Expected at most {limits.images} in a request", code="too_many_images")
    chars = sum(len(part.get("text", "")) for message in parsed for part in message["content"])
    if chars > limits.text_chars:
        raise RequestError(
            f"{chars} characters of text. Expected at most {limits.text_chars}", code="string_above_max_length"
        )
    try:
        "".join(part.get("text", "") for message in parsed for part in message["content"]).encode()
    except UnicodeEncodeError:
        raise RequestError("messages: the text has half a surrogate pair. Expected Unicode", param="messages") from None
    return parsed, urls


def _parts(content: Any, where: str) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    if isinstance(content, list):
        return content
    raise RequestError(f"{where}.content: expected a string or a list of parts", param=f"{where}.content")


def _url(value: Any, spot: str) -> str:
    url = value.get("url") if isinstance(value, dict) else value
    if not isinstance(url, str) or not _DATA_URL.match(url):
        raise RequestError(
            f"{spot}: the image is not a data URL. Expected data:image/png;base64,... (addresses and files are never "
            "fetched). Remedy: send the image itself",
            code="invalid_image_url",
            param=spot,
        )
    return url


def _images(urls: Sequence[str], limits: Limits) -> list[Image.Image]:
    images: list[Image.Image] = []
    pixels = 0
    for number, url in enumerate(urls, start=1):
        try:
            data = base64.b64decode(url.partition(",")[2], validate=True)
        except (binascii.Error, ValueError):
            raise RequestError(f"image {number}: its base64 text cannot be decoded", code="invalid_base64") from None
        try:
            images.append(load_figure(data))
        except FigureError as exc:
            raise RequestError(f"image {number}: {exc}", code="invalid_image") from None
        pixels += images[-1].width * images[-1].height
        if pixels > limits.total_pixels:
            raise RequestError(
                f"the images have more than {limits.total_pixels} pixels together. Remedy: send smaller images",
                code="too_many_pixels",
            )
    return images


def _max_tokens(fields: dict[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        value = fields.get(name)
        if value is None:
            continue
        whole = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not whole or value != int(value) or value < 1:
            raise RequestError(f"{name}: expected a whole number of at least 1", param=name)
        return int(value)
    return None


def _number(fields: dict[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = fields.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise RequestError(f"{name}: expected a number from {low:g} to {high:g}", param=name)
    return float(value)


def _seed(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise RequestError("seed: expected a whole number", param="seed")
    return value % 2**63


def _stop(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(stops, list) or len(stops) > MAX_STOPS or not all(isinstance(s, str) and s for s in stops):
        raise RequestError(
            f"stop: expected a string or a list of at most {MAX_STOPS} strings, none empty", param="stop"
        )
    return tuple(stops)


def _schema(value: Any) -> dict[str, Any] | None:
    """The JSON Schema that the answer must follow; None when it is free."""
    kind = value.get("type") if isinstance(value, dict) else None
    if value is None or kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    inner = value.get("json_schema") if kind == "json_schema" else None
    schema = inner.get("schema") if isinstance(inner, dict) else None
    if not isinstance(schema, dict):
        raise RequestError(
            "response_format: expected {type: text}, {type: json_object} or {type: json_schema, json_schema: {schema}}",
            param="response_format",
        )
    if len(json.dumps(schema)) > MAX_SCHEMA:
        raise RequestError(
            f"response_format: expected a schema of at most {MAX_SCHEMA} characters", param="response_format"
        )
    return schema


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
