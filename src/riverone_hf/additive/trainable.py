"""How does a coded Linear learn? Its weight is decoded in every forward pass, so codebooks and scales get gradients.

No dense copy of the model is trained: the gradient with respect to one dense weight exists only while its layer runs
backward, and is reduced at once to gradients of codebooks and scales and, in V-steps, to the groups that move most.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..errors import CompressError
from ..model.codes_riverone import decode
from ..model.int8_riverone import int8_tables
from ..model.quantization_riverone import SHARED, AdditiveConfig, AdditiveLinear, coded_layers, shared_key


class _Product(torch.autograd.Function):
    """x W^T with W decoded again in the backward pass, so that no dense weight is kept in between."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, books: torch.Tensor, scales: torch.Tensor, layer: TrainableLinear) -> Any:
        weight = decode(layer.codes, books, scales).to(x.dtype)
        ctx.save_for_backward(x, books, scales)
        ctx.layer = layer
        return x @ weight.t()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        x, books, scales = ctx.saved_tensors
        layer = ctx.layer
        needs_x, needs_books, needs_scales, _ = ctx.needs_input_grad
        with torch.enable_grad():
            leaf_books, leaf_scales = (t.detach().requires_grad_() for t in (books, scales))
            weight = decode(layer.codes, leaf_books, leaf_scales)
        grad_x = grad @ weight.detach().to(grad.dtype) if needs_x else None
        # Under autocast the gradient may be narrower than the input.
        grad_weight = (grad.flatten(0, -2).t() @ x.flatten(0, -2).to(grad.dtype)).float()
        if layer.watch is not None:
            layer.watch(grad_weight)
        if not (needs_books or needs_scales):
            return grad_x, None, None, None
        grads = torch.autograd.grad(weight, (leaf_books, leaf_scales), grad_weight.to(weight.dtype))
        return grad_x, grads[0], grads[1], None


class TrainableLinear(nn.Module):
    """A coded Linear with float32 codebooks and scales as parameters and unpacked codes.

    codes (out/out_group, in/in_group, K) int32; `watch`, when set, is given the gradient (out, in) of the dense weight.
    """

    codes: torch.Tensor

    def __init__(self, layer: AdditiveLinear, container: nn.ParameterDict):
        super().__init__()
        self.scheme, self.conv1d, self.dtype = layer.scheme, layer.conv1d, layer.dtype
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.shared_name = layer.shared_name
        self.register_buffer("codes", layer.unpacked())
        # In a tuple, the container of shared codebooks is no child, so they are stored once.
        self._container = (container,)
        own = layer.shared_name is None
        self.codebooks = nn.Parameter(layer.books().detach().float().clone()) if own else None
        self.scales = nn.Parameter(layer.scales.detach().float().clone())
        self.bias = layer.bias
        self.watch: Any = None

    def books(self) -> torch.Tensor:
        """The codebooks, own or shared, float32."""
        if self.shared_name is not None:
            return self._container[0][shared_key(self.shared_name)]
        assert self.codebooks is not None
        return self.codebooks

    @property
    def weight(self) -> torch.Tensor:
        """The dense weight (out, in), float32."""
        return decode(self.codes, self.books(), self.scales)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        product = _Product.apply(x, self.books(), self.scales, self)
        return product if self.bias is None else product + self.bias

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, scheme={self.scheme}"


def trainable_layers(model: nn.Module) -> dict[str, TrainableLinear]:
    """Full name -> trainable coded layer."""
    return {name: m for name, m in model.named_modules() if isinstance(m, TrainableLinear)}


def make_trainable(model: Any, others: bool = False) -> dict[str, TrainableLinear]:
    """Replace the coded layers of `model`, in place, by trainable ones; returns them by name.

    Args:
        others: also train everything that is not coded (norms, embeddings unless in 8 bits, biases); else it is frozen.

    transformers then takes the model for an ordinary one, so that a Trainer accepts it. Raises `CompressError` when
    nothing is coded.
    """
    coded = coded_layers(model)
    if not coded:
        raise CompressError("the model has no coded layer to tune. Remedy: compress it first")
    for parameter in model.parameters():
        parameter.requires_grad_(others and parameter.is_floating_point())
    stored = getattr(model, SHARED, None)
    container = nn.ParameterDict({key: nn.Parameter(value.detach().float()) for key, value in (stored or {}).items()})
    layers = {}
    for name, layer in coded.items():
        layers[name] = TrainableLinear(layer, container)
        model.set_submodule(name, layers[name])
    if stored is not None:
        setattr(model, SHARED, container)
    for table in int8_tables(model).values():
        table.requires_grad_(False)  # the decoded weight is a buffer, so nothing would reach them
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    return layers


@torch.no_grad()
def make_coded(model: Any) -> Any:
    """Put ordinary coded layers (float16, packed) in the place of the trainable ones; the model is put in eval mode."""
    layers = trainable_layers(model)
    container = getattr(model, SHARED, None)
    if container is not None:
        stored = {key: nn.Parameter(value.half(), requires_grad=False) for key, value in container.items()}
        container = nn.ParameterDict(stored)
        setattr(model, SHARED, container)
    for name, layer in layers.items():
        options: Any = {"device": layer.scales.device, "dtype": layer.dtype, "conv1d": layer.conv1d}
        shared = None if layer.shared_name is None or container is None else (container, layer.shared_name)
        coded = AdditiveLinear(
            layer.in_features, layer.out_features, layer.scheme, layer.bias is not None, shared, **options
        )
        coded.bias = layer.bias
        coded.set_code(layer.codes, layer.books(), layer.scales)
        coded.densify()
        model.set_submodule(name, coded)
    model.config.quantization_config = AdditiveConfig(
        {name: str(layer.scheme) for name, layer in layers.items()},
        {name: layer.shared_name for name, layer in layers.items() if layer.shared_name is not None},
        "int8" if int8_tables(model) else "dense",
    )
    return model.eval()


@contextmanager
def as_coded(model: Any) -> Iterator[Any]:
    """`model` in its ordinary coded form for the time of a save or an evaluation; afterwards trainable as before."""
    layers, container, training = trainable_layers(model), getattr(model, SHARED, None), model.training
    try:
        yield make_coded(model)
    finally:
        for name, layer in layers.items():
            model.set_submodule(name, layer)
        if container is not None:
            setattr(model, SHARED, container)
        del model.config.quantization_config
        model.train(training)
