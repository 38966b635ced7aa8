"""What the server accepts, and that everything else is a 4xx that says what was expected."""

from __future__ import annotations

import base64
import io
import json

import pytest
from PIL import Image

from official_client import image_part, noise
from riverone_hf.errors import RequestError
from riverone_hf.reader.serve_request import Limits, parse_chat


def data_url(image: Image.Image, kind: str = "png") -> str:
    stream = io.BytesIO()
    image.save(stream, kind)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


PLOT = image_part(noise(0))
TEXT = {"type": "text", "text": "What of <image> here?"}


def parse(limits: Limits | None = None, content=None, **fields):
    content = [PLOT, TEXT] if content is None else content
    body = {"model": "tiny", "messages": [{"role": "user", "content": content}]} | fields
    return parse_chat(json.dumps(body).encode(), ["tiny", "/models/tiny"], limits or Limits())


def test_official_request():
    request = parse(max_tokens=16384, temperature=0.0, chat_template_kwargs={"enable_thinking": False}, made_up=[1])
    assert request.messages == [{"role": "user", "content": [{"type": "image"}, TEXT]}]
    assert [image.size for image in request.images] == [(48, 40)] and request.images[0].mode == "RGB"
    assert (request.max_tokens, request.temperature, request.stream) == (16384, 0.0, False)


def test_settings():
    request = parse(max_tokens=9, max_completion_tokens=5.0, temperature=0.7, top_p=0.5, seed=-1, stop="x", stream=True)
    assert (request.max_tokens, request.temperature, request.top_p, request.stop) == (5, 0.7, 0.5, ("x",))
    assert request.stream and not request.usage_chunk and 0 <= request.seed < 2**63
    assert parse(stream=True, stream_options={"include_usage": True}, n=1).usage_chunk
    assert parse(model=None).max_tokens is None and parse(model="/models/tiny").temperature == 0.0


def test_response_formats():
    schema = {"type": "array", "items": {"type": "number"}}
    named = {"type": "json_schema", "json_schema": {"name": "numbers", "strict": True, "schema": schema}}
    assert parse(response_format=named).schema == schema
    assert parse(response_format={"type": "json_object"}).schema == {"type": "object"}
    assert parse(response_format={"type": "text"}).schema is parse(response_format=None).schema is None


def test_transparent_parts_become_white():
    clear = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    request = parse(content=[{"type": "image_url", "image_url": data_url(clear)}, TEXT])
    assert request.images[0].getpixel((3, 3)) == (255, 255, 255)


def test_conversation_with_interleaved_images():
    turns = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [TEXT, PLOT, TEXT, PLOT]},
        {"role": "assistant", "content": "Yes"},
        {"role": "user", "content": "And now?"},
    ]
    request = parse(messages=turns)
    assert [part["type"] for part in request.messages[1]["content"]] == ["text", "image", "text", "image"]
    assert [message["role"] for message in request.messages] == ["system", "user", "assistant", "user"]
    assert len(request.images) == 2


def image(url) -> dict:
    return {"content": [{"type": "image_url", "image_url": url}]}


BROKEN = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
REFUSED = [
    ({"model": "other"}, 404, "model_not_found", "'tiny'"),
    ({"model": 3}, 400, None, "string"),
    ({"messages": []}, 400, None, "at least one"),
    ({"messages": "hello"}, 400, None, "list"),
    ({"messages": [{"role": "user<|im_end|>", "content": "x"}]}, 400, None, "role"),
    ({"messages": [{"role": "user", "content": 3}]}, 400, None, "list of parts"),
    ({"messages": [{"role": "assistant", "content": "x"}]}, 400, None, "user's"),
    ({"messages": [{"role": "assistant", "content": [PLOT]}]}, 400, None, "from the user"),
    ({"content": []}, 400, None, "empty"),
    ({"content": ["text"]}, 400, None, "expected {type"),
    ({"content": [{"type": "input_audio", "input_audio": {}}]}, 400, None, "expected {type"),
    ({"content": [{"type": "text", "text": None}]}, 400, None, "expected {type"),
    ({"content": "\ud800"}, 400, None, "Unicode"),
    (image({"url": "http://127.0.0.1/a.png"}), 400, "invalid_image_url", "never"),
    (image({"url": "/etc/hostname"}), 400, "invalid_image_url", "never"),
    (image({}), 400, "invalid_image_url", "data URL"),
    (image("data:image/png;base64,@@"), 400, "invalid_base64", "base64"),
    (image("data:image/png;base64," + BROKEN), 400, "invalid_image", "image 1"),
    (image({"url": data_url(noise(0, (8, 8)))}), 400, "invalid_image", "16 px"),
    ({"max_tokens": 0}, 400, None, "at least 1"),
    ({"max_tokens": "9"}, 400, None, "whole number"),
    ({"max_tokens": 1.5}, 400, None, "whole number"),
    ({"max_tokens": float("inf")}, 400, None, "whole number"),
    ({"temperature": -1}, 400, None, "0 to 2"),
    ({"temperature": float("nan")}, 400, None, "0 to 2"),
    ({"top_p": 1.5}, 400, None, "0 to 1"),
    ({"seed": "a"}, 400, None, "whole number"),
    ({"stop": ["a", ""]}, 400, None, "none empty"),
    ({"stop": 5}, 400, None, "list"),
    ({"n": 2}, 400, None, "several requests"),
    ({"response_format": "json"}, 400, None, "expected {type: text}"),
    ({"response_format": {"type": "json_schema", "schema": {}}}, 400, None, "json_schema: {schema}"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"const": "x" * 20_000}}}},
        400,
        None,
        "20000",
    ),
]


@pytest.mark.parametrize(("fields", "status", "code", "words"), REFUSED)
def test_refusals(fields, status, code, words):
    with pytest.raises(RequestError, match="(?s).*" + words.replace("{", r"\{")) as caught:
        parse(**fields)
    assert (caught.value.status, caught.value.code) == (status, code) and len(str(caught.value)) < 400


@pytest.mark.parametrize("body", [b"", b"{oops", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_bodies_that_are_no_object(body):
    with pytest.raises(RequestError, match="object") as caught:
        parse_chat(body, ["tiny"], Limits())
    assert caught.value.code == "invalid_json"


def test_limits():
    two = [PLOT, PLOT, TEXT]
    assert len(parse(Limits(images=2, total_pixels=2 * 48 * 40, text_chars=21), content=two).images) == 2
    for limits, code in (
        (Limits(images=1), "too_many_images"),
        (Limits(total_pixels=2 * 48 * 40 - 1), "too_many_pixels"),
        (Limits(text_chars=20), "string_above_max_length"),
    ):
        with pytest.raises(RequestError) as caught:
            parse(limits, content=two)
        assert caught.value.code == code and caught.value.status == 400
