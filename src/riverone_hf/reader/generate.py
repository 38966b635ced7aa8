"""How are many questions asked about one figure at the price of one image?

A prompt is cut after its last image. Rows whose figure and whose text up to the cut agree share one prefill of the KV
cache; the cache is then expanded over the questions, and again over the allowed labels of each question. Padding may
lie anywhere in the cache: it is masked, and positions count only real tokens.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import DynamicCache

from .numbers import NumberGuard
from .structured import Follower, Structure

IMAGE_END = "</img>"
COMPACT = 0.8
"""Finished rows leave a batch when no more than this share goes on."""


@dataclass(frozen=True)
class Ask:
    """One row to answer.

    `figure` indexes the batch's figures; `prompt` is the rendered chat text up to the assistant's turn; the answer
    starts with one of `starts` (chosen by likelihood), after which at most `budget` tokens are generated (0: none).
    `schema` is the JSON Schema that what is generated follows; None leaves it free.
    """

    figure: int
    prompt: str
    starts: tuple[str, ...] = ("",)
    budget: int = 0
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Answered:
    """The answer to one `Ask`: `choice` indexes `starts`, `weights` is their softmax; `text` includes the start.

    `spans` holds, per generated token, (first character, last character + 1, probability) in `text`.
    """

    choice: int
    weights: tuple[float, ...]
    text: str
    spans: tuple[tuple[int, int, float], ...] = ()


@dataclass
class _State:
    """Rows of a partly read conversation: the cache and the mask (rows, length), 1 = a real token, 0 = padding."""

    cache: DynamicCache
    mask: Tensor

    def select(self, rows: Sequence[int]) -> _State:
        """A new state holding `rows` of this one (repeats allowed); this one stays as it is."""
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        index = torch.tensor(list(rows), dtype=torch.long, device=self.mask.device)
        cache.batch_select_indices(index)
        return _State(cache, self.mask[index])


def render(processor: Any, parts: Sequence[dict[str, Any]]) -> str:
    """The chat text of one user turn with the given content parts, up to where the assistant answers."""
    messages = [{"role": "user", "content": list(parts)}]
    return processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)


class Answerer:
    """Answers rows of questions with a RiverONE model and its processor (greedy; nothing is sampled).

    Numbers end where `NumberGuard` says, and answers with a schema follow it, unless their budget ends first. The
    probability of a token chosen for one of these reasons stays its own, small one.
    """

    def __init__(self, model: Any, processor: Any):
        self.model, self.processor, self.tokenizer = model, processor, processor.tokenizer
        eos = getattr(model.generation_config, "eos_token_id", None)
        self.stops = set(eos if isinstance(eos, list | tuple) else [eos]) | {self.tokenizer.eos_token_id}
        self.stops.discard(None)
        # An image token in generated text would ask the model for an image that is not there.
        self.banned = sorted(set(self.tokenizer.all_special_ids) - self.stops)
        self.pad = self.tokenizer.pad_token_id or 0
        self.guard = NumberGuard(self.tokenizer)
        self.structure = Structure(self.tokenizer, self.stops)

    @torch.inference_mode()
    def answer(self, figures: Sequence[Sequence[Image.Image]], asks: Sequence[Ask]) -> list[Answered]:
        """Answer every row; `figures` holds the RGB images of each figure in order."""
        if not asks:
            return []
        cuts = [ask.prompt.rfind(IMAGE_END) + len(IMAGE_END) for ask in asks]
        keys = [(ask.figure, ask.prompt[:cut]) for ask, cut in zip(asks, cuts, strict=True)]
        unique = list(dict.fromkeys(keys))
        state = self._prefill([text for _, text in unique], [figures[figure] for figure, _ in unique])
        state = state.select([unique.index(key) for key in keys])

        # Tokenised as a whole, so that the pieces are those of training whatever the tokenizer merges.
        candidates = [
            [self._ids(ask.prompt[cut:] + start) for start in ask.starts] for ask, cut in zip(asks, cuts, strict=True)
        ]
        shared = [min(_common(row), min(map(len, row)) - 1) for row in candidates]
        heads = [row[0][:n] for row, n in zip(candidates, shared, strict=True)]
        head_logits = self._extend(state, heads, keep=1)[:, -1]

        owner = [i for i, row in enumerate(candidates) for _ in row]
        tails = [ids[n:] for row, n in zip(candidates, shared, strict=True) for ids in row]
        fork = state.select(owner)
        logits = self._extend(fork, tails)
        scores = self._scores(head_logits[owner], logits, tails).split([len(row) for row in candidates])
        weights = [score.softmax(0).tolist() for score in scores]
        choice = [max(range(len(w)), key=w.__getitem__) for w in weights]
        first = [owner.index(i) for i in range(len(asks))]
        chosen = [f + c for f, c in zip(first, choice, strict=True)]
        followers = [None if ask.schema is None else self.structure.follower(ask.schema) for ask in asks]
        budgets = [ask.budget for ask in asks]
        tokens, probs = self._greedy(fork.select(chosen), logits[chosen, -1], budgets, followers)
        rows = zip(asks, choice, weights, tokens, probs, strict=True)
        return [self._answered(ask.starts[c], c, w, t, p) for ask, c, w, t, p in rows]

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _prefill(self, texts: list[str], images: list[Sequence[Image.Image]]) -> _State:
        inputs = self.processor(
            text=texts,
            images=[list(row) for row in images],
            padding=True,
            padding_side="left",
            add_special_tokens=False,
            return_tensors="pt",
        ).to(self.model.device)
        for name, value in inputs.items():
            if torch.is_tensor(value) and value.is_floating_point():
                inputs[name] = value.to(self.model.dtype)
        cache = DynamicCache(config=self.model.config.get_text_config())
        mask = inputs["attention_mask"]
        inputs["position_ids"] = _positions(mask)
        self.model(**inputs, cache=cache, use_cache=True, logits_to_keep=1)
        return _State(cache, mask)

    def _extend(self, state: _State, rows: list[list[int]], keep: int = 0) -> Tensor:
        """Append `rows` of token ids (padded on the left) to `state` in place; logits (rows, T or keep, vocabulary)."""
        width = max(1, *map(len, rows))
        device = self.model.device
        ids = torch.tensor([[self.pad] * (width - len(row)) + row for row in rows], device=device)
        new = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
        state.mask = torch.cat([state.mask, new.to(state.mask)], dim=1)
        out = self.model(
            input_ids=ids,
            attention_mask=state.mask,
            position_ids=_positions(state.mask)[:, -width:],
            cache=state.cache,
            use_cache=True,
            logits_to_keep=keep,
        )
        return out.logits

    @staticmethod
    def _scores(before: Tensor, logits: Tensor, tails: list[list[int]]) -> Tensor:
        """Summed log-probability of each tail, shape (rows,).

        `before` (rows, V) predicts a tail's first token, `logits` (rows, T, V) the tokens after each (left padded).
        """
        totals = []
        for row, tail in enumerate(tails):
            steps = torch.cat([before[row][None], logits[row, logits.shape[1] - len(tail) : -1]]).float()
            ids = torch.tensor(tail, device=steps.device)[:, None]
            totals.append(steps.log_softmax(-1).gather(1, ids).sum())
        # A model with broken weights gives NaN; equal scores then read as "does not know".
        return torch.nan_to_num(torch.stack(totals).double(), nan=0.0, neginf=-1e9)

    def _greedy(
        self, state: _State, logits: Tensor, budgets: list[int], followers: list[Follower | None]
    ) -> tuple[list[list[int]], list[list[float]]]:
        """Most likely next tokens of every row until a stop token or its budget; (token ids, their probabilities)."""
        tokens: list[list[int]] = [[] for _ in budgets]
        probs: list[list[float]] = [[] for _ in budgets]
        numbers, done = [""] * len(budgets), [False] * len(budgets)
        alive = list(range(len(budgets)))
        while True:
            # A row that is done but still in the batch has nothing to follow any more.
            now = [None if done[row] else followers[row] for row in alive]
            best_p, best = self._next(logits, [numbers[row] for row in alive], now)
            for at, row in enumerate(alive):
                done[row] = done[row] or best[at] in self.stops or len(tokens[row]) >= budgets[row]
                if not done[row]:
                    tokens[row].append(best[at])
                    probs[row].append(best_p[at])
                    numbers[row] = self.guard.follow(numbers[row], best[at])
                    done[row] = len(tokens[row]) >= budgets[row]
            going = [at for at, row in enumerate(alive) if not done[row]]
            if not going:
                return tokens, probs
            # Leaving rows out copies the whole cache, so a few finished ones go on beside the others.
            if len(going) <= COMPACT * len(alive):
                state, alive, best = state.select(going), [alive[at] for at in going], [best[at] for at in going]
            logits = self._extend(state, [[token] for token in best], keep=1)[:, -1]

    def _next(
        self, logits: Tensor, numbers: list[str], followers: list[Follower | None]
    ) -> tuple[list[float], list[int]]:
        logits = torch.nan_to_num(logits.float(), nan=0.0)
        logits[:, self.banned] = float("-inf")
        probabilities = logits.softmax(-1)
        for row, number in enumerate(numbers):
            if banned := self.guard.banned(number):
                probabilities[row, banned] = -1.0
        prob, token = (found.tolist() for found in probabilities.max(-1))
        for row, follower in enumerate(followers):
            if follower is not None:
                token[row] = follower.choose(probabilities[row])
                prob[row] = max(0.0, float(probabilities[row, token[row]]))
        return prob, token

    def _answered(self, start: str, choice: int, weights: list[float], ids: list[int], probs: list[float]) -> Answered:
        told = self.tokenizer.decode(ids, skip_special_tokens=True)
        pieces = [self.guard.text(index) for index in ids]
        ends = list(accumulate(map(len, pieces)))
        if "".join(pieces) != told:
            # A character of several tokens, or spaces that depend on neighbours.
            ends = [len(self.tokenizer.decode(ids[: n + 1], skip_special_tokens=True)) for n in range(len(ids))]
        at = len(start)
        begins = [0, *ends][: len(ends)]
        spans = tuple((at + b, at + max(b, e), p) for b, e, p in zip(begins, ends, probs, strict=True))
        return Answered(choice, tuple(weights), start + told, spans)


def _positions(mask: Tensor) -> Tensor:
    """Position of each real token (rows, length), counted without padding; padding gets 0."""
    return (mask.long().cumsum(-1) - 1).clamp(min=0)


def _common(rows: Sequence[list[int]]) -> int:
    """How many first tokens all `rows` share."""
    return next((n for n, tokens in enumerate(zip(*rows, strict=False)) if len(set(tokens)) > 1), min(map(len, rows)))
