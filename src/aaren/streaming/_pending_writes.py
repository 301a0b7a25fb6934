"""What a pool gives to its store, held back until the journal is written too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aaren.streaming._state_store import StateStore
from aaren.streaming._store import StreamStore


class PendingWrites(StateStore):
    """A store in which nothing is durable before `commit`, which writes records and journal in one transaction.

    A pool moves streams to its store in the middle of a call. Were they written there and then, a kill or a full disk
    between that and the journal entry would leave records that count rows of which nobody was told.

    Args:
        store: what is committed to.
    """

    def __init__(self, store: StreamStore) -> None:
        self._store = store
        self._records: dict[str, bytes | None] = {}

    def load(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Records as they were last written, committed or not."""
        held = {key: self._records[key] for key in keys if key in self._records} if self._records else {}
        found = self._store.load([key for key in keys if key not in held])
        return found | {key: record for key, record in held.items() if record is not None}

    def write(self, records: Mapping[str, bytes | None]) -> None:
        """Hold records back; None takes one away."""
        self._records.update(records)

    def commit(self, *entries: bytes, upto: int | None = None) -> None:
        """Write all that is held back, with entries for the journal or, up to an entry, without those that there are.

        Raises:
            ModelFileError: the store cannot be written; it is as before, and all is held back still.
        """
        if upto is not None:
            self._store.checkpoint(self._records, upto)
        elif entries or self._records:
            self._store.append(*entries, records=self._records)
        self._records.clear()

    def remember(self, keys: Sequence[str]) -> dict[str, bytes | None]:
        """What is held back of keys."""
        return {key: self._records[key] for key in keys if key in self._records}

    def go_back(self, keys: Sequence[str], remembered: Mapping[str, bytes | None]) -> None:
        """Hold of keys what was held when it was remembered."""
        for key in keys:
            self._records.pop(key, None)
        self._records.update(remembered)
