"""When may a part of an answer be shown? When its bytes make whole characters and it cannot begin a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

BROKEN = "\ufffd"


class TextOut:
    """Turns tokens into text one by one; the sum of all parts is the decoded answer, cut before a stop string."""

    def __init__(self, tokenizer: Any, stops: Sequence[str] = ()):
        self._tokenizer, self._stops = tokenizer, tuple(stops)
        self._hold = max(map(len, self._stops), default=1) - 1
        self._pending: list[int] = []
        self._shown = 0
        self.text = ""
        """All text so far, that which is held back included."""

    def push(self, token: int) -> tuple[str, bool]:
        """(text that may be shown now, whether a stop string has come)."""
        self._pending.append(token)
        piece = self._tokenizer.decode(self._pending, skip_special_tokens=True)
        # A character of several bytes may be spread over tokens; at a whole one decoding can be cut.
        if not piece.endswith(BROKEN):
            self._add(piece)
        stopped = self._cut()
        return self._show(len(self.text) if stopped else len(self.text) - self._hold), stopped

    def rest(self) -> str:
        """What was held back, at the end of the answer."""
        if self._pending:
            self._add(self._tokenizer.decode(self._pending, skip_special_tokens=True))
            self._cut()
        return self._show(len(self.text))

    def _add(self, piece: str) -> None:
        self.text += piece
        self._pending = []

    def _cut(self) -> bool:
        found = [at for at in (self.text.find(stop, self._shown) for stop in self._stops) if at >= 0]
        if found:
            self.text, self._pending = self.text[: min(found)], []
        return bool(found)

    def _show(self, end: int) -> str:
        part = self.text[self._shown : max(end, self._shown)]
        self._shown += len(part)
        return part
