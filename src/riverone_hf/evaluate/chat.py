"""How is an OpenAI-compatible endpoint spoken to? Requests, retries and waits as in the official QCalEval scripts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import EvaluationError

PATH = "/chat/completions"


class ChatClient:
    """One endpoint, safe to use from many threads.

    Args:
        url: the endpoint, with or without `/chat/completions`.
        model_id: the `model` of every request; None asks the endpoint's `/models` for its first one.
        key: sent as `Authorization: Bearer`.
        attempts: tries of a request; after a 429 it waits 5 * 2^n s, after another failure 2^n s.
        wait: how to wait (seconds); tests pass their own.
    """

    def __init__(
        self,
        url: str,
        model_id: str | None = None,
        key: str = "EMPTY",
        timeout: float = 300.0,
        attempts: int = 3,
        wait: Callable[[float], None] = time.sleep,
    ):
        import httpx

        self.url = url.rstrip("/")
        if not self.url.endswith(PATH):
            self.url += PATH
        self.base = self.url.removesuffix(PATH)
        self._http = httpx.Client(timeout=timeout, headers={"Authorization": f"Bearer {key}"})
        self._attempts, self._wait = attempts, wait
        self.model_id = model_id or self._first_model()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ask(self, content: str | Sequence[dict[str, Any]], max_tokens: int, **extra: Any) -> str:
        """The reply to one user turn; an empty string when the endpoint says nothing.

        Raises:
            EvaluationError: no attempt was answered with a reply that can be read.
        """
        body = {
            "model": self.model_id,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": max_tokens,
            "temperature": 0.0,
            **extra,
        }
        why = ""
        for attempt in range(self._attempts):
            if attempt:
                self._wait((5 if why.startswith("429") else 1) * 2.0 ** (attempt - 1))
            try:
                return self._once(body)
            except EvaluationError as exc:
                why = str(exc)
        raise EvaluationError(f"{self.url}: no answer in {self._attempts} attempts ({why})")

    def _once(self, body: dict[str, Any]) -> str:
        import httpx

        try:
            reply = self._http.post(self.url, json=body)
        except httpx.HTTPError as exc:
            raise EvaluationError(f"{type(exc).__name__}: {exc}") from None
        if reply.status_code != 200:
            raise EvaluationError(f"{reply.status_code} {' '.join(reply.text.split())[:200]}")
        try:
            message = reply.json()["choices"][0]["message"]
            return message_text(message)
        except (ValueError, LookupError, TypeError, AttributeError) as exc:
            raise EvaluationError(f"the reply has no message ({type(exc).__name__}: {exc})") from None

    def _first_model(self) -> str:
        import httpx

        try:
            reply = self._http.get(f"{self.base}/models")
            reply.raise_for_status()
            return str(reply.json()["data"][0]["id"])
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as exc:
            raise EvaluationError(
                f"{self.base}/models does not say which model is served ({' '.join(str(exc).split())[:120]}). "
                "Remedy: check that the server runs, or name the model with --model-id"
            ) from None


def message_text(message: dict[str, Any]) -> str:
    """The text of a reply: its content (a string, or parts of which the text ones count), or else its reasoning.

    Raises TypeError or AttributeError when it is neither.
    """
    content = message.get("content")
    if content is None:
        content = message.get("reasoning") or ""
    if isinstance(content, list):
        content = "".join(part.get("text") or "" for part in content if part.get("type") == "text")
    if not isinstance(content, str):
        raise TypeError(f"its content is of type {type(content).__name__}")
    return content
