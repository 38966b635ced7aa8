"""What does the server say? OpenAI's chat completions over HTTP, whole or as server-sent events, errors included."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from riverone_hf.errors import MissingExtraError, RequestError
from riverone_hf.reader.serve_engine import Engine, Job, Piece
from riverone_hf.reader.serve_request import Limits, parse_chat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

DECODERS = 2
"""Requests whose images are decoded at a time, which bounds the memory they take."""
LOOK_AGAIN = 1.0
"""Seconds between two looks whether the client of a whole answer is still there."""


def build_app(
    model: Any,
    processor: Any,
    names: Sequence[str],
    limits: Limits | None = None,
    batch_size: int = 8,
    key: str | None = None,
) -> Starlette:
    """The ASGI application; its engine starts at once and ends with the application's lifespan.

    Args:
        model, processor: as from `load_model`.
        names: what requests may call the model; the first one is told.
        key: if given, requests must carry it as `Authorization: Bearer`.

    Raises:
        MissingExtraError: starlette is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.exceptions import HTTPException
        from starlette.routing import Route
    except ImportError:
        raise MissingExtraError("starlette", "serve") from None

    service = _Service(Engine(model, processor, limits or Limits(), batch_size), names, limits or Limits(), key)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        service.engine.close()

    async def refused(_request: Request, exc: Exception) -> Response:
        assert isinstance(exc, RequestError)
        return _error(exc)

    async def not_found(_request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)
        return _error(RequestError(f"{exc.detail}. Expected POST /v1/chat/completions", exc.status_code))

    async def broken(_request: Request, exc: Exception) -> Response:
        return _error(RequestError(f"the server failed ({type(exc).__name__})", 500))

    return Starlette(
        routes=[
            Route("/v1/chat/completions", service.chat, methods=["POST"]),
            Route("/v1/models", service.models, methods=["GET"]),
            Route("/health", service.health, methods=["GET"]),
        ],
        exception_handlers={RequestError: refused, HTTPException: not_found, Exception: broken},
        lifespan=lifespan,
    )


class _Service:
    def __init__(self, engine: Engine, names: Sequence[str], limits: Limits, key: str | None):
        self.engine, self.names, self.limits, self.key = engine, tuple(names), limits, key
        self._since = int(time.time())
        self._decoders = asyncio.Semaphore(DECODERS)

    async def health(self, _request: Request) -> Response:
        from starlette.responses import JSONResponse

        alive = self.engine.alive
        return JSONResponse({"status": "ok" if alive else "stopped"}, 200 if alive else 503)

    async def models(self, request: Request) -> Response:
        from starlette.responses import JSONResponse

        self._authorize(request)
        model = {"id": self.names[0], "object": "model", "created": self._since, "owned_by": "riverone"}
        return JSONResponse({"object": "list", "data": [model]})

    async def chat(self, request: Request) -> Response:
        from starlette.responses import StreamingResponse

        self._authorize(request)
        pieces: asyncio.Queue[Piece] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def notify(piece: Piece) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        body = await self._body(request)
        async with self._decoders:
            job = await asyncio.to_thread(self._prepare, body, notify)
        del body
        self.engine.submit(job)
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": self.names[0]}
        if job.request.stream:
            return StreamingResponse(self._events(job, pieces, head), media_type="text/event-stream")
        return await self._whole(request, job, pieces, head)

    def _authorize(self, request: Request) -> None:
        if self.key is None:
            return
        said = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not hmac.compare_digest(said.encode(), self.key.encode()):
            raise RequestError("wrong or missing key. Expected Authorization: Bearer <key>", 401, "invalid_api_key")

    async def _body(self, request: Request) -> bytes:
        """The body; one that is too long is read to its end but not kept, so that the client hears why."""
        limit, size = self.limits.body_bytes, 0
        chunks: list[bytes] = []
        async for chunk in request.stream():
            size += len(chunk)
            if size <= limit:
                chunks.append(chunk)
            else:
                chunks = []
            if size > 4 * limit:
                break
        if size > limit:
            raise RequestError(
                f"the body has more than {limit // 1024**2} MB. Remedy: send fewer or smaller images",
                413,
                "body_too_large",
            )
        return b"".join(chunks)

    def _prepare(self, body: bytes, notify: Any) -> Job:
        return self.engine.prepare(parse_chat(body, self.names, self.limits), notify)

    async def _whole(self, request: Request, job: Job, pieces: asyncio.Queue[Piece], head: dict[str, Any]) -> Response:
        from starlette.responses import JSONResponse, Response

        while True:
            try:
                piece = await asyncio.wait_for(pieces.get(), LOOK_AGAIN)
                break
            except TimeoutError:
                if await request.is_disconnected():
                    job.cancel()
                    return Response(status_code=499)
        if piece.finish == "error":
            raise RequestError(piece.text, 503 if self.engine.closing else 500, "generation_failed")
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": piece.text},
            "logprobs": None,
            "finish_reason": piece.finish,
        }
        return JSONResponse(
            head | {"object": "chat.completion", "choices": [choice], "usage": _usage(job, piece.tokens)}
        )

    async def _events(self, job: Job, pieces: asyncio.Queue[Piece], head: dict[str, Any]) -> AsyncIterator[str]:
        head = head | {"object": "chat.completion.chunk"}

        def event(delta: dict[str, Any], finish: str | None = None) -> str:
            return _event(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

        try:
            yield event({"role": "assistant", "content": ""})
            while True:
                piece = await pieces.get()
                if piece.finish == "error":
                    yield _event(_error_body(RequestError(piece.text, 500, "generation_failed")))
                    return
                if piece.text:
                    yield event({"content": piece.text})
                if piece.finish:
                    break
            yield event({}, piece.finish)
            if job.request.usage_chunk:
                yield _event(head | {"choices": [], "usage": _usage(job, piece.tokens)})
            yield "data: [DONE]\n\n"
        finally:  # also when the client goes away
            job.cancel()


def _usage(job: Job, written: int) -> dict[str, int]:
    return {"prompt_tokens": len(job.ids), "completion_tokens": written, "total_tokens": len(job.ids) + written}


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def _error_body(exc: RequestError) -> dict[str, Any]:
    kind = "server_error" if exc.status >= 500 else "invalid_request_error"
    return {"error": {"message": str(exc), "type": kind, "param": exc.param, "code": exc.code}}


def _error(exc: RequestError) -> Response:
    from starlette.responses import JSONResponse

    headers = {"Retry-After": "5"} if exc.status == 429 else None
    return JSONResponse(_error_body(exc), exc.status, headers)
