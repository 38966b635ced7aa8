"""How are several requests answered at once? Rows join and leave one decoding batch while it runs.

Every request is read alone, which makes its first token independent of its neighbours; what stands up to its last
image is kept for the next request (QCalEval asks six questions about one figure, one request each).
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import queue
import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache

from riverone_hf.errors import QuestionError, RequestError
from riverone_hf.reader.generate import Answerer, _State
from riverone_hf.reader.numbers import NumberGuard
from riverone_hf.reader.serve_request import ChatRequest, Limits
from riverone_hf.reader.serve_text import TextOut
from riverone_hf.reader.structured import Follower

KEPT_TOKENS = 8192
"""Image prefixes of so many tokens in all are kept; about 1 GB for a 4B model, a few MB for a nano."""


@dataclass(frozen=True)
class Piece:
    """A part of an answer. The last one has `finish` (stop, length, error); `tokens` counts those written so far."""

    text: str
    tokens: int = 0
    finish: str | None = None


@dataclass(eq=False)
class Job:
    """One request on its way: `ids` up to `cut` belong to the image prefix; `budget` tokens may be written.

    `number` is the one that the answer ends in so far, `follower` its place in the schema that it must follow.
    """

    ids: list[int]
    cut: int
    pixel_values: Tensor | None
    budget: int
    request: ChatRequest
    notify: Callable[[Piece], None]
    out: TextOut
    generator: torch.Generator
    follower: Follower | None = None
    number: str = ""
    tokens: list[int] = field(default_factory=list)
    cancelled: bool = False

    def cancel(self) -> None:
        """Nobody waits for the answer any more; the row leaves the batch at its next token."""
        self.cancelled = True


class Engine:
    """Answers jobs in a thread of its own.

    Args:
        model, processor: as from `load_model`.
        batch_size: most rows that are decoded together.
        waiting: most requests that wait for a place; one more is refused with status 429.
    """

    def __init__(self, model: Any, processor: Any, limits: Limits, batch_size: int = 8, waiting: int = 256):
        self.model, self.processor, self.limits = model.eval(), processor, limits
        self.batch_size = batch_size
        self.context = int(model.config.get_text_config().max_position_embeddings)
        # The engine's thread decodes while others encode: each side has a tokenizer of its own.
        self._tokenizer = copy.deepcopy(processor.tokenizer)
        self._answerer = Answerer(model, processor)
        self._guard = NumberGuard(self._tokenizer)
        self._encode = threading.Lock()
        self._inbox: queue.Queue[Job | None] = queue.Queue(waiting)
        self._jobs: list[Job] = []
        self._state: _State | None = None
        self._kept: OrderedDict[str, _State] = OrderedDict()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="riverone-engine", daemon=True)
        self._thread.start()

    def prepare(self, request: ChatRequest, notify: Callable[[Piece], None]) -> Job:
        """The job of a request; its wish for tokens is clamped to what the context leaves.

        Raises:
            RequestError: the prompt fills the context, or the answer's schema cannot be followed.
        """
        with self._encode:
            text = self.processor.apply_chat_template(request.messages, add_generation_prompt=True, tokenize=False)
            inputs = self.processor(
                text=[text], images=request.images or None, add_special_tokens=False, return_tensors="pt"
            )
        ids = inputs["input_ids"][0].tolist()
        room = self.context - len(ids)
        if room < 1:
            raise RequestError(
                f"the prompt has {len(ids)} tokens, images included. Expected at most {self.context - 1} "
                f"(the context is {self.context}). Remedy: fewer or smaller images, or less text",
                code="context_length_exceeded",
                param="messages",
            )
        wishes = [wish for wish in (request.max_tokens, self.limits.answer_tokens) if wish is not None]
        image = self.model.config.image_token_id
        last = len(ids) - 1 - ids[::-1].index(image) if image in ids else None
        generator = torch.Generator().manual_seed(random.getrandbits(63) if request.seed is None else request.seed)
        return Job(
            ids=ids,
            cut=0 if last is None else last + 2,  # the image's closing tag belongs to it
            pixel_values=inputs.get("pixel_values"),
            budget=min([room, *wishes]),
            request=request,
            notify=notify,
            out=TextOut(self._tokenizer, request.stop),
            generator=generator,
            follower=self._follower(request),
        )

    def _follower(self, request: ChatRequest) -> Follower | None:
        if request.schema is None:
            return None
        try:
            with self._encode:
                return self._answerer.structure.follower(request.schema)
        except QuestionError as exc:
            raise RequestError(f"response_format: {exc}", param="response_format") from None

    def submit(self, job: Job) -> None:
        """Queue a job. Raises RequestError: too many are waiting (429), or the server is stopping (503)."""
        if self._closing.is_set():
            raise RequestError("the server is stopping", status=503, code="stopping")
        try:
            self._inbox.put_nowait(job)
        except queue.Full:
            raise RequestError("too many requests are waiting. Remedy: try again later", 429, "queue_full") from None

    def close(self, timeout: float = 10.0) -> None:
        """End the thread; answers that are not finished end with an error."""
        self._closing.set()
        with contextlib.suppress(queue.Full):  # when full, the thread waits for nothing and sees the flag
            self._inbox.put_nowait(None)
        self._thread.join(timeout)

    @property
    def alive(self) -> bool:
        """Whether jobs are still answered."""
        return self._thread.is_alive() and not self.closing

    @property
    def closing(self) -> bool:
        """Whether the server is about to end."""
        return self._closing.is_set()

    @torch.inference_mode()
    def _run(self) -> None:
        while not self._closing.is_set():
            self._admit()
            if self._jobs:
                try:
                    self._step()
                except Exception as exc:  # one faulty row must not end the service
                    self._fail(self._jobs, exc)
                    self._jobs, self._state = [], None
        waiting = [job for job in self._inbox.queue if job is not None]
        self._fail([*self._jobs, *waiting], None)

    def _admit(self) -> None:
        """Read waiting requests while there is room; waits for the first one when nothing is being decoded."""
        while len(self._jobs) < self.batch_size:
            try:
                job = self._inbox.get(block=not self._jobs)
            except queue.Empty:
                return
            if job is None or self._closing.is_set():
                if job is not None:
                    self._fail([job], None)
                return
            try:
                self._read(job)
            except Exception as exc:
                self._fail([job], exc)

    def _read(self, job: Job) -> None:
        if job.cancelled:
            return
        state = self._prefix(job)
        logits = self._answerer._extend(state, [job.ids[job.cut :]], keep=1)[:, -1]
        job.pixel_values = None
        if self._write(job, logits[0]):
            self._state = state if self._state is None else joined(self._state, state)
            self._jobs.append(job)

    def _prefix(self, job: Job) -> _State:
        """The cache of the prompt up to its last image; computed, or kept from an earlier request."""
        if job.pixel_values is None:
            device = self.model.device
            empty = torch.zeros((1, 0), dtype=torch.long, device=device)
            return _State(DynamicCache(config=self.model.config.get_text_config()), empty)
        digest = hashlib.sha256(torch.tensor(job.ids[: job.cut]).numpy().tobytes())
        digest.update(job.pixel_values.numpy().tobytes())
        key = digest.hexdigest()
        if key not in self._kept:
            device, cache = self.model.device, DynamicCache(config=self.model.config.get_text_config())
            ids = torch.tensor([job.ids[: job.cut]], device=device)
            mask = torch.ones_like(ids)
            pixels = job.pixel_values.to(device, self.model.dtype)
            self.model(
                input_ids=ids,
                attention_mask=mask,
                pixel_values=pixels,
                cache=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            self._kept[key] = _State(cache, mask)
        self._kept.move_to_end(key)
        state = self._kept[key].select([0])
        while len(self._kept) > 1 and sum(kept.mask.shape[1] for kept in self._kept.values()) > KEPT_TOKENS:
            self._kept.popitem(last=False)
        return state

    def _step(self) -> None:
        """One more token for every row; rows that end leave the batch."""
        assert self._state is not None
        logits = self._answerer._extend(self._state, [[job.tokens[-1]] for job in self._jobs], keep=1)[:, -1]
        going = [at for at, job in enumerate(self._jobs) if self._write(job, logits[at])]
        if len(going) < len(self._jobs):
            self._jobs = [self._jobs[at] for at in going]
            self._state = trimmed(self._state.select(going)) if going else None

    def _write(self, job: Job, logits: Tensor) -> bool:
        """Choose and pass on the next token of a row; False when its answer is complete."""
        if job.cancelled:
            return False
        try:
            token = self._choose(job, logits)
        except QuestionError as exc:  # a schema that proves too much for its follower
            self._fail([job], exc)
            return False
        if token in self._answerer.stops:
            return self._finish(job, "stop")
        job.tokens.append(token)
        job.number = self._guard.follow(job.number, token)
        text, stopped = job.out.push(token)
        if stopped or len(job.tokens) >= job.budget:
            return self._finish(job, "stop" if stopped else "length", text)
        if job.request.stream and text:
            job.notify(Piece(text, len(job.tokens)))
        return True

    def _finish(self, job: Job, reason: str, text: str = "") -> bool:
        rest = job.out.rest()
        whole = text + rest if job.request.stream else job.out.text
        job.notify(Piece(whole, len(job.tokens), reason))
        return False

    def _choose(self, job: Job, logits: Tensor) -> int:
        logits = torch.nan_to_num(logits.float(), nan=0.0)
        logits[self._answerer.banned] = float("-inf")
        # Last of all rather than never: a schema may leave nothing else.
        logits[self._guard.banned(job.number)] = -1e9
        greedy = job.request.temperature == 0.0
        if job.follower is None:
            return int(logits.argmax()) if greedy else self._sampled(job, logits)
        if greedy:
            return job.follower.choose(logits)
        logits[~job.follower.allowed(len(logits)).to(logits.device)] = float("-inf")
        token = self._sampled(job, logits)
        job.follower.take(token)
        return token

    @staticmethod
    def _sampled(job: Job, logits: Tensor) -> int:
        return sampled(logits.cpu(), job.request.temperature, job.request.top_p, job.generator)

    def _fail(self, jobs: Sequence[Job], exc: Exception | None) -> None:
        why = "the server is stopping" if exc is None else f"the model failed ({type(exc).__name__})"
        for job in jobs:
            job.notify(Piece(why, len(job.tokens), "error"))


def sampled(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> int:
    """A token drawn from the most likely ones that together reach `top_p`; logits (vocabulary,)."""
    probs, order = (logits / temperature).softmax(-1).sort(descending=True)
    probs = probs * (probs.cumsum(-1) - probs < top_p)
    if top_p == 0.0 or not bool(torch.isfinite(probs).all()):
        return int(order[0])
    return int(order[torch.multinomial(probs, 1, generator=generator)])


def joined(first: _State, second: _State) -> _State:
    """The rows of both, the shorter padded on the left (masked); both must have been run at least once."""
    width = max(first.mask.shape[1], second.mask.shape[1])

    def wide(values: Tensor) -> Tensor:  # (rows, heads, length, channels)
        return F.pad(values, (0, 0, width - values.shape[2], 0))

    cache: Any = copy.copy(first.cache)
    cache.layers = [copy.copy(layer) for layer in first.cache.layers]
    others: list[Any] = second.cache.layers
    for layer, other in zip(cache.layers, others, strict=True):
        layer.keys = torch.cat([wide(layer.keys), wide(other.keys)])
        layer.values = torch.cat([wide(layer.values), wide(other.values)])
    masks = [F.pad(state.mask, (width - state.mask.shape[1], 0)) for state in (first, second)]
    return _State(cache, torch.cat(masks))


def trimmed(state: _State) -> _State:
    """Without the columns on the left that are padding in every row."""
    first = int(state.mask.any(0).int().argmax())
    layers: list[Any] = state.cache.layers
    for layer in layers:
        layer.keys, layer.values = layer.keys[:, :, first:], layer.values[:, :, first:]
    state.mask = state.mask[:, first:]
    return state
