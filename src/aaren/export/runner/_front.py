"""From rows to the inputs of a step: what a live stream does before and after the model, in the same words."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.errors import DataError, ModelFileError

Arrays = dict[str, NDArray[Any]]
NO_TIME = np.iinfo(np.int64).min
"""Stands for a time that is not there, as NaT does."""
MOST = 1 << 62
"""Rows that a stream may have had: whole numbers of 64 bits count on from there."""
ON_BAD_ROW = ("error", "skip", "impute")


class Front(ABC):
    """Base of the fronts, one for each kind of model.

    Args:
        config: of the model.
        preprocessing: of the model.
        on_bad_row: "error", "skip" or "impute", as in `aaren.streaming`.
        options: further ones that the streams of that kind have.

    Raises:
        ValueError: an option is not one of its choices.
        ModelFileError: the preprocessing is not of that kind.
    """

    options: tuple[str, ...] = ()
    """Names of the options that the kind has."""
    finite: str | None = None
    """The output that must be finite, or the row was too large for the model."""

    def __init__(
        self, config: Mapping[str, Any], preprocessing: Mapping[str, Any], on_bad_row: str = "error", **options: Any
    ) -> None:
        if on_bad_row not in ON_BAD_ROW:
            raise ValueError(f"on_bad_row: expected 'error', 'skip' or 'impute', received {on_bad_row!r}")
        for name in options:
            if name not in self.options:
                raise TypeError(f"{name}: expected an option from {', '.join(('on_bad_row', *self.options))}")
        self.on_bad_row, self.config = on_bad_row, config
        try:
            self.prepare(preprocessing)
        except (KeyError, AttributeError, TypeError, ValueError, OverflowError, DataError) as error:
            raise ModelFileError(f"preprocessing: expected what `save` writes; {error}") from None
        self.choose(**options)
        self.reset()

    @abstractmethod
    def prepare(self, preprocessing: Mapping[str, Any]) -> None:
        """Read the preprocessing, and of the configuration what it takes; any error says that it is damaged."""

    def choose(self, **options: Any) -> None:  # noqa: B027 (a classifier has none)
        """Take the options of the kind; ValueError if one cannot be."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The columns that a row must have."""

    @abstractmethod
    def check(self, row: Any, number: int) -> Any:
        """What `tokens` and `take` need of a row; raises DataError and changes nothing."""

    @abstractmethod
    def tokens(self, checked: Any) -> list[Arrays]:
        """Inputs of the steps that the row takes: those of rows that are missing before it, then its own."""

    @abstractmethod
    def take(self, checked: Any) -> None:
        """The row was taken: remember of it what the next one is judged by."""

    def skip(self, row: Any) -> tuple[float, str]:
        """A row was left out: remember it.

        Args:
            row: as `check` was given it; None if there was nothing to be read.

        Returns:
            The reward that counts though the row does not, NaN if there is none; and what is lost with the row besides,
            in words for the user, empty if nothing is.
        """
        return math.nan, ""

    def earned(self, checked: Any) -> float:
        """The reward of a row that goes with no action and so is in no token; NaN if there is none."""
        return math.nan

    @abstractmethod
    def line(self, number: int, said: Arrays) -> dict[str, Any]:
        """What was said after the last row, as plain data for JSON."""

    def first(self, state: Arrays) -> Arrays:
        """The state of the step at the start, from that of the manifest."""
        return state

    @abstractmethod
    def reset(self) -> None:
        """Forget the rows so far."""

    @abstractmethod
    def state(self) -> Arrays:
        """What it keeps between rows."""

    @abstractmethod
    def set_state(self, state: Mapping[str, NDArray[Any]], step: Mapping[str, NDArray[Any]]) -> None:
        """Take back what `state` gave; KeyError, TypeError or ValueError if it cannot be.

        Args:
            state: its own part.
            step: the step's, which must have come as far.
        """

    def require_finite(self, outputs: Arrays, number: int) -> None:
        """Refuse a finite row that is too large for the model.

        Raises:
            DataError: with the number of the row.
        """
        if self.finite is not None and not np.isfinite(outputs[self.finite]).all():
            raise DataError(
                "expected a row that the model can take, received one after which nothing is a number; its numbers are "
                "far beyond those of the training data: mark them as missing",
                source="stream",
                line=number,
            )


def text_array(text: str | None) -> NDArray[np.uint8]:
    """Text as numbers; None as a single 0, which no text begins with."""
    return np.frombuffer(b"\0" if text is None else text.encode(), dtype=np.uint8).copy()


def text_of(array: NDArray[Any]) -> str | None:
    """What `text_array` was given; ValueError for other numbers."""
    if array.dtype != np.uint8 or array.ndim != 1:
        raise ValueError(f"expected the bytes of a name, received {array.dtype} {array.shape}")
    data = array.tobytes()
    return None if data == b"\0" else data.decode()


def number_of(array: NDArray[Any], dtype: str) -> Any:
    """The one number of an array of that dtype; ValueError otherwise."""
    if array.shape != () or array.dtype != dtype:
        raise ValueError(f"expected one number of {dtype}, received {array.dtype} {array.shape}")
    return array.item()


def count_of(array: NDArray[Any]) -> int:
    """The one number of an array that counts rows; ValueError for one that cannot."""
    count: int = number_of(array, "int64")
    if not 0 <= count <= MOST:
        raise ValueError(f"expected a number of rows, received {count}")
    return count


def rounded(value: float) -> float | None:
    """Seven significant digits, as much as float32 has; JSON has no NaN and no infinity, so None stands for them."""
    return float(f"{value:.7g}") if math.isfinite(value) else None


def time_texts(times: NDArray[Any]) -> list[str]:
    """Times in ISO 8601, always with date, hour, minute and second; microseconds only where some are not zero."""
    whole = (times == times.astype("datetime64[s]")).all()
    return [str(text) for text in np.datetime_as_string(times, unit="s" if whole else "us")]
