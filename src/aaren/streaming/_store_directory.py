"""Which keys a stream store holds, in memory: their numbers in the file, and the digests of their records."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from aaren.streaming._store_file import DIGEST, Digests


class Change(NamedTuple):
    """What a transaction does to records.

    Args:
        rows: number, key, digest and record of those that are written, in the order of the file.
        gone: number and key of those that are taken away.
        added: how many more keys there are.
        total: how much greater the sum of `Digests.of_key` is.
    """

    rows: Sequence[tuple[int, str, bytes, bytes]]
    gone: Sequence[tuple[int, str]]
    added: int
    total: int


class Directory:
    """The keys of a store.

    Args:
        rows: number, key and digest of every record.
    """

    def __init__(self, rows: Sequence[tuple[int, str, bytes]]) -> None:
        self._numbers = {key: number for number, key, _ in rows}
        last = max(self._numbers.values(), default=0)
        self._digests = bytearray(DIGEST * (1 + last))
        used = set(self._numbers.values())
        self._free = [number for number in range(last, 0, -1) if number not in used]
        for number, _, digest in rows:
            self._put(number, digest)

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, key: object) -> bool:
        return key in self._numbers

    def keys(self) -> list[str]:
        """All keys."""
        return list(self._numbers)

    def row(self, key: str) -> tuple[int, str, bytes] | None:
        """Number, key and digest; None of a key that is not there."""
        number = self._numbers.get(key)
        return None if number is None else (number, key, self._digest(number))

    def change(self, digests: Digests, records: Mapping[str, bytes | None]) -> Change:
        """What writing these records would be, and taking away those that are None; nothing is changed yet."""
        new, free = len(self._digests) // DIGEST, len(self._free)
        rows, gone, total, begun = [], [], 0, 0
        for key, record in records.items():
            number = self._numbers.get(key)
            if number is not None:
                total -= digests.of_key(key, self._digest(number))
            if record is None:
                gone += [] if number is None else [(number, key)]
                continue
            if number is None:  # numbers of keys that are gone come again, or there would be ever more of them
                begun += 1
                number = self._free[free - begun] if begun <= free else new + begun - free - 1
            digest = digests.of("record", key, record)
            total += digests.of_key(key, digest)
            rows.append((number, key, digest, record))
        return Change(sorted(rows), gone, begun - len(gone), total)

    def apply(self, change: Change) -> None:
        """A transaction with this change has ended."""
        begun, free = change.added + len(change.gone), len(self._free)
        self._digests.extend(bytes(DIGEST * max(0, begun - free)))
        del self._free[max(0, free - begun) :]
        for number, key, digest, _ in change.rows:
            self._numbers[key] = number
            self._put(number, digest)
        for number, key in change.gone:
            del self._numbers[key]
            self._free.append(number)

    def _digest(self, number: int) -> bytes:
        return bytes(self._digests[DIGEST * number : DIGEST * (number + 1)])

    def _put(self, number: int, digest: bytes) -> None:
        self._digests[DIGEST * number : DIGEST * (number + 1)] = digest


def write_records(db: sqlite3.Connection, change: Change) -> None:
    """Write a change, inside a transaction."""
    db.executemany("INSERT OR REPLACE INTO keys VALUES (?, ?, ?)", (row[:3] for row in change.rows))
    db.executemany("INSERT OR REPLACE INTO records VALUES (?, ?)", ((row[0], row[3]) for row in change.rows))
    for table in ("keys", "records"):
        db.executemany(f"DELETE FROM {table} WHERE id = ?", ((number,) for number, _ in change.gone))
