"""How does a plot become a conversation? Messages whose contents are lists of {type, text} (DESIGN contract 4)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from ..questions import IDENTIFY, Truth, full_prompt, short_prompt, write_answers

Message = dict[str, Any]


def conversation(
    truth: Truth, questions: Sequence[str], n_images: int, full: random.Random | None = None
) -> list[Message]:
    """User/assistant turns that ask `questions` about one plot; the images stand before the first question.

    `full` asks in the full form with wordings drawn from it (q0 has only the short form); None asks in the short form.
    Each turn is an independent question on the same images: our collator gives each its own branch.
    """
    answers = write_answers(truth)
    messages: list[Message] = []
    for question in questions:
        if full is None or question == IDENTIFY:
            prompt = short_prompt(None if question == IDENTIFY else truth.family, question)
        else:
            prompt = full_prompt(truth.family, question, n_images, full)
        content: list[dict[str, str | None]] = [{"type": "text", "text": prompt}]
        if not messages:
            image: dict[str, str | None] = {"type": "image", "text": None}
            content = [image] * n_images + content
        messages.append({"role": "user", "content": content})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answers[question]}]})
    return messages
