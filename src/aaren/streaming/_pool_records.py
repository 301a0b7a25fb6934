"""The records of a pool's streams: those in memory by slot, the others in a store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aaren.errors import DamagedRecordError, DataError
from aaren.streaming._layout import RecordLayout
from aaren.streaming._pool_slots import Slots, SlotTable
from aaren.streaming._state_store import StateStore

_CHUNK = 4096  # records that are copied for the store at once


@dataclass(frozen=True)
class Remembered:
    """How streams of keys were kept in memory at some time.

    Args:
        keys: all that were asked for.
        resident: those of them that were in memory.
        records: of these, uint8 of shape (resident, record_bytes).
    """

    keys: Sequence[str]
    resident: Sequence[str]
    records: Tensor


class PoolRecords:
    """One record a slot, in one block of memory of which the system gives what is used.

    Args:
        layout: of the records.
        capacity: number of slots.
        store: where streams go that were not used for the longest time, when there is no slot for another one.
    """

    def __init__(self, layout: RecordLayout, capacity: int, store: StateStore | None) -> None:
        self.layout, self.store = layout, store
        self.slots = SlotTable(capacity)
        # words of 8 bytes, which are gathered faster than bytes; zeros, which cost nothing until they are written
        self._words = np.zeros((capacity, layout.record_bytes // 8), dtype=np.int64)
        self._rows = self._words[:, 0]
        self._initial = np.frombuffer(layout.initial, dtype=np.int64)
        self._dirty = np.zeros(capacity, dtype=np.bool_)

    def read(self, slots: Slots) -> Tensor:
        """Copies of records, uint8 of shape (n, record_bytes)."""
        return torch.from_numpy(self._words.take(slots, axis=0).view(np.uint8))

    def write(self, slots: Slots, records: Tensor) -> None:
        """Put records, uint8 of shape (n, record_bytes), in the place of those of different slots."""
        self._words[slots] = records.numpy().view(np.int64)
        self._dirty[slots] = True

    def rows(self, slots: Slots) -> NDArray[np.int64]:
        """Rows that streams have counted, shape (n,)."""
        return self._rows[slots]

    def bring(self, keys: Sequence[str], damaged: dict[str, DataError] | None = None) -> Slots:
        """The slots of different keys, at most `capacity`, whose streams are begun or come from the store as needed.

        Where there is no slot left and no store, it is -1; and so it is of keys that were noted as damaged.

        Args:
            keys: of the streams.
            damaged: where to note what is wrong with a record of the store, by key.

        Raises:
            DataError: a record of the store is damaged, and there is no place to note it.
        """
        slots = self.slots.find(keys)
        places = np.flatnonzero(slots < 0)
        if not len(places):
            return slots
        if self.store is None:
            places = places[: self.slots.room]
        missing = [keys[place] for place in places.tolist()]
        try:
            there, found = self._load(missing)
        except DataError:
            if damaged is None:
                raise
            damaged |= self._damaged(missing)
            places = places[[key not in damaged for key in missing]]
            missing = [keys[place] for place in places.tolist()]
            there, found = self._load(missing)
        self._make_room(len(missing))
        added = self.slots.add(missing)
        slots[places] = added
        self._words[added] = self._initial
        if len(found):
            self._words[added[there]] = found.numpy().view(np.int64)
        self._dirty[added] = False
        return slots

    def peek(self, keys: Sequence[str]) -> tuple[NDArray[np.bool_], Tensor]:
        """Which keys have a stream, and copies of their records in that order, from memory or the store.

        Raises:
            DataError: a record of the store is damaged.
        """
        slots = self.slots.find(keys)
        places = np.flatnonzero(slots < 0)
        there, found = self._load([keys[place] for place in places.tolist()])
        records = torch.empty(len(keys), self.layout.record_bytes, dtype=torch.uint8)
        known = slots >= 0
        records[torch.from_numpy(known)] = self.read(slots[known])
        records[torch.from_numpy(places[there])] = found
        known[places[there]] = True
        return known, records[torch.from_numpy(known)]

    def remember(self, keys: Sequence[str]) -> Remembered:
        """How the streams of different keys are in memory now."""
        slots = self.slots.find(keys)
        resident = [key for key, slot in zip(keys, slots.tolist(), strict=True) if slot >= 0]
        return Remembered(keys, resident, self.read(slots[slots >= 0]))

    def go_back(self, remembered: Remembered) -> None:
        """Let streams be in memory what they were; what the store was given of them since is the caller's matter."""
        self.forget([key for key in remembered.keys if key in self.slots])
        self.slots.tick()
        self._make_room(len(remembered.resident))
        self.write(self.slots.add(remembered.resident), remembered.records)

    def remove_empty(self, slots: Slots) -> None:
        """Forget those of the streams that have no rows; a slot of -1 is none."""
        used = slots[slots >= 0]
        empty = used[self._rows[used] == 0].tolist()
        if empty:
            self.forget([self.slots.key_of(slot) for slot in empty])

    def drop(self, key: str) -> None:
        """Forget a stream, in the store too."""
        if self.store is not None:
            self.store.write({key: None})
        if key in self.slots:
            self.forget([key])

    def known(self, key: str) -> bool:
        """Whether there is a stream of this key, in memory or in the store, damaged or not."""
        try:
            return key in self.slots or (self.store is not None and bool(self.store.load([key])))
        except DamagedRecordError:
            return True

    def forget(self, keys: Sequence[str]) -> None:
        """Take streams out of memory; the store keeps what it has of them."""
        self._dirty[self.slots.find(keys)] = False
        self.slots.remove(keys)

    def flush(self, size: int = _CHUNK) -> Iterator[int]:
        """Write what has changed by now to the store, if there is one, `size` records before each yield of a count."""
        dirty = np.flatnonzero(self._dirty) if self.store is not None else np.empty(0, dtype=np.int64)
        return self._flush([self.slots.key_of(slot) for slot in dirty.tolist()], size)

    def _flush(self, keys: Sequence[str], size: int) -> Iterator[int]:
        for start in range(0, len(keys), size):  # by key: a stream may have another slot by now
            piece = self.slots.where(keys[start : start + size])
            piece = piece[self._dirty[piece]]  # the others were moved to the store since
            if len(piece):
                self._store(piece)
                yield len(piece)

    def nbytes(self) -> int:
        """Bytes of the records in use, their keys and what finds them."""
        return len(self.slots) * (self.layout.record_bytes + 1) + self.slots.nbytes()

    def _load(self, keys: Sequence[str]) -> tuple[NDArray[np.bool_], Tensor]:
        """Of which keys the store has records, and these, checked, in that order.

        Raises:
            DataError: one of them is damaged; its key is in the message.
        """
        try:
            given = self.store.load(keys) if self.store is not None and keys else {}
        except DamagedRecordError as error:
            raise DataError(
                "expected the record that was written, received a damaged one: drop this stream, or go back to a "
                "snapshot of the store (StreamStore.restore)",
                source=f"stream {error.key!r}",
            ) from None
        there = np.array([key in given for key in keys], dtype=np.bool_)
        names = [key for key in keys if key in given]
        return there, self.layout.check_all(names, [given[key] for key in names])

    def _damaged(self, keys: Sequence[str]) -> dict[str, DataError]:
        """Of which keys the record in the store is damaged, and how."""
        found = {}
        for key in keys:
            try:
                self._load([key])
            except DataError as error:
                found[key] = error
        return found

    def _make_room(self, count: int) -> None:
        """Move the streams that were not used for the longest time to the store, until `count` slots are free."""
        wanted = count - self.slots.room
        if wanted <= 0:
            return
        if self.store is None:
            raise full(self.slots.capacity, source=None)
        oldest = self.slots.oldest(wanted)
        try:
            dirty = oldest[self._dirty[oldest]]
            for start in range(0, len(dirty), _CHUNK):
                self._store(dirty[start : start + _CHUNK])
        except BaseException:
            self.slots.keep(oldest)
            raise
        self.forget([self.slots.key_of(slot) for slot in oldest.tolist()])

    def _store(self, slots: Slots) -> None:
        assert self.store is not None, "callers have asked"
        records = self.read(slots).numpy()
        keys = [self.slots.key_of(slot) for slot in slots.tolist()]
        self.store.write({key: record.tobytes() for key, record in zip(keys, records, strict=True)})
        self._dirty[slots] = False


def full(capacity: int, source: str | None) -> DataError:
    """No stream is ever lost silently."""
    return DataError(
        f"expected at most capacity = {capacity} streams, received one more: the pool is full; drop streams that have "
        "ended, or make the pool with a larger capacity or with a store",
        source=source,
    )
