"""The state of a stream as a record: a fixed number of bytes with every number at a fixed place.

A record begins with the counts of the stream, then come the fields of its kind, such as the time of the last row, then
the leaves of the model's state. All begin at a multiple of 8, in the byte order of the machine. The name of a series is
not in its record: who keeps records keeps them by name.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

from aaren.errors import DataError
from aaren.streaming._base import MOST_ROWS, ModelStream

COUNTS = ("rows", "skipped", "last_taken")
NAMES = ("series", "sequence")
"""Entries of a stream's header that hold its name."""

NO_TIME = np.iinfo(np.int64).min
"""Stands for a whole number that is not there, as NaT does; NaN stands for another."""

_TORCH = {"int64": torch.int64, "int32": torch.int32, "bool": torch.bool, "uint8": torch.uint8}
_TORCH |= {"float64": torch.float64, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_TEXT = {dtype: name for name, dtype in _TORCH.items()}
_BITS = {"bfloat16": "int16"}
"""NumPy has no bfloat16; its bits are moved as what they are not."""


@dataclass(frozen=True)
class Field:
    """One array of a record.

    Args:
        name: "rows", "time_microseconds", "state.encoder[0].normalizer", ...
        dtype: such as "float64".
        shape: without the batch.
        offset: bytes before it in the record.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes in a record."""
        return math.prod(self.shape) * _TORCH[self.dtype].itemsize

    def of(self, records: Tensor) -> Tensor:
        """Its numbers in records, uint8 of shape (n, record_bytes): a view of shape (n, *shape)."""
        if not self.nbytes:
            return torch.empty(len(records), *self.shape, dtype=_TORCH[self.dtype])
        flat = records[:, self.offset : self.offset + self.nbytes].view(_TORCH[self.dtype])
        return flat.view(len(records), *self.shape)


class RecordLayout:
    """Where everything stands in the records of a model's streams.

    Args:
        stream: a new one, with the options of all of them.

    Raises:
        ValueError: its state grows with its rows.
    """

    def __init__(self, stream: ModelStream[Any, Any]) -> None:
        _require_constant(stream)
        leaves, structure = pytree.tree_flatten_with_path(stream.state)
        self._make, self._getters = _maker(structure), [_getter(path) for path, _ in leaves]
        offset, fields = 0, []
        named = [(name, "int64", ()) for name in COUNTS] + [(n, t, ()) for n, t in stream.record_fields.items()]
        for path, leaf in leaves:
            named.append((f"state{pytree.keystr(path)}", _TEXT[leaf.dtype], tuple(leaf.shape[1:])))
        for name, dtype, shape in named:
            fields.append(Field(name, dtype, shape, offset))
            offset += -(-fields[-1].nbytes // 8) * 8
        self.fields: tuple[Field, ...] = tuple(fields)
        self.record_bytes = offset
        self._by_name = {field.name: field for field in fields}
        self._own = tuple(stream.record_fields)
        self._leaves = fields[len(COUNTS) + len(self._own) :]
        # a small copy takes NumPy a fraction of the time that it takes PyTorch to begin one
        self._record = np.dtype(
            {
                "names": [field.name for field in fields],
                "formats": [(_BITS.get(field.dtype, field.dtype), field.shape) for field in fields],
                "offsets": [field.offset for field in fields],
                "itemsize": self.record_bytes,
            }
        )
        self._header = stream.header()
        self._named = stream.schema.series_id is not None
        self.device = stream.model.device
        self.initial = self.of_stream(stream)
        start = torch.frombuffer(bytearray(self.initial), dtype=torch.uint8)[None]
        # what a number may be besides finite: what it is before the first row
        self._nan = {field.name: bool(field.of(start).isnan().any()) for field in self._leaves}
        self._endless = {field.name: bool(field.of(start).isneginf().any()) for field in self._leaves}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: what else than this library must know to read a record."""
        fields = [{"name": f.name, "dtype": f.dtype, "shape": list(f.shape), "offset": f.offset} for f in self.fields]
        return {"record_bytes": self.record_bytes, "byte_order": sys.byteorder, "fields": fields}

    def state_fields(self) -> dict[str, Field]:
        """The fields of the model's state, by their names in it: "position", "encoder[0].normalizer", ..."""
        return {field.name.removeprefix("state").removeprefix("."): field for field in self._leaves}

    def column(self, records: Tensor, name: str) -> NDArray[Any]:
        """One field of records, uint8 of shape (n, record_bytes): a view of shape (n, ...) that can be written to."""
        found: NDArray[Any] = self._fields(records)[name]
        return found

    def unpack(self, records: Tensor) -> Any:
        """The state in records, uint8 of shape (n, record_bytes), as the model takes it: copies of shape (n, ...)."""
        fields, leaves = self._fields(records), []
        for field in self._leaves:
            leaf = torch.from_numpy(fields[field.name].copy())
            leaf = leaf.view(torch.bfloat16) if field.dtype in _BITS else leaf
            leaves.append(leaf if self.device.type == "cpu" else leaf.to(self.device))
        return self._make(iter(leaves))

    def pack(self, state: Any, records: Tensor) -> None:
        """Write the state of n streams into records, uint8 of shape (n, record_bytes)."""
        fields = self._fields(records)
        for field, get in zip(self._leaves, self._getters, strict=True):
            leaf = get(state)
            if self.device.type != "cpu":
                leaf = leaf.cpu()
            if field.dtype in _BITS:
                leaf = leaf.to(torch.bfloat16).view(torch.int16)
            fields[field.name][...] = leaf.numpy()

    def _fields(self, records: Tensor) -> NDArray[Any]:
        """Records, uint8 of shape (n, record_bytes), as a view of shape (n,) with named fields."""
        given = records.numpy()
        return np.ndarray(len(given), self._record, given, 0, given.strides[:1])

    def of_stream(self, stream: ModelStream[Any, Any]) -> bytes:
        """The record of a stream."""
        record = torch.zeros(1, self.record_bytes, dtype=torch.uint8)
        header = stream.header()
        for name in (*COUNTS, *self._own):
            value, missing = header[name], math.nan if self._by_name[name].dtype == "float64" else NO_TIME
            self.column(record, name)[0] = missing if value is None else value
        self.pack(stream.state, record)
        return record.numpy().tobytes()

    def to_stream(self, record: Tensor, key: str, stream: ModelStream[Any, Any]) -> None:
        """Let a stream be the one of a record, uint8 of shape (1, record_bytes)."""
        header: dict[str, Any] = dict(self._header)
        for name in (*COUNTS, *self._own):
            value = self.column(record, name)[0].item()
            header[name] = None if value == NO_TIME or value != value else value
        header.update((name, key) for name in NAMES if self._named and name in header)
        stream.go_on(header, self.unpack(record))

    def check(self, key: str, record: bytes) -> Tensor:
        """A record from outside as uint8 of shape (1, record_bytes).

        Raises:
            DataError: its size, its counts or a number of its state cannot be.
        """
        return self.check_all([key], [record])

    def check_all(self, keys: Sequence[str], records: Sequence[bytes]) -> Tensor:
        """Records of keys from outside as uint8 of shape (n, record_bytes).

        Raises:
            DataError: the size, the counts or a number of the state of one of them cannot be.
        """
        for key, record in zip(keys, records, strict=True):
            if len(record) != self.record_bytes:
                raise DataError(
                    f"expected a record of {self.record_bytes} bytes, received {len(record)}; is it of another model?",
                    source=f"stream {key!r}",
                )
        if not records:
            return torch.empty(0, self.record_bytes, dtype=torch.uint8)
        found = torch.frombuffer(bytearray(b"".join(records)), dtype=torch.uint8).view(len(records), -1)
        self.check_numbers(keys, found)
        return found

    def check_numbers(self, keys: Sequence[str], records: Tensor) -> None:
        """Refuse records of keys, uint8 of shape (n, record_bytes), that no stream of this model can have.

        Raises:
            DataError: the counts or a number of the state of one of them cannot be.
        """
        rows, skipped, last = (self.column(records, name) for name in COUNTS)
        sound = (skipped >= 0) & (skipped <= rows) & (last >= 0) & (last <= rows) & (rows < MOST_ROWS)
        if not sound.all():
            place = int(sound.argmin())
            raise DataError(
                "expected 0 <= skipped <= rows and 0 <= last_taken <= rows < 2**62, received "
                f"skipped={skipped[place]}, last_taken={last[place]} and rows={rows[place]}; the record is damaged",
                source=f"stream {keys[place]!r}",
            )
        for field in self._leaves:
            numbers = field.of(records)
            fine = numbers.isfinite()
            fine |= numbers.isnan() & self._nan[field.name]
            fine |= numbers.isneginf() & self._endless[field.name]
            each = fine.flatten(1).all(1).numpy() if fine.dim() > 1 else fine.numpy()
            if not each.all():
                raise DataError(
                    f"expected finite numbers in {field.name}, received others; the record is damaged",
                    source=f"stream {keys[int(each.argmin())]!r}",
                )


def _getter(path: Sequence[Any]) -> Callable[[Any], Tensor]:
    """What finds one leaf of a state, as `tree_flatten` has it."""

    def get(state: Any) -> Any:
        for key in path:
            state = key.get(state)
        return state

    return get


def _maker(structure: Any) -> Callable[[Iterator[Tensor]], Any]:
    """What makes a state of its leaves, as `tree_unflatten` does, with the look-ups of that done once."""
    if structure.is_leaf():
        return next
    parts, make, context = [_maker(child) for child in structure.children()], *_unflatten(structure)
    return lambda leaves: make([part(leaves) for part in parts], context)


def _unflatten(structure: Any) -> tuple[Callable[[Any, Any], Any], Any]:
    return pytree.SUPPORTED_NODES[structure.type].unflatten_fn, structure.context


def _require_constant(stream: ModelStream[Any, Any]) -> None:
    encoder, mode = stream.model.config.encoder, stream.header().get("mode", "streamed")
    if encoder == "transformer" or mode != "streamed":
        received = f"encoder={encoder!r}" if encoder == "transformer" else f"mode={mode!r}"
        raise ValueError(
            f"model: expected a state of constant size, received {received}, whose state grows with the rows; train "
            "with encoder='aaren', 'gru' or 'mingru' and mode='streamed', or use one model.stream() for each key"
        )
