"""Who answers? A model in this process, or anything behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ..errors import EvaluationError, FigureError
from ..questions import get_family
from .queries import Query

NEW_TOKENS = {"q1": 320, "q2": 64, "q3": 192, "q4": 64, "q5": 256, "q6": 160}
"""Most tokens of an answer; q1 has as many for each image, q5 four times as many for per-site families."""
_URL = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True)
class Reply:
    """`answer` is None exactly when `error` says why; `cut`: the answer was stopped at its length limit."""

    answer: str | None
    error: str | None = None
    cut: bool = False


class Backend(Protocol):
    """Answers queries; names itself as `results.json` wants it."""

    model: str
    model_id: str
    api_base: str
    batched: bool
    """Whether neighbours share a batch, so that a chunk must be asked whole to give the same bits again."""

    def fingerprint(self) -> dict[str, Any]:
        """What decides the answers, as JSON values."""

    def answer(self, queries: Sequence[Query]) -> list[Reply]:
        """One reply per query, in order; a failed query is a reply with an error, never an exception."""


def is_endpoint(model: str) -> bool:
    """Whether MODEL is an URL rather than a folder or a Hub id."""
    return _URL.match(model) is not None


class ModelBackend:
    """A RiverONE model in this process; greedy.

    Args:
        model, processor: as loaded by `reader.load_model`.
        name: written into the results.
        digest: names the exact weights; two models with the same digest give the same answers.
        constrained: answers are those of `reader.PlotReader`, the likeliest of the legal labels and JSON of the
            question's schema (of this package's families); else they are free.
    """

    batched = True

    def __init__(self, model: Any, processor: Any, name: str, digest: str, constrained: bool = False):
        from ..reader.generate import Answerer

        self.model, self.model_id = name, name
        self.api_base = f"in process{', answers constrained' if constrained else ''}"
        self.network, self.processor, self.digest, self.constrained = model, processor, digest, constrained
        self._answerer = Answerer(model, processor)
        self._context = model.config.get_text_config().max_position_embeddings

    def fingerprint(self) -> dict[str, Any]:
        held = {"constrained": True} if self.constrained else {}
        return {"model": self.digest, "new_tokens": NEW_TOKENS, **held}

    def answer(self, queries: Sequence[Query]) -> list[Reply]:
        from ..reader.assemble import answer_limits
        from ..reader.figures import load_figure
        from ..reader.generate import Ask, render

        replies: dict[int, Reply] = {}
        figures: dict[tuple[str, ...], list[Any]] = {}
        places: dict[tuple[str, ...], int] = {}
        asks: list[Ask] = []
        asked: list[int] = []
        for at, query in enumerate(queries):
            key = tuple(picture.id for picture in query.pictures)
            try:
                if key not in figures:
                    figures[key] = [load_figure(picture.data) for picture in query.pictures]
                    places[key] = len(places)
                parts = [
                    {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
                    for part in query.parts
                ]
                prompt = render(self.processor, parts)
                budget = self._budget(query, prompt, figures[key])
            except (FigureError, EvaluationError) as exc:
                replies[at] = Reply(None, str(exc))
                continue
            ask = Ask(places[key], prompt, budget=budget)
            if self.constrained:
                starts, schema = answer_limits(query.family, query.question, query.images)
                ask = replace(ask, starts=starts, schema=schema)
            asks.append(ask)
            asked.append(at)
        answered = self._answerer.answer([figures[key] for key in places], asks)
        for at, ask, item in zip(asked, asks, answered, strict=True):
            replies[at] = Reply(item.text, cut=len(item.spans) >= ask.budget)
        return [replies[at] for at in range(len(queries))]

    def _budget(self, query: Query, prompt: str, figures: list[Any]) -> int:
        budget = NEW_TOKENS[query.question]
        if query.question == "q1":
            budget *= max(1, len(figures))
        elif query.question == "q5" and get_family(query.family).list_answer:
            budget *= 4
        sizes = [(figure.height, figure.width) for figure in figures]
        tokens = self.processor._get_num_multimodal_tokens(sizes)["num_image_tokens"]
        used = sum(tokens) + len(self.processor.tokenizer(prompt, add_special_tokens=False)["input_ids"])
        if used >= self._context:
            raise EvaluationError(f"the prompt has {used} tokens, the model reads at most {self._context}")
        return min(budget, self._context - used)


def load_backend(
    model: str, revision: str | None = None, device: str = "auto", constrained: bool = False
) -> ModelBackend:
    """A model folder, Hub id or `embedded`, loaded (see `ModelBackend`). Raises ModelFolderError."""
    from ..reader.loading import load_model, resolve

    folder, commit = resolve(model, revision)
    network, processor = load_model(folder, device=device)
    # Of a local folder only the name: its path is nobody's business in a published file.
    name = folder.resolve().name if Path(model).expanduser().is_dir() else model
    name = name if commit is None else f"{name}@{commit}"
    return ModelBackend(network, processor, name, weights_digest(network, processor), constrained)


def weights_digest(network: Any, processor: Any) -> str:
    """Names the exact parameters, configuration and tokenizer of a loaded model (16 hexadecimal digits)."""
    import hashlib

    import torch

    total = hashlib.sha256(json.dumps(_content(network.config.to_dict()), sort_keys=True, default=str).encode())
    total.update(repr(sorted(processor.tokenizer.get_vocab().items())).encode())
    total.update(processor.image_processor.to_json_string().encode())
    for name, value in sorted(network.state_dict().items()):
        total.update(name.encode())
        total.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()[:16]


def _content(value: Any) -> Any:
    """A configuration without where it lay and what wrote it."""
    if not isinstance(value, dict):
        return value
    own = {key: item for key, item in value.items() if not str(key).startswith("_") and key != "transformers_version"}
    return {str(key): _content(item) for key, item in own.items()}
