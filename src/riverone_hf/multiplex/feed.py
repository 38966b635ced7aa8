"""Which images does each process see, and how do its gradients meet the others'?"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from ..errors import MultiplexError
from .tower import Batch


def repeat(images: Iterable[Batch], first: int) -> Iterator[Batch]:
    """Batches without end, from number `first` on."""
    listed: Any = images if hasattr(images, "__getitem__") and hasattr(images, "__len__") else None
    if listed is not None and len(listed) > 0:
        for index in itertools.count(first):
            yield listed[index % len(listed)]
    yield from itertools.islice(_again(images), first, None)


def _again(images: Iterable[Batch]) -> Iterator[Batch]:
    while True:
        empty = True
        for batch in images:
            empty = False
            yield batch
        if empty:
            raise MultiplexError("there are no images (or the iterator that gave them has ended)")


def share_of(batch: Batch, rank: int, world: int) -> tuple[Batch, float]:
    """Every world-th row of a batch, and what its mean weighs so that the mean over processes is that over the batch.

    The weight is 1 when all processes have as many rows. Raises MultiplexError for fewer rows than processes.
    """
    rows = len(next(iter(batch.values())) if isinstance(batch, Mapping) else batch)
    if rows < world:
        raise MultiplexError(f"a batch of {rows} images is too small for {world} processes")
    weight = len(range(rank, rows, world)) * world / rows
    if isinstance(batch, Mapping):
        return {key: value[rank::world] for key, value in batch.items()}, weight
    return batch[rank::world], weight


def processes() -> tuple[int, int]:
    """(rank, number) of processes; joins the group that `torchrun` announces."""
    distributed = torch.distributed
    if distributed.is_available() and not distributed.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


@torch.no_grad()
def broadcast(parameters: list[nn.Parameter], world: int) -> None:
    if world > 1:
        for parameter in parameters:
            torch.distributed.broadcast(parameter.data, src=0)


@torch.no_grad()
def reduce_all(parameters: list[nn.Parameter], shown: dict[str, torch.Tensor], world: int) -> dict[str, float]:
    """Average gradients and losses over the processes; the losses as numbers.

    By hand instead of DistributedDataParallel: a stored block is called by several layers and some parameters by none
    (the last layer when no loss reads it), which that class handles only with a search of the graph at every step.
    """
    if world > 1:
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= world
        for value in shown.values():
            torch.distributed.all_reduce(value.data)
            value.data /= world
    return {name: float(value.detach()) for name, value in shown.items()}
