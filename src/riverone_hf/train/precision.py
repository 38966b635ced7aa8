"""Does bfloat16 save time here, or cost it? A CPU without instructions for it is a hundred times slower in it."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from .distributed import is_main


def cpu_has_bf16() -> bool:
    """Whether this CPU has bfloat16 instructions, as far as PyTorch knows (before 2.11 it does not: then True).

    Without them its products still work, about a hundred times slower than in float32 (docs/log.md).
    """
    known = getattr(torch.cpu, "get_capabilities", None)
    return known is None or any(has for name, has in known().items() if "bf16" in name)


def bf16_here(wanted: bool) -> bool:
    """Whether to autocast to bfloat16: when it is wanted, and on a GPU or a CPU that has instructions for it.

    That float32 is taken instead is told as a UserWarning.
    """
    if not wanted or torch.cuda.is_available() or cpu_has_bf16():
        return wanted
    if is_main():
        warnings.warn(
            "bf16 is asked for, but this CPU has no bfloat16 instructions: training in float32 instead", stacklevel=2
        )
    return False


class Float32Instead(TorchFunctionMode):
    """Inside, `tensor.bfloat16()` gives a float32 copy: for code that chooses its precision itself, as torch's Muon."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.bfloat16:
            return args[0].to(torch.float32, copy=True)
        return func(*args, **(kwargs or {}))
