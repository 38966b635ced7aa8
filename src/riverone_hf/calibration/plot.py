"""One simulated calibration plot: which family, which type, which seed gives which figures and truth."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from riverone_hf.calibration.labels import drop_labels
from riverone_hf.calibration.scene import Figure
from riverone_hf.errors import QuestionError
from riverone_hf.questions.truth import Truth

SUPPORTED_FAMILIES = (
    "rabi",
    "ramsey_t2star",
    "t1",
    "qubit_spectroscopy",
    "gmm",
    "drag",
    "rabi_hw",
    "ramsey_freq_cal",
    "pingpong",
    "t1_fluctuations",
    "res_spec",
    "qubit_spectroscopy_power_frequency",
    "ramsey_charge_tomography",
    "pinchoff",
    "coupler_flux",
    "qubit_flux_spectroscopy",
    "cz_benchmarking",
    "microwave_ramsey",
    "rydberg_ramsey",
    "rydberg_spectroscopy",
    "mot_loading",
    "tweezer_array",
)
"""Only ever appended to: a family's position seeds its draws."""


@dataclass(frozen=True)
class Plot:
    """`figures` has one entry per image of the row, in the order of `truth.panels`."""

    truth: Truth
    figures: tuple[Figure, ...]
    seed: int


def family_module(family: str) -> ModuleType:
    """The module that simulates `family`. Raises QuestionError for a family without a simulator."""
    if family not in SUPPORTED_FAMILIES:
        raise QuestionError(
            f"no simulator for family {family!r}. Expected one of {', '.join(SUPPORTED_FAMILIES)}. "
            "Remedy: choose one of these."
        )
    return importlib.import_module(f"riverone_hf.calibration.{family}")


def draw(family: str, seed: int, experiment_type: str | None = None) -> Plot:
    """A plot with its truth, the same for the same arguments on every machine.

    `experiment_type` is a full type name of the family (uniform over the family's types when None); `seed` is a
    non-negative integer. Raises QuestionError for an unknown family or type.
    """
    from riverone_hf.calibration.style import draw_style

    module = family_module(family)
    types: tuple[str, ...] = module.TYPES
    rng = np.random.default_rng([SUPPORTED_FAMILIES.index(family), seed])
    drawn_type = types[int(rng.integers(len(types)))]
    if experiment_type is not None:
        if experiment_type not in types:
            raise QuestionError(
                f"family {family!r} has no type {experiment_type!r}. Expected one of {', '.join(types)}. "
                "Remedy: use a full type name."
            )
        drawn_type = experiment_type
    style = draw_style(rng, family)
    truth, images = drop_labels(rng, *module.simulate(drawn_type, rng, style))
    return Plot(truth, tuple(Figure(panels, style) for panels in images), seed)
