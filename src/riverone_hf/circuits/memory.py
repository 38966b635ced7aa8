"""Where the compiled engine's registers lie: aligned to cache lines, and work space kept from call to call.

Fresh memory costs more than the arithmetic: the system clears every page at first touch, about 10 ms for the work
space of one 21-wire circuit. Up to KEEP_BYTES of work space is therefore held until the process ends.
"""

from __future__ import annotations

import threading

import numpy as np

ALIGNMENT = 64
KEEP_BYTES = 64 << 20

lock = threading.Lock()
"""Held by whoever uses the work space: circuits run one call at a time, with the threads inside the call."""

_kept: dict[str, np.ndarray] = {}


def empty(*shape: int) -> np.ndarray:
    """New float32 memory at a multiple of 64 bytes; NumPy asks for large pages, PyTorch does not."""
    count = int(np.prod(shape))
    raw = np.empty(count + ALIGNMENT // 4, np.float32)
    skip = -raw.ctypes.data % ALIGNMENT // 4
    return raw[skip : skip + count].reshape(shape)


def work_space(name: str, count: int) -> np.ndarray:
    """Float32 work space of a name; its content is lost at the next call with this name. Hold `lock` while in use."""
    if name not in _kept or _kept[name].size < count:
        array = empty(count)
        others = sum(kept.nbytes for key, kept in _kept.items() if key != name)
        if others + array.nbytes > KEEP_BYTES:
            return array
        _kept[name] = array
    return _kept[name][:count]
