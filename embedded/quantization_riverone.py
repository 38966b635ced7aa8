"""Coded Linears and the quantizer that loads them: `quant_method="riverone_additive"`, torch and transformers only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D
from transformers.quantizers import HfQuantizer
from transformers.quantizers import auto as quantizers_auto
from transformers.utils import logging
from transformers.utils.quantization_config import QuantizationConfigMixin

from .codes_riverone import AdditiveScheme, decode, pack_codes, unpack_codes
from .int8_riverone import int8_tables, int8_to_dense, replace_by_int8

METHOD = "riverone_additive"
SHARED = "additive_codebooks"
STORED = torch.float16
# Under this name the line follows the verbosity that the user set for transformers.
logger = logging.get_logger("transformers.quantizers.riverone_additive")


def shared_key(name: str) -> str:
    """Name of shared codebooks in their container; bare names such as `keys` are methods of a ParameterDict."""
    return f"for_{name}"


class AdditiveLinear(nn.Module):
    """A Linear (or Conv1D) whose weight is codes, codebooks and scales; `densify` keeps the decoded weight too.

    Codebooks and scales are float16 whatever the dtype of the model, as they are stored.

    Args:
        dtype: of the bias and of the decoded weight.
        shared: (container, name) when the codebooks belong to several matrices and are stored once in the container.
        conv1d: this was a `Conv1D`, which stores its weight transposed; only `to_dense` needs to know.
    """

    codes: torch.Tensor
    dense: torch.Tensor | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        scheme: AdditiveScheme,
        bias: bool = True,
        shared: tuple[nn.ParameterDict, str] | None = None,
        conv1d: bool = False,
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__()
        self.in_features, self.out_features, self.scheme, self.conv1d = in_features, out_features, scheme, conv1d
        groups, _, _ = scheme.codes_shape(out_features, in_features)
        self.dtype = dtype or torch.get_default_dtype()
        options: Any = {"device": device, "dtype": STORED}
        packed = torch.zeros(groups, scheme.row_bytes(in_features), dtype=torch.uint8, device=device)
        self.register_buffer("codes", packed)
        self.scales = nn.Parameter(torch.empty(groups, 1, 1, 1, **options), requires_grad=False)
        # In a tuple, the container is no child: it would be stored once per matrix.
        self._shared = shared
        own = torch.empty(scheme.codebooks_shape, **options)
        added = torch.empty(out_features, device=device, dtype=self.dtype)
        self.codebooks = None if shared else nn.Parameter(own, requires_grad=False)
        self.bias = nn.Parameter(added, requires_grad=False) if bias else None
        self.register_buffer("dense", None, persistent=False)

    @property
    def shared_name(self) -> str | None:
        """Name of the shared codebooks, or None when this matrix has its own."""
        return self._shared[1] if self._shared else None

    def books(self) -> torch.Tensor:
        """The codebooks, own or shared."""
        books = self._shared[0][shared_key(self._shared[1])] if self._shared else self.codebooks
        assert books is not None
        return books

    def unpacked(self) -> torch.Tensor:
        """The codes as int32, shape (out/out_group, in/in_group, K)."""
        shape = self.scheme.codes_shape(self.out_features, self.in_features)
        return unpack_codes(self.codes, self.scheme.nbits_per_codebook, shape)

    @torch.no_grad()
    def set_code(self, codes: torch.Tensor, codebooks: torch.Tensor, scales: torch.Tensor) -> None:
        """Take over codes (integers), codebooks and scales; a decoded weight that was kept is dropped."""
        self.codes.copy_(pack_codes(codes, self.scheme.nbits_per_codebook))
        self.books().copy_(codebooks)
        self.scales.copy_(scales)
        self.dense = None

    @property
    def weight(self) -> torch.Tensor:
        """The dense weight (out, in): the kept one, else decoded now."""
        if self.dense is not None:
            return self.dense
        return decode(self.unpacked(), self.books().float(), self.scales.float()).to(self.dtype)

    @torch.no_grad()
    def densify(self, keep: bool = True) -> None:
        """Decode once and keep the dense weight beside the codes (not saved), or drop it."""
        self.dense = None
        if keep:
            self.dense = self.weight

    @torch.no_grad()
    def to_dense(self) -> nn.Module:
        """A new nn.Linear (or Conv1D) with the decoded weight."""
        weight: Any = self.weight
        module: nn.Module
        with torch.device("meta"):
            if self.conv1d:
                module = Conv1D(self.out_features, self.in_features)
            else:
                module = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None)
        stored = weight.t().contiguous() if self.conv1d else weight.clone()
        module.weight = nn.Parameter(stored)
        if self.bias is not None:
            module.bias = nn.Parameter(self.bias.detach().clone())
        return module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight.to(x.dtype), self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, scheme={self.scheme}"


class AdditiveConfig(QuantizationConfigMixin):
    """`quantization_config` of a coded checkpoint.

    Args:
        modules: full module name -> scheme (`2x8g8`); every other module is stored as it is.
        shared: full module name -> name of the shared codebooks; modules not named have their own.
        embeddings: "int8" when word embeddings and head are stored in 8 bits, else "dense".
        dequantize: load an ordinary dense model without any coded layer.
        decode: `auto` decodes once at load on a CPU and at every call elsewhere; `load` and `call` force one of them.
    """

    def __init__(
        self,
        modules: dict[str, str] | None = None,
        shared: dict[str, str] | None = None,
        embeddings: str = "dense",
        dequantize: bool = False,
        decode: str = "auto",
        **kwargs: Any,
    ):
        self.quant_method: Any = METHOD
        self.modules = dict(modules or {})
        self.shared = dict(shared or {})
        if embeddings not in ("dense", "int8"):
            raise ValueError(f'embeddings must be "dense" or "int8": got {embeddings!r}.')
        self.embeddings = embeddings
        self.dequantize = dequantize
        if decode not in ("auto", "load", "call"):
            raise ValueError(f'decode must be "auto", "load" or "call": got {decode!r}.')
        self.decode = decode
        for name, scheme in self.modules.items():
            AdditiveScheme.parse(scheme)
            if self.shared.get(name, "x").count("."):
                raise ValueError(f"the name of shared codebooks must hold no dot: got {self.shared[name]!r}.")

    def get_loading_attributes(self) -> dict[str, Any]:
        """What a user may set at load time by passing such a config to `from_pretrained`."""
        return {"dequantize": self.dequantize, "decode": self.decode}

    def to_dict(self) -> dict[str, Any]:
        """As stored in config.json: how to load is the loader's choice and is left out."""
        stored = {"quant_method": METHOD, "modules": dict(self.modules), "shared": dict(self.shared)}
        return stored | ({"embeddings": self.embeddings} if self.embeddings != "dense" else {})


def linear_size(module: nn.Module) -> tuple[int, int] | None:
    """(out_features, in_features) of a Linear or Conv1D, None for any other module."""
    if isinstance(module, Conv1D):
        return module.nf, module.nx
    return (module.out_features, module.in_features) if type(module) is nn.Linear else None


def replace_linears(model: nn.Module, config: AdditiveConfig, dtype: Any = None) -> None:
    """Put empty coded layers where `config` names them, on the device and with the bias of the Linears they replace.

    Raises ValueError when a named module is absent or is no Linear: a silent one would be loaded with random weights.
    """
    prefix = getattr(model, "base_model_prefix", "")
    names = dict(_renamed(model, config.modules, prefix))
    container = nn.ParameterDict()
    for name, stored in names.items():
        scheme = AdditiveScheme.parse(config.modules[stored])
        module = model.get_submodule(name)
        size, shared = linear_size(module), config.shared.get(stored)
        if size is None:
            raise ValueError(f"{name} is a {type(module).__name__}, expected a Linear to hold a {scheme} code.")
        place: Any = {"device": module.weight.device, "dtype": dtype or module.weight.dtype}
        if shared is not None and shared_key(shared) not in container:
            books = torch.empty(scheme.codebooks_shape, device=place["device"], dtype=STORED)
            container[shared_key(shared)] = nn.Parameter(books, requires_grad=False)
        coded = AdditiveLinear(
            size[1],
            size[0],
            scheme,
            bias=module.bias is not None,
            shared=(container, shared) if shared is not None else None,
            conv1d=isinstance(module, Conv1D),
            **place,
        )
        if module.bias is not None:
            bias: Any = module.bias
            coded.bias = nn.Parameter(bias.detach(), requires_grad=False)
        model.set_submodule(name, coded)
    if len(container):
        setattr(model, SHARED, container)


def _renamed(model: nn.Module, names: dict[str, str], prefix: str) -> Iterator[tuple[str, str]]:
    """(name in this model, stored name); a checkpoint may be loaded with its head, or as the base model without."""
    for name in names:
        candidates = (name, name.removeprefix(prefix + "."), f"{prefix}.{name}")
        found = next((c for c in candidates if _has(model, c)), None)
        if found is None:
            raise ValueError(
                f"the config names {name} as a coded layer, but this {type(model).__name__} has no such module. "
                "Load the checkpoint with the class that saved it."
            )
        yield found, name


def _has(model: nn.Module, name: str) -> bool:
    try:
        model.get_submodule(name)
    except AttributeError:
        return False
    return True


def coded_layers(model: nn.Module) -> dict[str, AdditiveLinear]:
    """Full name -> coded layer, also when the class comes from another copy of this file (remote code)."""
    return {name: m for name, m in model.named_modules() if type(m).__name__ == "AdditiveLinear"}


def to_dense_model(model: nn.Module) -> nn.Module:
    """Replace every coded layer by its decoded Linear (8-bit embeddings too), in place; returns `model`."""
    for name, layer in coded_layers(model).items():
        model.set_submodule(name, layer.to_dense())
    if hasattr(model, SHARED):
        delattr(model, SHARED)
    int8_to_dense(model)
    return model


class AdditiveQuantizer(HfQuantizer):
    """Loads `quant_method="riverone_additive"` checkpoints with torch alone."""

    requires_calibration = True
    quantization_config: AdditiveConfig

    def _process_model_before_weight_loading(self, model, **kwargs):
        replace_linears(model, self.quantization_config)
        if self.quantization_config.embeddings == "int8":
            replace_by_int8(model)

    def _process_model_after_weight_loading(self, model, **kwargs):
        if self.quantization_config.dequantize:
            return to_dense_model(model)
        kept = 0
        for layer in (*coded_layers(model).values(), *int8_tables(model).values()):
            on_cpu = layer.scales.device.type == "cpu"
            if self.quantization_config.decode == "load" or (self.quantization_config.decode == "auto" and on_cpu):
                layer.densify()
                kept += layer.weight.nbytes
        if kept:
            logger.warning(f"Coded weights were decoded once at load: {kept / 1e6:.1f} MB more memory, dense speed.")
        return model

    def _dequantize(self, model, dtype=None):
        return to_dense_model(model).to(getattr(torch, dtype) if isinstance(dtype, str) else dtype)

    def is_serializable(self, **kwargs):
        return True

    @property
    def is_trainable(self):
        # Adapters beside the codes; transformers refuses to train the model without any in any case.
        return True


def register() -> None:
    """Make transformers know the method; a second copy of this file (remote code) leaves the first registered."""
    if METHOD in quantizers_auto.AUTO_QUANTIZER_MAPPING:
        return
    quantizers_auto.register_quantization_config(METHOD)(AdditiveConfig)
    quantizers_auto.register_quantizer(METHOD)(AdditiveQuantizer)
    # Configs of these types may set `dequantize` and `decode` when a user passes one to `from_pretrained`.
    known = quantizers_auto.LOADING_ATTRIBUTES_CONFIG_TYPES
    quantizers_auto.LOADING_ATTRIBUTES_CONFIG_TYPES = (*known, AdditiveConfig)  # type: ignore[assignment]


register()

__all__ = ["AdditiveConfig", "AdditiveLinear", "AdditiveQuantizer", "AdditiveScheme", "decode"]
