"""Snapshots of a stream store: a consistent copy while rows go on, and the way back to it."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from aaren.errors import ModelFileError
from aaren.streaming._store_file import check_whole, open_copy, plain_errors
from aaren.streaming._store_folder import FILE, LOCK, LOG, NAME, lock_folder, read_name, write_name

FOLDER = "snapshots"
KEPT = 2
_OURS = re.compile(r"[0-9]{8}\.sqlite")
_PAGES_AT_ONCE = 256
_WAIT = 0.002
_REMEDY = "nothing was changed: make room or give write access, then try again"


def snapshots(folder: Path) -> list[Path]:
    """The snapshots in the folder of a store, oldest first."""
    return sorted(path for path in (folder / FOLDER).glob("*.sqlite") if _OURS.fullmatch(path.name))


def take_snapshot(db: sqlite3.Connection, folder: Path, path: Path | None) -> Path:
    """Copy the open file, some pages at a time, while other threads write to it; see `StreamStore.snapshot`."""
    goal = path
    if goal is None:
        (folder / FOLDER).mkdir(exist_ok=True)
        last = snapshots(folder)
        goal = folder / FOLDER / f"{int(last[-1].stem) + 1 if last else 1:08d}.sqlite"
    elif goal.resolve().parent == folder.resolve() and goal.name in (FILE, LOG, NAME, LOCK):
        raise ModelFileError(
            f"{goal}: expected a file for a snapshot, received one of the open store; name another one"
        )
    temporary = goal.with_name(f".{goal.name}.writing")
    with plain_errors(goal, "written", _REMEDY):
        try:
            temporary.unlink(missing_ok=True)
            with closing(sqlite3.connect(temporary, isolation_level=None)) as copy:
                db.backup(copy, pages=_PAGES_AT_ONCE, sleep=_WAIT)
                copy.execute("PRAGMA journal_mode = DELETE")
            _sync(temporary)
            temporary.replace(goal)
            _sync(goal.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    if path is None:
        for old in snapshots(folder)[:-KEPT]:
            old.unlink()
    return goal


def restore_snapshot(folder: Path, snapshot: Path) -> None:
    """Put a snapshot in the place of the store; see `StreamStore.restore`.

    A kill in the middle leaves a folder without the SQLite file, which is refused until this is called again.
    """
    if not snapshot.is_file():
        raise ModelFileError(f"{snapshot}: expected a snapshot of a store, received no file; see {folder / FOLDER}")
    with closing(lock_folder(folder)):
        with plain_errors(snapshot, "read", "take another snapshot"), closing(open_copy(snapshot)) as copy:
            if copy.execute("PRAGMA journal_mode").fetchone() == ("wal",):
                raise ModelFileError(
                    f"{snapshot}: expected a snapshot of a store, received the file of a store itself, which is only "
                    "whole with its log beside it; open its folder, or take a snapshot"
                )
            name = check_whole(copy, snapshot).store
        try:
            there = read_name(folder)
        except ModelFileError:
            there = None  # damaged: the snapshot says which store this is
        if there is not None and there != name:
            raise ModelFileError(
                f"{snapshot}: expected a snapshot of store {there[:12]}, which {folder} is of, received one of "
                f"{name[:12]}; restore it into an empty folder"
            )
        with plain_errors(folder / FILE, "written", "make room or give write access, then try again"):
            temporary = folder / f".{FILE}.writing"
            try:
                shutil.copyfile(snapshot, temporary)
                _sync(temporary)
                write_name(folder, name)
                for old in (FILE, LOG):
                    (folder / old).unlink(missing_ok=True)
                temporary.replace(folder / FILE)
                _sync(folder)
            finally:
                temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Put a file, or the names in a folder, on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows has no handle of a folder to sync
    opened = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
