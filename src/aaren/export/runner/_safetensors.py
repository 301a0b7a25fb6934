"""safetensors files in a few lines: eight bytes of length, a JSON header, the numbers. Nothing is unpickled."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.errors import ModelFileError

_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}


def read_safetensors(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Arrays by name, each with memory of its own, and the texts of the header.

    Raises:
        ModelFileError: the file is missing, truncated or crafted.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        start = 8 + int.from_bytes(data[:8], "little")
        if not 8 < start <= len(data):
            raise ValueError("its header is longer than the file")
        header = json.loads(data[8:start])
        metadata = header.pop("__metadata__", {})
        arrays, end = {}, 0
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            first, last = entry["data_offsets"]
            dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"])
            if first != end or not all(isinstance(n, int) and n >= 0 for n in (*shape, last)):
                raise ValueError(f"tensor {name!r} does not follow the one before it")
            if last - first != math.prod(shape) * dtype.itemsize or start + last > len(data):
                raise ValueError(f"tensor {name!r} is not of its size")
            arrays[name] = np.frombuffer(data[start + first : start + last], dtype).reshape(shape).copy()
            end = last
        if start + end != len(data):
            raise ValueError("there are more bytes than tensors")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelFileError(f"{path}: damaged or not a safetensors file: {error}") from None
    return arrays, metadata


def to_safetensors(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    parts: list[bytes] = []
    end = 0
    # the widest numbers first, so that every tensor begins at a multiple of its own size
    for name in sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name)):
        parts.append(np.ascontiguousarray(arrays[name]).tobytes())
        first, end = end, end + len(parts[-1])
        dtype = _NAMES[arrays[name].dtype]
        header[name] = {"dtype": dtype, "shape": list(arrays[name].shape), "data_offsets": [first, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])
