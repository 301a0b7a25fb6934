"""Rows of a live stream, read one by one and checked before anything else sees them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.data._cells import is_missing, number_of
from aaren.data._csv import Records
from aaren.data._series import Schema
from aaren.data._table import check_columns, listed
from aaren.data._times import parse_parts, parse_time
from aaren.errors import DataError


@dataclass(frozen=True, eq=False)
class Row:
    """One checked row.

    Args:
        time: its time, datetime64[us], or None if the schema has no time.
        values: float64 of shape (inputs,), targets first; NaN where the cell is missing or not finite,
            infinity where it is infinite.
        nonfinite: bool of shape (inputs,): the cell came as a float NaN or as an infinity, and not as a mark
            of absence. The caller decides what becomes of such a row.
    """

    time: np.datetime64 | None
    values: NDArray[np.float64]
    nonfinite: NDArray[np.bool_]


class RowReader:
    r"""Rows of comma-separated text with a header, each yielded as soon as its line is complete.

    Reads no line ahead, so that it works on a pipe. Every line is a row: a quoted cell ends on the line on which it
    begins. After a `DataError` for one row the reader goes on with the next one.

    Args:
        lines: lines of text with their ends, for example an open file or `sys.stdin`.
        schema: columns that must be there; others are passed on too.
        source: where the lines come from; for messages.

    Example:
        >>> reader = RowReader(["OT,load\n", "1.5,NA\n"], Schema(targets=("OT",)))
        >>> list(reader)
        [(2, {'OT': '1.5', 'load': 'NA'})]
    """

    def __init__(self, lines: Iterable[str], schema: Schema, source: str = "standard input") -> None:
        self._records = Records(lines, source, by_line=True)
        self._schema = schema
        self._source = source
        self._checked = False

    def __iter__(self) -> Iterator[tuple[int, dict[str, str]]]:
        return self

    def __next__(self) -> tuple[int, dict[str, str]]:
        """Return the line on which the next row starts, and its cells by column.

        Raises:
            DataError: a column of the schema is not in the header, or the row is ragged or malformed.
        """
        names = self._records.names
        if not self._checked:
            wanted = self._schema.time + self._schema.inputs
            series_id = self._schema.series_id
            check_columns(wanted if series_id is None else (*wanted, series_id), names, self._source)
            self._checked = True
        line, cells = next(self._records)
        return line, dict(zip(names, cells, strict=True))


def parse_row(
    schema: Schema,
    data: Mapping[str, Any] | Sequence[Any] | NDArray[Any],
    *,
    row: int,
    source: str | None = None,
) -> Row:
    """Read one row of a stream by the rules that hold for files.

    Args:
        schema: which column plays which part.
        data: cells by column, or a sequence in the order time (if the schema has one), inputs. A cell is a
            number, numeric text, a mark of absence (`NA`, `NaN`, `null`, `?`, empty, ...) or None.
        row: number of the row in its stream, for the message.
        source: where the row comes from, for the message.

    Returns:
        The row.

    Raises:
        DataError: a column is absent, a cell is neither number nor missing, or the time cannot be read; with
            row and column.

    Example:
        >>> parse_row(Schema(targets=("OT", "load")), {"OT": "1.5", "load": None}, row=1).values
        array([1.5, nan])
    """
    cells = _by_name(schema, data, row, source)
    values = np.empty(len(schema.inputs))
    nonfinite = np.zeros(len(schema.inputs), dtype=np.bool_)
    for index, name in enumerate(schema.inputs):
        cell = cells[name]
        try:
            values[index] = number_of(cell)
        except ValueError as error:
            message = f"{error}; give a number, or leave it empty (None, null in JSON) if it is missing"
            raise DataError(message, source=source, line=row, column=name) from None
        nonfinite[index] = not np.isfinite(values[index]) and not is_missing(cell)
    return Row(_time(schema, cells, row, source), values, nonfinite)


def readable_number(schema: Schema, data: Any, name: str) -> float | None:
    """What one cell of a row holds, whatever becomes of the others; None where no number can be read there.

    Args:
        schema: of the row.
        data: the row, as `parse_row` takes it, or anything else.
        name: column, one of the schema's inputs.

    Example:
        >>> readable_number(Schema(targets=("x", "reward")), {"x": "broken", "reward": "1.5"}, "reward")
        1.5
    """
    names = schema.time + schema.inputs
    if isinstance(data, Mapping):
        cell = data.get(name)
    elif _is_flat(data) and len(data) == len(names):
        cell = data[names.index(name)]
    else:
        return None
    try:
        found = number_of(cell)
    except ValueError:
        return None
    return found if np.isfinite(found) else None


def _by_name(
    schema: Schema, data: Mapping[str, Any] | Sequence[Any] | NDArray[Any], row: int, source: str | None
) -> Mapping[str, Any]:
    """Bring a row into the form of a mapping that has every column of the schema."""
    names = schema.time + schema.inputs
    if isinstance(data, Mapping):
        for name in names:
            if name not in data:
                raise DataError(
                    f"no such column in the row, which has {listed([str(key) for key in data])}; "
                    "give None (null in JSON) if its value is missing",
                    source=source,
                    line=row,
                    column=name,
                )
        return data
    flat = _is_flat(data)
    if not flat or len(data) != len(names):
        received = f"{len(data)} values" if flat else "something else"
        raise DataError(
            f"expected a flat row of {len(names)} values ({listed(names)}), received {received}; "
            "give None for values that are missing",
            source=source,
            line=row,
        )
    return dict(zip(names, data, strict=True))


def _is_flat(data: Any) -> bool:
    if isinstance(data, np.ndarray):
        return data.ndim == 1
    return isinstance(data, Sequence) and not isinstance(data, str | bytes)


def _time(schema: Schema, cells: Mapping[str, Any], row: int, source: str | None) -> np.datetime64 | None:
    """Read the time of a row."""
    if not schema.time:
        return None
    parts = [cells[name] for name in schema.time]
    try:
        return parse_time(parts[0]) if len(parts) == 1 else parse_parts(parts, schema.time)
    except ValueError as error:
        raise DataError(str(error), source=source, line=row, column=schema.time[0]) from None
