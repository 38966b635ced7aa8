"""The rows that each process sees: all of them, weighed so that the mean over processes is that over the batch."""

from __future__ import annotations

import pytest
import torch

from riverone_hf.errors import MultiplexError
from riverone_hf.multiplex.feed import share_of


@pytest.mark.parametrize("rows", [4, 5, 7])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_no_row_is_left_out_and_all_weigh_alike(rows, world):
    batch = torch.arange(rows).float() ** 2
    parts = [share_of({"pixel_values": batch}, rank, world) for rank in range(world)]
    assert sorted(torch.cat([part["pixel_values"] for part, _ in parts]).tolist()) == batch.tolist()
    mean = sum(weight * part["pixel_values"].mean() for part, weight in parts) / world
    torch.testing.assert_close(mean, batch.mean())


def test_fewer_rows_than_processes_are_refused():
    with pytest.raises(MultiplexError, match="1 images is too small for 2"):
        share_of(torch.zeros(1), 0, 2)
