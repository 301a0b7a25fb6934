"""Frames of pandas, polars and their like, through narwhals, and Parquet files."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from aaren.data._optional import optional
from aaren.data._table import Table
from aaren.errors import DataError


def frame_table(frame: Any, *, source: str | None = None, name: str = "series", sha256: str | None = None) -> Table:
    """Take the columns of a frame.

    Args:
        frame: an eager frame that narwhals knows.
        source: where it comes from; None means the kind of frame.
        name: short name of the table.
        sha256: digest of the file it was read from, or None.

    Returns:
        The table. Numbers become float64 with NaN for null; times with a zone become UTC.

    Raises:
        DataError: the object is no frame, is lazy, or two columns share a name.
    """
    narwhals = optional("narwhals", "reading frames")
    try:
        wrapped = narwhals.from_native(frame, eager_only=True)
    except TypeError:
        raise DataError(
            "expected a path or an eager pandas or polars frame, received an object of type "
            f"{type(frame).__module__.split('.')[0]}.{type(frame).__name__}; collect or convert it first"
        ) from None
    except narwhals.exceptions.NarwhalsError as error:
        raise DataError(f"expected a frame whose columns have different names; {error}") from None
    source = source or f"{type(frame).__module__.split('.')[0]} frame"
    columns = {str(column): _column(wrapped[column], narwhals) for column in wrapped.columns}
    return Table(source, name, columns, len(wrapped), None, sha256)


def read_parquet(data: bytes, source: str, name: str, sha256: str) -> Table:
    """Read the bytes of a Parquet file.

    Args:
        data: the bytes.
        source: file name; for messages.
        name: short name of the table.
        sha256: digest of the file as stored.

    Returns:
        The table.

    Raises:
        DataError: the bytes are no Parquet file.
    """
    polars = optional("polars", "reading Parquet files")
    try:
        frame = polars.read_parquet(io.BytesIO(data))
    except (polars.exceptions.PolarsError, polars.exceptions.PanicException, OSError):
        raise DataError(
            "expected a Parquet file, received bytes that cannot be read as one; write the file again",
            source=source,
        ) from None
    return frame_table(frame, source=source, name=name, sha256=sha256)


def _column(series: Any, narwhals: Any) -> Any:
    """Bring one column into a form that `Table` knows."""
    kind = series.dtype
    if kind.is_numeric():
        return np.array(series.cast(narwhals.Float64).to_numpy(), dtype=np.float64)
    if kind == narwhals.Datetime or kind == narwhals.Date:
        if getattr(kind, "time_zone", None) is not None:
            series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return np.array(series.to_numpy(), dtype="datetime64[us]")
    if kind in (narwhals.String, narwhals.Categorical, narwhals.Enum):
        # A null of pandas comes as NaN, the one value that differs from itself.
        text = [None if cell is None or cell != cell else str(cell) for cell in series.to_list()]
        polars = optional("polars", "reading text columns of frames")
        return polars.Series(text, dtype=polars.String)
    cells = np.empty(len(series), dtype=object)
    cells[:] = series.to_list()
    return cells
