"""Which plots make up a calibration data set? Row k of a split, the same for the same arguments everywhere."""

from __future__ import annotations

import dataclasses
import io
import random
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from ..calibration import SUPPORTED_FAMILIES, draw, render
from ..calibration.plot import family_module
from ..errors import BuildError, QuestionError
from ..questions import PROMPT_VERSION, Truth
from .calibration import DATA_VERSION, SPLITS

if TYPE_CHECKING:
    from PIL import Image

    from ..calibration import Plot
    from ..calibration.scene import Figure

BACKENDS = ("fast", "matplotlib", "mixed")
MIXED_SHARE = 0.3
"""Share of the rows that backend "mixed" leaves to matplotlib."""
SINGLE_SHARE = 0.2
"""Share of the rows of two-image families in which one image is missing."""
HELD_OUT_SHARE, HELD_OUT_MOST = 0.1, 2000
"""Validation and test each take this share of the rows, at least one and at most so many."""
MAX_PIXELS = 800 * 600
"""Larger figures are drawn smaller, at the same aspect; readers shrink them anyway."""


@dataclass(frozen=True)
class Plan:
    """`rows` plots over all splits. Every experiment type of `families` comes equally often, as in QCalEval.

    Raises BuildError for `rows` below 1 or an unknown backend, QuestionError for a family without simulator.
    """

    rows: int
    seed: int = 0
    backend: str = "fast"
    families: tuple[str, ...] = SUPPORTED_FAMILIES
    shard_rows: int = 512

    def __post_init__(self) -> None:
        if self.rows < 1 or self.shard_rows < 1 or self.seed < 0:
            raise BuildError(
                f"got {self.rows} rows, {self.shard_rows} rows per shard and seed {self.seed}. "
                "Expected at least 1 row and a seed of at least 0. Remedy: --rows 1000 --seed 0"
            )
        if self.backend not in BACKENDS:
            raise BuildError(f"unknown backend {self.backend!r}. Expected one of: {', '.join(BACKENDS)}")
        if not self.families or len(set(self.families)) < len(self.families):
            raise BuildError(f"got families {self.families}. Expected at least one, each named once")
        for family in self.families:
            family_module(family)

    @cached_property
    def scenarios(self) -> tuple[tuple[str, str], ...]:
        """(family, full type name) in the order in which rows take them."""
        return tuple((family, kind) for family in self.families for kind in family_module(family).TYPES)

    def count(self, split: str) -> int:
        """Number of plots of a split; a single row is a test row, a second one a training row."""
        held_out = max(1, min(round(self.rows * HELD_OUT_SHARE), HELD_OUT_MOST))
        test = held_out
        validation = held_out if self.rows > 2 else 0
        return {"test": test, "validation": validation, "train": self.rows - test - validation}[split]

    def shards(self, split: str) -> int:
        """Number of files of a split; none for an empty split."""
        return -(-self.count(split) // self.shard_rows)

    def shard(self, split: str, index: int) -> range:
        """The row numbers in shard `index` of a split."""
        return range(index * self.shard_rows, min((index + 1) * self.shard_rows, self.count(split)))

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the bytes of a build, as JSON values."""
        values = {"data_version": DATA_VERSION, "prompt_version": PROMPT_VERSION}
        return values | dataclasses.asdict(self) | {"families": list(self.families)}

    def plot(self, split: str, k: int) -> Plot:
        """The simulated plot of row `k`. Splits interleave over the seeds, as in `PlotSource`: none is shared."""
        if split not in SPLITS:
            raise QuestionError(f"unknown split {split!r}. Expected one of: {', '.join(SPLITS)}")
        family, kind = self.scenarios[k % len(self.scenarios)]
        number = (self.seed * 1_000_000_007 + k) * len(SPLITS) + SPLITS.index(split)
        return draw(family, number, kind)

    def row(self, split: str, k: int) -> Row:
        """Row `k` of a split, with one image missing in some rows of two-image families; nothing is rendered yet."""
        plot = self.plot(split, k)
        rng = random.Random(f"{self.seed} {split} {k} row")
        truth, figures = plot.truth, plot.figures
        if len(figures) > 1 and rng.random() < SINGLE_SHARE:
            kept = rng.randrange(len(figures))
            truth, figures = dataclasses.replace(truth, panels=(truth.panels[kept],)), (figures[kept],)
        matplotlib = self.backend == "matplotlib" or (self.backend == "mixed" and rng.random() < MIXED_SHARE)
        name = f"{truth.experiment_type}_{split}_{k:06d}"
        return Row(name, truth, figures, "matplotlib" if matplotlib else "fast", plot.seed)


@dataclass(frozen=True)
class Row:
    """One plot of the data set before it is drawn; `truth.panels` and `figures` match one to one."""

    id: str
    truth: Truth
    figures: tuple[Figure, ...]
    backend: Literal["fast", "matplotlib"]
    seed: int

    @property
    def image_ids(self) -> list[str]:
        return [f"{self.id}_{number}" for number in range(len(self.figures))]

    def images(self) -> list[Image.Image]:
        """The figures as RGB images of at most `MAX_PIXELS` each."""
        return [render(figure, size=_size(figure), backend=self.backend) for figure in self.figures]


@dataclass(frozen=True)
class Sample:
    """A row with its images as PNG bytes, as they are stored."""

    row: Row
    pngs: tuple[bytes, ...]

    @classmethod
    def render(cls, row: Row) -> Sample:
        return cls(row, tuple(encode_png(image) for image in row.images()))

    def stored_images(self) -> list[dict[str, Any]]:
        """The images column: {bytes, path} per image."""
        return [{"bytes": png, "path": f"{name}.png"} for png, name in zip(self.pngs, self.row.image_ids, strict=True)]


def encode_png(image: Image.Image) -> bytes:
    """PNG bytes with fast compression: flat plots hardly gain from more."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _size(figure: Figure) -> tuple[int, int]:
    width, height = figure.style.figsize
    scale = min(1.0, (MAX_PIXELS / (width * height)) ** 0.5)
    return round(width * scale), round(height * scale)
