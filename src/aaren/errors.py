"""The closed list of errors that a user's own input can cause.

Each message says what was expected, what came, and what to do. Wrong shapes and dtypes of tensors are plain
`ValueError` and `TypeError`, as everywhere in PyTorch; the classes here are for data, files and set-up.
"""

from __future__ import annotations


class AarenError(Exception):
    """Base of every error below; `except AarenError` catches a user's mistake and nothing else."""


class DataError(AarenError, ValueError):
    """A table, a row or a cell is not what was asked for.

    Args:
        message: expected, received, remedy, in one line.
        source: file name or other origin of the data.
        line: line of the file (the header is line 1), or number of the row in a stream.
        column: name of the column.
    """

    def __init__(
        self, message: str, *, source: str | None = None, line: int | None = None, column: str | None = None
    ) -> None:
        self.message, self.source, self.line, self.column = message, source, line, column
        place = [source] if source else []
        if line is not None:
            place.append(f"line {line}")
        if column is not None:
            place.append(f"column {column!r}")
        super().__init__(f"{', '.join(place)}: {message}" if place else message)


class ModelFileError(AarenError, ValueError):
    """A model directory, checkpoint or state snapshot is damaged, foreign or of another version; it was refused."""


class DamagedRecordError(ModelFileError):
    """The record of one key in a store of streams is damaged; those of other keys may be sound.

    Args:
        message: what is wrong, and the remedy.
        key: of the record.
    """

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


class BackendError(AarenError, RuntimeError):
    """A backend was asked for by name and is unknown, missing or unable to do this call."""


class TrainingError(AarenError, RuntimeError):
    """Training went wrong in a way that other options may mend, such as a loss that is not finite."""


class MissingDependencyError(AarenError, ImportError):
    """An optional package is needed for this call; the message names the extra that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}; install it with: pip install 'aaren[{extra}]'")


class RecipeError(AarenError, ValueError):
    """A recipe, scale, encoder or variant that a study was asked for is not there."""
