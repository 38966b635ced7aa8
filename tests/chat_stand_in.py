"""An OpenAI-compatible server on loopback that is as strict about requests as the official scripts are."""

from __future__ import annotations

import base64
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from PIL import Image

Content = list[dict[str, Any]] | str


class ChatStandIn:
    """Answers with `reply(content)`: a text, a message (dict), or an int as HTTP status. Keeps every request body."""

    def __init__(self, reply: Callable[[Content], Any], slow: float = 0.0):
        self.reply, self.slow = reply, slow
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.most_at_once = 0
        self._now, self._lock = 0, threading.Lock()
        self.app = FastAPI()
        self.app.get("/v1/models")(lambda: {"object": "list", "data": [{"id": "stand-in", "object": "model"}]})
        self.app.post("/v1/chat/completions")(self._chat)
        self.url = ""

    def _chat(self, body: dict[str, Any], request: Request) -> Any:
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            self.bodies.append(body)
            self.keys.add(request.headers.get("authorization", ""))
        try:
            time.sleep(self.slow)
            (message,) = body["messages"]
            assert message["role"] == "user" and body["temperature"] == 0.0
            told = self.reply(message["content"])
            if isinstance(told, int):
                return JSONResponse({"error": {"message": "no"}}, status_code=told)
            return {"choices": [{"message": told if isinstance(told, dict) else {"content": told}}]}
        finally:
            with self._lock:
                self._now -= 1

    @contextmanager
    def serve(self) -> Iterator[ChatStandIn]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(self.app, host="127.0.0.1", port=port, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{port}/v1"
        try:
            yield self
        finally:
            server.should_exit = True
            thread.join()


def sent_image(part: dict[str, Any]) -> Image.Image:
    """The image of an `image_url` part."""
    assert set(part) == {"type", "image_url"} and part["type"] == "image_url"
    head, _, data = part["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    image.load()
    return image
