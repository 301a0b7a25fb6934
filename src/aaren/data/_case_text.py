"""What the text formats of labelled series share: lines with their numbers, values of a channel, a finished case."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aaren.data._cases import UNKNOWN, label_of
from aaren.data._cells import BLANKS, finite_number_of
from aaren.errors import DataError

_PLAIN = re.compile(r"[0-9eE+\-., \t]+")


@dataclass
class CaseText:
    """Cases as a reader of text collects them.

    Args:
        source: file name, for messages.
        classes: names that a label may have; None while they are not known yet.
        unlabelled: whether "?" may stand for a class that is not known.
    """

    source: str
    classes: tuple[str, ...] | None
    unlabelled: bool
    cases: list[NDArray[np.float64]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def error(self, message: str, line: int | None = None, column: str | None = None) -> DataError:
        """An error that names the source."""
        return DataError(message, source=self.source, line=line, column=column)

    def values(self, cells: list[str], line: int, column: str) -> NDArray[np.float64]:
        """Numbers of cells, NaN where one is missing.

        Raises:
            DataError: a cell is neither a finite number nor missing; with its place in the line.
        """
        if all(_PLAIN.fullmatch(cell) for cell in cells):
            try:
                numbers = np.array([float(cell) for cell in cells])
            except ValueError:
                numbers = np.full(len(cells), np.inf)
            if np.isfinite(numbers).all():
                return numbers
        numbers = np.empty(len(cells))
        for index, cell in enumerate(cells):
            try:
                numbers[index] = finite_number_of(cell)
            except ValueError as error:
                raise self.error(f"value {index + 1}: {error}; write ? if it is missing", line, column) from None
        return numbers

    def add(self, case: NDArray[np.float64], text: str, line: int) -> None:
        """Take a case of shape (length, channels) and the text of its class.

        Raises:
            DataError: the case is empty, or has no class.
        """
        text = text.strip(BLANKS)
        if not text:
            raise self.error("expected a class, received none", line)
        if 0 in case.shape:
            raise self.error("expected a case of at least one value, received an empty one; remove it", line)
        self.cases.append(case)
        self.texts.append(text)
        self.lines.append(line)

    def labels(self, classes: tuple[str, ...]) -> NDArray[np.int64]:
        """Positions of all classes.

        Raises:
            DataError: there is no case, or a class is unknown.
        """
        if not self.cases:
            raise self.error("expected cases, received none; the file may have been cut off")
        found = [
            UNKNOWN if self.unlabelled and text == "?" else label_of(text, classes, self.source, line)
            for text, line in zip(self.texts, self.lines, strict=True)
        ]
        return np.array(found, dtype=np.int64)


def numbered(text: str, blanks: str = BLANKS) -> Iterator[tuple[int, str]]:
    """Lines that hold something, with their numbers from 1, without the blanks at both ends."""
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        kept = line.strip(blanks)
        if kept.strip(BLANKS):
            yield number, kept


def without_tail(case: NDArray[np.float64]) -> NDArray[np.float64]:
    """A case without the rows at its end in which all values are missing: the padding of formats with one width."""
    known = np.flatnonzero(~np.isnan(case).all(1))
    return case[: int(known[-1]) + 1] if known.size else case[:0]
