"""What the tests of the pool share: a pool beside one stream for each key, and a store in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aaren.errors import DataError
from aaren.models import Model
from aaren.streaming import ModelStream, PoolResult, RowStatus, StateStore, StreamPool


class DictStore(StateStore):
    """Records in a dictionary."""

    def __init__(self) -> None:
        self.records: dict[str, bytes] = {}
        self.writes = 0

    def load(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Those that are there."""
        return {key: self.records[key] for key in keys if key in self.records}

    def write(self, records: Mapping[str, bytes | None]) -> None:
        """Keep them."""
        for key, record in records.items():
            if record is None:
                self.records.pop(key, None)
            else:
                self.records[key] = record
        self.writes += 1


def numbers_of(said: Any) -> list[float]:
    """All numbers of plain data in order, None as NaN."""
    if isinstance(said, dict):
        return [number for value in said.values() for number in numbers_of(value)]
    if isinstance(said, list | tuple):
        return [number for value in said for number in numbers_of(value)]
    return [] if isinstance(said, str) else [np.nan if said is None else float(said)]


def same(left: Any, right: Any) -> None:
    """Two predictions are the same, within the rounding of float32."""
    assert type(left) is type(right)
    if left is None:
        return
    one, other = left.to_dict(), right.to_dict()
    assert one.keys() == other.keys()
    for name in one.keys() & {"time", "times", "row", "class", "length", "mark"}:
        assert one[name] == other[name]
    np.testing.assert_allclose(numbers_of(one), numbers_of(other), rtol=2e-4, atol=2e-4)


def refused(result: PoolResult, place: int, key: str, expected: DataError) -> None:
    """A row was refused in the words of its stream, and for its key."""
    assert result.status[place] == RowStatus.REFUSED
    told = result.errors[place]
    assert told.source == f"stream {key!r}"
    assert (told.message, told.line, told.column) == (expected.message, expected.line, expected.column)


class Beside:
    """A pool, and one stream for each key that is told the same."""

    def __init__(self, model: Model[Any, Any], pool: StreamPool, **options: Any) -> None:
        self.model, self.pool, self.options = model, pool, options
        self.streams: dict[str, ModelStream[Any, Any]] = {}

    def update(self, keys: Sequence[str], rows: Sequence[Any], given: Any = None) -> PoolResult:
        """Tell both, and hold the pool to what the streams say."""
        result = self.pool.update(keys, rows if given is None else given)
        stopped = set()
        for place, (key, row) in enumerate(zip(keys, rows, strict=True)):
            stream = self.streams.setdefault(key, self.model.stream(**self.options))
            if key in stopped:
                assert result.status[place] == RowStatus.REFUSED
                continue
            try:
                said = stream.update(row)
            except DataError as error:
                refused(result, place, key, error)
                stopped.add(key)
                said = None
            else:
                assert result.status[place] == (RowStatus.SKIPPED if said is None else RowStatus.TAKEN)
            same(result[place], said)
            assert result.rows[place] == stream.rows
        for key in set(keys):
            rows_of_key = self.streams[key].rows
            assert (self.pool.rows(key) if key in self.pool else 0) == rows_of_key
        return result
