"""How is a small adapter trained, kept and merged? LoRA on the language model through peft."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import AdapterError, MissingExtraError

TARGETS = r".*language_model\.layers\.\d+\..*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""Every linear of the language model's layers, as a full-match pattern of module names."""


def lora_config(rank: int, alpha: int, dropout: float, model: Any = None) -> Any:
    """peft's LoraConfig for the linears of the language model, coded ones too if `model` is given.

    Raises MissingExtraError without peft.
    """
    try:
        from peft import LoraConfig
    except ImportError:
        raise MissingExtraError("peft", "train") from None
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=TARGETS, bias="none", task_type="CAUSAL_LM"
    )
    return config if model is None else _with_coded(config, model)


def _with_coded(config: Any, model: Any) -> Any:
    """Tell `config` how the coded Linears of `model` are adapted: peft knows only formats of its own list."""
    from ..model.quantization_riverone import coded_layers
    from .coded_lora import CodedLoraLinear

    # By the class that is there: a model loaded as remote code has its own copy of it.
    if kinds := {type(layer): CodedLoraLinear for layer in coded_layers(model).values()}:
        config._register_custom_module(kinds)
    return config


def save_adapter(model: Any, base: str, folder: Path) -> None:
    """Write the adapter of a PeftModel (safetensors and config, no pickle); `base` names the model it belongs to."""
    for config in model.peft_config.values():
        config.base_model_name_or_path = base
    model.save_pretrained(folder, safe_serialization=True)
    how = "Load it with `riverone_hf.train.adapter.load_adapter`"
    if is_coded(model.get_base_model()):
        how += ": peft alone does not know the coded Linears of its base model, and it cannot be merged into them."
    else:
        how += ", or with `peft.PeftModel.from_pretrained(model, folder)` on the loaded base model."
    # peft's own card is an empty form.
    text = f"# Adapter for {base}\n\nLoRA on the language model. {how}\n"
    (folder / "README.md").write_text(text, encoding="utf-8")


def load_adapter(model: Any, folder: Path) -> Any:
    """The PeftModel of `model` and the adapter in `folder`, in eval mode.

    Raises AdapterError when the folder holds no adapter, or one whose matrices do not fit `model`.
    """
    from peft import PeftConfig, PeftModel

    if not (folder / "adapter_config.json").is_file():
        raise AdapterError(f"{folder}: no adapter_config.json, so no adapter. Remedy: name the --out of `train --peft`")
    if not (folder / "adapter_model.safetensors").is_file():
        raise AdapterError(f"{folder}: no adapter_model.safetensors. Remedy: copy the adapter folder again")
    try:
        config = _with_coded(PeftConfig.from_pretrained(str(folder)), model)
        return PeftModel.from_pretrained(model, folder, config=config).eval()
    except (RuntimeError, ValueError, KeyError) as error:
        base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
        raise AdapterError(
            f"{folder}: the adapter does not fit this model ({' '.join(str(error).split())[:120]}). Remedy: use the "
            f"model that it was trained on: {base}"
        ) from None


def merge_adapter(model: Any) -> Any:
    """The plain model of a PeftModel, with the adapter added to its weights (in place).

    Raises AdapterError when the base model is coded (quantized): codes cannot take up a dense difference. Also when
    the sum is not finite.
    """
    base = model.get_base_model()
    if is_coded(base):
        raise AdapterError(
            "the base model is coded (its config has a quantization_config), so an adapter cannot be merged into its "
            "codes. Remedy: keep the adapter beside the model and load it with load_adapter, or merge into the dense "
            "model and compress that"
        )
    try:
        return model.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise AdapterError(f"the adapter holds values that are not finite ({error}). Remedy: train it again") from None


def is_coded(model: Any) -> bool:
    """Whether the weights of `model` are stored as codes."""
    return bool(getattr(model, "is_quantized", False)) or getattr(model.config, "quantization_config", None) is not None
