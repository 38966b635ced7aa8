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


class CodingError(RiverOneError):
    """A weight cannot be written in codebooks: its shape, its input statistic or the budget does not fit."""


class EvaluationError(RiverOneError):
    """A data set, endpoint, judge or output folder cannot be used for an evaluation."""


class TrainingError(RiverOneError):
    """A training stage cannot start or go on, for example because nothing would be trained."""


class NonFiniteLossError(TrainingError):
    """The loss became NaN or infinite; training stopped before the weights changed."""

    def __init__(self, loss: float, step: int):
        super().__init__(
            f"the loss is {loss} at step {step}; the weights were left as they were. Remedy: lower learning_rate, "
            "muon_lr or max_grad_norm and repeat the command: it goes on from the last checkpoint, or from the start "
            "when the recipe changed"
        )


class TrainingDataError(RiverOneError):
    """Own training data cannot be read: a line, a label or an image is wrong; the text says which."""


class AdapterError(RiverOneError):
    """An adapter cannot be loaded, or cannot be merged into the model it belongs to."""


class MultiplexError(RiverOneError):
    """Blocks cannot be shared or distilled as asked: layer map, model or checkpoint do not fit."""


class MissingExtraError(RiverOneError):
    """An optional dependency is not installed; the text names the extra to install."""

    def __init__(self, package: str, extra: str):
        super().__init__(
            f"{package} is not installed but this command needs it. Remedy: pip install 'riverone-hf[{extra}]'"
        )


class CircuitError(RiverOneError):
    """A circuit's sizes, amplitudes, angles or names do not fit together, or it was asked for more than it does."""


class GeneratorError(RiverOneError):
    """A weight generator's settings match no weight, or one that it cannot make."""


class FrozenResumeError(RiverOneError):
    """Training was to go on from a folder whose generated weights are frozen to plain tensors."""


class NonFiniteWeightError(RiverOneError):
    """A generated weight holds infinite or NaN entries, so it is not merged."""


class CompressError(RiverOneError):
    """A model, its calibration text or a half-done compression does not allow the codes that were asked for."""


class ServeError(RiverOneError):
    """The server cannot start, for example because its port is taken."""


class RequestError(RiverOneError):
    """A request to the server is refused; `status` is its HTTP status, `code` and `param` are as in OpenAI's errors."""

    def __init__(self, message: str, status: int = 400, code: str | None = None, param: str | None = None):
        super().__init__(message)
        self.status, self.code, self.param = status, code, param


class ContaminationError(RiverOneError):
    """Rows of a data set repeat a benchmark, or a benchmark or data set cannot be checked."""


class DriftError(RiverOneError):
    """A table of hardware drift cannot be used: columns, units or the spans of its devices do not fit."""


class SourceError(RiverOneError):
    """A data set from elsewhere cannot be read: no such source or split, or not the columns of its card."""


class SourceGoneError(SourceError):
    """A source stopped in the middle; the text names the row, the build goes on from its last finished shard."""


class DataFolderError(RiverOneError):
    """A folder is not a complete data set that others could load; the text says what is missing."""
