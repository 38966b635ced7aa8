"""How does LoRA sit on a Linear that is stored in codebooks? Beside it: the codes stay as they are."""

from __future__ import annotations

from typing import Any

from peft.tuners.lora.layer import Linear

from ..errors import AdapterError


class CodedLoraLinear(Linear):
    """peft's LoRA layer over an `AdditiveLinear`: y = decoded(x) + scale * B(A(x)).

    Source: arXiv 2106.09685; the frozen weight is the decoded one, as in QLoRA (arXiv 2305.14314).
    """

    def _get_in_out_features(self, module: Any) -> tuple[int, int]:
        return module.in_features, module.out_features

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Refused: the sum would be written into a decoded copy that is not saved. Raises AdapterError."""
        raise AdapterError(
            "the adapter lies beside a coded Linear, which cannot take it up. Remedy: keep it beside the model "
            "and load it with load_adapter, or merge into the dense model and compress that"
        )
