"""What does an endpoint answer? Queries as the official QCalEval scripts send them, eight at a time."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

from PIL import Image

from ..errors import EvaluationError, FigureError
from .backends import Reply
from .benchmark import Picture
from .chat import ChatClient
from .queries import Query

MAX_TOKENS = 16384
CONCURRENCY = 8


class EndpointBackend:
    """A served model: images as base64 RGBA PNG, texts as they are, one user turn per query, temperature 0."""

    batched = False

    def __init__(self, client: ChatClient, concurrency: int = CONCURRENCY, no_think: bool = False):
        self.client = client
        self.model = self.model_id = client.model_id
        self.api_base = client.base
        self._extra: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": False}} if no_think else {}
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="ask")

    def fingerprint(self) -> dict[str, Any]:
        return {"model": self.model_id, "endpoint": self.api_base, **self._extra}

    def warm_up(self, queries: Sequence[Query]) -> None:
        """Send queries whose answers are thrown away: the first requests of a server take longest."""
        self.answer(queries)

    def answer(self, queries: Sequence[Query]) -> list[Reply]:
        tasks = [self._pool.submit(self._one, query) for query in queries]
        try:
            return [task.result() for task in tasks]
        except BaseException:  # Ctrl-C must not wait for everything that is queued
            for task in tasks:
                task.cancel()
            raise

    def _one(self, query: Query) -> Reply:
        try:
            content = [_part(part) for part in query.parts]
            return Reply(self.client.ask(content, MAX_TOKENS, **self._extra))
        except (EvaluationError, FigureError) as exc:
            return Reply(None, str(exc))


def _part(part: str | Picture) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image_url", "image_url": {"url": _data_url(part.id, part.data)}}


@lru_cache(maxsize=64)
def _data_url(name: str, data: bytes) -> str:
    """The picture as the official scripts send it: PNG in RGBA mode."""
    from ..reader.figures import DAMAGE

    try:
        image = Image.open(io.BytesIO(data)).convert("RGBA")
    except DAMAGE as exc:
        raise FigureError(f"{name}: not an image that can be read ({type(exc).__name__})") from None
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
