"""Does bfloat16 autocast save time here, or cost it?"""

from __future__ import annotations

import warnings

import torch

from .distributed import is_main


def bf16_here(wanted: bool) -> bool:
    """Whether to autocast to bfloat16: when it is wanted and the processor that trains has instructions for it.

    A CPU without them still computes in bfloat16, about a hundred times slower than in float32 (docs/log.md); that
    float32 is taken instead is told as a UserWarning. With a GPU, or a PyTorch that does not know its CPU (before
    2.11), the wish decides.
    """
    known = getattr(torch.cpu, "get_capabilities", None)
    if not wanted or torch.cuda.is_available() or known is None:
        return wanted
    if any(has for name, has in known().items() if "bf16" in name):
        return True
    if is_main():
        warnings.warn(
            "bf16 is asked for, but this CPU has no bfloat16 instructions: training in float32 instead", stacklevel=2
        )
    return False
