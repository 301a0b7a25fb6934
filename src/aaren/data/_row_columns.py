"""Rows of many live streams read at once, column by column; cell by cell they give what `parse_row` gives.

A row that `parse_row` would refuse is not an error here: it is marked as odd, and who reads it alone says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.data._cells import CellError, is_missing, number_of
from aaren.data._series import Schema
from aaren.data._times import Times, parse_parts, parse_time, times_of_parts

ABSENT: Any = object()
"""Stands for the cell of an optional column that a row does not have."""


@dataclass(frozen=True, eq=False)
class Columns:
    """Cells by column.

    Args:
        cells: for each name a list or an array of as many cells as there are rows.
        odd: bool of shape (rows,): the row has not all columns, or is no row; its cells are None.
    """

    cells: Mapping[str, Any]
    odd: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class RowBlock:
    """Checked rows, as `Row` is one.

    Args:
        times: datetime64[us] of shape (rows,), NaT where a row is odd; None if the schema has no time.
        values: float64 of shape (rows, inputs), NaN where the cell is missing, infinity where it is infinite.
        nonfinite: bool of the same shape: the cell came as a float NaN or as an infinity, and not as a mark of absence.
        odd: bool of shape (rows,): `parse_row` refuses the row.
        series: cells of the column that names the series, `ABSENT` where a row has none; None if no row has one.
    """

    times: Times | None
    values: NDArray[np.float64]
    nonfinite: NDArray[np.bool_]
    odd: NDArray[np.bool_]
    series: list[Any] | None


def columns_of(names: Sequence[str], optional: str | None, rows: Any, count: int) -> Columns:
    """Bring rows into the form of columns.

    Args:
        names: columns that every row must have; a row that is a sequence has its cells in this order.
        optional: one more column, which rows that are mappings may have.
        rows: a mapping of columns, or `count` rows, each a mapping of cells or a sequence of them.
        count: number of rows.
    """
    none = np.zeros(count, dtype=np.bool_)
    if isinstance(rows, Mapping):
        wanted = [name for name in (*names, optional) if name is not None and name in rows]
        if any(name not in rows for name in names):
            return Columns({name: [None] * count for name in names}, ~none)
        return Columns({name: rows[name] for name in wanted}, none)
    if isinstance(rows, np.ndarray) and rows.ndim == 2 and rows.shape[1] == len(names):
        return Columns({name: rows[:, place] for place, name in enumerate(names)}, none)
    more: dict[str, Any] = {}
    if optional is not None:
        more[optional] = [row.get(optional, ABSENT) if isinstance(row, Mapping) else ABSENT for row in rows]
    if set(map(type, rows)) == {dict}:
        try:
            return Columns({**{name: [row[name] for row in rows] for name in names}, **more}, none)
        except KeyError:
            pass
    found = [_cells(names, row) for row in rows]
    odd = np.array([cells is None for cells in found], dtype=np.bool_)
    nothing = [None] * len(names)
    filled = [nothing if cells is None else cells for cells in found]
    return Columns({**{name: [cells[place] for cells in filled] for place, name in enumerate(names)}, **more}, odd)


def _cells(names: Sequence[str], row: Any) -> list[Any] | None:
    """The cells of a row in the order of the names, or None if it is no row with these columns."""
    if isinstance(row, Mapping):
        return [row[name] for name in names] if all(name in row for name in names) else None
    flat = isinstance(row, Sequence) and not isinstance(row, str | bytes)
    if flat or (isinstance(row, np.ndarray) and row.ndim == 1):
        return list(row) if len(row) == len(names) else None
    return None


def parse_rows(schema: Schema, rows: Any, count: int) -> RowBlock:
    """Read many rows, of any streams, by the rules of `parse_row`.

    Args:
        schema: which column plays which part.
        rows: a mapping of columns, or `count` rows, each a mapping of cells or a sequence in the order time, inputs.
        count: number of rows.
    """
    found = columns_of(schema.time + schema.inputs, schema.series_id, rows, count)
    odd, columns = found.odd.copy(), [found.cells[name] for name in schema.inputs]
    if all(type(cells) is list and set(map(type, cells)) == {float} for cells in columns):  # in one go: rows are few
        values = np.ascontiguousarray(np.array(columns, dtype=np.float64).T)
        nonfinite = ~np.isfinite(values)
    else:
        values = np.empty((count, len(columns)))
        nonfinite = np.zeros(values.shape, dtype=np.bool_)
        for place, cells in enumerate(columns):
            values[:, place], nonfinite[:, place], wrong = parse_numbers(cells)
            odd |= wrong
    times = None
    if schema.time:
        times = _parse_times([found.cells[name] for name in schema.time], schema.time)
        odd |= np.isnat(times)
    series = None if schema.series_id is None else found.cells.get(schema.series_id)
    return RowBlock(times, values, nonfinite, odd, None if series is None else list(series))


def parse_numbers(cells: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Numbers of shape (rows,), which of them came as not finite, and which cells are no numbers at all."""
    masked = isinstance(cells, np.ma.MaskedArray)  # whose list has None where something is masked
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "fiu" and not masked:
        values = cells.astype(np.float64)
        return values, ~np.isfinite(values), np.zeros(len(cells), dtype=np.bool_)
    given = cells.tolist() if isinstance(cells, np.ndarray) else cells
    if set(map(type, given)) <= {float}:
        values = np.array(given, dtype=np.float64)
        return values, ~np.isfinite(values), np.zeros(len(given), dtype=np.bool_)
    values, odd = np.full(len(given), np.nan), np.zeros(len(given), dtype=np.bool_)
    nonfinite = np.zeros(len(given), dtype=np.bool_)
    for place, cell in enumerate(given):
        try:
            values[place] = number_of(cell)
        except ValueError:
            odd[place] = True
        else:
            nonfinite[place] = not np.isfinite(values[place]) and not is_missing(cell)
    return values, nonfinite, odd


def parse_times(cells: Any) -> Times:
    """Times of shape (rows,) in datetime64[us], NaT where `parse_time` refuses the cell."""
    if isinstance(cells, np.ndarray) and cells.dtype.kind == "M" and not isinstance(cells, np.ma.MaskedArray):
        return cells.astype("datetime64[us]")
    known: dict[str, Any] = {}
    times = np.full(len(cells), np.datetime64("NaT", "us"))
    for place, cell in enumerate(cells):
        time = known.get(cell) if isinstance(cell, str) else None
        if time is None:
            try:
                time = parse_time(cell)
            except ValueError:
                time = np.datetime64("NaT", "us")
            if isinstance(cell, str):
                known[cell] = time
        times[place] = time
    return times


def _parse_times(columns: list[Any], names: Sequence[str]) -> Times:
    if len(columns) == 1:
        return parse_times(columns[0])
    try:
        return times_of_parts([parse_numbers(cells)[0] for cells in columns], names)
    except CellError:
        times = np.full(len(columns[0]), np.datetime64("NaT", "us"))
        for place, parts in enumerate(zip(*columns, strict=True)):
            try:
                times[place] = parse_parts(parts, names)
            except ValueError:
                continue  # stays NaT
        return times
