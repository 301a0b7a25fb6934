"""One update call as bytes for the journal: keys, row numbers and rows, which come back as the same floats.

An entry without rows says that the records of its keys were replaced, and rows of before are no matter any more.
A JSON header, then the arrays as they lie in memory. Nothing is pickled: a cell that is neither number, text, time nor
missing is refused.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.errors import DataError, ModelFileError

_KINDS = "fiubMU"  # of arrays that are kept as bytes: floats, integers, booleans, times, text


def take(rows: Any, index: Sequence[int]) -> Any:
    """Some of the rows, in the form they came in.

    Args:
        rows: columns by name, an array (n, inputs), or a sequence of n rows.
        index: which.
    """
    if isinstance(rows, Mapping):
        return {name: take(column, index) for name, column in rows.items()}
    return rows[np.asarray(index)] if isinstance(rows, np.ndarray) else [rows[i] for i in index]


def only(rows: Any, names: Collection[str]) -> Any:
    """Rows without other columns than these, in the form they came in; cells in order stay as they are."""
    if isinstance(rows, Mapping):
        return {name: column for name, column in rows.items() if name in names}
    if isinstance(rows, np.ndarray) and rows.dtype.kind != "O":
        return rows
    return [
        {name: cell for name, cell in row.items() if name in names} if isinstance(row, Mapping) else row for row in rows
    ]


def encode_entry(keys: Sequence[str], numbers: Sequence[int], rows: Any) -> bytes:
    """Put a call into bytes.

    Args:
        keys: of the n rows.
        numbers: of the n rows in their streams.
        rows: columns by name (each n cells), an array (n, inputs), or a sequence of n rows, each of them cells by
            column or cells in order; None if the records of the keys were replaced.

    Raises:
        DataError: a cell cannot be kept.
    """
    arrays: list[NDArray[Any]] = []
    content = {"keys": list(keys), "numbers": [int(n) for n in numbers], "rows": _plain(rows, arrays)}
    content["arrays"] = [{"dtype": array.dtype.str, "shape": array.shape} for array in arrays]
    header = json.dumps(content, separators=(",", ":")).encode()
    return b"".join([len(header).to_bytes(8, "little"), header, *(array.tobytes() for array in arrays)])


def decode_entry(entry: bytes) -> tuple[list[str], list[int], Any]:
    """Keys, numbers and rows of an entry; an array comes back as an array, a row as a dict or list.

    Raises:
        ModelFileError: the bytes are not an entry.
    """
    try:
        start = 8 + int.from_bytes(entry[:8], "little")
        content = json.loads(entry[8:start])
        arrays = []
        for each in content["arrays"]:
            dtype = np.dtype(each["dtype"])
            if dtype.kind not in _KINDS:
                raise ValueError(f"dtype {dtype}")
            size = int(np.prod(each["shape"], dtype=np.int64)) * dtype.itemsize
            arrays.append(np.frombuffer(entry[start : start + size], dtype).reshape(each["shape"]))
            start += size
        return content["keys"], content["numbers"], _original(content["rows"], arrays)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ModelFileError(f"journal: expected an entry of an update call, received other bytes: {error}") from None


def _plain(value: Any, arrays: list[NDArray[Any]]) -> Any:
    """What JSON can hold; arrays go to the list, and what JSON cannot hold is marked by a one-entry object."""
    if value is None or isinstance(value, str | bool | float):
        return str(value) if isinstance(value, str) else value if not isinstance(value, float) else float(value)
    if isinstance(value, np.ma.MaskedArray):  # its list has None where something is masked
        return _plain(value.tolist(), arrays)
    if isinstance(value, np.ndarray) and value.dtype.kind in _KINDS:
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if isinstance(value, np.datetime64):
        return _plain(np.asarray(value), arrays) | {"scalar": True}
    if type(value).__name__ in ("NAType", "NaTType"):  # as aaren.data reads them
        return None
    if isinstance(value, dt.datetime):
        return {"time": dt.datetime.isoformat(value)}
    if isinstance(value, dt.date):
        return {"date": value.isoformat()}
    if isinstance(value, Integral | np.bool_):
        return bool(value) if isinstance(value, np.bool_) else int(value)
    if isinstance(value, Real | Decimal):
        return float(value)
    if isinstance(value, Mapping):
        return {"cells": [[str(name), _plain(cell, arrays)] for name, cell in value.items()]}
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, bytes | bytearray | memoryview):
        return [_plain(cell, arrays) for cell in value]
    raise DataError(f"expected numbers, text, times or None in a row, received {type(value).__name__}", source="stream")


def _original(plain: Any, arrays: list[NDArray[Any]]) -> Any:
    """The way back from `_plain`."""
    if isinstance(plain, list):
        return [_original(cell, arrays) for cell in plain]
    if not isinstance(plain, dict):
        return plain
    if "array" in plain:
        array = arrays[plain["array"]]
        return array[()] if "scalar" in plain else array
    if "time" in plain:
        return dt.datetime.fromisoformat(plain["time"])
    if "date" in plain:
        return dt.date.fromisoformat(plain["date"])
    return {name: _original(cell, arrays) for name, cell in plain["cells"]}
