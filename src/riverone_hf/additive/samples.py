"""What does the model read while it is measured? Calibration batches from a text file, JSON lines or a data set.

One conversation is one batch, so nothing is padded; pieces of a plain text all have the same length and are stacked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from ..errors import CompressError, MissingExtraError
from .capture import Batch

STACK = 4
_KEPT = ("input_ids", "attention_mask", "pixel_values", "position_ids", "token_type_ids")


def load_calibration(source: str | Path, processor: Any, samples: int = 128, length: int = 1024) -> list[Batch]:
    """Batches of model inputs (CPU tensors).

    Args:
        source: a .txt file (read as one text), a .jsonl file, or a local or Hub data set (`name` or `name:config`).
            Rows hold `messages` (and `images`), as written by `riverone data build`, or `text`.
        processor: a tokenizer, or a processor when rows hold images. Its chat template is applied to conversations.
        samples: most rows, or pieces of the text, spread evenly over a text file.
        length: tokens per piece; longer text rows are cut, longer conversations with images are left out.

    Raises:
        CompressError: no such file, no usable row, benchmark data, or images without an image processor.
    """
    if re.search(r"qcaleval", str(source), re.IGNORECASE):
        raise CompressError(
            f"{source}: benchmark data must not be used for calibration. Remedy: other calibration data"
        )
    path = Path(source).expanduser()
    if path.suffix.lower() == ".txt":
        return _text_batches(_read(path), processor, samples, length)
    rows = _json_rows(path) if path.suffix.lower() in (".jsonl", ".ndjson") else _data_set_rows(str(source))
    batches: list[Batch] = []
    long = 0
    for row in rows:
        if len(batches) == samples:
            break
        batch = encode_row(row, processor, length)
        long += batch is None
        batches += [batch] if batch is not None else []
    if not batches:
        raise CompressError(
            f"{source}: no usable row ({long} are longer than {length} tokens). "
            "Remedy: rows with `messages` or `text`, or a larger --length"
        )
    return batches


def encode_row(row: dict[str, Any], processor: Any, length: int) -> Batch | None:
    """Model inputs of one row, None when it holds images and is longer than `length` tokens."""
    tokenizer = getattr(processor, "tokenizer", processor)
    if row.get("text"):
        return _kept(tokenizer(row["text"], return_tensors="pt", truncation=True, max_length=length))
    messages = row.get("messages") or row.get("conversations")
    if not messages:
        raise CompressError(f"a calibration row has the columns {', '.join(sorted(row))}, expected messages or text")
    images = list(row.get("images") or [])
    if not images:
        if getattr(processor, "chat_template", None) is None:
            text = "\n".join(_plain(message["content"]) for message in messages)
        else:
            plain = [{"role": m["role"], "content": _plain(m["content"])} for m in messages]
            text = processor.apply_chat_template(plain, tokenize=False)
        # The template has written the special tokens already.
        return _kept(tokenizer(text, return_tensors="pt", truncation=True, max_length=length, add_special_tokens=False))
    if processor is tokenizer:
        raise CompressError("calibration rows hold images but the model has no image processor. Remedy: text rows")
    text = processor.apply_chat_template(messages, tokenize=False)
    batch = _kept(processor(text=[text], images=images, return_tensors="pt"))
    return batch if batch["input_ids"].shape[1] <= length else None


def _kept(inputs: Any) -> Batch:
    """Every tensor that a forward pass takes; token types and the like of unknown models pass as well."""
    return {key: value for key, value in inputs.items() if isinstance(value, torch.Tensor)}


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content)


def _text_batches(text: str, processor: Any, samples: int, length: int) -> list[Batch]:
    tokenizer = getattr(processor, "tokenizer", processor)
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False, verbose=False).input_ids[0]
    size = min(length, len(ids))
    if size < 2:
        raise CompressError(f"the calibration text has {len(ids)} tokens, expected at least {length}")
    pieces = ids[: len(ids) // size * size].view(-1, size)
    # Evenly over the whole file: the first pages of a corpus are seldom like the rest.
    pieces = pieces[torch.linspace(0, len(pieces) - 1, min(samples, len(pieces))).round().long()]
    return [{"input_ids": part, "attention_mask": torch.ones_like(part)} for part in pieces.split(STACK)]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise CompressError(f"{path}: cannot be read as UTF-8 text ({error})") from None


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    from PIL import Image

    for number, line in enumerate(_read(path).splitlines(), 1):
        try:
            row = json.loads(line) if line.strip() else None
        except ValueError as error:
            raise CompressError(f"{path}:{number} is not JSON ({error})") from None
        if row is None:
            continue
        if not isinstance(row, dict):
            raise CompressError(f"{path}:{number} holds {type(row).__name__}, expected an object")
        try:
            row["images"] = [Image.open(path.parent / image) for image in row.get("images") or []]
        except OSError as error:
            raise CompressError(f"{path}:{number}: an image cannot be opened ({error})") from None
        yield row


def _data_set_rows(source: str) -> Iterable[dict[str, Any]]:
    try:
        from datasets import load_dataset
    except ImportError:
        raise MissingExtraError("datasets", "train") from None
    name, _, config = source.partition(":")
    try:
        found: Any = load_dataset(name, config or None)
    except Exception as error:  # datasets raises many kinds; all mean that the name cannot be loaded
        line = " ".join(str(error).split())[:160]
        raise CompressError(
            f"{source}: cannot be loaded as a data set ({line}). Remedy: FILE.txt, FILE.jsonl or DIR"
        ) from None
    # Never the test split: compressed models are scored on it.
    split = next((s for s in ("train", "validation") if s in found), None)
    if split is None:
        raise CompressError(f"{source}: has the splits {', '.join(found)}, expected train or validation")
    return found[split]
