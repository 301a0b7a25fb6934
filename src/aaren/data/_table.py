"""A table between its reading and its meaning: named columns, and where each row came from."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aaren.errors import DataError


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of one length, with the words for errors in them.

    Args:
        source: file name, or the kind of frame.
        name: short name, for a table that is one series.
        columns: by name, in order: a polars Series of strings, or an array of float64, datetime64[us] or
            objects.
        rows: number of rows.
        line_of: gives the line in the file of a row (counted from 0); None if the table has no lines.
        sha256: digest of the file's bytes as stored, or None.
    """

    source: str
    name: str
    columns: Mapping[str, Any]
    rows: int
    line_of: Callable[[int], int] | None
    sha256: str | None

    def error(self, message: str, *, row: int | None = None, column: str | None = None) -> DataError:
        """Make an error that names the source, the line (or the row of a frame) and the column."""
        if row is None:
            return DataError(message, source=self.source, column=column)
        if self.line_of is None:
            return DataError(f"row {row} (counted from 0): {message}", source=self.source, column=column)
        return DataError(message, source=self.source, line=self.line_of(row), column=column)

    def place(self, row: int) -> str:
        """Name a row inside a sentence."""
        return f"row {row}" if self.line_of is None else f"line {self.line_of(row)}"

    def check(self, names: Sequence[str]) -> None:
        """Refuse names that are no columns."""
        check_columns(names, tuple(self.columns), self.source)


def check_columns(names: Sequence[str], existing: Sequence[str], source: str) -> None:
    """Refuse names that are no columns, with the columns that exist and the one that may be meant.

    Args:
        names: wanted columns.
        existing: columns that are there.
        source: where they come from; for the message.

    Raises:
        DataError: a wanted column is not there.
    """
    for name in names:
        if name not in existing:
            near = difflib.get_close_matches(name, existing, n=1, cutoff=0.5)
            folded = [other for other in existing if other.lower() == name.lower()]
            guess = (folded or near or [""])[0]
            hint = f"did you mean {guess!r}?" if guess else "name one of these"
            raise DataError(f"no such column; the columns are {listed(existing)}; {hint}", source=source, column=name)


def listed(names: Sequence[str]) -> str:
    """List names for a message; long lists are cut."""
    head = ", ".join(repr(name) for name in names[:30])
    return head if len(names) <= 30 else f"{head}, ... ({len(names)} in all)"
