"""The key-value engines that `store.py` compares, each behind the same calls; a write is durable when it returns."""

from __future__ import annotations

import importlib
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aaren.streaming import StreamStore

RECORD = 4_700
"""Bytes of a record."""


class Engine(ABC):
    """Records by key and a journal in a folder of its own."""

    needs: str | None = None

    def __init__(self, folder: Path) -> None:
        self.folder, self.entries = folder, 0
        folder.mkdir(parents=True, exist_ok=True)
        self.open()

    @abstractmethod
    def open(self) -> None:
        """Open what is there, or make it."""

    @abstractmethod
    def append(self, entry: bytes) -> None:
        """One journal entry."""

    @abstractmethod
    def write(self, records: Mapping[str, bytes]) -> None:
        """Records in one transaction."""

    @abstractmethod
    def load(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Records by key."""

    @abstractmethod
    def close(self) -> None:
        """Close; what `nbytes` counts is then on the disk."""

    def nbytes(self) -> int:
        """Bytes that the files take on the disk."""
        return sum(512 * path.stat().st_blocks for path in self.folder.rglob("*") if path.is_file())


class PlainSQLite(Engine):
    """SQLite as it comes: two tables, no checksums."""

    def open(self) -> None:
        self.db = sqlite3.connect(self.folder / "plain.sqlite", isolation_level=None)
        for line in (
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "CREATE TABLE IF NOT EXISTS records (key TEXT PRIMARY KEY, record BLOB)",
            "CREATE TABLE IF NOT EXISTS journal (id INTEGER PRIMARY KEY, entry BLOB)",
        ):
            self.db.execute(line).fetchall()

    def append(self, entry: bytes) -> None:
        self.db.execute("INSERT INTO journal (entry) VALUES (?)", (entry,))

    def write(self, records: Mapping[str, bytes]) -> None:
        self.db.execute("BEGIN")
        self.db.executemany(
            "INSERT INTO records VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET record = excluded.record",
            records.items(),
        )
        self.db.execute("COMMIT")

    def load(self, keys: Sequence[str]) -> dict[str, bytes]:
        query = "SELECT record FROM records WHERE key = ?"
        return {key: self.db.execute(query, (key,)).fetchone()[0] for key in keys}

    def close(self) -> None:
        self.db.close()


class LMDB(Engine):
    """Memory-mapped B+ tree, copy on write, every commit synced; no checksums."""

    needs = "lmdb"

    def open(self) -> None:
        lmdb: Any = importlib.import_module("lmdb")
        self.env = lmdb.open(str(self.folder), map_size=8 << 30, max_dbs=2)
        self.records, self.journal = self.env.open_db(b"records"), self.env.open_db(b"journal")

    def append(self, entry: bytes) -> None:
        self.entries += 1
        with self.env.begin(write=True, db=self.journal) as transaction:
            transaction.put(self.entries.to_bytes(8, "big"), entry, append=True)

    def write(self, records: Mapping[str, bytes]) -> None:
        with self.env.begin(write=True, db=self.records) as transaction:
            for key, record in records.items():
                transaction.put(key.encode(), record)

    def load(self, keys: Sequence[str]) -> dict[str, bytes]:
        with self.env.begin(db=self.records) as transaction:
            return {key: transaction.get(key.encode()) for key in keys}

    def close(self) -> None:
        self.env.close()


class RocksDB(Engine):
    """Log-structured merge tree with checksums in every block, synced log, its usual options."""

    needs = "rocksdict"

    def open(self) -> None:
        self.rocks: Any = importlib.import_module("rocksdict")
        self.db = self.rocks.Rdict(str(self.folder), options=self.rocks.Options(raw_mode=True))
        self.synced = self.rocks.WriteOptions()
        self.synced.sync = True

    def append(self, entry: bytes) -> None:
        self.entries += 1
        self.db.put(b"j" + self.entries.to_bytes(8, "big"), entry, self.synced)

    def write(self, records: Mapping[str, bytes]) -> None:
        batch = self.rocks.WriteBatch(raw_mode=True)
        for key, record in records.items():
            batch.put(b"r" + key.encode(), record)
        self.db.write(batch, self.synced)

    def load(self, keys: Sequence[str]) -> dict[str, bytes]:
        return {key: self.db[b"r" + key.encode()] for key in keys}

    def close(self) -> None:
        self.db.close()


class Ours(Engine):
    """`StreamStore`: SQLite with a checksum on everything and the keys in memory."""

    def open(self) -> None:
        self.store = StreamStore(self.folder, fingerprint="f" * 64, layout={"record_bytes": RECORD})

    def append(self, entry: bytes) -> None:
        self.store.append(entry)

    def write(self, records: Mapping[str, bytes]) -> None:
        self.store.write(records)

    def load(self, keys: Sequence[str]) -> dict[str, bytes]:
        return self.store.load(keys)

    def close(self) -> None:
        self.store.close()


OURS = "StreamStore (SQLite)"
ENGINES: dict[str, type[Engine]] = {OURS: Ours, "SQLite, plain": PlainSQLite, "LMDB": LMDB, "RocksDB": RocksDB}
