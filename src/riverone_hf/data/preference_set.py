"""How do calibration preferences become a data set? Hard negatives and a model's own mistakes, as a source of rows.

Mistakes are the lines that mining writes: {index, question, text}, about plot `index` of the simulator's training
split with the same families and seed as here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..calibration import SUPPORTED_FAMILIES
from ..calibration.plot import family_module
from ..errors import SourceError
from ..questions import QUESTIONS, write_answers
from .calibration import DATA_VERSION, PlotSource
from .plan import encode_png
from .preference_rows import Mistake, PreferenceSource
from .source_image import Reject
from .source_rows import PREFERENCE, Kind, Row

BUILT_FIRST = 800_000_000
"""Plots of built pairs begin here: no training stage draws them."""


@dataclass(frozen=True)
class SimulatedPairs:
    """Stands where an `Origin` stands: endless rows {index}, and the pairs they become.

    Raises SourceError for a missing file of mistakes, QuestionError for an unknown family.
    """

    families: tuple[str, ...] = SUPPORTED_FAMILIES
    seed: int = 0
    mistakes: Path | None = None
    share: float = 0.5
    split: str = "train"
    name: str = "riverone simulator"
    rejects: Counter[str] = field(default_factory=Counter, compare=False)

    def __post_init__(self) -> None:
        for family in self.families:
            family_module(family)
        if self.mistakes is not None and not self.mistakes.is_file():
            raise SourceError(
                f"{self.mistakes}: no such file. Expected one line per mistake: {{index, question, text}}"
            )

    def pinned(self, known: str | None = None) -> SimulatedPairs:
        """The same: a simulator has no commit."""
        return self

    def fingerprint(self) -> dict[str, Any]:
        said: dict[str, Any] = {"source": self.name, "split": self.split, "data_version": DATA_VERSION}
        said |= {"families": list(self.families), "simulator_seed": self.seed}
        if self.mistakes is not None:
            said |= {"mistakes": sha256(self.mistakes.read_bytes()).hexdigest()[:16], "mistake_share": self.share}
        return said

    def rows(self, start: int = 0) -> Iterator[tuple[int, Row]]:
        """(number, {index}) without end."""
        number = start
        while True:
            yield number, {"index": BUILT_FIRST + number}
            number += 1

    @cached_property
    def pairs(self) -> PreferenceSource:
        plots = PlotSource(self.families, self.seed)
        found = tuple(self._read(plots)) if self.mistakes is not None else ()
        if self.mistakes is not None and not found:
            raise SourceError(
                f"{self.mistakes}: no line holds a mistake ({dict(self.rejects)}). Expected lines "
                '{"index": plot, "question": "q2", "text": wrong answer}'
            )
        return PreferenceSource(plots, found, self.share)

    def left_out(self) -> dict[str, int]:
        """Lines of `mistakes` that cannot be used, by reason."""
        _ = self.pairs
        return dict(self.rejects)

    def _read(self, plots: PlotSource) -> Iterator[Mistake]:
        assert self.mistakes is not None
        for line in self.mistakes.read_text(encoding="utf-8").splitlines():
            try:
                said = json.loads(line)
                mistake = Mistake(int(said["index"]), str(said["question"]), str(said["text"]).strip())
            except (ValueError, KeyError, TypeError):
                self.rejects["broken_line"] += 1
                continue
            if mistake.question not in QUESTIONS or mistake.index < 0:
                self.rejects["unknown_question"] += 1
            elif not mistake.text:
                self.rejects["empty_rejected"] += 1
            elif mistake.text == write_answers(plots.plot(mistake.index).truth)[mistake.question].strip():
                self.rejects["right_answer"] += 1
            else:
                yield mistake


def preferences_kind() -> Kind:
    """The kind of source that `SimulatedPairs` is."""

    def convert(row: Mapping[str, Any], origin: Any) -> list[Row | Reject]:
        assert isinstance(origin, SimulatedPairs)
        made = origin.pairs.row(row["index"])
        images = [{"bytes": encode_png(image), "path": "image.png"} for image in made["images"]]
        return [made | {"images": images}]

    return Kind(
        "preference",
        "Calibration preference pairs",
        PREFERENCE,
        (("index",),),
        convert,
        "cc-by-4.0",
        None,
        "Simulated calibration plots with a true answer and a wrong one in the same format: a hard negative (a wrong "
        "label with a real reason, a unit slip, a misread axis, a trusted bad fit), or a mistake that a model made.",
    )
