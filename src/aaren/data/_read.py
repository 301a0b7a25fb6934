"""From a file or a frame to series: which columns, which rows belong together, and are they in order."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.data._bytes import file_bytes
from aaren.data._cells import BLANKS, CellError, is_missing, is_numeric, numbers_of
from aaren.data._csv import read_csv
from aaren.data._frame import frame_table, read_parquet
from aaren.data._sampling import sample
from aaren.data._series import Schema, Series, SeriesSet
from aaren.data._table import Table, listed
from aaren.data._times import Times, times_of, times_of_parts
from aaren.errors import DataError

_TIME_NAMES = ("date", "time", "timestamp", "datetime", "ds")


def read_series(
    source: Any,
    *,
    targets: str | Sequence[str],
    covariates: str | Sequence[str] = (),
    time: str | Sequence[str] | None = "auto",
    series_id: str | None = None,
) -> SeriesSet:
    """Read the series of a file or a frame.

    Args:
        source: path of a .csv, .csv.gz, .txt, .txt.gz (with commas) or .parquet file, or an eager frame of
            pandas, polars or another library that narwhals knows. Text is UTF-8 or latin-1; its first row is
            the header, save that a .txt file whose first row is all numbers has none and its columns are "0",
            "1", ...
        targets: columns to forecast, or `"all"`: every numeric column that is neither time nor id. A column
            is numeric if its first cell that is not missing is a number.
        covariates: columns that are observed but not forecast, or `"all"`: every other numeric column.
        time: column of time stamps; or columns of year, month, day, hour, minute, second (the first two to
            six of them, in this order); or None if rows are equally spaced; or `"auto"`: the column called
            date, time, timestamp, datetime or ds, in any case.
        series_id: column that tells several series apart; their rows may alternate.

    Returns:
        The series. Absent rows of an otherwise regular series are there as rows of NaN. Empty lines are
        skipped.

    Raises:
        DataError: the file, a column, a row or a cell is not as expected; with line and column.
        MissingDependencyError: polars (files) or narwhals (frames) is not installed.

    Example:
        >>> import polars
        >>> frame = polars.DataFrame({"date": ["2016-07-01", "2016-07-02"], "OT": [30.5, 27.8]})
        >>> read_series(frame, targets="OT").series[0].values
        array([[30.5],
               [27.8]])
    """
    table = _table(source)
    if table.rows < 2:
        raise table.error(f"expected at least two rows, received {table.rows}")
    schema = _schema(table, targets, covariates, time, series_id)
    values = np.stack([_numbers(table, name) for name in schema.inputs], axis=1)
    times = _times(table, schema)
    series = []
    for name, rows in _groups(table, schema):
        if len(rows) < 2:
            raise table.error(
                f"expected at least two rows in series {name!r}, received 1; leave it out, or check which column tells "
                "series apart",
                row=int(rows[0]),
            )
        if times is not None:
            _check_order(table, schema, times, rows)
        series.append(Series(name, None if times is None else times[rows], values[rows]))
    filled, sampling = sample(series, table.source)
    return SeriesSet(schema, filled, sampling, table.source, table.sha256)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Compute the SHA-256 digest of a file's bytes as stored.

    Args:
        path: the file.

    Returns:
        64 hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _table(source: Any) -> Table:
    """Choose the reader by the ending of a path, or take a frame."""
    if not isinstance(source, str | os.PathLike):
        return frame_table(source)
    path = Path(source)
    label, lower = str(path), path.name.lower()
    packed = lower.endswith(".gz")
    kind = Path(lower.removesuffix(".gz")).suffix
    if kind not in (".csv", ".txt", ".parquet") or (packed and kind == ".parquet"):
        raise DataError(
            "expected a file that ends in .csv, .csv.gz, .txt, .txt.gz or .parquet; rename or convert it",
            source=label,
        )
    data, digest = file_bytes(path, packed=packed)
    name = path.name[: len(path.name) - len(kind) - 3 * packed]
    if kind == ".parquet":
        return read_parquet(data, label, name, digest)
    return read_csv(data, label, name, digest, headerless=kind == ".txt")


def _schema(
    table: Table,
    targets: str | Sequence[str],
    covariates: str | Sequence[str],
    time: str | Sequence[str] | None,
    series_id: str | None,
) -> Schema:
    """Turn "auto" and "all" into names, and check that the columns are there."""
    if time == "auto":
        stamps: tuple[str, ...] = (_find_time(table),)
    else:
        stamps = () if time is None else (time,) if isinstance(time, str) else tuple(time)
    reserved = stamps if series_id is None else (*stamps, series_id)
    table.check(reserved)
    chosen = []
    for names in (targets, covariates):
        if names == "all":
            chosen.append(
                tuple(name for name in table.columns if name not in reserved and is_numeric(table.columns[name]))
            )
        else:
            chosen.append((names,) if isinstance(names, str) else tuple(names))
    if targets == "all" and not chosen[0]:
        raise table.error(
            f"expected numeric columns, received none among {listed(tuple(table.columns))}; name the targets"
        )
    schema = Schema(chosen[0], chosen[1], stamps, series_id)
    table.check(schema.inputs)
    return schema


def _find_time(table: Table) -> str:
    found = [name for name in table.columns if name.lower() in _TIME_NAMES]
    if len(found) == 1:
        return found[0]
    problem = f"several: {listed(found)}" if found else f"only {listed(tuple(table.columns))}"
    raise table.error(
        f"expected one column called {', '.join(_TIME_NAMES)}, received {problem}; "
        "name the column with time=, or pass time=None if the rows are equally spaced"
    )


def _numbers(table: Table, name: str) -> NDArray[np.float64]:
    try:
        return numbers_of(table.columns[name])
    except CellError as error:
        message = f"{error}; correct it, or write NA if it is missing"
        raise table.error(message, row=error.row, column=name) from None


def _times(table: Table, schema: Schema) -> Times | None:
    """Read the times of all rows, if the schema has any."""
    if not schema.time:
        return None
    try:
        if len(schema.time) == 1:
            return times_of(table.columns[schema.time[0]])
        return times_of_parts([_numbers(table, name) for name in schema.time], schema.time)
    except CellError as error:
        raise table.error(str(error), row=error.row, column=schema.time[0]) from None


def _groups(table: Table, schema: Schema) -> list[tuple[str, NDArray[np.intp]]]:
    """Find the rows of each series, in the order of their first rows."""
    if schema.series_id is None:
        return [(table.name, np.arange(table.rows))]
    groups: dict[str, list[int]] = {}
    for row, cell in enumerate(table.columns[schema.series_id]):
        # NaN is the one value that differs from itself.
        if is_missing(cell) or cell != cell:
            raise table.error(
                "expected the name of a series, received a missing cell", row=row, column=schema.series_id
            )
        groups.setdefault(str(cell).strip(BLANKS), []).append(row)
    return [(name, np.array(rows, dtype=np.intp)) for name, rows in groups.items()]


def _check_order(table: Table, schema: Schema, times: Times, rows: NDArray[np.intp]) -> None:
    """Refuse rows of one series that are not later than the row before."""
    own = times[rows]
    late = np.flatnonzero(own[1:] <= own[:-1])
    if not late.size:
        return
    position = int(late[0]) + 1
    row, stamp = int(rows[position]), own[position]
    twins = np.flatnonzero(own[:position] == stamp)
    if twins.size:
        raise table.error(
            f"duplicate time stamp {stamp}, first on {table.place(int(rows[twins[0]]))}; "
            "remove one of the rows, or name the column that tells series apart with series_id=",
            row=row,
            column=schema.time[0],
        )
    raise table.error(
        f"unsorted time stamps: {stamp} comes after {own[position - 1]} on "
        f"{table.place(int(rows[position - 1]))}; sort the rows by time",
        row=row,
        column=schema.time[0],
    )
