"""Which named errors does RiverONE raise? Each says what was got, what was expected, and the remedy."""

from __future__ import annotations


class RiverOneError(Exception):
    """Base of every error that a user can cause and mend; the command line shows its text and exits with code 2."""


class FigureError(RiverOneError):
    """A figure is missing, empty, corrupt, or larger than the reader accepts."""


class ModelFolderError(RiverOneError):
    """A model folder or Hub id is not a RiverONE model, or its weights are missing or do not match its config."""


class RecipeError(RiverOneError):
    """A recipe is unknown, has unknown keys, or holds values out of range."""


class BuildError(RiverOneError):
    """A build cannot start or continue, for example because its folder belongs to another recipe."""


class QuestionError(RiverOneError):
    """A family, question or answer is not one of those the questions room knows."""


class HubError(RiverOneError):
    """A push to, or a load from, the Hub was refused or is incomplete."""


class MissingExtraError(RiverOneError):
    """An optional dependency is not installed; the text names the extra to install."""

    def __init__(self, package: str, extra: str):
        super().__init__(
            f"{package} is not installed but this command needs it. Remedy: pip install 'riverone-hf[{extra}]'"
        )
