# ruff: noqa: PT017
"""A damaged store: each flipped, cut or swapped byte is refused by the name of the file, or the data are right."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from aaren.errors import ModelFileError
from aaren.streaming import StreamStore

OPTIONS = {"fingerprint": "f" * 64, "layout": {"bytes": 700}}
GENERATOR = np.random.default_rng(8)
RECORDS = {f"key {n}": GENERATOR.bytes(700 + 40 * n) for n in range(150)}
ENTRIES = [GENERATOR.bytes(6000) for _ in range(12)]


def _fill(store: StreamStore) -> None:
    """Some of everything: records that were changed, freed pages, a journal of which the beginning was dropped."""
    for entry in ENTRIES[:4]:
        store.append(entry)
    store.write({key: bytes(9000) for key in RECORDS})
    store.write(RECORDS)
    store.checkpoint({}, 2)
    for entry in ENTRIES[4:]:
        store.append(entry)


def _copy_while_open(store: StreamStore, goal: Path) -> Path:
    """The files as a kill would leave them: the log not yet written back."""
    goal.mkdir(parents=True)
    for name in ("store.sqlite", "store.sqlite-wal", "store.json"):
        if (store.folder / name).exists():
            shutil.copy(store.folder / name, goal / name)
    return goal


def _look(folder: Path) -> str:
    """Open a store and read all: what was refused, or "" if all is right; anything else fails."""
    try:
        with StreamStore(folder, **OPTIONS) as store:
            assert sorted(store.keys()) == sorted(RECORDS)
            entries = list(store.journal())
            for key in RECORDS:
                assert store.load([key]) == {key: RECORDS[key]}
    except ModelFileError as error:
        assert str(folder) in str(error), error
        assert "store.json" in str(error) or "store.sqlite" in str(error), error
        return str(error)
    expected = list(enumerate(ENTRIES, 1))[2:]
    if entries != expected:  # the last transaction, as if a power cut had torn it
        assert entries == expected[:-1]
        return "last"
    return ""


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store at rest: one file."""
    folder = tmp_path_factory.mktemp("closed") / "store"
    with StreamStore(folder, **OPTIONS) as store:
        _fill(store)
    return folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as a kill leaves it: a file and its log."""
    folder = tmp_path_factory.mktemp("killed")
    with StreamStore(folder / "store", **OPTIONS) as store:
        _fill(store)
        copy = _copy_while_open(store, folder / "copy")
    assert (copy / "store.sqlite-wal").stat().st_size > 1_000_000
    return copy


def _damage(folder: Path, name: str, data: bytes, tmp_path: Path) -> Path:
    """A copy of a store with another content of one file."""
    goal = tmp_path / "damaged"
    shutil.rmtree(goal, ignore_errors=True)
    goal.mkdir()
    for each in ("store.sqlite", "store.sqlite-wal", "store.json"):
        if each != name and (folder / each).exists():
            (goal / each).hardlink_to(folder / each) if each == "store.json" else shutil.copy(folder / each, goal)
    (goal / name).write_bytes(data)
    return goal


def _flipped(data: bytes, place: int) -> bytes:
    damaged = bytearray(data)
    damaged[place] ^= 1 << (place % 8)
    return bytes(damaged)


def test_undamaged(closed: Path, killed: Path, tmp_path: Path) -> None:
    """The stores of these tests are right as they are."""
    for folder in (closed, killed):
        path = folder / "store.sqlite"
        assert _look(_damage(folder, path.name, path.read_bytes(), tmp_path)) == ""


def test_a_flipped_bit_in_the_file(closed: Path, tmp_path: Path) -> None:
    """A flipped bit anywhere in the file is refused by name, or hits nothing that is in use."""
    data = (closed / "store.sqlite").read_bytes()
    pages = np.arange(0, len(data), 4096)
    places = [*range(0, 108, 3), *GENERATOR.integers(0, len(data), 150).tolist()]
    # the headers of pages, and the pointers behind them, hold the tree together
    places += (GENERATOR.choice(pages, 100) + GENERATOR.integers(0, 24, 100)).tolist()
    said = [_look(_damage(closed, "store.sqlite", _flipped(data, place), tmp_path)) for place in places]
    assert "last" not in said
    assert sum(bool(words) for words in said) > 50
    assert any("of key 'key " in words for words in said)


def test_a_flipped_bit_in_the_log(killed: Path, tmp_path: Path) -> None:
    """A flipped bit in the log is refused; in its last transaction it may count as torn by a power cut."""
    data = (killed / "store.sqlite-wal").read_bytes()
    frames = (len(data) - 32) // 4120
    places = [*range(32), *GENERATOR.integers(32, len(data), 60).tolist()]
    places += (32 + 4120 * GENERATOR.integers(0, frames, 60) + GENERATOR.integers(0, 24, 60)).tolist()
    said = [_look(_damage(killed, "store.sqlite-wal", _flipped(data, place), tmp_path)) for place in places]
    assert sum("store.sqlite-wal: damaged" in words for words in said) > 100
    tail = [words for place, words in zip(places, said, strict=True) if place > len(data) - 4120]
    assert all(words in ("", "last") or "damaged" in words for words in tail)


def test_a_log_cut_at_any_length(killed: Path, tmp_path: Path) -> None:
    """Cut at any length, the log gives every transaction that ends before the cut, and no part of another."""
    data = (killed / "store.sqlite-wal").read_bytes()
    counts = []
    lengths = sorted({*GENERATOR.integers(0, len(data), 40).tolist(), *range(len(data) - 40_000, len(data), 1777)})
    for length in lengths:
        folder = _damage(killed, "store.sqlite-wal", data[:length], tmp_path)
        try:
            with StreamStore(folder, **OPTIONS) as store:
                entries = list(store.journal())
                store.verify()
                assert all(entry == ENTRIES[number - 1] for number, entry in entries)
                assert [n for n, _ in entries] in (
                    list(range(1, store.last_entry + 1)),
                    list(range(3, store.last_entry + 1)),
                )
                assert set(store.load(store.keys()).values()) in (set(), {bytes(9000)}, set(RECORDS.values()))
                counts.append(store.last_entry)
        except ModelFileError as error:  # so short that the making of the tables is gone
            assert length < 100_000, error
            assert "store." in str(error)
    assert counts == sorted(counts)
    assert max(counts) >= len(ENTRIES) - 1
    assert len(set(counts)) > 3


def test_a_file_cut_or_gone(closed: Path, tmp_path: Path) -> None:
    """A file that was cut, emptied, replaced by text or removed is refused by name, and a snapshot still loads."""
    data = (closed / "store.sqlite").read_bytes()
    for content in (b"", data[:50], data[:4096], data[: len(data) // 2], data[:-4096], b"date,OT\n" * 1000):
        assert "store.sqlite" in _look(_damage(closed, "store.sqlite", content, tmp_path))
    folder = _damage(closed, "store.sqlite", data, tmp_path)
    with StreamStore(folder, **OPTIONS) as store:
        snapshot, kept = store.snapshot(), store.snapshot(tmp_path / "kept.sqlite")
    (folder / "store.sqlite").unlink()
    assert "store.sqlite: missing, though store.json is there" in _look(folder)
    for content in (b"", b"{", b"[]", b'{"store": 7}', b'{"store": "' + b"0" * 32 + b'"}', b"[" * 100_000):
        assert "store." in _look(_damage(closed, "store.json", content, tmp_path))
    folder.mkdir(exist_ok=True)
    for name in ("store.sqlite", "store.json"):
        folder = _damage(closed, name, b"damaged" * 1000, tmp_path)
        assert _look(folder)
        StreamStore.restore(folder, kept)
        assert _look(folder) == ""
    assert not snapshot.exists(), "the folder of the copies is made anew"


def test_files_of_two_stores(closed: Path, killed: Path, tmp_path: Path) -> None:
    """The file or the log of another store, and an older log of this one with some of the pages, are refused."""
    words = _look(_damage(closed, "store.sqlite", (killed / "store.sqlite").read_bytes(), tmp_path))
    assert "store" in words
    assert words
    words = _look(_damage(closed, "store.sqlite-wal", (killed / "store.sqlite-wal").read_bytes(), tmp_path))
    assert "the files of two stores were mixed" in words
    StreamStore(tmp_path / "store", **OPTIONS).close()
    with StreamStore(tmp_path / "store", **OPTIONS) as store:
        store.write(dict.fromkeys(["key 0", "key 7"], b"old"))
        old = _copy_while_open(store, tmp_path / "old")
    with StreamStore(tmp_path / "store", **OPTIONS) as store:
        _fill(store)
    older = (old / "store.sqlite-wal").read_bytes()
    assert "store.sqlite" in _look(_damage(tmp_path / "store", "store.sqlite-wal", older, tmp_path))


def test_records_that_were_swapped(closed: Path, tmp_path: Path) -> None:
    """The record of another key, an older record, and an entry in the place of another are refused by name."""
    folder = _damage(closed, "store.sqlite", (closed / "store.sqlite").read_bytes(), tmp_path)
    with StreamStore(folder, **OPTIONS) as store:
        db, ids = store._opened(), store._directory._numbers
        db.execute("UPDATE records SET record = ? WHERE id = ?", (RECORDS["key 1"], ids["key 2"]))
        db.execute("UPDATE records SET record = ? WHERE id = ?", (bytes(9000), ids["key 3"]))
        db.execute("DELETE FROM records WHERE id = ?", (ids["key 4"],))
        db.execute("UPDATE records SET record = 'text' WHERE id = ?", (ids["key 5"],))
        db.execute(
            "UPDATE journal SET entry = ?, digest = (SELECT digest FROM journal WHERE id = 5) WHERE id = 7",
            (ENTRIES[4],),
        )
    with StreamStore(folder, **OPTIONS) as store:
        assert store.load(["key 0", "key 1"]) == {key: RECORDS[key] for key in ("key 0", "key 1")}
        for key in ("key 2", "key 3", "key 4", "key 5"):
            with pytest.raises(ModelFileError, match=f"the record of key '{key}'"):
                store.load(["key 1", key])
        with pytest.raises(ModelFileError, match="entry 7 of the journal does not match its checksum"):
            list(store.journal())
        with pytest.raises(ModelFileError, match="damaged"):
            store.verify()
