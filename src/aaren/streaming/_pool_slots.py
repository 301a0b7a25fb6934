"""Which stream of a pool has which slot, and which one was not used for the longest time."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Slots = NDArray[np.int64]


class SlotTable:
    """Keys and slots, at most `capacity` of them.

    The least recently used are found without a list that moves at every use: a clock says when each slot was last used.
    The oldest are sorted once, and those of them that were used since are passed over; whatever is not among them was
    used later than all of them.

    Args:
        capacity: number of slots.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._slots: dict[str, int] = {}
        self._keys: list[str] = []  # by slot; an empty place keeps its last key
        self._free: list[int] = []
        self._clock = np.zeros(capacity, dtype=np.int64)  # of the call that used the slot last; 0 is free
        self._now = 0
        self._queue, self._queue_clock = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, key: str) -> bool:
        return key in self._slots

    def keys(self) -> list[str]:
        """All keys, the first added first."""
        return list(self._slots)

    def used(self) -> Slots:
        """The slots that are in use, as `keys` has their keys."""
        return np.fromiter(self._slots.values(), dtype=np.int64, count=len(self._slots))

    def key_of(self, slot: int) -> str:
        """The key of a slot in use."""
        return self._keys[slot]

    @property
    def room(self) -> int:
        """Slots that are free."""
        return self.capacity - len(self._slots)

    def tick(self) -> None:
        """A new call begins: what it uses is younger than all before."""
        self._now += 1

    def find(self, keys: Sequence[str]) -> Slots:
        """The slots of keys, -1 where there is none, shape (keys,); those that are there are used now."""
        get = self._slots.get
        slots = np.array([get(key, -1) for key in keys], dtype=np.int64)
        self._clock[slots[slots >= 0]] = self._now
        return slots

    def where(self, keys: Sequence[str]) -> Slots:
        """The slots of those keys that have one; they do not count as used."""
        return np.array([slot for key in keys if (slot := self._slots.get(key)) is not None], dtype=np.int64)

    def add(self, keys: Sequence[str]) -> Slots:
        """Give slots to keys that have none; there must be room."""
        assert len(keys) <= self.room, "the caller has made room"
        reused = [self._free.pop() for _ in range(min(len(keys), len(self._free)))]
        first = len(self._keys)
        slots = [*reused, *range(first, first + len(keys) - len(reused))]
        self._keys.extend(keys[len(reused) :])
        for slot, key in zip(reused, keys[: len(reused)], strict=True):
            self._keys[slot] = key
        self._slots.update(zip(keys, slots, strict=True))
        found = np.array(slots, dtype=np.int64)
        self._clock[found] = self._now
        return found

    def remove(self, keys: Iterable[str]) -> None:
        """Take keys away; their slots are free."""
        for key in keys:
            slot = self._slots.pop(key)
            self._clock[slot] = 0
            self._free.append(slot)

    def oldest(self, count: int) -> Slots:
        """The `count` slots that were not used for the longest time, none of them in this call."""
        found: list[int] = []
        while len(found) < count:
            if not len(self._queue):
                self._fill_queue(count)
                assert len(self._queue), "the caller asks for less than there are"
            valid = self._clock[self._queue] == self._queue_clock
            places = np.flatnonzero(valid)[: count - len(found)]
            found += self._queue[places].tolist()
            self._clock[self._queue[places]] *= -1  # not to be found twice; `remove` or `keep` follows
            used = int(places[-1]) + 1 if len(found) == count else len(self._queue)
            self._queue, self._queue_clock = self._queue[used:], self._queue_clock[used:]
        return np.array(found, dtype=np.int64)

    def keep(self, slots: Slots) -> None:
        """Take back what `oldest` found, which was not removed after all."""
        self._clock[slots] = np.abs(self._clock[slots])
        self._queue = self._queue[:0]
        self._queue_clock = self._queue_clock[:0]

    def nbytes(self) -> int:
        """Bytes of keys, slots and clock."""
        strings = sum(map(sys.getsizeof, self._keys))
        return sys.getsizeof(self._slots) + sys.getsizeof(self._keys) + strings + 8 * len(self._keys)

    def _fill_queue(self, count: int) -> None:
        """Sort a part of the slots that were not used in this call, the oldest first."""
        clock = self._clock[: len(self._keys)]
        candidates = np.flatnonzero((clock > 0) & (clock < self._now))
        wanted = max(count, len(candidates) // 16)
        if wanted < len(candidates):
            candidates = candidates[np.argpartition(clock[candidates], wanted - 1)[:wanted]]
        order = candidates[np.argsort(clock[candidates], kind="stable")]
        self._queue, self._queue_clock = order, clock[order].copy()
