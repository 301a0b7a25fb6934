"""Events in tables: one row for each event, with its time and, if there are any, its mark and its sequence."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.data._cells import CellError, mark_text, number_of, numbers_of
from aaren.data._csv import read_csv
from aaren.data._events import Duplicates, EventColumns, EventSequence, EventSet, checked_sequence, event_error
from aaren.data._frame import frame_table, read_parquet
from aaren.data._stored import read_stored
from aaren.data._table import Table, listed
from aaren.data._times import times_of
from aaren.errors import DataError

_DIGITS = 300  # of a mark that is a number
_TIME_NAMES = ("time", "date", "timestamp", "datetime", "ds")


def events_of_table(
    source: Any, names: Sequence[str] | None, columns: EventColumns, duplicates: Duplicates
) -> EventSet:
    """Events of a table.

    Args:
        source: path of a `.csv` (also `.gz`) or `.parquet` file, or a frame.
        names: the marks that may occur, in order; None for those that do.
        columns: of the table; "auto" for time (one called time, date, timestamp, datetime or ds), for mark and for
            sequence (the one of that name, if it is there).
        duplicates: what becomes of equal times.

    Raises:
        DataError: a column is missing, a cell cannot be read, or a sequence is not in order.
    """
    table = _table(source)
    found = _columns(table, columns)
    if not table.rows:
        raise table.error("expected at least two events, received none")
    times, dated = _times(table, found.time)
    marks, names = (None, ()) if found.mark is None else _marks(table, found.mark, names)
    sequences: list[EventSequence] = []
    for name, rows in _groups(table, found.sequence):
        sequences.append(
            checked_sequence(
                name,
                times[rows],
                None if marks is None else marks[rows],
                len(names),
                source=table.source,
                duplicates=duplicates,
                dated=dated,
                refuse=partial(_refusal, table, found, name, rows),
            )
        )
    return EventSet(tuple(sequences), tuple(names), table.source, table.sha256, duplicates, dated, found)


def _refusal(
    table: Table, columns: EventColumns, name: str, rows: NDArray[np.intp], message: str, index: int | None = None
) -> DataError:
    """The error of a sequence, or of the time of one of its events, which is on a line of the table."""
    if index is None:
        return event_error(message, table.source, name)
    within = "" if columns.sequence is None else f"sequence {name!r}: "
    return table.error(within + message, row=int(rows[index]), column=columns.time)


def _table(source: Any) -> Table:
    if not isinstance(source, str | os.PathLike):
        return frame_table(source)
    stored = read_stored(source)
    label, name = str(source), Path(stored.name).stem
    if stored.name.endswith(".parquet"):
        return read_parquet(stored.data, label, name, stored.sha256)
    return read_csv(stored.data, label, name, stored.sha256)


def _columns(table: Table, asked: EventColumns) -> EventColumns:
    """Turn "auto" into names, and check that the columns are there."""
    time = asked.time
    if time == "auto":
        there = [name for name in table.columns if name.lower() in _TIME_NAMES]
        if len(there) != 1:
            problem = f"several: {listed(there)}" if there else f"only {listed(tuple(table.columns))}"
            raise table.error(
                f"expected one column called {', '.join(_TIME_NAMES)}, received {problem}; name it with time="
            )
        time = there[0]
    mark, sequence = (
        (auto if auto in table.columns else None) if name == "auto" else name
        for auto, name in (("mark", asked.mark), ("sequence", asked.sequence))
    )
    table.check([name for name in (time, mark, sequence) if name is not None])
    return EventColumns(time, mark, sequence)


def _times(table: Table, name: str) -> tuple[NDArray[np.float64], bool]:
    """Times as numbers, and whether they are dates, as the first cell decides."""
    column = table.columns[name]
    try:
        if _is_number(column[0]):
            times = numbers_of(column)
            missing = np.flatnonzero(np.isnan(times))
            if missing.size:
                raise CellError(int(missing[0]), "expected a time, received a missing cell; remove the event")
            return times, False
        return times_of(column).astype("datetime64[us]").astype(np.int64) / 1e6, True
    except CellError as error:
        raise table.error(str(error), row=error.row, column=name) from None


def _is_number(cell: object) -> bool:
    try:
        return number_of(cell) == number_of(cell)
    except ValueError:
        return False


def _marks(table: Table, name: str, names: Sequence[str] | None) -> tuple[NDArray[np.int64], Sequence[str]]:
    """Marks as numbers, and their names."""
    cells = [mark_text(cell) for cell in table.columns[name]]
    if None in cells:
        raise table.error(
            "expected a mark, received a missing cell; name the mark, or remove the event",
            row=cells.index(None),
            column=name,
        )
    texts = [cell for cell in cells if cell is not None]
    names = _sorted(set(texts)) if names is None else names
    numbers = {text: number for number, text in enumerate(names)}
    for row, text in enumerate(texts):
        if text not in numbers:
            raise table.error(f"expected one of the marks {listed(names)}, received {text!r}", row=row, column=name)
    return np.array([numbers[text] for text in texts], dtype=np.int64), names


def _sorted(names: set[str]) -> list[str]:
    """Numbers by their value, before all other names; what has too many digits to be a number is a name."""
    numbers = {name: int(name) for name in names if name.isdecimal() and len(name) <= _DIGITS}
    return sorted(names, key=lambda name: (name not in numbers, numbers.get(name, 0), name))


def _groups(table: Table, column: str | None) -> list[tuple[str, NDArray[np.intp]]]:
    """The rows of each sequence, in the order of their first rows."""
    if column is None:
        return [(table.name, np.arange(table.rows))]
    groups: dict[str, list[int]] = {}
    for row, cell in enumerate(table.columns[column]):
        name = mark_text(cell)
        if name is None:
            raise table.error("expected the name of a sequence, received a missing cell", row=row, column=column)
        groups.setdefault(name, []).append(row)
    return [(name, np.array(rows, dtype=np.intp)) for name, rows in groups.items()]
