"""Who is told how far an evaluation is? Two calls that the command line turns into bars."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Is told what is going on; the command line draws bars from it."""

    def stage(self, name: str, total: int) -> None:
        """A new stage of `total` steps begins."""

    def advance(self, count: int) -> None:
        """So many steps of the stage are done."""


class Silent:
    """Tells nobody."""

    def stage(self, name: str, total: int) -> None:
        """Says nothing."""

    def advance(self, count: int) -> None:
        """Says nothing."""
