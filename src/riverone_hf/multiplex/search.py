"""Which layers should share? Greedy merging of neighbouring groups by the measured error of the output."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from ..errors import MultiplexError
from .maps import groups, members
from .report import relative_error
from .share import share_blocks
from .tower import Batch, Tower


@torch.no_grad()
def search_map(model: nn.Module, stored: int, images: Iterable[Batch], blocks: str | None = None) -> list[int]:
    """The layer map with `stored` blocks that greedy merging finds for `model` on `images`.

    Starts with every layer alone and merges, until `stored` groups remain, the two neighbouring groups whose union
    (every layer of it using the block of its first) changes the model's output least. Takes about L^2 / 2 runs of the
    images and copies no weight for a RiverONE.
    """
    tower = Tower(model, blocks)
    count = len(tower.layers)
    groups(count, stored)  # raises when it cannot be
    if not tower.is_riverone:
        tower = Tower(share_blocks(model, "identity", blocks=blocks))
    elif tower.layer_map != list(range(count)) or tower.vision.config.qkv_map != tower.layer_map:
        raise MultiplexError("the map is searched on a model whose blocks are not shared yet")
    batches = list(images)
    wanted = [tower.output(batch) for batch in batches]
    found = list(range(count))
    while max(found) + 1 > stored:
        candidates = []
        for left in range(max(found)):
            merged = [block - (block > left) for block in found]
            first = [group[0] for group in members(merged)]
            with tower.using([first[block] for block in merged]):
                error = sum(relative_error(tower.output(b), w) for b, w in zip(batches, wanted, strict=True))
            candidates.append((error, merged))
        found = min(candidates)[1]
    return found
