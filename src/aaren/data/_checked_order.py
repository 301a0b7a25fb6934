"""Time and series of a row in a live stream, judged by the rows before it; streams and exports share this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aaren.data._series import Schema, span_text
from aaren.errors import DataError


def checked_series(schema: Schema, row: Any, known: str | None, number: int) -> str | None:
    """The name of the series that a row says it is of, or that of the rows before it.

    Args:
        schema: of the model.
        row: as a stream takes it.
        known: the name that the rows before had, None if they had none.
        number: of the row.

    Raises:
        DataError: the name is missing, or is another one.
    """
    column = schema.series_id
    if column is None or not isinstance(row, Mapping) or column not in row:
        return known
    name = "" if row[column] is None else str(row[column]).strip()
    place: dict[str, Any] = {"source": "stream", "line": number, "column": column}
    if not name:
        raise DataError("expected the name of a series, received a missing cell", **place)
    if known is not None and name != known:
        raise DataError(
            f"expected rows of series {known!r}, received {name!r}; use one stream for each series", **place
        )
    return name


def missing_before(
    schema: Schema,
    interval: np.timedelta64 | None,
    last: np.datetime64 | None,
    time: np.datetime64 | None,
    number: int,
    *,
    irregular: bool,
    max_gap: int,
) -> int:
    """Rows that are missing between the last row and this one.

    Args:
        schema: of the model.
        interval: between two rows of the training data, None without a time.
        last: time of the row before, None if there is none.
        time: of the row.
        number: of the row.
        irregular: whether times need not be multiples of the interval apart; then none is missing.
        max_gap: rows that may be missing.

    Raises:
        DataError: the time is not after the last, is off the grid, or too many rows are missing.
    """
    if time is None or last is None or interval is None:
        return 0
    place: dict[str, Any] = {"source": "stream", "line": number, "column": schema.time[0]}
    if time <= last:
        raise DataError(f"expected a time after {last}, received {time}; rows come in order of time", **place)
    if irregular:
        return 0
    steps, rest = divmod(int((time - last) / np.timedelta64(1, "us")), int(interval.astype(np.int64)))
    if rest:
        raise DataError(
            f"expected a time that is a multiple of {span_text(interval)} after {last}, received {time}; round the "
            "times to the interval of the training data",
            **place,
        )
    if steps - 1 > max_gap:
        raise DataError(
            f"expected at most max_gap = {max_gap} missing rows, received a gap of {steps - 1}; start a new stream, or "
            "allow a larger gap",
            **place,
        )
    return steps - 1
