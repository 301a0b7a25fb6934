"""CSV text: a reader by records that knows its lines, and a fast one on top of polars that agrees with it.

`Records` (Python's csv rules) is the authority. polars reads clean files many times faster, but it fills
short rows up without a word and words its errors for programmers; whatever it does not read cleanly is read
again by `Records`, which names the line.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator
from typing import Any

from aaren.data._bytes import decode
from aaren.data._cells import number_of, shown
from aaren.data._optional import optional
from aaren.data._table import Table
from aaren.errors import DataError


class Records:
    """Records of CSV text, one at a time, without reading ahead.

    Args:
        lines: lines of text with their ends, as from an open file.
        source: where they come from; for messages.
        headerless: a first record of numbers only is data, and the columns are called "0", "1", ...
        strict: refuse malformed quoting, as in `csv.reader`.
        by_line: every line is a record, so that a quote too many costs its own line and not all up to the next quote.
    """

    def __init__(
        self,
        lines: Iterable[str],
        source: str,
        *,
        headerless: bool = False,
        strict: bool = True,
        by_line: bool = False,
    ) -> None:
        marked = _without_mark(lines)
        self._reader = _LineReader(marked) if by_line else csv.reader(marked, strict=strict)
        self._source = source
        self._headerless = headerless
        self._pending: tuple[int, list[str]] | None = None
        self.has_header = True
        self._names: tuple[str, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns; the first use reads the header.

        Raises:
            DataError: there is no header, two columns share a name, or the separator is not a comma.
        """
        if self._names is None:
            line, cells = self._record(None)
            if self._headerless and _all_numbers(cells):
                self._pending, self.has_header = (line, cells), False
                cells = [str(index) for index in range(len(cells))]
            self._names = _header(cells, self._source, line)
        return self._names

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        return self

    def __next__(self) -> tuple[int, list[str]]:
        """Return the line on which the next record starts, and its cells.

        Raises:
            DataError: the record has another number of cells than the header, or its quoting is malformed.
                The reader stays usable: the next call returns the record after it.
        """
        names = self.names
        if self._pending is not None:
            record, self._pending = self._pending, None
            return record
        line, cells = self._record(len(names))
        if len(cells) != len(names):
            raise DataError(
                f"expected {len(names)} cells as in the header, received {len(cells)}; "
                "correct the row, and quote cells that contain a comma",
                source=self._source,
                line=line,
            )
        return line, cells

    def _record(self, width: int | None) -> tuple[int, list[str]]:
        """Read until a record that is not an empty line; `width` None means the header."""
        while True:
            line = self._reader.line_num + 1
            try:
                cells = next(self._reader)
            except csv.Error as error:
                raise DataError(
                    f"expected comma-separated cells, received a malformed record ({error}); correct it",
                    source=self._source,
                    line=line,
                ) from None
            except StopIteration:
                if width is not None:
                    raise
                raise DataError("expected a header and rows, received an empty table", source=self._source) from None
            # In a table of one column, a cell of blanks is a missing value; elsewhere it is an empty line.
            if cells and (width == 1 or len(cells) > 1 or cells[0].strip()):
                return line, cells


class _LineReader:
    """`csv.reader` for records that end with their line."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.line_num = 0

    def __next__(self) -> list[str]:
        line = next(self._lines)
        self.line_num += 1
        try:
            return next(csv.reader(_alone(line), strict=True))
        except csv.Error as error:
            if "newline" in str(error):  # whose words are for programmers
                raise csv.Error("a carriage return inside the line; lines end with a line feed") from None
            raise


def _alone(line: str) -> Iterator[str]:
    yield line
    raise csv.Error("a quoted cell does not end on its line")


def read_csv(data: bytes, source: str, name: str, sha256: str, *, headerless: bool = False) -> Table:
    """Read CSV bytes into columns of strings.

    Args:
        data: the text, in UTF-8 (with or without byte-order mark) or latin-1.
        source: file name; for messages.
        name: short name of the table.
        sha256: digest of the file as stored.
        headerless: a first row of numbers only is data (the layout of LSTNet's text files).

    Returns:
        The table; empty lines are skipped, a cell is kept as it is written.

    Raises:
        DataError: no text, no rows, ragged rows, duplicate names or malformed quoting.
    """
    polars = optional("polars", "reading CSV files")
    text = decode(data, source)

    def records(strict: bool) -> Records:
        return Records(io.StringIO(text, newline=""), source, headerless=headerless, strict=strict)

    def line_of(row: int) -> int:
        for position, (line, _) in enumerate(records(strict=False)):
            if position == row:
                return line
        raise AssertionError(f"row {row} was read but is not there")

    header = records(strict=True)
    names = header.names
    frame = _fast(polars, text, names, has_header=header.has_header)
    if frame is None:
        rows = [cells for _, cells in records(strict=True)]
        columns = zip(*rows, strict=True) if rows else [()] * len(names)
        series = [polars.Series(list(column), dtype=polars.String) for column in columns]
    else:
        series = frame.get_columns()
    return Table(source, name, dict(zip(names, series, strict=True)), len(series[0]), line_of, sha256)


def _fast(polars: Any, text: str, names: tuple[str, ...], *, has_header: bool) -> Any:
    """Read with polars; None if it cannot vouch that it reads what `Records` reads."""
    # Quotes hide commas and line ends, and a carriage return that ends a line by itself is text to polars.
    if '"' in text or text.count("\r") != text.count("\r\n"):
        return None
    try:
        frame = polars.read_csv(io.BytesIO(text.encode()), has_header=has_header, infer_schema=False)
    except polars.exceptions.PolarsError:
        return None
    if has_header and tuple(name.strip() for name in frame.columns) != names:
        return None
    # A short row or an empty line leaves a null in the last column, as an empty cell does; a comma too many
    # at the end of the text is dropped without a word. Rows that are neither have the right number of cells.
    commas = (frame.height + has_header) * (len(names) - 1)
    complete = frame.width == len(names) and frame.height > 0 and frame.get_columns()[-1].null_count() == 0
    return frame if complete and text.count(",") == commas else None


def _without_mark(lines: Iterable[str]) -> Iterator[str]:
    """Drop a byte-order mark from the first line."""
    for number, line in enumerate(lines):
        yield line.removeprefix("\ufeff") if number == 0 else line


def _all_numbers(cells: list[str]) -> bool:
    try:
        return all(math.isfinite(number_of(cell)) for cell in cells)
    except ValueError:
        return False


def _header(cells: list[str], source: str, line: int) -> tuple[str, ...]:
    """Check the names of the columns."""
    names = tuple(cell.strip() for cell in cells)
    for index, name in enumerate(names):
        if name in names[:index]:
            raise DataError(
                f"expected different names in the header, received {shown(name)} twice; rename one",
                source=source,
                line=line,
                column=name,
            )
    if len(names) == 1:
        for separator in (";", "\t", "|"):
            if separator in names[0]:
                raise DataError(
                    f"expected cells separated by commas, received a header with {separator!r}; "
                    "save the table with commas",
                    source=source,
                    line=line,
                )
    return names
