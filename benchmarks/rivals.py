"""Other ways to make a language model small, for a comparison at equal bytes: whole numbers per weight, or less width.

Round-to-nearest, GPTQ (arXiv 2210.17323) and HQQ write each weight as a whole number of 2 to 4 bits with a scale and a
zero point per group of inputs, both float16. HQQ is the library `hqq` (requirements/rivals.txt). GPTQ is written out
here on our own input statistics: GPTQModel 7.7 needs torch >= 2.14 and llm-compressor 0.14 transformers <= 5.17, so
neither installs beside the versions of this project. `pruned` is the dense rival.
"""

from __future__ import annotations

import copy
import functools
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from riverone_hf.additive.capture import Gram, Stage, collect
from riverone_hf.additive.solve import code_linear
from riverone_hf.additive.source import LoadedModel
from riverone_hf.additive.targets import Plan, Target, make_plan
from riverone_hf.additive.walker import Walker, dense_weight, fingerprint
from riverone_hf.additive.workfolder import WorkFolder

GROUP = 128
"""Inputs per scale and zero point; the largest common divisor where a matrix is no multiple of it."""
Scalar = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Weight (out, in) to round, scales and zero points (out, groups, 1): code = round(weight / scale + zero)."""


class ScalarLinear(nn.Module):
    """A Linear of whole numbers that can be tuned: weight = (code - zero) * scale, code = round(latent / scale + zero).

    Gradients pass the rounding straight through (LSQ, arXiv 1902.08153), so that tuning moves the codes as well as
    scales and zero points; latent (out, in) is only needed while it trains.
    """

    def __init__(self, linear: nn.Linear, bits: int, code: Scalar):
        super().__init__()
        self.in_features, self.out_features, self.bits = linear.in_features, linear.out_features, bits
        latent, scales, zeros = (part.detach().float().clone() for part in code)
        self.latent, self.bias = nn.Parameter(latent), linear.bias
        self.scales, self.zeros = nn.Parameter(scales), nn.Parameter(zeros)
        self.dense: torch.Tensor | None = None

    @property
    def weight(self) -> torch.Tensor:
        """The dense weight (out, in), float32; scales and zero points as rounded as they are stored."""
        scales, zeros = (_straight(part, part.half().float()) for part in (self.scales, self.zeros))
        exact = self.latent.view(*scales.shape[:2], -1) / scales + zeros
        inside = exact.clamp(0, 2**self.bits - 1)
        return ((_straight(inside, inside.round()) - zeros) * scales).view_as(self.latent)

    @torch.no_grad()
    def densify(self) -> None:
        """Keep the dense weight, for a model that is only read from now on."""
        self.dense = self.weight

    @property
    def stored_bytes(self) -> float:
        """Codes, scales and zero points."""
        return self.latent.numel() * self.bits / 8 + 2 * (self.scales.numel() + self.zeros.numel())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight if self.dense is None else self.dense, self.bias)


def _straight(value: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
    return value + (rounded - value).detach()


def grid(weight: torch.Tensor, bits: int) -> Scalar:
    """Round-to-nearest: from the least to the greatest weight of every group of inputs."""
    groups = weight.view(len(weight), -1, math.gcd(GROUP, weight.shape[1]))
    low, high = groups.amin(-1, keepdim=True).clamp_max(0), groups.amax(-1, keepdim=True).clamp_min(0)
    scales = ((high - low) / (2**bits - 1)).clamp_min(1e-6).half().float()
    return weight, scales, (-low / scales).round()


def with_hqq(weight: torch.Tensor, bits: int) -> Scalar:
    """The same numbers found by HQQ. Raises ImportError when the library is missing."""
    from hqq.core.quantize import Quantizer

    size = math.gcd(GROUP, weight.shape[1])
    codes, meta = Quantizer.quantize(weight, bits, True, size, axis=1, bitpack=False, device="cpu")
    shape = (len(weight), -1, 1)
    scales, zeros = (meta[name].float().view(shape).half().float() for name in ("scale", "zero"))
    latent = (codes.float().view(len(weight), -1, size) - zeros) * scales
    return latent.view_as(weight), scales, zeros


def with_gptq(weight: torch.Tensor, bits: int, xtx: torch.Tensor) -> Scalar:
    """The same grid, filled column by column: each error is passed on to the inputs that correlate with it.

    xtx (in, in) is the second moment of the inputs; 1 % of its mean diagonal is added, as in the paper. The grid of a
    group is taken when its first column is reached.
    """
    size = math.gcd(GROUP, weight.shape[1])
    damped = xtx.double() + 0.01 * xtx.diagonal().double().mean() * torch.eye(len(xtx), dtype=torch.float64)
    factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True).float()
    rest, latent, scales, zeros = weight.clone(), torch.empty_like(weight), [], []
    for column in range(weight.shape[1]):
        if column % size == 0:
            _, scale, zero = grid(rest[:, column : column + size], bits)
            scales.append(scale), zeros.append(zero)
            scale, zero = scale[:, 0, 0], zero[:, 0, 0]
        code = (rest[:, column] / scale + zero).round().clamp(0, 2**bits - 1)
        latent[:, column] = (code - zero) * scale
        error = (rest[:, column] - latent[:, column]) / factor[column, column]
        rest[:, column:] -= error[:, None] * factor[column, column:]
    return latent, torch.cat(scales, 1), torch.cat(zeros, 1)


class _GptqWalker(Walker):
    """Codes every Linear with GPTQ on the inputs that the coded layers before it give, like our own coding."""

    def __init__(self, bits: int, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.bits, self.codes = bits, dict[str, Scalar]()

    def found(self) -> dict[str, Scalar]:
        """Full name -> code of every target."""
        self._walk()
        return self.codes

    def _finished(self, name: str) -> bool:
        return name in self.codes

    def _install(self, names: Sequence[str], linears: dict[str, nn.Module]) -> None:
        for name in names:
            linears[name].weight.data.copy_(self.codes[name][0])  # type: ignore[union-attr, operator]

    def _code(self, where: str, target: Target, module: nn.Module, gram: Gram) -> None:
        self.codes[target.name] = with_gptq(dense_weight(module), self.bits, gram.mean())


@torch.no_grad()
def quantized(model: Any, method: str, bits: int, batches: Sequence[dict[str, Any]]) -> Any:
    """`model`, in place, with `ScalarLinear`s for its language model's Linears; method is rtn, hqq or gptq."""
    plan = make_plan(model, "1x1g1")
    if method == "gptq":
        codes = _gptq_codes(model, plan, bits, batches)
    else:
        find: Callable[[torch.Tensor, int], Scalar] = {"rtn": grid, "hqq": with_hqq}[method]
        codes = {t.name: find(dense_weight(model.get_submodule(t.name)), bits) for t in plan.targets}
    for target in plan.targets:
        model.set_submodule(target.name, ScalarLinear(model.get_submodule(target.name), bits, codes[target.name]))
    return model


def _gptq_codes(model: Any, plan: Plan, bits: int, batches: Sequence[dict[str, Any]]) -> dict[str, Scalar]:
    source = LoadedModel(model)
    with tempfile.TemporaryDirectory(prefix="gptq-") as folder:
        work = WorkFolder(Path(folder) / "work", fingerprint(source, plan, batches, "gptq", 0, 0))
        return _GptqWalker(bits, source, plan, batches, work, code_linear, say=lambda line: None).found()


@torch.no_grad()
def pruned(model: Any, size: float, batches: Sequence[dict[str, Any]]) -> Any:
    """A copy of `model` with as many layers but fewer heads and MLP channels, so that its Linears have `size` weights.

    Kept are the heads (with their keys and values) and channels that give most output on `batches`; the matrices that
    read them are refitted by least squares to give what all gave. Cheaper than training from scratch, and a better
    start. At least one group of heads and 8 channels stay in every layer.
    """
    text = model.config.text_config
    layers, width, inner = text.num_hidden_layers, text.hidden_size, text.num_key_value_heads
    per_group = (2 * text.num_attention_heads // inner + 2) * text.head_dim * width
    share = size / (layers * (inner * per_group + 3 * width * text.intermediate_size))
    groups = max(1, round(share * inner))
    channels = max(8, int((size / layers - groups * per_group) / (3 * width)))
    config = copy.deepcopy(model.config)
    config.text_config.num_key_value_heads = groups
    config.text_config.num_attention_heads = groups * (text.num_attention_heads // inner)
    config.text_config.intermediate_size = channels
    small = type(model)(config).float().eval()
    state = model.state_dict()
    per_key = text.num_attention_heads // inner * text.head_dim
    for index, layer in enumerate(_grams(model, layers, batches)):
        base = f"model.language_model.layers.{index}."
        keep = _narrow(state, base + "self_attn.o_proj.weight", layer["self_attn.o_proj"], per_key, groups)
        keys = keep[::per_key] // per_key
        rows = (keys[:, None] * text.head_dim + torch.arange(text.head_dim)).flatten()
        for name, chosen in (("q", keep), ("k", rows), ("v", rows)):
            for key in (f"{base}self_attn.{name}_proj.{leaf}" for leaf in ("weight", "bias")):
                if key in state:
                    state[key] = state[key][chosen]
        keep = _narrow(state, base + "mlp.down_proj.weight", layer["mlp.down_proj"], 1, channels)
        for name in ("gate", "up"):
            state[f"{base}mlp.{name}_proj.weight"] = state[f"{base}mlp.{name}_proj.weight"][keep]
    small.load_state_dict(state)
    return small


def _grams(model: Any, layers: int, batches: Sequence[dict[str, Any]]) -> list[dict[str, torch.Tensor]]:
    """Second moment of what o_proj and down_proj read, per layer."""
    leaves = ("self_attn.o_proj", "mlp.down_proj")
    names = [f"model.language_model.layers.{index}.{leaf}" for index in range(layers) for leaf in leaves]
    runs = [(False, None, functools.partial(model, **batch)) for batch in batches]
    linears = {name: model.get_submodule(name) for name in names}
    grams = collect(Stage({name: [name] for name in names}), linears, runs)
    return [
        {leaf: grams[f"model.language_model.layers.{index}.{leaf}"].mean() for leaf in leaves}
        for index in range(layers)
    ]


def _narrow(state: dict[str, torch.Tensor], name: str, gram: torch.Tensor, size: int, count: int) -> torch.Tensor:
    """Inputs (indices) of the `count` groups of `size` that give most output of a weight, which is refitted."""
    weight = state[name]
    groups = weight.shape[1] // size
    cut, index = weight.view(len(weight), groups, size), torch.arange(groups)
    inner = gram.view(groups, size, groups, size)[index, :, index]
    power = torch.einsum("ogi,gij,ogj->g", cut, inner, cut)
    best = power.topk(count).indices.sort().values
    keep = (best[:, None] * size + torch.arange(size)).flatten()
    ridge = 1e-3 * gram.diagonal().mean() * torch.eye(len(keep))
    state[name] = torch.linalg.solve(gram[keep][:, keep] + ridge, gram[keep] @ weight.T).T.contiguous()
    return keep
