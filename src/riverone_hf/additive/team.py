"""Who codes which Linear when several processes work together? Started by torchrun; alone by default."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch.distributed as dist

Made = TypeVar("Made")


class Team:
    """This process among those that share a work folder; the Linears of a stage are dealt out in turn.

    All processes run the same forward passes (they are cheap beside the coding) and meet after each stage.
    """

    def __init__(self) -> None:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
            dist.init_process_group("gloo")
        joined = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if joined else 0
        self.size = dist.get_world_size() if joined else 1

    @property
    def leads(self) -> bool:
        """Does this process write what is written once, and tell the progress?"""
        return self.rank == 0

    def share(self, names: Sequence[str]) -> list[str]:
        """The part of `names` that this process codes."""
        return [name for index, name in enumerate(names) if index % self.size == self.rank]

    def meet(self) -> None:
        """Wait for the others."""
        if self.size > 1:
            dist.barrier()

    def led(self, make: Callable[[], Made]) -> Made:
        """What `make` gives; the leading process calls it first, so that only one creates what is not there yet."""
        first = make() if self.leads else None
        self.meet()
        return make() if first is None else first

    def agreed(self, value: Made) -> Made:
        """The leading process's value, for all."""
        told = [value]
        if self.size > 1:
            dist.broadcast_object_list(told)
        return told[0]
