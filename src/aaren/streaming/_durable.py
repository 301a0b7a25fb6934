"""Keyed streams that lose no acknowledged row and apply none twice, whatever kills the process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from aaren.errors import ModelFileError
from aaren.streaming._entry import decode_entry, encode_entry, take
from aaren.streaming._store import StreamStore

TAKEN, SKIPPED, REFUSED, DUPLICATE = range(4)


class DurableStreams:
    """A pool of streams whose rows are in the journal of a store when `update` returns.

    At the start the journal is replayed through the pool. Rows carry their number, and those that a record has in it
    already are passed over, so that nothing is applied twice: neither by the replay, nor when a sender that saw no
    answer sends its rows again. After every `checkpoint_rows` rows, or `checkpoint_seconds`, the records that changed
    are written piece by piece, one piece before each call, and the journal is dropped with the last.

    Args:
        pool: the streams; `update(keys, rows, numbers)`, `record(key)`, `set_record(key, bytes)`, `rows(key)`,
            `drop(key)` and `key in pool`, which holds for a key whose record is in the store alone too: a pool loads
            the records that it does not hold from the same store.
        store: open, and of the pool's model.
        checkpoint_rows: rows after which a checkpoint begins; they are what a restart has to replay.
        checkpoint_seconds: seconds after which one begins if there were rows; None never.
        checkpoint_keys: records in one piece of a checkpoint, which is how long a call may have to wait.

    Raises:
        ValueError: an argument is below 1.
        ModelFileError: the journal is damaged, or the pool refuses a row that it took before.

    Example:
        streams = DurableStreams(pool, store)
        result = streams.update(["pump 7"], [row], [streams.rows("pump 7") + 1])    # durable when it returns
    """

    def __init__(
        self,
        pool: Any,
        store: StreamStore,
        *,
        checkpoint_rows: int = 100_000,
        checkpoint_seconds: float | None = None,
        checkpoint_keys: int = 1024,
    ) -> None:
        for name, value in (("checkpoint_rows", checkpoint_rows), ("checkpoint_keys", checkpoint_keys)):
            if value < 1:
                raise ValueError(f"{name}: expected at least 1, received {value}")
        self.pool, self.store = pool, store
        self._every, self._seconds, self._piece = checkpoint_rows, checkpoint_seconds, checkpoint_keys
        self._dirty: set[str] = set()
        self._pending: list[str] = []
        self._upto = self._rows_since = 0
        self._group: _Group | None = None
        self._began = time.monotonic()
        self._replay()

    def _replay(self) -> None:
        """Take the rows of the journal again; those that are in the records already are passed over."""
        for entry_number, entry in self.store.journal():
            keys, numbers, rows = decode_entry(entry)
            result = self.pool.update(keys, rows, numbers)
            for index, status in enumerate(result.status):
                if int(status) == REFUSED:
                    raise ModelFileError(
                        f"{self.store.path}: entry {entry_number} of the journal: expected row {numbers[index]} of key "
                        f"{keys[index]!r} to be taken as before, received: {result.errors.get(index, 'a refusal')}; "
                        "open the store with the options of the streams that wrote it"
                    )
            self._changed(keys)

    def rows(self, key: str) -> int:
        """Rows of a key that were counted so far; its next row has the number after it."""
        return int(self.pool.rows(key))

    def update(self, keys: Sequence[str], rows: Any, numbers: Sequence[int] | None = None) -> Any:
        """Apply rows; what the pool says of them, once they are durable.

        If this raises, no row of the call is applied; if it raises or the process ends before it returns, send the
        same rows with the same numbers again.

        Args:
            keys: of the n rows.
            rows: columns by name, an array (n, inputs), or a sequence of rows.
            numbers: of the rows in their streams, from 1; None takes the next ones, with which a row that is sent
                twice is applied twice.

        Raises:
            ModelFileError: the store cannot be written; the streams are as before.
        """
        self._checkpoint_piece()
        keys = [str(key) for key in keys]
        before = {key: self.pool.record(key) if key in self.pool else None for key in dict.fromkeys(keys)}
        try:
            result = self.pool.update(keys, rows, numbers)
            index = [i for i, status in enumerate(result.status) if int(status) in (TAKEN, SKIPPED)]
            taken = [keys[i] for i in index]
            counted = self._numbers(taken) if numbers is None else [int(numbers[i]) for i in index]
            entry = encode_entry(taken, counted, rows if len(index) == len(keys) else take(rows, index))
            if self._group is not None:
                self._group.add(before, entry, taken)
            elif taken:
                self.store.append(entry)
                self._changed(taken)
        except BaseException:
            self._undo(before)
            raise
        return result

    @contextmanager
    def group(self) -> Iterator[None]:
        """Several calls of `update` under one sync: none of them is durable before the end of the `with` block.

        Raises:
            ModelFileError: the store cannot be written; no call of the block is applied.
        """
        if self._group is not None:
            raise ValueError("group: expected no group in a group, received one; end the first before the second")
        group = self._group = _Group()
        try:
            yield
            if group.keys:
                self.store.append(*group.entries)
                self._changed(group.keys)
        except BaseException:
            self._undo(group.before)
            raise
        finally:
            self._group = None

    def checkpoint(self) -> None:
        """Write all that changed and drop the journal; after it a restart has nothing to replay.

        Raises:
            ModelFileError: the store cannot be written; nothing is lost.
        """
        if self._group is not None:
            raise ValueError("checkpoint: expected no group in progress, received one; end it first")
        self._begin_checkpoint()
        while self._pending:
            self._write_piece()

    def set_record(self, key: str, record: bytes) -> None:
        """Give a key another record, such as an older copy; its rows until then are forgotten.

        Raises:
            ModelFileError: the store cannot be written; the streams are as before.
        """
        self.checkpoint()  # no row of the journal may be applied to it later
        before = self.pool.record(key) if key in self.pool else None
        self.pool.set_record(key, record)
        try:
            self.store.write({key: record})
        except BaseException:
            self._undo({key: before})
            raise

    def drop(self, key: str) -> None:
        """Forget a key and its record.

        Raises:
            ModelFileError: the store cannot be written; the streams are as before.
        """
        self.checkpoint()
        self.store.remove([key])
        self.pool.drop(key)
        self.store.remove([key])  # a pool with the same store has left a record without rows there
        self._dirty.discard(key)

    def close(self) -> None:
        """A last checkpoint, then the store is closed."""
        self.checkpoint()
        self.store.close()

    def _numbers(self, keys: Sequence[str]) -> list[int]:
        """Numbers of rows that were taken in this order, from what the pool counts after them."""
        after = {key: int(self.pool.rows(key)) for key in set(keys)}
        found = []
        for key in reversed(keys):
            found.append(after[key])
            after[key] -= 1
        return found[::-1]

    def _changed(self, keys: Sequence[str]) -> None:
        self._dirty.update(keys)
        self._rows_since += len(keys)

    def _undo(self, before: Mapping[str, bytes | None]) -> None:
        """Put back the records that a call has changed, since its rows are not in the journal."""
        for key, record in before.items():
            if record is not None:
                self.pool.set_record(key, record)
            elif key in self.pool:
                self.pool.drop(key)

    def _checkpoint_piece(self) -> None:
        """Write the next piece of a checkpoint, and begin one when it is time; inside a group nothing is written."""
        if self._group is not None:
            return
        late = self._seconds is not None and time.monotonic() - self._began > self._seconds
        if not self._pending and self._dirty and (self._rows_since >= self._every or late):
            self._begin_checkpoint()
        if self._pending:
            self._write_piece()

    def _begin_checkpoint(self) -> None:
        self._pending = [*dict.fromkeys([*self._pending, *self._dirty])]
        self._dirty, self._rows_since, self._began = set(), 0, time.monotonic()
        self._upto = self.store.last_entry

    def _write_piece(self) -> None:
        """Write some records as they are now, ahead of `upto` or not, and with the last ones drop the journal."""
        keys = self._pending[: self._piece]
        records = {key: self.pool.record(key) for key in keys}
        if len(keys) < len(self._pending):
            self.store.write(records)
        else:
            self.store.checkpoint(records, self._upto)
        del self._pending[: len(keys)]


class _Group:
    """What the calls of a group leave to be written at its end, and the records as they were before it."""

    def __init__(self) -> None:
        self.before: dict[str, bytes | None] = {}
        self.entries: list[bytes] = []
        self.keys: list[str] = []

    def add(self, before: Mapping[str, bytes | None], entry: bytes, keys: Sequence[str]) -> None:
        """One more call."""
        if keys:
            self.before = {**before, **self.before}
            self.entries.append(entry)
            self.keys.extend(keys)
