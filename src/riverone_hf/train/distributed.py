"""What changes when several processes train together? Nothing but these few things (torchrun, accelerate launch)."""

from __future__ import annotations

import os

import torch
from torch import distributed


def world_size() -> int:
    """Number of processes that train together, as the launcher says; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process is the one that writes files and shows progress."""
    return int(os.environ.get("RANK", "0")) == 0


def together() -> bool:
    """Whether the processes are connected already (the trainer's arguments do that)."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def wait_for_all() -> None:
    """Return when every process has come here; at once in a single process."""
    if together():
        distributed.barrier()


def mean_over_processes(count: torch.Tensor) -> torch.Tensor:
    """A scalar count, averaged over the processes and without gradient; in a single process the count itself.

    Gradients are averaged over processes. A sum divided by this mean therefore counts every token of the whole batch
    alike, however tokens are spread, and two processes give the loss of one.
    """
    if not together():
        return count
    total = count.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()
