"""Between the arrays of a pool's result and the columns of Spark."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import types

from aaren.engines._step import Arrays, BucketStep
from aaren.errors import DataError
from aaren.streaming import PoolResult, RowStatus

BUCKET, KEY, NUMBER, ABSENT = "aaren_bucket", "aaren_key", "aaren_number", "aaren_absent"
"""Columns on the way to the operator: of the group, the key, the number if there is one, and which cells are null."""

STATUS = np.array([status.name.lower() for status in RowStatus], dtype=object)
_TYPES = {"b": types.BooleanType, "i": types.LongType, "f": types.DoubleType, "M": types.TimestampNTZType}


def cell(place: int) -> str:
    """The name of a column of the model on the way to the operator, where Spark takes no names with dots in them."""
    return f"aaren_cell_{place}"


def output_schema(step: BucketStep) -> Any:
    """The columns that come out: those of every row, and one for each array, its cells flat in the order of C."""
    schema = types.StructType()
    schema.add("key", types.StringType()).add("rows", types.LongType(), nullable=False)
    schema.add("status", types.StringType(), nullable=False).add("error", types.StringType())
    for name, array in step.empty().items():
        kind: Any = _TYPES[array.dtype.kind]()
        # not arrays of arrays: Spark converts those number by number in Python, at ten times the cost of the model
        schema.add(name, types.ArrayType(kind, containsNull=False) if array.ndim > 1 else kind)
    return schema


def output_frame(keys: list[str], result: PoolResult) -> Any:
    """The rows that come out, as pandas: null in the columns of predictions where a row was not taken."""
    taken = result.status == RowStatus.TAKEN
    errors = [str(result.errors[place]) if place in result.errors else None for place in range(len(keys))]
    frame = {"key": keys, "rows": result.rows, "status": STATUS[result.status], "error": errors}
    return pd.DataFrame(frame | {name: _cells(array, taken) for name, array in result.arrays.items()})


def refused_frame(frame: Any, key: str, number: str | None, arrays: Arrays) -> Any:
    """The same for rows that belong to no stream, or to no place in one."""
    errors = []
    for name, count in zip(frame[KEY], [None] * len(frame) if number is None else frame[NUMBER], strict=True):
        place: dict[str, Any] = {"source": "stream", "column": key if name is None else number}
        wanted = "the key of a stream" if name is None else "a whole number from 1"
        received = "null" if name is None or pd.isna(count) else f"{count:.0f}"
        errors.append(str(DataError(f"expected {wanted}, received {received}", **place)))
    columns = {"key": frame[KEY].tolist(), "rows": 0, "status": STATUS[RowStatus.REFUSED], "error": errors}
    return pd.DataFrame(columns | dict.fromkeys(arrays))


def _cells(array: NDArray[Any], taken: NDArray[np.bool_]) -> Any:
    """One cell a row, null where it was not taken."""
    if array.dtype.kind == "f":
        array = array.astype(np.float64)
    if array.dtype.kind == "M":  # Spark has its own way with times
        return pd.Series(np.where(taken, array, np.datetime64("NaT")))
    if array.ndim == 1:
        return pd.Series(pd.arrays.ArrowExtensionArray(pa.array(array, mask=~taken)))
    cells = np.empty(len(array), dtype=object)
    for place in np.flatnonzero(taken).tolist():
        cells[place] = array[place].reshape(-1)
    return cells
