# ruff: noqa: D102
"""The part of a pool of streams that the store needs, one plain `Stream` per key: slow, easy to see through."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aaren import Forecaster, Stream
from aaren.errors import DataError
from aaren.streaming import StreamStore

TAKEN, SKIPPED, REFUSED, DUPLICATE = range(4)


@dataclass
class Result:
    """What was said of the rows of one call, in their order."""

    status: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    errors: dict[int, DataError] = field(default_factory=dict)
    predictions: list[Any] = field(default_factory=list)

    def __getitem__(self, index: int) -> Any:
        return self.predictions[index]


class StandInPool:
    """At most `capacity` streams in memory; the one that was used least recently goes to the store.

    A record is a snapshot of its stream, which is written as a file on the way: into `scratch`, best in memory.
    """

    def __init__(
        self,
        model: Forecaster,
        store: StreamStore,
        scratch: Path,
        *,
        capacity: int = 1000,
        on_bad_row: Any = "error",
    ) -> None:
        self.model, self.store, self.capacity, self.on_bad_row = model, store, capacity, on_bad_row
        self._streams: OrderedDict[str, Stream] = OrderedDict()
        self._file = scratch / "record"

    def update(self, keys: Sequence[str], rows: Any, numbers: Sequence[int] | None = None) -> Result:
        if isinstance(rows, dict):
            rows = [dict(zip(rows, cells, strict=True)) for cells in zip(*rows.values(), strict=True)]
        result = Result()
        for index, key in enumerate(keys):
            said, status = None, TAKEN
            known = self.rows(key)
            number = known + 1 if numbers is None else numbers[index]
            if number <= known:
                status = DUPLICATE
            else:
                try:
                    if number > known + 1:
                        raise DataError(f"key {key!r}: expected row {known + 1}, received {number}")
                    stream = self._stream(key)
                    skipped = stream.skipped
                    said = stream.update(rows[index])
                    status = SKIPPED if stream.skipped > skipped else TAKEN
                except DataError as error:
                    result.errors[index], status = error, REFUSED
            result.status.append(status)
            result.rows.append(self.rows(key))
            result.predictions.append(said)
        return result

    def __contains__(self, key: str) -> bool:
        return key in self._streams or key in self.store

    def rows(self, key: str) -> int:
        return self._stream(key).rows if key in self else 0

    def record(self, key: str) -> bytes:
        assert key in self
        return self._bytes(self._stream(key))

    def set_record(self, key: str, record: bytes) -> None:
        self._file.unlink(missing_ok=True)  # tensors of a snapshot lie in its file: it must not change under them
        self._file.write_bytes(record)
        self._keep(key, self.model.stream(self._file, on_bad_row=self.on_bad_row))

    def drop(self, key: str) -> None:
        self._streams.pop(key, None)

    def _bytes(self, stream: Stream) -> bytes:
        stream.save(self._file)
        return self._file.read_bytes()

    def _stream(self, key: str) -> Stream:
        if key not in self._streams:
            stored = self.store.load([key])
            if stored:
                self.set_record(key, stored[key])
            else:
                self._keep(key, self.model.stream(on_bad_row=self.on_bad_row))
        self._streams.move_to_end(key)
        return self._streams[key]

    def _keep(self, key: str, stream: Stream) -> None:
        self._streams[key] = stream
        self._streams.move_to_end(key)
        while len(self._streams) > self.capacity:
            evicted, old = self._streams.popitem(last=False)
            self.store.write({evicted: self._bytes(old)})
