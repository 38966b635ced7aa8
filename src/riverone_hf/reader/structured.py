"""How does an answer become JSON of a given schema? Tokens that cannot lead there are left out while it is written.

llguidance knows which tokens may follow; JSON is written on one line with the separators of `json.dumps`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from riverone_hf.errors import QuestionError

COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class Structure:
    """Makes followers of JSON schemas for one tokenizer.

    Args:
        tokenizer: a fast tokenizer of transformers. stops: ids of the tokens that end an answer.
    """

    def __init__(self, tokenizer: Any, stops: set[int]):
        self.tokenizer, self.stops = tokenizer, frozenset(stops)
        self._matcher = lru_cache(maxsize=256)(self._compiled)
        self._tokens: Any = None

    def follower(self, schema: Mapping[str, Any]) -> Follower:
        """The start of an answer. Raises QuestionError for a schema that cannot be followed."""
        # A copy, as compiling takes much longer.
        matcher = self._matcher(json.dumps({**schema, "x-guidance": COMPACT})).deep_copy()
        return Follower(matcher, self.stops, len(self.tokenizer))

    def _compiled(self, schema: str) -> Any:
        import llguidance
        from llguidance.hf import from_tokenizer

        if self._tokens is None:
            self._tokens = from_tokenizer(self.tokenizer, eos_token=sorted(self.stops))
        try:
            matcher = llguidance.LLMatcher(self._tokens, llguidance.LLMatcher.grammar_from_json_schema(schema))
            error = matcher.get_error()
        except ValueError as exc:
            error = str(exc)
        if error:
            raise QuestionError(f"answers cannot be held to this JSON schema: {error}. Got: {schema[:200]}")
        return matcher


class Follower:
    """Where one answer stands in its schema."""

    def __init__(self, matcher: Any, stops: frozenset[int], known: int):
        self._matcher, self._stops, self._known = matcher, stops, known

    def choose(self, scores: Tensor) -> int:
        """The token (scores (vocabulary,), larger is better) that may follow and scores best; the answer goes on so.

        A stop token may follow a complete answer only, and then nothing else may. Raises QuestionError when the answer
        cannot go on: the schema is too much for the library's bounds.
        """
        token = int(scores.argmax())
        # Nearly always so, and a fifth of the price of asking for all that may follow.
        if token not in self._stops and token < self._known and self._matcher.try_consume_tokens([token]) == 1:
            return token
        token = int(scores.masked_fill(~self.allowed(len(scores)).to(scores.device), float("-inf")).argmax())
        self.take(token)
        return token

    def take(self, token: int) -> None:
        """The answer goes on with this token, one of those that may follow, or stops with it.

        Raises QuestionError when it is none of them.
        """
        good = self._matcher.is_accepting() if token in self._stops else self._matcher.consume_token(token)
        if not good:
            why = str(self._matcher.get_error() or self._matcher.stop_reason()).splitlines()[0]
            raise QuestionError(f"an answer left its schema: {why}")

    def allowed(self, size: int) -> Tensor:
        """Which of `size` tokens may follow, bool (size,)."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        found = np.unpackbits(bits, bitorder="little")[:size].astype(bool)
        # A model's vocabulary may be padded beyond its tokenizer's.
        return torch.from_numpy(np.pad(found, (0, size - len(found))))
