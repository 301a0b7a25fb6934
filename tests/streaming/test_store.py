# ruff: noqa: D102
"""The store: what a call wrote is there, whole, for the next process; what does not belong is refused in words."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aaren.errors import ModelFileError
from aaren.streaming import StreamStore

LAYOUT = {"bytes": 40, "leaves": [["m", [2, 3]]]}
Open = Callable[..., StreamStore]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Open the store of this test; what a test leaves open is closed."""
    stores: list[StreamStore] = []

    def open_store(folder: str = "store", **options: Any) -> StreamStore:
        stores.append(StreamStore(tmp_path / folder, **{"fingerprint": "f" * 64, "layout": LAYOUT, **options}))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


def test_records_and_journal_come_back(opened: Open) -> None:
    """Records, entries and their numbers are what they were when the store is opened again."""
    with opened() as store:
        assert (len(store), store.keys(), store.last_entry, list(store.journal())) == (0, [], 0, [])
        store.write({"a": b"1", "ü\0": b"", "b": bytes(20_000)})
        assert store.append(b"one") == 1
        assert store.append(b"two", b"three") == 3
        store.write({"a": b"2"})
    with opened() as store:
        assert sorted(store.keys()) == ["a", "b", "ü\0"]
        assert store.load(["a", "b", "nobody", "ü\0"]) == {"a": b"2", "b": bytes(20_000), "ü\0": b""}
        assert list(store.journal()) == [(1, b"one"), (2, b"two"), (3, b"three")]
        assert "a" in store
        assert "nobody" not in store
        assert store.append(b"four") == 4
        store.verify()


def test_a_checkpoint_drops_what_it_covers(opened: Open) -> None:
    """After a checkpoint the entries up to its number are gone, those behind it are there, and so are the records."""
    with opened() as store:
        for number in range(1, 41):
            store.append(b"%d" % number)
        store.checkpoint({"a": b"x"}, upto=30)
        assert [number for number, _ in store.journal()] == list(range(31, 41))
        for wrong in (29, 41):
            with pytest.raises(ValueError, match=f"expected an entry of the journal, 30 to 40, received {wrong}"):
                store.checkpoint({"a": b"y"}, upto=wrong)
    with opened() as store:
        assert [number for number, _ in store.journal()] == list(range(31, 41))
        for _ in range(10):
            store.append(b"more")
        store.checkpoint({}, upto=50)
        assert (store.journal_length, store.load(["a"])) == (0, {"a": b"x"})
    with opened() as store:
        assert store.append(b"next") == 51


def test_keys_can_be_removed(opened: Open) -> None:
    """A removed key has no record, now and later; another with its name starts afresh."""
    with opened() as store:
        store.write({"a": b"1", "b": b"2", "c": b"3"})
        store.write({"a": None, "c": None, "nobody": None})
        store.write({"d": b"4"})
    with opened() as store:
        assert store.load("abcd") == {"b": b"2", "d": b"4"}
        store.write({"a": b"5"})
        assert store.load("abcd") == {"a": b"5", "b": b"2", "d": b"4"}
        store.verify()


class StoreMachine(RuleBasedStateMachine):
    """The store against two dictionaries, with closing and opening at any time."""

    folder: Path
    count = 0

    def __init__(self) -> None:
        super().__init__()
        StoreMachine.count += 1
        self.place = self.folder / str(StoreMachine.count)
        self.records: dict[str, bytes] = {}
        self.entries: dict[int, bytes] = {}
        self.store = StreamStore(self.place, fingerprint="f", layout=LAYOUT)

    @rule(records=st.dictionaries(st.text("abc\0é", max_size=2), st.binary(max_size=9000), max_size=4))
    def write(self, records: dict[str, bytes]) -> None:
        self.store.write(records)
        self.records |= records

    @rule(entries=st.lists(st.binary(max_size=9000), max_size=3))
    def append(self, entries: list[bytes]) -> None:
        last = self.store.append(*entries)
        self.entries |= {last - len(entries) + 1 + index: entry for index, entry in enumerate(entries)}

    @rule(data=st.data())
    def checkpoint(self, data: st.DataObject) -> None:
        upto = data.draw(st.integers(self.store.last_entry - self.store.journal_length, self.store.last_entry))
        self.store.checkpoint({"a": b"%d" % upto}, upto)
        self.records["a"] = b"%d" % upto
        self.entries = {number: entry for number, entry in self.entries.items() if number > upto}

    @rule(keys=st.sets(st.text("abc", max_size=1)))
    def remove(self, keys: set[str]) -> None:
        self.store.write(dict.fromkeys(keys))
        self.records = {key: record for key, record in self.records.items() if key not in keys}

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = StreamStore(self.place, fingerprint="f", layout=LAYOUT)

    @invariant()
    def holds_what_was_written(self) -> None:
        assert self.store.load(self.store.keys()) == self.records
        assert dict(self.store.journal()) == self.entries
        assert len(self.store) == len(self.records)

    def teardown(self) -> None:
        self.store.verify()
        self.store.close()


def test_any_sequence_of_calls(tmp_path: Path) -> None:
    """Whatever is written, dropped, removed and opened again in any order, the store holds what dictionaries do."""
    StoreMachine.folder = tmp_path
    settings_ = settings(
        max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
    )
    StoreMachine.TestCase.settings = settings_
    StoreMachine.TestCase("runTest").debug()


def test_one_process_at_a_time(opened: Open, tmp_path: Path) -> None:
    """A second opener is refused in words, in this process and in another, and the first goes on."""
    store = opened()
    with pytest.raises(ModelFileError, match="received one in use; end the other process"):
        opened()
    with pytest.raises(ModelFileError, match="received one in use"):
        StreamStore.restore(store.folder, store.snapshot())
    code = f"""
from aaren.streaming import StreamStore
StreamStore({str(tmp_path / "store")!r}, fingerprint={"f" * 64!r}, layout={LAYOUT!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ModelFileError" in done.stderr
    assert "received one in use" in done.stderr
    store.write({"a": b"1"})
    store.close()
    with opened() as store:
        assert store.load(["a"]) == {"a": b"1"}


def test_a_copy_lets_nobody_in(opened: Open, tmp_path: Path) -> None:
    """A store stays locked when its own process reads its files, and is free when a fork of the process lives on."""
    code = (
        "import sys; from aaren.streaming import StreamStore\n"
        f"StreamStore(sys.argv[1], fingerprint='{'f' * 64}', layout={LAYOUT!r})"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "store")]
    with opened() as store:
        store.write({"a": b"1"})
        shutil.copytree(store.folder, tmp_path / "copy")
        other = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "expected a store that nobody has open" in other.stderr
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    try:
        subprocess.run(command, check=True)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_another_model_layout_or_version(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of another model, record layout or schema is refused with both named; a model can be accepted."""
    opened().close()
    with pytest.raises(ModelFileError, match=r"fingerprint gggggggggggg\), received those of another \(ffffffffffff"):
        opened(fingerprint="g" * 64)
    with pytest.raises(ModelFileError, match="bytes: expected 48, received 40"):
        opened(layout={**LAYOUT, "bytes": 48})
    with pytest.raises(ModelFileError, match="bytes: expected 48, received 40"):
        opened(layout={**LAYOUT, "bytes": 48}, fingerprint="g" * 64, accept_fingerprint="f" * 64)
    with opened(fingerprint="g" * 64, accept_fingerprint="f" * 64) as store:
        store.write({"a": b"1"})
    with pytest.raises(ModelFileError, match="accept_fingerprint='gggg"):
        opened()
    assert opened(fingerprint="g" * 64).load(["a"]) == {"a": b"1"}
    monkeypatch.setattr("aaren.streaming._store.SCHEMA", 2)
    monkeypatch.setattr("aaren.streaming._store_file.SCHEMA", 2)
    opened("newer").close()
    monkeypatch.undo()
    with pytest.raises(ModelFileError, match="expected a store of schema 1, received 2"):
        opened("newer")


def test_a_snapshot_while_rows_go_on(opened: Open) -> None:
    """Snapshots that are taken while another thread writes are each of one moment; the last two are kept."""
    store = opened()
    stop = threading.Event()

    def write() -> None:
        step = 0
        while not stop.is_set():
            step += 1
            store.write({f"k{n}": b"%d " % step + bytes(3000) for n in range(300)})

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while len(store) == 0:
            pass
        taken = [store.snapshot() for _ in range(3)]
    finally:
        stop.set()
        thread.join()
    assert store.snapshots() == taken[1:]
    store.append(b"later")
    store.close()
    assert {path.name for path in store.folder.rglob("*")} >= {path.name for path in taken[1:]}
    for path in taken[1:]:
        StreamStore.restore(store.folder, path)
        with opened() as again:
            again.verify()
            assert len({record.split()[0] for record in again.load(again.keys()).values()}) == 1
            assert again.journal_length == 0
    StreamStore.restore(store.folder.parent / "copy", taken[-1])
    with opened("copy") as copy:
        assert len(copy) == 300


def test_a_snapshot_that_does_not_belong(opened: Open, tmp_path: Path) -> None:
    """A damaged, missing or foreign snapshot is refused, and the store is what it was."""
    with opened() as store:
        store.write({"a": b"1" * 9000})
        good = store.snapshot()
        store.write({"a": b"2"})
    data = good.read_bytes()
    for name, content in {
        "short": data[: len(data) // 2],
        "empty": b"",
        "text": b"date,OT\n",
        "flipped": data.replace(b"1" * 100, b"1" * 99 + b"3", 1),
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelFileError, match=name):
            StreamStore.restore(store.folder, tmp_path / name)
    with pytest.raises(ModelFileError, match="expected a snapshot of a store, received no file"):
        StreamStore.restore(store.folder, tmp_path / "nobody")
    with opened("other") as other, pytest.raises(ModelFileError, match="restore it into an empty folder"):
        StreamStore.restore(store.folder, other.snapshot())
    with opened() as store:
        assert store.load(["a"]) == {"a": b"2"}


def test_a_snapshot_over_the_store_itself(opened: Open) -> None:
    """A file of the open store is no place for a snapshot, and the file of a store is none: its log would be lost."""
    with opened() as store:
        store.write({"a": b"1"})
        for name in ("store.sqlite", "store.sqlite-wal", "store.json", "store.lock"):
            with pytest.raises(ModelFileError, match="expected a file for a snapshot, received one of the open store"):
                store.snapshot(store.folder / name)
        store.append(b"entry")
        killed = store.folder.parent / "killed"
        shutil.copytree(store.folder, killed)
    with pytest.raises(ModelFileError, match="received the file of a store itself"):
        StreamStore.restore(killed, killed / "store.sqlite")
    with opened("killed") as found:
        assert (found.load(["a"]), found.journal_length) == ({"a": b"1"}, 1)


def test_only_its_own_snapshots_are_taken_away(opened: Open) -> None:
    """A copy that somebody put beside the snapshots under another name stays there, and stops no later snapshot."""
    with opened() as store:
        first = store.snapshot()
        for name in ("00000001-keep.sqlite", "9-monday.sqlite", "1.sqlite"):
            shutil.copy(first, first.with_name(name))
        taken = [store.snapshot() for _ in range(3)]
        assert store.snapshots() == taken[1:]
        names = {path.name for path in first.parent.iterdir()}
        assert names == {"00000001-keep.sqlite", "9-monday.sqlite", "1.sqlite", *(path.name for path in taken[1:])}


def test_keys_that_come_and_go_take_no_room(opened: Open) -> None:
    """Short-lived keys leave nothing behind in memory, neither while the store is open nor when it is opened again."""
    for _ in range(2):
        with opened() as store:
            for number in range(50):
                store.write({f"k{number}": b"x", f"l{number}": b"y"})
                store.write({f"k{number}": None, f"l{number}": b"z", f"m{number}": b"m"})
                store.write({f"l{number}": None, f"m{number}": None})
            store.write({"last": b"1"})
            assert len(store._directory._digests) <= 16 * 5
            store.verify()
    with opened() as store:
        assert store.load(["last", "k1"]) == {"last": b"1"}


def test_a_full_disk(opened: Open) -> None:
    """When the disk is full the call says so, nothing of it is there, and the store goes on when there is room."""
    store = opened()
    store.write({"a": b"1"})
    store.append(b"one")
    pages = store._opened().execute("PRAGMA page_count").fetchone()[0]
    store._opened().execute(f"PRAGMA max_page_count = {pages + 2}").fetchall()
    for call in (
        lambda: store.write({"a": b"2", "b": bytes(100_000)}),
        lambda: store.append(b"two", bytes(100_000)),
        lambda: store.checkpoint({"a": b"2", "b": bytes(100_000)}, 1),
    ):
        with pytest.raises(ModelFileError, match=r"cannot be written: database or disk is full; nothing was changed"):
            call()
    assert (store.load("ab"), list(store.journal())) == ({"a": b"1"}, [(1, b"one")])
    store._opened().execute("PRAGMA max_page_count = 100000").fetchall()
    store.write({"b": bytes(100_000)})
    store.close()
    with opened() as store:
        assert (sorted(store.keys()), list(store.journal())) == (["a", "b"], [(1, b"one")])


_SMALL_FILES = """
import resource, signal, sys
from aaren.errors import ModelFileError
from aaren.streaming import StreamStore
store = StreamStore(sys.argv[1], fingerprint="f" * 64, layout={})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
count = 0
try:
    while True:
        store.append(bytes(5000))
        count += 1
except ModelFileError as error:
    print(count, error, flush=True)
import os, signal
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits and signals of POSIX")
def test_a_limit_of_the_system(tmp_path: Path) -> None:
    """When the system refuses to let files grow, what was acknowledged is there after a kill, and nothing else."""
    command = [sys.executable, "-c", _SMALL_FILES, str(tmp_path / "s")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    count, _, words = done.stdout.partition(" ")
    assert "cannot be written" in words, done.stderr
    assert int(count) > 5
    with StreamStore(tmp_path / "s", fingerprint="f" * 64, layout={}) as store:
        assert store.journal_length == int(count)


def test_places_that_cannot_be_written(opened: Open, tmp_path: Path) -> None:
    """A missing parent, a file as folder, a folder as file and a folder without access are refused by their name."""
    (tmp_path / "file").touch()
    with pytest.raises(ModelFileError, match="nowhere/store: cannot be made"):
        opened("nowhere/store")
    with pytest.raises(ModelFileError, match="file: cannot be made"):
        opened("file")
    (tmp_path / "odd" / "store.sqlite").mkdir(parents=True)
    with pytest.raises(ModelFileError, match=r"store\.sqlite: cannot be opened"):
        opened("odd")
    if os.name == "posix" and os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(ModelFileError, match=r"store\.lock: cannot be written"):
            opened("closed")


def test_a_closed_store(opened: Open) -> None:
    """A closed store says so, and closing twice does no harm."""
    store = opened()
    store.close()
    store.close()
    for call in (lambda: store.load(["a"]), lambda: store.write({}), lambda: store.append(b""), store.snapshot):
        with pytest.raises(ModelFileError, match="the store is closed; open it again"):
            call()


def test_a_kill_while_it_is_made(opened: Open, tmp_path: Path) -> None:
    """A kill at any step of the making of a store leaves a folder in which it can be made."""
    opened().close()
    (tmp_path / "store/store.json").unlink()
    opened().close()
    (tmp_path / "store/store.json").unlink()
    (tmp_path / "store/store.sqlite").write_bytes(b"")
    with opened() as store:
        store.write({"a": b"1"})
    (tmp_path / "store/store.json").unlink()
    with pytest.raises(ModelFileError, match=r"store\.json: missing, though store\.sqlite holds streams"):
        opened()


def test_an_interrupt_in_a_write(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in a write closes the store, which holds the old or the new when it is opened again."""
    store = opened()
    store.write({"a": b"1"})

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("aaren.streaming._store.write_meta", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.write({"a": b"2"})
    monkeypatch.undo()
    with pytest.raises(ModelFileError, match="closed"):
        store.load(["a"])
    assert opened().load(["a"]) == {"a": b"1"}
