"""All kinds of generators by name, and settings of an equal number of trained parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from ..errors import GeneratorError
from .baselines import BitMaskConfig, KroneckerConfig, LoRAConfig, MLPConfig, RowColumnConfig
from .config import GeneratorConfig, QGPConfig
from .paramgen import ParamGenConfig

AnyConfig = Annotated[
    QGPConfig | ParamGenConfig | RowColumnConfig | KroneckerConfig | BitMaskConfig | MLPConfig | LoRAConfig,
    Field(discriminator="method"),
]
KNOBS: dict[str, tuple[str, int]] = {
    "qgp": ("n_layers", 64),
    "paramgen": ("latent", 512),
    "kronecker": ("terms", 256),
    "bit_mask": ("terms", 256),
    "mlp": ("hidden", 4096),
    "lora": ("rank", 65536),
}
"""The field of each method that changes its size, and the largest value that is tried."""


def config_of(settings: dict[str, Any]) -> GeneratorConfig:
    """Settings by their `method` name (as in a recipe). Raises pydantic's ValidationError for unknown keys."""
    return TypeAdapter(AnyConfig).validate_python(settings)


@dataclass(frozen=True)
class Match:
    """The closest setting of a method: `trained` parameters against a `budget`; `matched` when within the tolerance."""

    config: GeneratorConfig
    trained: int
    budget: int
    matched: bool


def matched(
    weights: list[tuple[tuple[int, int], int]], config: GeneratorConfig, budget: int, tolerance: float = 0.05
) -> Match:
    """The setting of `config`'s method whose trained parameters over all `weights` come closest to `budget`.

    Args:
        weights: (rows, columns) and slots of each weight, see `shapes`.
        tolerance: relative difference up to which the two count as matched. A method that cannot come that close is
            reported with `matched=False`, never dropped.
    """
    knob, largest = KNOBS.get(getattr(config, "method", ""), ("", 0))

    def count(settings: GeneratorConfig) -> int:
        return sum(settings.count(shape, slots) for shape, slots in weights)

    def at(value: int) -> GeneratorConfig:
        return config.model_copy(update={knob: value}) if knob else config

    low, high = 1, largest if knob else 1
    # Counts grow with the knob: bisect to the last value that is not above the budget, then look one further.
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(at(middle)) <= budget else (low, middle - 1)
    candidates = [at(low), at(min(low + 1, largest))] if knob else [config]
    if isinstance(config, QGPConfig) and config.register_kind == "tiled":
        candidates += _tiled(config, weights, budget)
    best = min(candidates, key=lambda settings: abs(count(settings) - budget))
    return Match(best, count(best), budget, abs(count(best) - budget) <= tolerance * budget)


def _tiled(config: QGPConfig, weights: list[tuple[tuple[int, int], int]], budget: int) -> list[GeneratorConfig]:
    """Other numbers of angle sets at the given depth, for tiled registers."""
    found: list[GeneratorConfig] = []
    one = sum(config.model_copy(update={"tile_circuits": 1}).count(shape, slots) for shape, slots in weights)
    for circuits in {max(1, budget // one), budget // one + 1}:
        settings = config.model_copy(update={"tile_circuits": circuits})
        try:
            for shape, slots in weights:
                settings.count(shape, slots)
        except GeneratorError:
            continue
        found.append(settings)
    return found
