# ruff: noqa: PT012
"""Durable streams: a row that was acknowledged is there after any end of the process, and none is applied twice."""

from __future__ import annotations

import datetime as dt
import math
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, floating_dtypes

from aaren import Forecaster
from aaren.data import SeriesSet
from aaren.errors import DataError, ModelFileError
from aaren.streaming import DurableStreams, RowStatus, StreamPool
from aaren.streaming._entry import decode_entry, encode_entry, take

KEYS = ["a", "b", "c"]
Rows = list[dict[str, Any]]
Make = Callable[..., DurableStreams]
Plain = Callable[[DurableStreams, dict[str, Rows]], None]


@pytest.fixture
def make(model: Forecaster, tmp_path: Path) -> Make:
    """Open the durable streams of this test, as a process that starts does."""

    def streams(capacity: int = 10, **options: Any) -> DurableStreams:
        return DurableStreams(model, tmp_path / "store", capacity, **options)

    return streams


@pytest.fixture
def rows(etth1: SeriesSet, rows_of: Any) -> Rows:
    """Thirty hours."""
    found: Rows = rows_of(etth1, 0, 30)
    return found


@pytest.fixture
def plain(model: Forecaster) -> Plain:
    """Hold streams to what a pool of plain ones holds after some rows of each key."""

    def compare(streams: DurableStreams, given: dict[str, Rows]) -> None:
        for key, rows in given.items():
            pool: StreamPool = model.pool(1)
            pool.update(["x"] * len(rows), rows).raise_first()
            same_record(streams, streams.records([key]), pool.records(["x"]))

    return compare


def same_record(streams: DurableStreams, one: Any, other: Any) -> None:
    """Whole numbers are equal, floats within the rounding of float32."""
    for field in streams.layout.fields:
        left, right = (each[:, field.offset : field.offset + field.nbytes].view(field.dtype) for each in (one, other))
        if field.dtype.startswith("float"):
            np.testing.assert_allclose(left, right, rtol=2e-4, atol=2e-4, err_msg=field.name)
        else:
            np.testing.assert_array_equal(left, right, err_msg=field.name)


def _end(streams: DurableStreams) -> None:
    """The process ends without a word: nothing but the store's lock is given up."""
    streams.store.close()


def _status(result: Any) -> list[int]:
    return result.status.tolist()


def test_a_restart_replays_the_journal(make: Make, rows: Rows, plain: Plain) -> None:
    """What was acknowledged is there after an end without a word; what is sent again is passed over."""
    streams = make(capacity=2)
    for number in range(1, 11):
        result = streams.update(KEYS, [rows[number - 1]] * 3, [number] * 3)
        assert _status(result) == [0, 0, 0]
    _end(streams)
    streams = make(capacity=2)
    assert [streams.rows(key) for key in KEYS] == [10, 10, 10]
    assert all(key in streams for key in KEYS)
    assert "d" not in streams
    result = streams.update(["a", "a", "b"], [rows[9], rows[10], rows[9]], [10, 11, 10])
    assert _status(result) == [3, 0, 3]
    _end(streams)
    streams = make()
    plain(streams, {"a": rows[:11], "b": rows[:10], "c": rows[:10]})
    _end(streams)


def test_a_replay_of_the_same_calls_is_exact(make: Make, rows: Rows) -> None:
    """Where calls are replayed from their first row, records come back bit for bit."""
    streams = make()
    for number in range(1, 9):
        streams.update(KEYS, {name: [row[name] for row in rows[number : number + 3]] for name in rows[0]})
    before = streams.records(KEYS)
    _end(streams)
    streams = make()
    assert (streams.records(KEYS) == before).all()
    _end(streams)


def test_rows_without_numbers(make: Make, rows: Rows, plain: Plain) -> None:
    """Rows without a number take the next one, several of a key in one call as well, and are replayed with it."""
    streams = make()
    streams.update(["a", "b", "a", "a"], [rows[0], rows[0], rows[1], rows[2]])
    columns = {name: [row[name] for row in (rows[3], rows[1])] for name in rows[0]}
    streams.update(["a", "b"], columns)
    streams.update(np.array([7]), rows[:1])
    _end(streams)
    streams = make()
    plain(streams, {"a": rows[:4], "b": rows[:2], "7": rows[:1]})
    _end(streams)


def test_refused_and_skipped_rows(make: Make, rows: Rows) -> None:
    """A refused row is not in the journal and not counted, a skipped one is both; a restart counts as before."""
    bad = {**rows[1], "OT": math.nan}
    streams = make()
    result = streams.update(["a", "b", "c"], [rows[0], bad, rows[0]], [1, 1, 1])
    assert (_status(result), list(result.errors)) == ([0, 2, 0], [1])
    assert _status(streams.update(["a", "c"], [bad, rows[2]], [2, 3])) == [2, 2]
    assert streams.store.journal_length == 1, "a call that changes nothing leaves nothing"
    _end(streams)
    streams = make()
    assert ("b" in streams, streams.rows("b")) == (False, 0)
    _end(streams)


def test_options_may_change(make: Make, rows: Rows) -> None:
    """After a restart with other options, rows of before are what they were, and later ones go by the new options."""
    bad, far = {**rows[1], "OT": math.nan}, rows[8]
    streams = make(on_bad_row="skip", max_gap=9)
    assert _status(streams.update(["a", "b", "a"], [rows[0], rows[0], bad])) == [0, 0, 1]
    assert _status(streams.update(["b"], [far])) == [0]
    record = streams.records(["a", "b"])
    _end(streams)
    for _ in range(2):  # changed, and opened with the same ones again
        streams = make(max_gap=5)
        assert (streams.rows("a"), streams.rows("b"), streams.store.journal_length) == (2, 2, 0)
        assert np.array_equal(streams.records(["a", "b"]), record)
        assert _status(streams.update(["a", "c"], [bad, rows[0]])) == [2, 0]
        assert streams.store.options == {"on_bad_row": "error", "max_gap": 5}
        streams.drop("c")
        streams.checkpoint()
        _end(streams)
    streams = make(max_gap=5)
    assert _status(streams.update(["a"], [far])) == [2], "seven rows are missing"
    _end(streams)


def test_checkpoints_go_on_piece_by_piece(make: Make, rows: Rows, plain: Plain) -> None:
    """A checkpoint writes one piece before each call, drops the journal after the last; an end between is harmless."""
    keys = [f"k{n}" for n in range(6)]
    options = {"checkpoint_rows": 12, "checkpoint_keys": 2}
    lengths = []
    streams = make(**options)
    for number in range(1, 12):
        streams.update(keys, [rows[number - 1]] * 6)
        lengths.append(streams.store.journal_length)
        if number in (4, 5):
            _end(streams)
            streams = make(**options)
    assert min(lengths[2:]) <= 4, "the journal is dropped"
    plain(streams, dict.fromkeys(keys, rows[:11]))
    streams.close()
    streams = make(checkpoint_seconds=0.0)
    assert (streams.store.journal_length, len(streams.store)) == (0, 6)
    for row in rows[11:16]:
        streams.update(keys[:1], [row])
    assert streams.store.journal_length < 5, "time began a checkpoint"
    _end(streams)


def test_a_failed_append_changes_nothing(make: Make, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the journal cannot be written the call raises, the streams are as before; the rows can be sent again."""
    streams = make(capacity=2)
    streams.update(["a"], rows[:1], [1])
    before = streams.records(["a"])

    def full(*_: bytes, records: Any) -> int:
        raise ModelFileError("the disk is full")

    monkeypatch.setattr(streams.store, "append", full)
    for keys in (["a", "new"], ["new", "newer", "a"]):
        with pytest.raises(ModelFileError, match="the disk is full"):
            streams.update(keys, [rows[1] if key == "a" else rows[0] for key in keys])
        with pytest.raises(ModelFileError, match="the disk is full"), streams.group():
            streams.update(["a"], [rows[1]], [2])
            streams.update(keys, [rows[2] if key == "a" else rows[0] for key in keys])
            streams.update(["b", "c"], [rows[0]] * 2)
        for change in (lambda: streams.drop("a"), lambda: streams.fork("a", "b"), lambda: streams.reset("a")):
            with pytest.raises(ModelFileError, match="the disk is full"):
                change()
        assert [key in streams for key in ("a", "b", "c", "new", "newer")] == [True, False, False, False, False]
        assert (streams.records(["a"]) == before).all()
    monkeypatch.undo()
    assert _status(streams.update(["a", "new"], [rows[1], rows[0]], [2, 1])) == [0, 0]
    _end(streams)


def test_a_failed_call_in_a_checkpoint_loses_nothing(make: Make, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that a failed call has moved within memory is in the checkpoint in progress; its rows are not lost."""
    streams = make(checkpoint_rows=5, checkpoint_keys=1)
    streams.update([*KEYS, "known"], [rows[0]] * 4)
    streams.update(["a"], [rows[1]])
    streams.update(["a"], [rows[2]])  # begins the checkpoint
    with monkeypatch.context() as patch:

        def full(*entries: bytes, **_: Any) -> int:
            raise ModelFileError("no space left on device")

        patch.setattr(streams.store, "append", full)
        patch.setattr(streams, "_checkpoint_piece", lambda: None)
        with pytest.raises(ModelFileError):
            streams.update(["known", "new"], [rows[1], rows[0]])
    for row in rows[3:8]:
        streams.update(["a"], [row])
    assert streams.store.journal_length < 8, "the checkpoint has ended"
    _end(streams)
    streams = make()
    assert {key: streams.rows(key) for key in [*KEYS, "known", "new"]} == {"a": 8, "b": 1, "c": 1, "known": 1, "new": 0}
    _end(streams)


def test_an_eviction_waits_for_its_entry(make: Make, rows: Rows, plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that moves its own rows out of memory and ends before its entry is written leaves none of them behind."""
    streams = make(capacity=2)
    streams.update(KEYS, [rows[0]] * 3)
    commits = []

    def killed(*entries: bytes, records: Any) -> int:
        commits.append((len(entries), len(records)))
        raise SystemExit

    monkeypatch.setattr(streams.store, "append", killed)
    with pytest.raises(SystemExit):
        streams.update([*KEYS, "d", "e"], [rows[1]] * 3 + [rows[0]] * 2)
    assert commits[0][0] == 1
    assert commits[0][1] >= 3, "what was moved is written with the entry"
    _end(streams)
    streams = make(capacity=2)
    assert [streams.rows(key) for key in (*KEYS, "d")] == [1, 1, 1, 0]
    other = {**rows[1], "OT": 3.0}
    assert _status(streams.update(KEYS, [other] * 3, [2] * 3)) == [0, 0, 0], "not duplicates"
    _end(streams)
    streams = make()
    plain(streams, {key: [rows[0], other] for key in KEYS})
    _end(streams)


def test_an_interrupt_after_the_entry(make: Make, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Ctrl-C comes when the entry is durable, the rows stay applied and are duplicates when they come again."""
    streams = make()
    append = streams.store.append

    def interrupted(*entries: bytes, records: Any) -> int:
        append(*entries, records=records)
        raise KeyboardInterrupt

    monkeypatch.setattr(streams.store, "append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        streams.update(["a"], rows[:1], [1])
    monkeypatch.undo()
    assert _status(streams.update(["a"], rows[:1], [1])) == [RowStatus.DUPLICATE]
    _end(streams)


def test_a_key_that_no_store_can_hold(make: Make, rows: Rows) -> None:
    """A key with half a surrogate pair is refused at once; taken, it would let every later checkpoint fail."""
    with make(checkpoint_rows=1) as streams:
        for _ in range(2):
            with pytest.raises(ValueError, match="expected text that UTF-8 can hold"):
                streams.update(["a", "\ud800"], [rows[0]] * 2)
        assert streams.rows("a") == 0
        with pytest.raises(ValueError, match="expected text that UTF-8 can hold"):
            streams.fork("a", "\udfff")
        streams.update(["a"], rows[:1])
    with make() as streams:
        assert streams.rows("a") == 1


def test_a_group_is_one_sync(make: Make, rows: Rows, plain: Plain) -> None:
    """Calls in a group are in the journal at its end, all of them; an error in between takes all of them back."""
    streams = make(capacity=2)
    with streams.group():
        streams.update(["a"], rows[:1], [1])
        streams.update(["a", "b"], [rows[1], rows[0]], [2, 1])
        streams.update(["c", "d"], [rows[0]] * 2)
        assert (streams.store.journal_length, len(streams.store)) == (0, 0)
        for what in (streams.checkpoint, lambda: streams.drop("a"), lambda: streams.group().__enter__()):
            with pytest.raises(ValueError, match="expected no group in progress"):
                what()
    assert streams.store.journal_length == 3
    with pytest.raises(RuntimeError), streams.group():
        streams.update(["a", "e"], [rows[2], rows[0]], [3, 1])
        streams.update(["b", "c", "f"], [rows[1], rows[1], rows[0]])
        raise RuntimeError
    assert [streams.rows(key) for key in "abcdef"] == [2, 1, 1, 1, 0, 0]
    plain(streams, {"a": rows[:2], "c": rows[:1]})
    _end(streams)
    streams = make()
    assert [streams.rows(key) for key in "abcdef"] == [2, 1, 1, 1, 0, 0]
    plain(streams, {"a": rows[:2]})
    _end(streams)


def test_masked_cells_are_missing(make: Make, rows: Rows, model: Forecaster) -> None:
    """What a masked array hides is missing, in order and after a gap, in pool and journal; never a number."""
    places = [0, 1, 4, 5]
    hidden = [False, True, True, False]
    columns = {name: np.array([rows[place][name] for place in places]) for name in rows[0]}
    columns["OT"] = np.ma.array(columns["OT"], mask=hidden)
    pool = model.pool(1)
    cells = [rows[place] | ({"OT": None} if hide else {}) for place, hide in zip(places, hidden, strict=True)]
    pool.update(["x"] * 4, cells).raise_first()
    streams = make()
    for place in range(4):
        streams.update(["a"], take(columns, [place])).raise_first()
    same_record(streams, streams.records(["a"]), pool.records(["x"]))
    _end(streams)
    streams = make()
    same_record(streams, streams.records(["a"]), pool.records(["x"]))
    _end(streams)


def test_records_are_replaced_for_good(make: Make, rows: Rows, plain: Plain, tmp_path: Path) -> None:
    """A stream that was dropped, reset, forked or loaded is so after a restart: no row of its past comes back."""
    streams = make(capacity=2)
    keys = ["a", "b", "c", "d"]
    for number in range(1, 6):
        streams.update(keys, [rows[number - 1]] * 4, [number] * 4)
        if number == 2:
            old = streams.records(["a"])[0].tobytes()
            streams.save_state("b", tmp_path / "b.state")
    streams.set_record("a", old)
    streams.drop("b")
    streams.load_state("e", tmp_path / "b.state")
    streams.fork("c", "c2")
    streams.reset("d")
    counts = {"a": 2, "b": 0, "c": 5, "c2": 5, "d": 5, "e": 2}
    for _ in range(2):
        assert {key: streams.rows(key) for key in counts} == counts
        plain(streams, {"a": rows[:2], "c2": rows[:5], "e": rows[:2]})
        _end(streams)
        streams = make(capacity=2)
    assert "b" not in streams
    given = {"a": rows[2], "b": rows[0], "c2": rows[5], "d": rows[0]}
    result = streams.update(list(given), list(given.values()), [3, 1, 6, 6])
    assert not result.errors
    _end(streams)
    streams = make()
    assert [streams.rows(key) for key in given] == [3, 1, 6, 6]
    plain(streams, {"a": rows[:3], "b": rows[:1], "c2": rows[:6], "c": rows[:5]})
    streams.close()
    with make() as streams:
        assert (streams.store.journal_length, len(streams.store)) == (0, 6)


def test_a_snapshot_of_all(make: Make, rows: Rows, plain: Plain) -> None:
    """A snapshot holds records and journal of one moment: streams go on from it as they were."""
    with make(capacity=2) as streams:
        streams.update(KEYS, [rows[0]] * 3)
        taken = streams.snapshot()
        streams.update(KEYS, [rows[1]] * 3)
    type(streams.store).restore(streams.store.folder, taken)
    with make() as streams:
        assert [streams.rows(key) for key in KEYS] == [1, 1, 1]
        plain(streams, dict.fromkeys(KEYS, rows[:1]))


def test_options_that_are_not(make: Make) -> None:
    """Fewer than one row or record is refused; so is a capacity that is none, and the store is free again."""
    for name in ("checkpoint_rows", "checkpoint_keys"):
        with pytest.raises(ValueError, match=f"{name}: expected .* at least 1, received 0"):
            make(**{name: 0})
    with pytest.raises(ValueError, match="capacity"):
        make(capacity=0)
    make().close()


_CELLS = st.one_of(
    st.none(),
    st.floats(),
    st.integers(-(2**60), 2**60),
    st.text(max_size=5),
    st.floats(width=32).map(np.float32),
    st.datetimes().map(lambda moment: moment.replace(fold=0)),
    st.dates(),
)


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(st.one_of(st.dictionaries(st.text(max_size=3), _CELLS), st.lists(_CELLS)), min_size=1, max_size=5))
def test_rows_come_back_as_they_were(rows: list[Any]) -> None:
    """Rows of numbers, text, times and nothing come out of a journal entry with the same values, bit for bit."""
    keys, numbers = [f"ü{n}" for n in range(len(rows))], list(range(len(rows)))
    back = decode_entry(encode_entry(keys, numbers, rows))
    assert back[:2] == (keys, numbers)
    plain = [
        {name: float(cell) if isinstance(cell, np.float32) else cell for name, cell in row.items()}
        if isinstance(row, dict)
        else [float(cell) if isinstance(cell, np.float32) else cell for cell in row]
        for row in rows
    ]
    assert repr(back[2]) == repr(plain)


@settings(deadline=None, max_examples=40)
@given(table=arrays(floating_dtypes(sizes=(32, 64)), array_shapes(min_dims=2, max_dims=2, max_side=5)))
def test_arrays_come_back_as_they_were(table: Any) -> None:
    """An array, columns of arrays and parts of them come back with dtype and bytes."""
    n = len(table)
    found = decode_entry(encode_entry(["k"] * n, range(n), table))[2]
    assert (found.dtype, found.tobytes()) == (table.dtype, table.tobytes())
    times = np.arange(n).astype("datetime64[us]")
    columns = {"x": table[:, 0], "t": times, "text": ["NA"] * n}
    found = decode_entry(encode_entry(["k"] * n, range(n), take(columns, [n - 1])))[2]
    assert found["x"].tobytes() == table[-1:, 0].tobytes()
    assert found["t"].dtype == times.dtype
    assert found["text"] == ["NA"]


def test_odd_cells() -> None:
    """Decimals, numpy scalars and times with a zone keep their value; what could run code or is no cell is refused."""
    zone = dt.datetime(2020, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    row = [Decimal("0.1"), np.int64(3), np.datetime64("2020-01-01T00", "h"), zone, np.str_("x"), np.bool_(True)]
    (back,) = decode_entry(encode_entry(["k"], [1], [row]))[2]
    assert back == [0.1, 3, np.datetime64("2020-01-01T00"), zone, "x", True]
    for odd in (b"bytes", object(), {1, 2}, np.array([object()])):
        with pytest.raises(DataError, match="expected numbers, text, times or None"):
            encode_entry(["k"], [1], [[odd]])
    good = encode_entry(["k"], [1], np.zeros((1, 2)))
    for bad in (b"", b"\x05", good[:-1], good[:30], good.replace(b"<f8", b"|O8"), b"\2" + bytes(7) + b"{}"):
        with pytest.raises(ModelFileError, match="expected an entry of an update call"):
            decode_entry(bad)


def _spoil(folder: Path, key: str) -> None:
    """Change one byte of the record of a key, in a store that is closed."""
    with closing(sqlite3.connect(folder / "store.sqlite")) as db:
        (number,) = db.execute("SELECT id FROM keys WHERE key = ?", (key,)).fetchone()
        (record,) = db.execute("SELECT record FROM records WHERE id = ?", (number,)).fetchone()
        db.execute("UPDATE records SET record = ? WHERE id = ?", (record[:-1] + bytes([record[-1] ^ 1]), number))
        db.commit()


def test_a_damaged_record_is_its_keys_matter_alone(make: Make, rows: Rows, plain: Plain, tmp_path: Path) -> None:
    """Rows of a key whose record is damaged are refused by its name, in every call; all others are taken."""
    with make() as streams:
        streams.update(KEYS, rows[:3]).raise_first()
    _spoil(tmp_path / "store", "b")
    with make() as streams:
        for row in (3, 4):
            result = streams.update([*KEYS, "new"], [rows[row]] * 4)
            assert _status(result) == [RowStatus.TAKEN, RowStatus.REFUSED, RowStatus.TAKEN, RowStatus.TAKEN]
            assert re.search("stream 'b'.*damaged.*drop this stream", str(result.errors[1]))
        plain(streams, {"a": [rows[0], *rows[3:5]], "new": rows[3:5]})
        with pytest.raises(DataError, match=r"stream 'b'.*damaged"):
            streams.rows("b")
        assert "b" in streams
        streams.drop("b")
        streams.update(["b"], rows[:1]).raise_first()
        assert streams.rows("b") == 1


def test_columns_that_are_not_read_are_not_kept(make: Make, rows: Rows, plain: Plain) -> None:
    """A column that the model does not read may hold what no journal can; rows with it are taken, and replayed."""
    odd = [{"deep": [[{"x": object()}]]}, {"large": 10**400}, {7: b"bytes"}, {"not a number": complex(1, 2)}]
    streams = make()
    given = [{**row, **more} for row, more in zip(rows, odd, strict=False)]
    streams.update(["a"] * 4, given).raise_first()
    columns = {name: [row[name] for row in rows[:4]] for name in rows[0]}
    streams.update(["b"] * 4, {**columns, "blob": [b"x", object(), {1: 2}, None]}).raise_first()
    assert b"blob" not in b"".join(entry for _, entry in streams.store.journal())
    _end(streams)
    with make() as streams:
        plain(streams, {"a": rows[:4], "b": rows[:4]})
