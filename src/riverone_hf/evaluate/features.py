"""How much is in the vision tower alone? Linear heads and nearest neighbours on its features, without a language model.

Both know the family (every prompt names it) and are fitted on training plots of that family.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

from .baselines import labels_of, write_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    Matrix = NDArray[np.float64]

GRID = 4
"""Features are averaged over a grid of GRID x GRID cells, so that a linear head can tell where something is."""
MAX_IMAGES = 2
RIDGE = tuple(10.0**power for power in range(-4, 3))
NEIGHBOURS = 5


@torch.inference_mode()
def vision_features(
    model: Any, processor: Any, rows: Sequence[Sequence[Image.Image]], batch_size: int = 16
) -> NDArray[np.float32]:
    """(rows, MAX_IMAGES * layers * GRID^2 * width) float32: outputs of the blocks that the language model reads.

    Tiles of an image are averaged; a row with one image has zeros for the second, further images are left out.
    """
    found = []
    for start in range(0, len(rows), batch_size):
        chunk = [list(row[:MAX_IMAGES]) for row in rows[start : start + batch_size]]
        batch = processor.image_processor([image for row in chunk for image in row], return_tensors="pt")
        pixels = batch["pixel_values"].to(model.device, model.dtype)
        outputs = model.model.get_image_features(pixels, return_dict=True)
        height, width = model.model.vision_tower.grid(pixels)
        states = [state for state in outputs.hidden_states if state is not None]
        maps = torch.cat([state.float().transpose(1, 2).unflatten(2, (height, width)) for state in states], dim=1)
        tiles = adaptive_avg_pool2d(maps, GRID).flatten(1)
        images = torch.stack([part.mean(0) for part in tiles.split([int(n) for n in batch["num_patches"]])])
        at = 0
        for row in chunk:
            empty = images.new_zeros(MAX_IMAGES - len(row), images.shape[1])
            found.append(torch.cat([images[at : at + len(row)], empty]).flatten().cpu().numpy())
            at += len(row)
    return np.stack(found)


class _Method(Protocol):
    def __init__(self, train: Matrix, test: Matrix): ...

    def choose(self, labels: Sequence[str]) -> list[str]:
        """One of the training labels per test row."""

    def estimate(self, known: Sequence[int], values: Matrix) -> Matrix:
        """Values (test rows, m) from the training rows `known` with values (len(known), m)."""


class LinearHeads:
    """Ridge regression on standardised features; the penalty is the one with the least leave-one-out error."""

    def __init__(self, train: Matrix, test: Matrix):
        self._train, self._test = train, test

    def choose(self, labels: Sequence[str]) -> list[str]:
        names = sorted(set(labels))
        targets = np.array([[float(label == name) for name in names] for label in labels])
        return [names[best] for best in self.estimate(range(len(labels)), targets).argmax(1)]

    def estimate(self, known: Sequence[int], values: Matrix) -> Matrix:
        train = self._train[list(known)]
        mean = values.mean(0)
        if len(train) < 3 or np.ptp(values, axis=0).max() == 0:
            return np.repeat(mean[None], len(self._test), 0)
        power, basis = np.linalg.eigh(train @ train.T)
        power = power.clip(min=0.0)
        scale = power.mean() or 1.0
        rest = basis.T @ (values - mean)
        best, weights = np.inf, np.zeros_like(values)
        for penalty in RIDGE:
            shrink = power / (power + penalty * scale)
            leverage = ((basis**2) @ shrink)[:, None].clip(max=1 - 1e-9)
            error = (((values - mean - basis @ (shrink[:, None] * rest)) / (1 - leverage)) ** 2).mean()
            if error < best:
                best, weights = error, basis @ (rest / (power + penalty * scale)[:, None])
        return mean + (self._test @ train.T) @ weights


class NearestNeighbours:
    """The vote, or the median, of the nearest training plots in the standardised features."""

    def __init__(self, train: Matrix, test: Matrix):
        self._distance = (test**2).sum(1)[:, None] - 2 * test @ train.T + (train**2).sum(1)[None]

    def choose(self, labels: Sequence[str]) -> list[str]:
        order = np.argsort(self._distance, axis=1, kind="stable")[:, :NEIGHBOURS]
        # Counter keeps the order of first sight, so a tie goes to the nearer label.
        return [Counter(labels[at] for at in row).most_common(1)[0][0] for row in order]

    def estimate(self, known: Sequence[int], values: Matrix) -> Matrix:
        order = np.argsort(self._distance[:, list(known)], axis=1, kind="stable")[:, :NEIGHBOURS]
        return np.median(values[order], axis=1)


METHODS: dict[str, type[_Method]] = {
    "linear heads on the vision tower": LinearHeads,
    "nearest neighbours in the vision tower": NearestNeighbours,
}


def reference_answers(
    method: type[_Method],
    train: tuple[Sequence[str], NDArray[np.float32], Sequence[Mapping[str, str]]],
    test: tuple[Sequence[str], NDArray[np.float32]],
) -> list[dict[str, str]]:
    """Answers (question -> text) to test plots (families, features) from training ones (families, features, answers).

    A family without training plots gets no answers.
    """
    answers: list[dict[str, str]] = [{} for _ in test[0]]
    for family in sorted(set(test[0])):
        old = [at for at, name in enumerate(train[0]) if name == family]
        new = [at for at, name in enumerate(test[0]) if name == family]
        if not old:
            continue
        x = train[1][old].astype(np.float64)
        mean, spread = x.mean(0), x.std(0)
        spread = np.where(spread > 1e-8, spread, np.inf)  # what never varies tells nothing
        fitted = method((x - mean) / spread, (test[1][new].astype(np.float64) - mean) / spread)
        told = [labels_of(family, train[2][at]) for at in old]
        labels = {name: fitted.choose([label[name] for label, _ in told]) for name in ("q1", "q2", "q4", "q6")}
        fields = _field_values(fitted, [values for _, values in told], len(new))
        for place, at in enumerate(new):
            chosen = {name: column[place] for name, column in labels.items()}
            answers[at] = write_labels(family, chosen, {name: column[place] for name, column in fields.items()})
    return answers


def _field_values(fitted: _Method, rows: Sequence[Mapping[str, Any]], count: int) -> dict[str, list[Any]]:
    """Q5 field -> a value per test plot: first which kind of value (null, a word, n numbers), then the numbers."""
    fields: dict[str, list[Any]] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        kinds = [_kind(row.get(name)) for row in rows]
        chosen = fitted.choose(kinds)
        numbers = {}
        for kind in set(chosen):
            if kind.startswith("#"):
                known = [at for at, other in enumerate(kinds) if other == kind]
                values = np.array([np.atleast_1d(rows[at][name]) for at in known], dtype=np.float64)
                whole = bool((values == values.round()).all())
                estimate = fitted.estimate(known, values)
                numbers[kind] = estimate.round().astype(int) if whole else estimate.round(6)
        fields[name] = [_value(kind, numbers.get(kind), at) for at, kind in enumerate(chosen)]
        assert len(fields[name]) == count
    return fields


def _kind(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "#"
    flat = isinstance(value, list) and value and all(type(item) in (int, float) for item in value)
    return f"#{len(value)}" if flat else json.dumps(value)


def _value(kind: str, numbers: Any, at: int) -> Any:
    if not kind.startswith("#"):
        return json.loads(kind)
    return numbers[at].tolist() if len(kind) > 1 else numbers[at][0].item()
