"""The HTTP side: OpenAI's replies and events, keys, body sizes, and errors that a client can read."""

from __future__ import annotations

import json
import logging

import pytest
from starlette.testclient import TestClient

from official_client import image_part, noise
from riverone_hf.reader.serve_app import build_app
from riverone_hf.reader.serve_request import Limits

CHAT = "/v1/chat/completions"
PLOT, TEXT = image_part(noise(0)), {"type": "text", "text": "What of <image> here?"}


@pytest.fixture(scope="module")
def client(model, processor):
    limits = Limits(body_bytes=200_000, answer_tokens=10)
    with TestClient(build_app(model, processor, ["tiny"], limits), raise_server_exceptions=False) as client:
        yield client


def body(**fields):
    return {"model": "tiny", "messages": [{"role": "user", "content": [PLOT, TEXT]}], "max_tokens": 16384} | fields


def test_a_whole_answer(client):
    reply = client.post(CHAT, json=body())
    answer = reply.json()
    assert reply.status_code == 200 and answer["object"] == "chat.completion" and answer["model"] == "tiny"
    (choice,) = answer["choices"]
    assert set(choice["message"]) == {"role", "content"} and choice["message"]["content"]
    assert choice["finish_reason"] == "length" and answer["usage"]["completion_tokens"] == 10
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + 10


def test_a_streamed_answer_is_the_whole_one(client):
    whole = client.post(CHAT, json=body()).json()["choices"][0]["message"]["content"]
    reply = client.post(CHAT, json=body(stream=True, stream_options={"include_usage": True}))
    assert reply.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in reply.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    events = [json.loads(line) for line in lines[:-1]]
    assert len({event["id"] for event in events}) == 1
    deltas = [event["choices"][0]["delta"] for event in events if event["choices"]]
    assert deltas[0]["role"] == "assistant" and "".join(delta.get("content", "") for delta in deltas) == whole
    assert sum(bool(delta.get("content")) for delta in deltas) > 2
    assert events[-2]["choices"][0]["finish_reason"] == "length" and events[-1]["usage"]["completion_tokens"] == 10


def test_an_answer_in_json(client):
    """OpenAI's structured outputs; without them the same model says something else."""
    schema = {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 1}
    wanted = {"type": "json_schema", "json_schema": {"name": "letter", "schema": schema}}
    (choice,) = client.post(CHAT, json=body(response_format=wanted)).json()["choices"]
    assert json.loads(choice["message"]["content"]) in (["a"], ["b"]) and choice["finish_reason"] == "stop"
    (free,) = client.post(CHAT, json=body(response_format={"type": "text"})).json()["choices"]
    assert free["message"]["content"] != choice["message"]["content"]
    refused = client.post(CHAT, json=body(response_format={"type": "xml"}))
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "response_format"


def test_errors_are_in_openai_form(client):
    long, longer = ([{"role": "user", "content": "x" * n}] for n in (5_000, 250_000))
    for reply, status, code in (
        (client.post(CHAT, content=b"{oops"), 400, "invalid_json"),
        (client.post(CHAT, json=body(model="gpt")), 404, "model_not_found"),
        (
            client.post(CHAT, json=body(messages=long)),
            400,
            "context_length_exceeded",
        ),
        (client.post(CHAT, json=body(messages=longer)), 413, "body_too_large"),
        (client.get("/"), 404, None),
        (client.get(CHAT), 405, None),
    ):
        error = reply.json()["error"]
        assert reply.status_code == status and error["code"] == code and error["type"] == "invalid_request_error"
        assert error["message"]


def test_a_failing_model_is_a_500_without_details(client, monkeypatch, caplog):
    monkeypatch.setattr("riverone_hf.reader.serve_engine.Engine._read", lambda self, job: 1 / 0)
    reply = client.post(CHAT, json=body())
    assert reply.status_code == 500 and reply.json()["error"]["message"] == "the model failed (ZeroDivisionError)"
    stream = client.post(CHAT, json=body(stream=True)).text
    assert '"error"' in stream and "[DONE]" not in stream
    monkeypatch.setattr("riverone_hf.reader.serve_engine.Engine.prepare", lambda *_: 1 / 0)
    assert client.post(CHAT, json=body()).json()["error"]["type"] == "server_error"


def test_nothing_of_a_request_is_logged(client, caplog, capfd):
    with caplog.at_level(logging.DEBUG, logger="riverone_hf"), caplog.at_level(logging.DEBUG, logger="uvicorn"):
        client.post(CHAT, json=body(messages=[{"role": "user", "content": [PLOT, {"type": "text", "text": "S3CRET"}]}]))
        client.post(CHAT, json=body(model="S3CRET"))
        client.post(CHAT, content=b"S3CRET")
    printed = caplog.text + "".join(capfd.readouterr())
    assert "S3CRET" not in printed and "base64" not in printed


def test_a_key_is_asked_for(model, processor):
    with TestClient(build_app(model, processor, ["tiny"], Limits(answer_tokens=2), key="k3y")) as client:
        assert client.post(CHAT, json=body()).json()["error"]["code"] == "invalid_api_key"
        assert client.get("/v1/models", headers={"Authorization": "Bearer k4y"}).status_code == 401
        assert client.post(CHAT, json=body(), headers={"Authorization": "Bearer k3y"}).status_code == 200
        assert client.get("/health").status_code == 200
