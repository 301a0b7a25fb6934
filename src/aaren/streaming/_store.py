"""The records of many keyed streams on disk, with a journal: what was acknowledged is there after a kill."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

from aaren.errors import ModelFileError
from aaren.streaming._state_store import StateStore
from aaren.streaming._store_directory import Directory, write_records
from aaren.streaming._store_file import (
    SCHEMA,
    Digests,
    Identity,
    check_whole,
    open_file,
    plain_errors,
    read_directory,
    read_entries,
    read_meta,
    read_record,
    write_meta,
)
from aaren.streaming._store_folder import FILE, LOG, NAME, check_identity, lock_folder, make_store, read_name
from aaren.streaming._store_snapshots import restore_snapshot, snapshots, take_snapshot
from aaren.streaming._wal import check_wal

_WRITE_REMEDY = "nothing was changed: make room or give write access, then try again"
_READ_REMEDY = "go back to a snapshot (StreamStore.restore)"
_DROPPED_AT_ONCE = 8
_NOTHING: Mapping[str, bytes | None] = MappingProxyType({})


class StreamStore(StateStore):
    """Records of bytes by key, and a journal of entries of bytes, in one folder; one process at a time.

    Every write is one transaction that is on the disk when the call returns. Every record and entry has a checksum
    over the store, its key or number, and its content. The keys are kept in memory, about 250 bytes each. Threads may
    share a store.

    Args:
        folder: where the store is; it is made if its parent is there.
        fingerprint: of the model (`model.fingerprint()`) whose states the records are.
        layout: of a record; plain data for JSON, equal in every process that opens the store.
        options: what decides how entries of the journal are to be read, plain data for JSON; for a new store.
        accept_fingerprint: the fingerprint of another model whose records, equal in layout, this model is to take
            over; the store is this model's from then on.

    Raises:
        ModelFileError: the folder cannot be written, another process has the store open, or the store is damaged, of
            another version, model or layout.

    Example:
        with StreamStore("streams", fingerprint=model.fingerprint(), layout=layout) as store:
            store.write({"pump 7": record})
            number = store.append(entry)
            store.checkpoint({"pump 7": later_record}, upto=number)
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        fingerprint: str,
        layout: Mapping[str, Any],
        options: Mapping[str, Any] = _NOTHING,
        accept_fingerprint: str | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.path = self.folder / FILE
        self._mutex = threading.RLock()
        self._snapshots = threading.Lock()
        self._db: sqlite3.Connection | None = None
        wanted = Identity(SCHEMA, "", fingerprint, *(json.loads(json.dumps(dict(x))) for x in (layout, options)))
        self._lock = lock_folder(self.folder)
        try:
            with plain_errors(self.path, "opened", _READ_REMEDY):
                self._open(wanted, accept_fingerprint)
        except BaseException:
            self.close()
            raise

    def _open(self, wanted: Identity, accept_fingerprint: str | None) -> None:
        name = read_name(self.folder)
        if name is not None and not self.path.exists():
            raise ModelFileError(f"{self.path}: missing, though {NAME} is there; {_READ_REMEDY}")
        check_wal(self.folder / LOG)
        self._db = open_file(self.path)
        if name is None:
            name = make_store(self._db, self.folder, wanted)
        found, self._progress = read_meta(self._db, self.path, name)
        self._digests = Digests(name)
        check_identity(self.path, found, wanted, accept_fingerprint)
        self._directory = Directory(read_directory(self._db, self.path, self._digests, self._progress))
        numbers = {row[0] for row in self._db.execute("SELECT id FROM journal")}
        if missing := set(range(self._progress.first, self._progress.last + 1)) - numbers:
            entry = f"entry {min(missing)} of the journal"
            raise ModelFileError(f"{self.path}: damaged: {entry} is missing; {_READ_REMEDY}")
        self._oldest = min(numbers, default=self._progress.first)
        self._identity = found
        if found.fingerprint != wanted.fingerprint:
            self._change(replace(found, fingerprint=wanted.fingerprint))

    def _change(self, identity: Identity) -> None:
        with self._transaction() as db:
            write_meta(db, self._digests, "identity", identity)
        self._identity = identity

    @property
    def options(self) -> dict[str, Any]:
        """What the entries of the journal are to be read with."""
        return dict(self._identity.options)

    def set_options(self, options: Mapping[str, Any]) -> None:
        """Read later entries with other options.

        Raises:
            ValueError: the journal has entries, which belong to the options of before.
            ModelFileError: the store cannot be written; nothing was changed.
        """
        with self._mutex:
            if self.journal_length:
                raise ValueError(f"journal: expected no entry, received {self.journal_length}; checkpoint first")
            self._change(replace(self._identity, options=dict(options)))

    @contextmanager
    def _transaction(self, remember: Callable[[], None] = lambda: None) -> Iterator[sqlite3.Connection]:
        """All of what is written inside, or nothing; `remember` notes in memory that it was.

        An interrupt inside closes the store, since whether the transaction ended is then unknown.
        """
        db = self._opened()
        try:
            with plain_errors(self.path, "written", _WRITE_REMEDY):
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")
            remember()
        except ModelFileError:
            with suppress(sqlite3.Error):  # after some failures SQLite has rolled back already
                db.execute("ROLLBACK")
            raise
        except BaseException:
            self.close()
            raise

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            raise ModelFileError(f"{self.path}: the store is closed; open it again")
        return self._db

    def __len__(self) -> int:
        """Number of keys that have a record."""
        return len(self._directory)

    def __contains__(self, key: object) -> bool:
        return key in self._directory

    def keys(self) -> list[str]:
        """The keys that have a record."""
        with self._mutex:
            return self._directory.keys()

    @property
    def journal_length(self) -> int:
        """Number of entries that no checkpoint has dropped."""
        return self._progress.last - self._progress.first + 1

    @property
    def last_entry(self) -> int:
        """Number of the last entry that was appended, 0 before the first."""
        return self._progress.last

    def load(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The records of those keys that have one.

        Raises:
            DamagedRecordError: a record is damaged; its key is in the message.
            ModelFileError: the store cannot be read.
        """
        with self._mutex, plain_errors(self.path, "read", _READ_REMEDY):
            db = self._opened()
            rows = [row for key in keys if (row := self._directory.row(key)) is not None]
            return {row[1]: read_record(db, self.path, self._digests, row) for row in rows}

    def write(self, records: Mapping[str, bytes | None]) -> None:
        """Write records, or where they are None take away those that are there; all or none.

        Raises:
            ModelFileError: they cannot be written; nothing was changed.
        """
        with self._mutex:
            self._commit(records, (), self._progress.first)

    def append(self, *entries: bytes, records: Mapping[str, bytes | None] = _NOTHING) -> int:
        """Append entries to the journal, and write records as `write` does, all or none, under one sync.

        Returns:
            The number of the last entry of the journal; they count from 1.

        Raises:
            ModelFileError: they cannot be written; nothing was changed.
        """
        with self._mutex:
            self._commit(records, entries, self._progress.first)
            return self._progress.last

    def checkpoint(self, records: Mapping[str, bytes | None], upto: int) -> None:
        """Write records and drop the journal up to an entry, both or neither.

        A checkpoint of many records is written in pieces: `write` all but the last, so that entries can be appended in
        between. Replaying the journal until then does no harm, since a record holds the number of the rows in it.

        Args:
            records: by key; with what was written before, all that entries up to `upto` have changed.
            upto: number of the last entry to drop; entries behind it stay.

        Raises:
            ValueError: the journal has no such entry.
            ModelFileError: they cannot be written; nothing was changed.
        """
        with self._mutex:
            first, last = self._progress.first, self._progress.last
            if not first - 1 <= upto <= last:
                raise ValueError(f"upto: expected an entry of the journal, {first - 1} to {last}, received {upto}")
            self._commit(records, (), upto + 1)

    def _commit(self, records: Mapping[str, bytes | None], entries: Sequence[bytes], first: int) -> None:
        """One transaction: records, new entries of the journal, and its first entry."""
        changed = self._directory.change(self._digests, records)
        last = self._progress.last
        lines = [(n, entry, self._digests.of("entry", n, entry)) for n, entry in enumerate(entries, last + 1)]
        progress = self._progress.changed(changed.added, changed.total)
        progress = replace(progress, first=first, last=last + len(lines))
        # what a checkpoint dropped is taken away bit by bit, so that no append waits for all of it
        oldest = min(first, self._oldest + _DROPPED_AT_ONCE) if lines else self._oldest

        def remember() -> None:
            self._progress, self._oldest = progress, oldest
            self._directory.apply(changed)

        with self._transaction(remember) as db:
            write_records(db, changed)
            db.executemany("INSERT INTO journal VALUES (?, ?, ?)", lines)
            if oldest > self._oldest:
                db.execute("DELETE FROM journal WHERE id < ?", (oldest,))
            write_meta(db, self._digests, "progress", progress)

    def journal(self) -> Iterator[tuple[int, bytes]]:
        """The entries that no checkpoint has dropped, with their numbers; for the replay at a start.

        Raises:
            ModelFileError: an entry is damaged; its number is in the message.
        """
        with self._mutex, plain_errors(self.path, "read", _READ_REMEDY):
            yield from read_entries(self._opened(), self.path, self._digests, self._progress)

    def verify(self) -> None:
        """Read everything there is and compare it with its checksums.

        Raises:
            ModelFileError: something is damaged; file, and key or number of the entry, are in the message.
        """
        with self._mutex, plain_errors(self.path, "read", _READ_REMEDY):
            check_whole(self._opened(), self.path, None)

    def snapshot(self, path: str | Path | None = None) -> Path:
        """Copy the store as it is at one moment, while other threads go on writing.

        Args:
            path: where to; None takes the folder `snapshots` of the store, which keeps the last two.

        Returns:
            The snapshot: one file, whole or not there.

        Raises:
            ModelFileError: it cannot be written; the snapshots before it are as they were.
        """
        with self._snapshots:
            return take_snapshot(self._opened(), self.folder, None if path is None else Path(path))

    def snapshots(self) -> list[Path]:
        """The snapshots in the folder of the store, oldest first."""
        return snapshots(self.folder)

    @staticmethod
    def restore(folder: str | Path, snapshot: str | Path) -> None:
        """Go back to a snapshot, which is read to its end and checked first; the store must not be open.

        Rows that came after the snapshot are lost, and their senders must send them again: a row number that does not
        follow is refused.

        Args:
            folder: of the store, or an empty one.
            snapshot: what `snapshot` gave.

        Raises:
            ModelFileError: the snapshot is damaged or of another store, the store is open, or it cannot be written.
        """
        restore_snapshot(Path(folder), Path(snapshot))

    def close(self) -> None:
        """Write the log back into the file, and let others open the store; a snapshot in progress ends first."""
        with self._snapshots, self._mutex:
            if self._db is not None:
                with suppress(sqlite3.Error):  # what is durable stays in the log
                    self._db.close()
                self._db = None
            self._lock.close()

    def __enter__(self) -> StreamStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
