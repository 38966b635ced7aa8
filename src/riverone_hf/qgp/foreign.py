"""Which classical adapters stand beside a circuit on other people's models? peft's, by the same patterns."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from ..errors import GeneratorError, MissingExtraError

PEFT_METHODS = ("lora", "lokr", "vera", "ia3")
"""LoRA (Hu et al. 2021), LoKr (Yeh et al. 2023), VeRA (Kopiczko et al. 2023) and (IA)3 (Liu et al. 2022)."""


def peft_baseline(model: nn.Module, method: str, modules: Sequence[str], rank: int = 1, **settings: Any) -> Any:
    """The peft model of `model` with adapters on every Linear that a pattern of `modules` names; outputs are unchanged.

    Train it as any peft model; `merge_and_unload()` then gives plain weights, as `freeze` does for a circuit.
    Its `get_nb_trainable_parameters()` says how much trains; another `rank` changes that ((IA)3 has none).

    Args:
        method: one of `PEFT_METHODS`.
        modules: patterns of full module names, as in `QGPConfig.modules`.
        settings: further fields of peft's configuration.

    Raises GeneratorError for an unknown method or when no Linear matches, MissingExtraError without peft.
    """
    if method not in PEFT_METHODS:
        raise GeneratorError(f"no adapter {method!r} of peft here. Expected one of: {', '.join(PEFT_METHODS)}")
    try:
        import peft
    except ImportError:
        raise MissingExtraError("peft", "train") from None
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    chosen = [name for name in linears if any(fnmatchcase(name, pattern) for pattern in modules)]
    if not chosen:
        raise GeneratorError(
            f"no Linear is named by {', '.join(modules)}. It has, for example: {', '.join(linears[:3]) or 'none'}"
        )
    made: dict[str, Any] = {
        "lora": lambda: peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=chosen, **settings),
        "lokr": lambda: peft.LoKrConfig(r=rank, alpha=rank, target_modules=chosen, **settings),
        "vera": lambda: peft.VeraConfig(r=rank, target_modules=chosen, **settings),
        "ia3": lambda: peft.IA3Config(target_modules=chosen, feedforward_modules=[], **settings),
    }
    return peft.get_peft_model(model, made[method]())
