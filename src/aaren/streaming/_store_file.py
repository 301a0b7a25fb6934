"""The SQLite file of a stream store: how it is opened, what its tables hold, and how its content is checked."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from aaren.errors import DamagedRecordError, ModelFileError

SCHEMA = 1
DIGEST = 16
_SUM = 1 << 128
_PAGE = 4096  # pages that hold a record whole would be no faster, and larger by three quarters of a record
_LOG = 8 << 20  # bytes of the log after which it is written back into the file, which a call waits for
_TABLES = """
BEGIN IMMEDIATE;
CREATE TABLE meta (name TEXT PRIMARY KEY, content TEXT NOT NULL, digest BLOB NOT NULL);
CREATE TABLE keys (id INTEGER PRIMARY KEY, key TEXT NOT NULL, digest BLOB NOT NULL);
CREATE TABLE records (id INTEGER PRIMARY KEY, record BLOB NOT NULL);
CREATE TABLE journal (id INTEGER PRIMARY KEY, entry BLOB NOT NULL, digest BLOB NOT NULL);
"""


@dataclass(frozen=True)
class Identity:
    """What a store is of. `store` is drawn at random when it is made, and is a part of every digest."""

    schema: int
    store: str
    fingerprint: str
    layout: Any
    options: Any


@dataclass(frozen=True)
class Progress:
    """What must be there: the number of records, the sum of their `Digests.of_key`, the first and last entry."""

    records: int = 0
    digests: int = 0
    first: int = 1
    last: int = 0

    def changed(self, records: int, digests: int) -> Progress:
        """With more or fewer records."""
        return replace(self, records=self.records + records, digests=(self.digests + digests) % _SUM)


class Digests:
    """Checksums (BLAKE2b) that tell apart stores, kinds of content, keys and numbers of entries."""

    def __init__(self, store: str) -> None:
        self._store = store.encode()

    def of(self, kind: str, name: str | int, content: bytes) -> bytes:
        """Of the record of a key, of a journal entry or of a row of `meta`."""
        digest = hashlib.blake2b(digest_size=DIGEST, key=self._store, person=kind.encode())
        encoded = str(name).encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
        digest.update(content)
        return digest.digest()

    def of_key(self, key: str, digest: bytes) -> int:
        """Of a key with the digest of its record: one summand of `Progress.digests`."""
        return int.from_bytes(self.of("key", key, digest), "little")


@contextmanager
def plain_errors(path: Path, doing: str, remedy: str) -> Iterator[None]:
    """Turn what SQLite says, and what content of a wrong type causes, into one ModelFileError."""
    try:
        yield
    except ModelFileError:
        raise
    except (sqlite3.Error, OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ModelFileError(f"{path}: cannot be {doing}: {error}; {remedy}") from None


def open_file(path: Path) -> sqlite3.Connection:
    """Open for this process alone, or make it; every commit is synced to the disk when it returns."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
    try:
        for pragma in (
            f"page_size = {_PAGE}",
            "trusted_schema = OFF",
            "cell_size_check = ON",
            "locking_mode = EXCLUSIVE",  # no file of shared memory beside the log
            "journal_mode = WAL",
            "synchronous = FULL",
            "fullfsync = ON",  # macOS: else a sync stays in the disk's own memory
            f"wal_autocheckpoint = {_LOG // _PAGE}",
        ):
            db.execute(f"PRAGMA {pragma}").fetchall()
    except BaseException:
        db.close()
        raise
    return db


def open_copy(path: Path) -> sqlite3.Connection:
    """Open a snapshot, which nobody writes to, for reading."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


def create_tables(db: sqlite3.Connection, identity: Identity) -> None:
    """Make the tables of an empty file, in one transaction."""
    db.executescript(_TABLES)
    digests = Digests(identity.store)
    write_meta(db, digests, "identity", identity)
    write_meta(db, digests, "progress", Progress())
    db.execute("COMMIT")


def write_meta(db: sqlite3.Connection, digests: Digests, name: str, content: Identity | Progress) -> None:
    """Write a row of `meta`; its numbers are text, since SQLite's have 64 bits."""
    text = json.dumps(asdict(content), sort_keys=True)
    row = (name, text, digests.of("meta", name, text.encode()))
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", row)


def read_meta(db: sqlite3.Connection, path: Path, store: str | None = None) -> tuple[Identity, Progress]:
    """Read and check both rows of `meta`.

    Args:
        db: the open file.
        path: its name, for messages.
        store: the identity that the file must have; None takes the one that it says it has.

    Raises:
        ModelFileError: a row is missing, damaged, of another store or of another version.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for name in ("identity", "progress"):
        row = db.execute("SELECT content, digest FROM meta WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise ModelFileError(f"{path}: damaged: its {name} is missing; go back to a snapshot")
        found[name] = json.loads(row[0])
        if name == "identity":
            if found[name]["schema"] != SCHEMA:
                raise ModelFileError(
                    f"{path}: expected a store of schema {SCHEMA}, received {found[name]['schema']!r}; open it with "
                    "the version of aaren that made it"
                )
            if store is not None and found[name]["store"] != store:
                raise ModelFileError(
                    f"{path}: expected store {store[:12]}, received {str(found[name]['store'])[:12]}; the files of two "
                    "stores were mixed: put each back into its own folder"
                )
        if Digests(str(found["identity"]["store"])).of("meta", name, row[0].encode()) != row[1]:
            raise ModelFileError(f"{path}: damaged: its {name} does not match its checksum; go back to a snapshot")
    return Identity(**found["identity"]), Progress(**found["progress"])


def read_directory(
    db: sqlite3.Connection, path: Path, digests: Digests, progress: Progress
) -> list[tuple[int, str, bytes]]:
    """All (id, key, digest of the record), checked as a whole: none is missing, changed or too many.

    Raises:
        ModelFileError: they are not what was written.
    """
    rows = db.execute("SELECT id, key, digest FROM keys").fetchall()
    total = sum(digests.of_key(key, digest) for _, key, digest in rows) % _SUM
    if len(rows) != progress.records or total != progress.digests or len({key for _, key, _ in rows}) != len(rows):
        raise ModelFileError(f"{path}: damaged: its table of keys does not match its checksum; go back to a snapshot")
    return rows


def read_record(db: sqlite3.Connection, path: Path, digests: Digests, row: tuple[int, str, bytes]) -> bytes:
    """The record of one key.

    Raises:
        DamagedRecordError: it is missing or damaged.
        sqlite3.Error: the file cannot be read.
    """
    number, key, digest = row
    try:
        found = db.execute("SELECT record FROM records WHERE id = ?", (number,)).fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
            raise
        found = ("a page of the file is damaged",)
    if found is None or not isinstance(found[0], bytes) or digests.of("record", key, found[0]) != digest:
        what = "is missing" if found is None else "does not match its checksum"
        raise DamagedRecordError(f"{path}: damaged: the record of key {key!r} {what}; go back to a snapshot", key)
    return found[0]


def read_entries(
    db: sqlite3.Connection, path: Path, digests: Digests, progress: Progress
) -> Iterator[tuple[int, bytes]]:
    """The journal from its first entry to its last.

    Raises:
        ModelFileError: an entry is missing or damaged.
    """
    for number in range(progress.first, progress.last + 1):
        found = db.execute("SELECT entry, digest FROM journal WHERE id = ?", (number,)).fetchone()
        if found is None or not isinstance(found[0], bytes) or digests.of("entry", number, found[0]) != found[1]:
            what = "is missing" if found is None else "does not match its checksum"
            raise ModelFileError(f"{path}: damaged: entry {number} of the journal {what}; go back to a snapshot")
        yield number, found[0]


def check_whole(db: sqlite3.Connection, path: Path, store: str | None = None) -> Identity:
    """Read everything: SQLite's own check of its pages, every record, every entry.

    Raises:
        ModelFileError: something is damaged, or is of another store.
    """
    said = [row[0] for row in db.execute("PRAGMA quick_check(1)")]
    if said != ["ok"]:
        raise ModelFileError(f"{path}: damaged: {said[0]}; go back to a snapshot")
    identity, progress = read_meta(db, path, store)
    digests = Digests(identity.store)
    for row in read_directory(db, path, digests, progress):
        read_record(db, path, digests, row)
    for _ in read_entries(db, path, digests, progress):
        pass
    return identity
