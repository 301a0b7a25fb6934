"""Keyed streams that lose no acknowledged row and apply none twice, whatever kills the process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren._arguments import real_number, whole_number
from aaren.errors import ModelFileError
from aaren.models import Model
from aaren.streaming._entry import decode_entry, encode_entry, only, take
from aaren.streaming._fleet_drift import FleetDrift, fleet_drift
from aaren.streaming._layout import RecordLayout
from aaren.streaming._open import open_stream, row_options
from aaren.streaming._pending_writes import PendingWrites
from aaren.streaming._pool import StreamPool, key_text, key_texts
from aaren.streaming._pool_gaps import GapBudget
from aaren.streaming._pool_result import PoolResult, RowStatus
from aaren.streaming._store import StreamStore


class DurableStreams:
    """A `StreamPool` over a `StreamStore`: rows are in the journal of the store when `update` returns.

    At the start the journal is replayed through the pool. Rows that a record counts already are passed over, by the
    replay and when a sender that saw no answer sends them again. Streams that the pool has no room for move to the
    store in the transaction of the entry of their call. After every `checkpoint_rows` rows, or `checkpoint_seconds`,
    the records that changed are written piece by piece, one piece before each call, and then the journal is dropped.
    Columns that the model does not read are not kept, and may hold anything.

    Args:
        model: a trained model.
        folder: of the store; it is made if its parent is there.
        capacity: number of streams in memory; the others are in the store.
        checkpoint_rows: rows after which a checkpoint begins; they are what a restart has to replay.
        checkpoint_seconds: seconds after which one begins if there were rows; None never.
        checkpoint_keys: records in one piece of a checkpoint, which is how long a call may have to wait.
        accept_fingerprint: the fingerprint of another model whose streams this one is to go on with.
        **options: of the stream, such as `on_bad_row` and `max_gap`. Rows of the journal become what they were by the
            options of before; later ones go by these.

    Raises:
        ValueError: an argument is out of range, or the model cannot be streamed in a pool.
        ModelFileError: the store is damaged, in use, or of another model.

    Example:
        with DurableStreams(aaren.load("model/"), "streams/") as streams:
            result = streams.update(["pump 7"], [row], [streams.rows("pump 7") + 1])    # durable when it returns
    """

    def __init__(
        self,
        model: Model[Any, Any],
        folder: str | Path,
        capacity: int = 100_000,
        *,
        checkpoint_rows: int = 100_000,
        checkpoint_seconds: float | None = None,
        checkpoint_keys: int = 1024,
        accept_fingerprint: str | None = None,
        **options: Any,
    ) -> None:
        whole_number("capacity", capacity, 1, "streams")
        self._every = whole_number("checkpoint_rows", checkpoint_rows, 1, "rows")
        self._piece = whole_number("checkpoint_keys", checkpoint_keys, 1, "streams")
        self._seconds = checkpoint_seconds
        if checkpoint_seconds is not None:
            self._seconds = real_number(
                "checkpoint_seconds", checkpoint_seconds, "seconds, at least 0, or None", lambda x: x >= 0
            )
        stream = open_stream(model, None, **options)
        self._columns = frozenset(stream.schema.columns)
        layout, wanted = RecordLayout(stream).to_dict(), row_options(model, **options)
        identity: dict[str, Any] = {"fingerprint": model.fingerprint(), "layout": layout, "options": wanted}
        self.store = StreamStore(folder, **identity, accept_fingerprint=accept_fingerprint)
        self._pending = PendingWrites(self.store)
        self._checkpoint: Iterator[int] | None = None
        self._upto = self._rows_since = 0
        self._group: _Group | None = None
        self._began = time.monotonic()
        try:
            self._pool = StreamPool(model, capacity, store=self._pending, **{**options, **self.store.options})
            self._replay()
            if self.store.options != wanted:
                self.checkpoint()
                self.store.set_options(wanted)
                self._pool = StreamPool(model, capacity, store=self._pending, **options)
        except BaseException:
            self.store.close()
            raise

    def _replay(self) -> None:
        """Take the rows of the journal again; those that are in the records already are passed over."""
        replaced: dict[str, int] = {}
        for number, entry in self.store.journal():
            keys, _, rows = decode_entry(entry)
            if rows is None:
                replaced.update(dict.fromkeys(keys, number))
        for number, entry in self.store.journal():
            keys, numbers, rows = decode_entry(entry)
            if rows is None:
                continue
            index = [place for place, key in enumerate(keys) if number > replaced.get(key, 0)]
            if len(index) < len(keys):
                keys, numbers, rows = [keys[i] for i in index], [numbers[i] for i in index], take(rows, index)
            result = self._pool.update(keys, rows, numbers)
            for place, error in result.errors.items():
                raise ModelFileError(
                    f"{self.store.path}: entry {number} of the journal: expected row {numbers[place]} of key "
                    f"{keys[place]!r} to be taken as before, received: {error}; go back to a snapshot "
                    "(StreamStore.restore)"
                )
            self._pending.commit()
            self._rows_since += len(keys)

    def update(
        self,
        keys: Sequence[str | int] | NDArray[Any],
        rows: Any,
        numbers: Any = None,
        *,
        gaps: GapBudget | None = None,
    ) -> PoolResult:
        """Apply rows; what the pool says of them, once they are durable.

        If this raises, no row of the call is applied; if it raises or the process ends before it returns, send the
        same rows with the same numbers again. Then either all of them are applied, or none was and they are taken.

        Args:
            keys: as the pool takes them.
            rows: as the pool takes them.
            numbers: of the rows in their streams, from 1; None takes the next ones, with which a row that is sent
                twice is applied twice.
            gaps: as the pool takes it.

        Raises:
            ModelFileError: the store cannot be written; the streams are as before.
            ValueError, TypeError or DataError: as the pool raises them.
        """
        self._checkpoint_piece()
        names = key_texts(keys)
        with self._all_or_none(names):
            result = self._pool.update(names, rows, numbers, gaps=gaps)
            index = np.flatnonzero((result.status == RowStatus.TAKEN) | (result.status == RowStatus.SKIPPED)).tolist()
            entries = []
            if index:
                taken = rows if len(index) == len(names) else take(rows, index)
                numbers_taken = result.rows[index].tolist()
                entries.append(encode_entry([names[i] for i in index], numbers_taken, only(taken, self._columns)))
            if self._group is None:
                self._pending.commit(*entries)
            else:
                self._group.entries += entries
        self._rows_since += len(index)
        return result

    @contextmanager
    def group(self) -> Iterator[None]:
        """Several calls of `update` under one sync: none of them is durable before the end of the `with` block.

        Raises:
            ModelFileError: the store cannot be written; no call of the block is applied.
        """
        self._require_no_group("group")
        group = self._group = _Group()
        last = self.store.last_entry
        try:
            yield
            self._pending.commit(*group.entries)
        except BaseException:
            if self.store.last_entry == last:
                for undo in reversed(group.undo):
                    undo()
            raise
        finally:
            self._group = None

    def reset(self, key: str | int) -> None:
        """Let the stream of a key begin anew, as `StreamPool.reset` does; durable when it returns."""
        self._replace(key, lambda: self._pool.reset(key))

    def drop(self, key: str | int) -> None:
        """Forget a stream and its count of rows; durable when it returns."""
        self._replace(key, lambda: self._pool.drop(key))

    def fork(self, key: str | int, new_key: str | int) -> None:
        """Begin a stream as a copy of another one, as `StreamPool.fork` does; durable when it returns."""
        self._replace(new_key, lambda: self._pool.fork(key, new_key))

    def load_state(self, key: str | int, path: str | Path) -> None:
        """Let the stream of a key be the one of a snapshot, as in `StreamPool`; durable when it returns."""
        self._replace(key, lambda: self._pool.load_state(key, path))

    def set_record(self, key: str | int, record: bytes) -> None:
        """Let the stream of a key be the one of a record, as in `StreamPool`; durable when it returns."""
        self._replace(key, lambda: self._pool.set_record(key, record))

    def save_state(self, key: str | int, path: str | Path) -> None:
        """Write a snapshot of a stream, from which `model.stream(path)` goes on."""
        self._pool.save_state(key, path)

    def rows(self, key: str | int) -> int:
        """Rows of a key that were counted so far, 0 before the first; its next row has the number after it."""
        return self._pool.rows(key) if key in self else 0

    def records(self, keys: Sequence[str | int]) -> NDArray[np.uint8]:
        """The records of n keys, shape (n, record_bytes), as `StreamPool.records` gives them."""
        return self._pool.records(keys)

    def keys(self) -> set[str]:
        """Keys of all streams, in memory or in the store."""
        return {*self._pool.keys(), *self.store.keys()}

    def drift(self, *, bound: float = 0.25, most: int = 20) -> FleetDrift:
        """As `StreamPool.drift`, of all streams, in memory or in the store."""
        return fleet_drift(self._pool, sorted(self.keys()), bound, most)

    def __contains__(self, key: object) -> bool:
        """Whether a key has a stream, in memory or in the store."""
        return key in self._pool

    @property
    def pool(self) -> StreamPool:
        """The streams in memory, to look at; what is changed through it is not durable."""
        return self._pool

    @property
    def layout(self) -> RecordLayout:
        """What stands where in a record."""
        return self._pool.layout

    def checkpoint(self) -> None:
        """Write all that changed and drop the journal; after it a restart has nothing to replay.

        Raises:
            ModelFileError: the store cannot be written; nothing is lost.
        """
        self._require_no_group("checkpoint")
        self._end_checkpoint()
        self._begin_checkpoint()
        self._end_checkpoint()

    def snapshot(self, path: str | Path | None = None) -> Path:
        """A copy of all streams as they are now, as `StreamStore.snapshot` makes it."""
        return self.store.snapshot(path)

    def close(self) -> None:
        """A last checkpoint, then the store is closed."""
        self.checkpoint()
        self.store.close()

    def __enter__(self) -> DurableStreams:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """After an error all that is durable stays so, without a checkpoint."""
        if error is None:
            self.close()
        self.store.close()

    @contextmanager
    def _all_or_none(self, names: Sequence[str]) -> Iterator[None]:
        """Take back what was done to the streams of these keys if the journal did not get it."""
        distinct = list(dict.fromkeys(names))
        memory, held, last = self._pool.remember(distinct), self._pending.remember(distinct), self.store.last_entry

        def undo() -> None:
            self._pool.go_back(memory)
            self._pending.go_back(distinct, held)

        try:
            yield
        except BaseException:
            if self.store.last_entry == last:  # else an interrupt came when the entry was durable
                undo()
            raise
        if self._group is not None:
            self._group.undo.append(undo)

    def _replace(self, key: str | int, change: Callable[[], None]) -> None:
        """Change the record of a key by other means than a row: the journal says that rows of before do not matter."""
        self._require_no_group("streams")
        name = key_text(key)
        with self._all_or_none([name]):
            change()
            record = self._pool.record(name) if name in self._pool else None
            self._pending.write({name: record})
            self._pending.commit(encode_entry([name], [], None))

    def _require_no_group(self, what: str) -> None:
        if self._group is not None:
            raise ValueError(f"{what}: expected no group in progress, received one; end it first")

    def _checkpoint_piece(self) -> None:
        """Write the next piece of a checkpoint, and begin one when it is time; inside a group nothing is written."""
        if self._group is not None:
            return
        late = self._seconds is not None and time.monotonic() - self._began > self._seconds
        if self._checkpoint is None and self._rows_since and (self._rows_since >= self._every or late):
            self._begin_checkpoint()
        if self._checkpoint is not None:
            self._write_piece()

    def _begin_checkpoint(self) -> None:
        self._checkpoint, self._upto = self._pool.flush_in_pieces(self._piece), self.store.last_entry
        self._rows_since, self._began = 0, time.monotonic()

    def _end_checkpoint(self) -> None:
        """Write all that is left of the checkpoint in progress."""
        while self._checkpoint is not None:
            self._write_piece()

    def _write_piece(self) -> None:
        """Write some records as they are now, ahead of `upto` or not, and after the last ones drop the journal."""
        assert self._checkpoint is not None, "callers have asked"
        if next(self._checkpoint, None) is not None:
            self._pending.commit()
            return
        self._pending.commit(upto=self._upto)
        self._checkpoint = None


@dataclass
class _Group:
    """What the calls of a group leave to be written at its end, and how to take them back."""

    entries: list[bytes] = field(default_factory=list)
    undo: list[Callable[[], None]] = field(default_factory=list)
