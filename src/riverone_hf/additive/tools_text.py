"""What does a coded model write, and has it collapsed? The same prompts before and after, greedily."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Collapse:
    """Signs of a broken language model in one written text; `reasons` is empty when there is none."""

    text: str
    reasons: tuple[str, ...]


def collapse_check(tokens: Sequence[int], text: str, longest: int = 24) -> Collapse:
    """Is this a loop or nothing at all? Looks for an empty text, one token over and over, and repeated passages.

    Args:
        tokens: ids of what was written, without prompt and end token.
        longest: the longest passage, in tokens, whose repetition counts as a loop.
    """
    reasons = []
    if not text.strip():
        reasons.append("empty")
    if len(tokens) >= 16:
        most = max(Counter(tokens).values())
        if most > 0.6 * len(tokens):
            reasons.append(f"one token is {most} of {len(tokens)}")
        period = next((p for p in range(1, longest + 1) if _loops(list(tokens), p)), None)
        if period is not None:
            reasons.append(f"ends in a loop of {period} token{'s' if period > 1 else ''}")
    if "\ufffd" in text:
        reasons.append("broken characters")
    return Collapse(text, tuple(reasons))


def _loops(tokens: list[int], period: int) -> bool:
    """Does the text end in at least four copies of its last `period` tokens, 12 tokens or more in all?"""
    copies = max(4, -(-12 // period))
    need = copies * period
    return len(tokens) >= need and all(tokens[-i] == tokens[-i - period] for i in range(1, need - period + 1))


@torch.no_grad()
def written(model: Any, tokenizer: Any, prompts: Sequence[str], new_tokens: int = 64) -> list[Collapse]:
    """What a model writes after each prompt, greedily (so that a repeat gives the same), with signs of collapse."""
    found = []
    for prompt in prompts:
        inputs = tokenizer(prompt, return_tensors="pt").to(model.device)
        ids = model.generate(**inputs, max_new_tokens=new_tokens, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        text = tokenizer.decode(ids, skip_special_tokens=True)
        special = set(tokenizer.all_special_ids)
        found.append(collapse_check([int(i) for i in ids if int(i) not in special], text))
    return found


def before_and_after(
    original: Any, coded: Any, tokenizer: Any, prompts: Sequence[str], new_tokens: int = 64
) -> list[dict[str, Any]]:
    """For each prompt: what both models write, how many leading characters agree, and signs of collapse."""
    rows = []
    pairs = zip(written(original, tokenizer, prompts, new_tokens), written(coded, tokenizer, prompts, new_tokens))
    for prompt, (before, after) in zip(prompts, pairs):
        same = next((i for i, (a, b) in enumerate(zip(before.text, after.text)) if a != b), None)
        agree = min(len(before.text), len(after.text)) if same is None else same
        rows.append(
            {"prompt": prompt, "before": before.text, "after": after.text, "agree": agree, "collapse": after.reasons}
        )
    return rows
