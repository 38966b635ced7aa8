"""How good is a coded model, and where is the damage? Sizes, errors per matrix, perplexity, swapped parts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..errors import CompressError
from ..model.int8_riverone import int8_tables
from ..model.quantization_riverone import SHARED, coded_layers, linear_size
from .walker import dense_weight


@dataclass(frozen=True)
class Size:
    """One line of the size table: what it is, number of weights, bytes as stored, bits per weight."""

    name: str
    weights: int
    bytes: int

    @property
    def bits(self) -> float:
        """Bits per weight, codebooks and scales included."""
        return 8 * self.bytes / max(1, self.weights)


def size_table(model: nn.Module, depth: int = 3) -> list[Size]:
    """Sizes by part of a model: coded layers by scheme, all else by the first `depth` parts of its name, and a total.

    Bytes are those that `save_pretrained` writes: packed codes, float16 codebooks (shared ones once) and scales, and
    tied tensors once.
    """
    coded = coded_layers(model)
    weights: dict[str, int] = {}
    stored: dict[str, int] = {}

    def add(name: str, count: int, size: int) -> None:
        weights[name] = weights.get(name, 0) + count
        stored[name] = stored.get(name, 0) + size

    for name, layer in coded.items():
        own = 0 if layer.shared_name is not None else layer.books().nbytes
        part = f"{_part(name, depth)} {layer.scheme}"
        add(part, layer.in_features * layer.out_features, layer.codes.nbytes + own + layer.scales.nbytes)
    tables = int8_tables(model)
    inside = {f"{name}.{leaf}" for name in coded for leaf in ("codebooks", "scales", "codes", "dense")}
    for name, tensor in [*model.named_parameters(), *_kept_buffers(model)]:
        if name in inside:
            continue
        shared = name.startswith(SHARED + ".")
        # Codebooks and scales are no weights.
        extra = shared or name.removesuffix(".scales") in tables
        add("shared codebooks" if shared else _part(name, depth), 0 if extra else tensor.numel(), tensor.nbytes)
    rows = [Size(name, weights[name], stored[name]) for name in weights]
    return [*rows, Size("total", sum(row.weights for row in rows), sum(row.bytes for row in rows))]


def size_text(rows: Sequence[Size]) -> str:
    """The table as aligned text."""
    wide = max(len(row.name) for row in rows)
    head = f"{'part':<{wide}}  {'weights':>13}  {'bytes':>13}  {'bits':>5}"
    return "\n".join([head, *(f"{r.name:<{wide}}  {r.weights:>13,}  {r.bytes:>13,}  {r.bits:5.2f}" for r in rows)])


@dataclass(frozen=True)
class MatrixError:
    """How far one coded matrix is from the original: ||W - Wq||^2 / ||W||^2, and the cosine between W and Wq."""

    name: str
    scheme: str
    error: float
    cosine: float


@torch.no_grad()
def matrix_errors(original: nn.Module, coded: nn.Module) -> list[MatrixError]:
    """Error and cosine of every coded matrix, worst first.

    These are distances of weights, not of outputs: they show where to look, and no threshold on them says whether a
    model still works. Raises `CompressError` when the models differ in their modules.
    """
    found = []
    for name, layer in coded_layers(coded).items():
        weight, other = _weight(original, name), layer.weight.float()
        if weight.shape != other.shape:
            raise CompressError(f"{name} is {tuple(weight.shape)} in one model and {tuple(other.shape)} in the other")
        error = float((weight - other).square().sum() / weight.square().sum())
        cosine = float(torch.nn.functional.cosine_similarity(weight.flatten(), other.flatten(), dim=0))
        found.append(MatrixError(name, str(layer.scheme), error, cosine))
    return sorted(found, key=lambda row: -row.error)


@contextmanager
def swapped(model: nn.Module, other: nn.Module, pattern: str) -> Iterator[list[str]]:
    """Inside, the modules of `model` whose full name matches `pattern` are those of `other`; gives their names.

    Only outermost matches are swapped. Raises `CompressError` when nothing matches or `other` lacks one.
    """
    expression = re.compile(pattern)
    names: list[str] = []
    for name, _ in model.named_modules():
        if name and expression.search(name) and not any(name.startswith(n + ".") for n in names):
            names.append(name)
    if not names:
        raise CompressError(f"no module matches {pattern!r}. Remedy: look at the names in model.named_modules()")
    kept = {name: model.get_submodule(name) for name in names}
    try:
        parts = {name: other.get_submodule(name) for name in names}
    except AttributeError as error:
        raise CompressError(f"the other model differs in its modules ({error})") from None
    try:
        for name, part in parts.items():
            model.set_submodule(name, part)
        yield names
    finally:
        for name, part in kept.items():
            model.set_submodule(name, part)


def swap_diagnosis(
    original: nn.Module, coded: nn.Module, measure: Callable[[nn.Module], float], parts: Iterable[str]
) -> list[dict[str, Any]]:
    """Which part holds the damage? Measures the original with one part coded, and the coded model with it original.

    Args:
        measure: a number for a model, such as its perplexity or score.
        parts: patterns of module names, e.g. `r"layers\\.0$"` or "vision_tower".

    Returns:
        A first row for both whole models, then one per part: part, `alone` (the only coded part) and `without` (the
        only original part).
    """
    rows = [{"part": "whole", "alone": measure(coded), "without": measure(original)}]
    for part in parts:
        with swapped(original, coded, part):
            alone = measure(original)
        with swapped(coded, original, part):
            without = measure(coded)
        rows.append({"part": part, "alone": alone, "without": without})
    return rows


@torch.no_grad()
def perplexity(model: Any, batches: Iterable[dict[str, Any]]) -> float:
    """exp of the mean negative log-likelihood per token; labels default to the tokens that are not padding."""
    total, count = 0.0, 0
    for batch in batches:
        batch = {key: value.to(model.device) for key, value in batch.items()}
        labels = batch.pop("labels", None)
        if labels is None:
            mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"]))
            labels = batch["input_ids"].masked_fill(mask == 0, -100)
        logits, wanted = model(**batch).logits[:, :-1].float(), labels[:, 1:]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="sum")
        total, count = total + float(loss), count + int((wanted != -100).sum())
    if count == 0:
        raise CompressError("no token with a label to measure the perplexity on")
    return float(torch.tensor(total / count, dtype=torch.float64).exp())


def _part(name: str, depth: int) -> str:
    """The first parts of a tensor's module name, without the numbers of layers."""
    return ".".join([part for part in name.split(".")[:-1] if not part.isdigit()][:depth]) or name


def _kept_buffers(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    stored = model.state_dict(keep_vars=True)
    return ((name, buffer) for name, buffer in model.named_buffers() if name in stored)


def _weight(model: nn.Module, name: str) -> torch.Tensor:
    try:
        module = model.get_submodule(name)
    except AttributeError:
        raise CompressError(f"the original model has no module {name}") from None
    if linear_size(module) is None:
        raise CompressError(f"{name} is a {type(module).__name__} in the original model, expected a Linear")
    return dense_weight(module)
