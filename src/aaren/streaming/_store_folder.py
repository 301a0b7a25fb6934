"""The folder of a stream store: who has it open, which store it holds, and of which model."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from aaren.errors import ModelFileError
from aaren.streaming._snapshot import write_atomically
from aaren.streaming._store_file import Identity, Progress, create_tables, read_meta

FILE, LOG, NAME, LOCK = "store.sqlite", "store.sqlite-wal", "store.json", "store.lock"


class FolderLock:
    """What keeps other processes out of a folder until it is closed; a killed process leaves nothing of it.

    Args:
        lock: SQLite's lock on an empty file, which works on every platform.
        handle: of the folder, locked too where there is `flock`: POSIX takes SQLite's locks away as soon as anything in
            this process closes one of the files, such as a copy of the folder.
    """

    def __init__(self, lock: sqlite3.Connection, handle: int | None) -> None:
        self._lock, self._handle = lock, handle
        _HELD.add(self)

    def close(self) -> None:
        """Let others in."""
        self._lock.close()
        self.release()

    def release(self) -> None:
        """Close the handle; a child that was forked does so at once, or it would hold the folder after its parent."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __del__(self) -> None:
        self.release()


_HELD: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def _release_all() -> None:
    for lock in list(_HELD):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_all)


def _locked_handle(folder: Path) -> int | None:
    """A handle of the folder with a lock that only closing it takes away; None where the system has no such lock.

    Raises:
        BlockingIOError: somebody else has it.
    """
    try:
        import fcntl
    except ImportError:
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            raise
        return None
    return handle


def lock_folder(folder: Path) -> FolderLock:
    """Make the folder if its parent is there, and keep other processes out until the lock is closed.

    Raises:
        ModelFileError: the folder cannot be made or written, or the store is open already.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ModelFileError(f"{folder}: cannot be made: {error.strerror or error}; make its parent first") from None
    lock = None
    try:
        lock = sqlite3.connect(folder / LOCK, timeout=0, isolation_level=None, check_same_thread=False)
        lock.execute("PRAGMA journal_mode = MEMORY")  # no file beside it
        lock.execute("BEGIN EXCLUSIVE")
        return FolderLock(lock, _locked_handle(folder))
    except (sqlite3.Error, OSError) as error:
        if lock is not None:
            lock.close()
        if "locked" in str(error) or isinstance(error, BlockingIOError):
            raise ModelFileError(
                f"{folder}: expected a store that nobody has open, received one in use; end the other process, or give "
                "this one a folder of its own"
            ) from None
        raise ModelFileError(f"{folder / LOCK}: cannot be written: {error}; give write access to the folder") from None


def read_name(folder: Path) -> str | None:
    """The name of the store that belongs here; None if none was made yet.

    It stands outside the SQLite file because a log of another store can replace every page of that file.

    Raises:
        ModelFileError: the file that holds it is damaged.
    """
    path = folder / NAME
    try:
        name = json.loads(path.read_text(encoding="utf-8"))["store"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelFileError(f"{path}: damaged: {error}; restore a snapshot, which writes it anew") from None
    if not isinstance(name, str) or len(name) != 32:
        raise ModelFileError(f"{path}: damaged: not the name of a store; restore a snapshot, which writes it anew")
    return name


def write_name(folder: Path, name: str) -> None:
    """Write the name of the store that belongs here."""
    write_atomically(folder / NAME, json.dumps({"store": name}).encode() + b"\n")


def make_store(db: sqlite3.Connection, folder: Path, wanted: Identity) -> str:
    """Make a new store, or end the making of one that a kill interrupted; its name, which is drawn at random.

    Raises:
        ModelFileError: there is a store of which only the name is missing.
    """
    if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        create_tables(db, replace(wanted, store=secrets.token_hex(16)))
    found, progress = read_meta(db, folder / FILE)
    if progress != Progress():
        raise ModelFileError(
            f"{folder / NAME}: missing, though {FILE} holds streams; go back to a snapshot (StreamStore.restore)"
        )
    write_name(folder, found.store)
    return found.store


def check_identity(path: Path, found: Identity, wanted: Identity, accept_fingerprint: str | None) -> None:
    """Refuse a store of another record layout, or of a model that is neither this one nor the accepted one.

    Raises:
        ModelFileError: it was refused.
    """
    if found.layout != wanted.layout:
        raise ModelFileError(
            f"{path}: expected the record layout of these streams, received another one "
            f"({_difference(found, wanted)}); use the model that the store was made with, or an empty folder"
        )
    if found.fingerprint not in (wanted.fingerprint, accept_fingerprint):
        raise ModelFileError(
            f"{path}: expected the states of this model (fingerprint {wanted.fingerprint[:12]}), received those of "
            f"another ({found.fingerprint[:12]}); use that model, or, if this one is to go on from its states, give "
            f"accept_fingerprint={found.fingerprint!r}"
        )


def _difference(found: Identity, wanted: Identity) -> str:
    """The first entry of the layouts that differs."""
    if not isinstance(found.layout, Mapping) or not isinstance(wanted.layout, Mapping):
        return "not a mapping"
    names = sorted({*found.layout, *wanted.layout})
    name = next(name for name in names if found.layout.get(name, ...) != wanted.layout.get(name, ...))
    shown = [str(each.layout.get(name, "nothing")) for each in (wanted, found)]
    return f"{name}: expected {shown[0][:60]}, received {shown[1][:60]}"
