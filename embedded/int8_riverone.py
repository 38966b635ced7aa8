"""Word embeddings and the head in 8 bits: one int8 per weight and one float16 scale per row (token)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

STORED = torch.float16


class _Int8Table(nn.Module):
    """codes (rows, width) int8 and scales (rows, 1) float16, as stored; `densify` keeps the decoded weight too."""

    codes: torch.Tensor
    dense: torch.Tensor | None

    def __init__(self, rows: int, width: int, device: Any = None, dtype: Any = None):
        super().__init__()
        # Empty, but first: transformers takes a model's dtype from its first floating parameter.
        self.like = nn.Parameter(torch.empty(0, dtype=dtype, device=device), requires_grad=False)
        self.register_buffer("codes", torch.zeros(rows, width, dtype=torch.int8, device=device))
        self.scales = nn.Parameter(torch.empty(rows, 1, dtype=STORED, device=device), requires_grad=False)
        self.register_buffer("dense", None, persistent=False)

    @torch.no_grad()
    def set_weight(self, weight: torch.Tensor) -> None:
        """Round a weight (rows, width) to the nearest of 255 steps per row."""
        weight = weight.detach().float()
        largest = weight.abs().amax(1, keepdim=True)
        # The smallest normal float16: a row of zeros divides by no zero.
        scales = (largest / 127).clamp_min(torch.finfo(STORED).tiny).to(STORED)
        self.codes.copy_((weight / scales.float()).round().clamp(-127, 127).to(torch.int8))
        self.scales.copy_(scales)
        self.dense = None

    @property
    def weight(self) -> torch.Tensor:
        """The dense weight (rows, width): the kept one, else decoded now."""
        if self.dense is not None:
            return self.dense
        return (self.codes.float() * self.scales.float()).to(self.like.dtype)

    @torch.no_grad()
    def densify(self, keep: bool = True) -> None:
        """Decode once and keep the dense weight beside the codes (not saved), or drop it."""
        self.dense = None
        if keep:
            self.dense = self.weight


class Int8Embedding(_Int8Table):
    """In the place of an nn.Embedding."""

    def __init__(self, rows: int, width: int, padding_idx: int | None = None, device: Any = None, dtype: Any = None):
        super().__init__(rows, width, device, dtype)
        self.num_embeddings, self.embedding_dim, self.padding_idx = rows, width, padding_idx

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        if self.dense is None:
            # Only the rows that are asked for are decoded.
            return (self.codes[ids].float() * self.scales[ids].float()).to(self.like.dtype)
        return nn.functional.embedding(ids, self.dense)

    def to_dense(self) -> nn.Embedding:
        """A new nn.Embedding with the decoded weight."""
        weight = self.weight.clone()
        return nn.Embedding(self.num_embeddings, self.embedding_dim, self.padding_idx, _weight=weight, _freeze=False)


class Int8Head(nn.Module):
    """In the place of the output Linear; `table` in a tuple is that of the embeddings it is tied to, and stored there.

    A head of its own holds the table as a child of the name `table`.
    """

    def __init__(self, linear: nn.Linear, tied: Int8Embedding | None = None):
        super().__init__()
        self.in_features, self.out_features, self.bias = linear.in_features, linear.out_features, linear.bias
        if tied is None:
            where = linear.weight
            self.table = _Int8Table(linear.out_features, linear.in_features, where.device, where.dtype)
        self._tied = (tied,)

    @property
    def source(self) -> _Int8Table:
        """The table that is read."""
        return self._tied[0] if self._tied[0] is not None else self.table

    @property
    def weight(self) -> torch.Tensor:
        """The dense weight (out, in)."""
        return self.source.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight.to(x.dtype), self.bias)

    def to_dense(self, embedding: nn.Embedding | None = None) -> nn.Linear:
        """A new nn.Linear with the decoded weight, tied to `embedding` when this head was."""
        with torch.device("meta"):
            linear = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None)
        tied = embedding is not None and self._tied[0] is not None
        linear.weight = embedding.weight if tied and embedding is not None else nn.Parameter(self.weight.clone())
        if self.bias is not None:
            linear.bias = nn.Parameter(self.bias.detach().clone())
        return linear


def int8_tables(model: nn.Module) -> dict[str, Any]:
    """Full name -> table of 8 bits, also when the class comes from another copy of this file (remote code)."""
    return {name: m for name, m in model.named_modules() if type(m).__name__ in ("Int8Embedding", "_Int8Table")}


def replace_by_int8(model: Any) -> None:
    """Put empty 8-bit modules in the place of a model's word embeddings and of its head, if it has one.

    A head that shares its weight with the embeddings goes on doing so. Raises ValueError for embeddings of a special
    class, which may do more than look rows up.
    """
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    for module, kind in ((embedding, nn.Embedding), (head, nn.Linear)):
        if module is not None and type(module) is not kind:
            raise ValueError(f"8 bits are for a plain {kind.__name__}: got a {type(module).__name__}.")
    tied = False
    if head is not None:
        # On the meta device nothing is tied yet, so the plan to tie counts as well.
        tied = head.weight is embedding.weight or f"{_name_of(model, head)}.weight" in model.all_tied_weights_keys
    weight = embedding.weight
    rows, width = weight.shape
    table = Int8Embedding(rows, width, embedding.padding_idx, device=weight.device, dtype=weight.dtype)
    model.set_submodule(_name_of(model, embedding), table)
    if head is not None:
        model.set_submodule(_name_of(model, head), Int8Head(head, table if tied else None))
    # What was tied is one table now; transformers would look for the weights by name.
    model._tied_weights_keys, model.all_tied_weights_keys = None, {}


def int8_to_dense(model: Any) -> None:
    """Put ordinary embeddings and an ordinary head, tied as before, in the place of 8-bit ones."""
    found = {name: m for name, m in model.named_modules() if type(m).__name__ in ("Int8Embedding", "Int8Head")}
    if not found:
        return
    dense = {name: m.to_dense() for name, m in found.items() if type(m).__name__ == "Int8Embedding"}
    embedding = next(iter(dense.values()), None)
    dense |= {name: m.to_dense(embedding) for name, m in found.items() if type(m).__name__ == "Int8Head"}
    for name, module in dense.items():
        model.set_submodule(name, module)
    model.__dict__.pop("_tied_weights_keys", None)
    model.all_tied_weights_keys = model.get_expanded_tied_weights_keys(all_submodels=True)


def _name_of(model: nn.Module, wanted: nn.Module) -> str:
    return next(name for name, module in model.named_modules() if module is wanted)


__all__ = ["Int8Embedding", "Int8Head", "int8_tables", "int8_to_dense", "replace_by_int8"]
