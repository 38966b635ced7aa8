"""Which parts of a model stay as they are during a stage?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..errors import TrainingError

PARTS = {
    "vision_tower": "model.vision_tower",
    "projector": "model.multi_modal_projector",
    "language_model": "model.language_model",
}
"""Name in recipes -> module of `RiverOneForConditionalGeneration`; tied embeddings belong to the language model."""


@contextmanager
def frozen(model: Any, parts: Sequence[str]) -> Iterator[None]:
    """Keep `parts` (keys of `PARTS`) fixed inside the block; afterwards everything is as it was.

    Raises TrainingError for an unknown part, or when nothing would be left to train.
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise TrainingError(f"cannot freeze {', '.join(unknown)}. Expected some of: {', '.join(PARTS)}")
    held = [p for part in parts for p in model.get_submodule(PARTS[part]).parameters() if p.requires_grad]
    for parameter in held:
        parameter.requires_grad_(False)
    try:
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise TrainingError(f"freeze: {', '.join(parts)} leaves nothing to train. Remedy: name fewer parts")
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_(True)
