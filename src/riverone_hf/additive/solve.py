"""How is one Linear coded well and fast? The schedule: k-means, feedback sweeps, then coordinate descent.

1. residual k-means; 2. LDLQ sweep; rounds of {scales, books, LDLQ sweep}; rounds of {scales, books, descent sweep};
the best state is kept, because a fresh LDLQ sweep may be worse than the one before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..errors import CodingError
from ..model.codes_riverone import AdditiveScheme
from .codebook_cg import fit_codebooks
from .coded import CodedWeight, relative_error
from .kernels import prepare
from .kmeans import start_books
from .layer import Layer, Metric
from .scales import fit_scales
from .sweeps import descent_sweep, ldlq_sweep

Progress = Callable[[str, int, int, float], None]
"""Called as progress(step name, steps done, steps in all, relative error of the best state so far)."""


@dataclass(frozen=True)
class Preset:
    """How much work is spent.

    points_per_code, kmeans_steps: k-means. learn_rounds: rounds of {scales, books, feedback sweep} on learn_points
    vectors per code, which may be a part of the rows. descent_rounds: rounds of {scales, books, descent sweep} on all
    rows. cg_steps: conjugate-gradient steps per round.
    """

    points_per_code: int
    kmeans_steps: int
    learn_points: int
    learn_rounds: int
    descent_rounds: int
    cg_steps: int = 4


PRESETS = {
    "quick": Preset(16, 3, 16, 0, 1),
    "default": Preset(64, 5, 64, 4, 2),
    "high": Preset(256, 12, 512, 8, 12),
}


def code_linear(
    weight: torch.Tensor,
    xtx: torch.Tensor | Metric,
    scheme: AdditiveScheme,
    *,
    n_samples: int | None = None,
    preset: str = "default",
    held_out_xtx: torch.Tensor | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> CodedWeight:
    """Code one weight (out, in) for inputs whose second moment is `xtx` (in, in), a sum or mean of x x^T over tokens.

    Args:
        xtx: a matrix, or a `Metric` made once for all matrices with the same input.
        n_samples: tokens behind `xtx`; it sets the ridge (see `ridge_for`). None means many.
        held_out_xtx: the same statistic of other tokens; its error is reported and never used.

    Deterministic: the same arguments on the same machine give the same bits. Runs on the device of `xtx`, in float32.
    Raises `CodingError` where shapes, values or the preset do not fit.
    """
    return code_linears_shared(
        [weight],
        [xtx],
        scheme,
        n_samples=n_samples,
        preset=preset,
        held_out_xtxs=None if held_out_xtx is None else [held_out_xtx],
        seed=seed,
        progress=progress,
    )[0]


@torch.no_grad()
def code_linears_shared(
    weights: Sequence[torch.Tensor],
    xtxs: Sequence[torch.Tensor | Metric],
    scheme: AdditiveScheme,
    *,
    n_samples: int | None = None,
    preset: str = "default",
    held_out_xtxs: Sequence[torch.Tensor] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[CodedWeight]:
    """Code several weights with one set of codebooks, fitted jointly: the sum of their relative errors is minimised.

    The arguments are those of `code_linear`, one weight and statistic per matrix; shapes may differ. All results hold
    the same codebooks tensor.
    """
    if preset not in PRESETS:
        raise CodingError(f"got preset {preset!r}, expected one of {', '.join(PRESETS)}")
    if not weights or len(weights) != len(xtxs) or (held_out_xtxs is not None and len(held_out_xtxs) != len(weights)):
        raise CodingError(f"got {len(weights)} weights and {len(xtxs)} statistics, expected one statistic per weight")
    if scheme.num_codebooks > 1:
        prepare()
    begin = time.perf_counter()
    metrics = [x if isinstance(x, Metric) else Metric(x, n_samples) for x in xtxs]
    layers = [Layer.start(w, metric, scheme) for w, metric in zip(weights, metrics, strict=True)]
    fit = _Fit(layers, PRESETS[preset], seed, progress, begin)
    fit.run()
    results = fit.results()
    for index, result in enumerate(results):
        given = xtxs[index]
        plain = given.without_ridge() if isinstance(given, Metric) else given
        weight = layers[index].weight
        result.errors["train"] = relative_error(weight, result.decode(), plain)
        if held_out_xtxs is not None:
            result.errors["held_out"] = relative_error(weight, result.decode(), held_out_xtxs[index])
    return results


class _Fit:
    """One run of the schedule over layers that share their books."""

    def __init__(self, layers: list[Layer], preset: Preset, seed: int, progress: Progress | None, begin: float):
        self.layers, self.preset, self.progress, self.begin = layers, preset, progress, begin
        self.generator = torch.Generator().manual_seed(seed)
        self.total = 2 + preset.learn_rounds + preset.descent_rounds
        self.done = 0
        self.best = float("inf")
        self.history: list[tuple[float, float]] = []
        self.train = float("inf")
        self.kept: tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]], Sequence[float]] | None = None

    def run(self) -> None:
        preset = self.preset
        wanted = preset.learn_points * 2 ** self.layers[0].scheme.nbits_per_codebook // len(self.layers)
        parts = [self._part(layer, wanted) for layer in self.layers]
        self.books = start_books(parts, preset.points_per_code, preset.kmeans_steps, self.generator)
        self._tell("k-means")
        for _ in range(preset.learn_rounds):
            for part in parts:
                ldlq_sweep(part, self.books)
            self._fit_values(parts)
            self._tell("learning")
        for layer, part in zip(self.layers, parts, strict=True):
            layer.scales *= part.drift
        self._sweep("feedback", ldlq_sweep)
        for _ in range(preset.descent_rounds):
            self._fit_values(self.layers)
            self._sweep("descent", descent_sweep)

    def _part(self, layer: Layer, wanted: int) -> Layer:
        """Some units at random, enough for `wanted` vectors; the layer's whole where that saves little."""
        units, groups = layer.codes.shape[1:]
        count = -(-wanted // groups)
        if count > 0.75 * units:
            count = units
        return layer.part(torch.randperm(units, generator=self.generator)[:count].to(layer.scales.device))

    def _fit_values(self, layers: list[Layer]) -> None:
        for layer in layers:
            fit_scales(layer)
        self.books = fit_codebooks(layers, self.books, self.preset.cg_steps)

    def _sweep(self, name: str, sweep: Callable[[Layer, torch.Tensor], None]) -> None:
        for layer in self.layers:
            sweep(layer, self.books)
        self._keep()
        self._tell(name)

    def _keep(self) -> None:
        objectives, errors = zip(*[layer.objectives() for layer in self.layers], strict=True)
        if sum(objectives) < self.best:
            self.best = sum(objectives)
            state = [(layer.codes.clone(), layer.scales.clone()) for layer in self.layers]
            self.kept = (self.books.clone(), state, objectives)
            self.train = sum(errors) / len(errors)
        self.history.append((time.perf_counter() - self.begin, self.train))

    def _tell(self, name: str) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(name, self.done, self.total, self.train)

    def results(self) -> list[CodedWeight]:
        """The best state in AQLM's layout."""
        assert self.kept is not None
        books, state, objectives = self.kept
        scheme = self.layers[0].scheme
        shaped = books.view(*books.shape[:2], scheme.out_group_size, scheme.in_group_size)
        seconds = time.perf_counter() - self.begin
        return [
            CodedWeight(
                codes.permute(1, 2, 0).to(torch.int32).contiguous(),
                shaped,
                scales.view(-1, 1, 1, 1),
                scheme,
                {"objective": objective},
                seconds,
                list(self.history),
            )
            for (codes, scales), objective in zip(state, objectives, strict=True)
        ]
