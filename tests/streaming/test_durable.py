# ruff: noqa: PT012
"""Durable streams: a row that was acknowledged is there after any end of the process, and none is applied twice."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
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
from aaren.streaming import DurableStreams, StreamStore
from aaren.streaming._entry import decode_entry, encode_entry, take

KEYS = ["a", "b", "c"]
Rows = list[dict[str, Any]]
Make = Callable[..., DurableStreams]


@pytest.fixture
def make(model: Forecaster, tmp_path: Path, stand_in_pool: Any) -> Make:
    """Open the durable streams of this test, as a process that starts does."""

    def streams(capacity: int = 10, on_bad_row: str = "error", **options: Any) -> DurableStreams:
        store = StreamStore(tmp_path / "store", fingerprint=model.fingerprint(), layout={"snapshot": 1})
        pool = stand_in_pool(model, store, tmp_path, capacity=capacity, on_bad_row=on_bad_row)
        try:
            return DurableStreams(pool, store, **options)
        except BaseException:
            store.close()
            raise

    return streams


@pytest.fixture
def rows(etth1: SeriesSet, rows_of: Any) -> Rows:
    """Thirty hours."""
    found: Rows = rows_of(etth1, 0, 30)
    return found


@pytest.fixture
def plain(model: Forecaster, tmp_path: Path) -> Callable[[Rows], bytes]:
    """The record of a plain stream after some rows."""

    def record(rows: Rows) -> bytes:
        stream = model.stream()
        for row in rows:
            stream.update(row)
        stream.save(tmp_path / "plain")
        return (tmp_path / "plain").read_bytes()

    return record


def _end(streams: DurableStreams) -> None:
    """The process ends without a word: nothing but the store's lock is given up."""
    streams.store.close()


def test_a_restart_replays_the_journal(make: Make, rows: Rows, plain: Callable[[Rows], bytes]) -> None:
    """What was acknowledged is there after an end without a word; what is sent again is passed over."""
    streams = make(capacity=2)
    for number in range(1, 11):
        result = streams.update(KEYS, [rows[number - 1]] * 3, [number] * 3)
        assert list(result.status) == [0, 0, 0]
    _end(streams)
    streams = make(capacity=2)
    assert [streams.rows(key) for key in KEYS] == [10, 10, 10]
    result = streams.update(["a", "a", "b"], [rows[9], rows[10], rows[9]], [10, 11, 10])
    assert list(result.status) == [3, 0, 3]
    _end(streams)
    streams = make()
    assert [streams.pool.record(key) for key in KEYS] == [plain(rows[:11]), plain(rows[:10]), plain(rows[:10])]
    _end(streams)


def test_rows_without_numbers(make: Make, rows: Rows, plain: Callable[[Rows], bytes]) -> None:
    """Rows without a number take the next one, several of a key in one call as well, and are replayed with it."""
    streams = make()
    streams.update(["a", "b", "a", "a"], [rows[0], rows[0], rows[1], rows[2]])
    columns = {name: [row[name] for row in (rows[3], rows[1])] for name in rows[0]}
    streams.update(["a", "b"], columns)
    _end(streams)
    streams = make()
    assert [streams.pool.record(key) for key in "ab"] == [plain(rows[:4]), plain(rows[:2])]
    _end(streams)


def test_refused_and_skipped_rows(make: Make, rows: Rows) -> None:
    """A refused row is not in the journal and not counted, a skipped one is both; a restart counts as before."""
    bad = {**rows[1], "OT": math.nan}
    streams = make()
    result = streams.update(["a", "b", "c"], [rows[0], bad, rows[0]], [1, 1, 1])
    assert (list(result.status), list(result.errors)) == ([0, 2, 0], [1])
    result = streams.update(["a", "c"], [bad, rows[2]], [2, 3])
    assert list(result.status) == [2, 2]
    assert streams.store.journal_length == 1, "a call that changes nothing leaves nothing"
    streams.close()
    streams = make(on_bad_row="skip")
    assert list(streams.update(["a", "b"], [bad, rows[0]], [2, 1]).status) == [1, 0]
    _end(streams)
    with pytest.raises(
        ModelFileError, match=r"expected row 2 of key 'a' to be taken as before.*open the store with the"
    ):
        make()
    streams = make(on_bad_row="skip")
    assert [streams.rows(key) for key in KEYS] == [2, 1, 1]
    _end(streams)


def test_checkpoints_go_on_piece_by_piece(make: Make, rows: Rows, plain: Callable[[Rows], bytes]) -> None:
    """A checkpoint writes one piece before each call, drops the journal with the last; an end between is harmless."""
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
    assert min(lengths[2:]) <= 3, "the journal is dropped"
    assert [streams.pool.record(key) for key in keys] == [plain(rows[:11])] * 6
    streams.close()
    streams = make(checkpoint_seconds=0.0)
    assert (streams.store.journal_length, len(streams.store)) == (0, 6)
    streams.update(keys[:1], rows[11:12])
    assert streams.store.journal_length == 1
    streams.update(keys[:1], rows[12:13])
    assert streams.store.journal_length == 1, "the first of the two went into the record"
    _end(streams)


def test_a_failed_append_changes_nothing(make: Make, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the journal cannot be written the call raises, the streams are as before; the rows can be sent again."""
    streams = make()
    streams.update(["a"], rows[:1], [1])
    before = streams.pool.record("a")

    def full(*_: bytes) -> int:
        raise ModelFileError("the disk is full")

    monkeypatch.setattr(streams.store, "append", full)
    with pytest.raises(ModelFileError, match="the disk is full"):
        streams.update(["a", "new"], [rows[1], rows[0]], [2, 1])
    with pytest.raises(ModelFileError, match="the disk is full"), streams.group():
        streams.update(["a"], [rows[1]], [2])
        streams.update(["a", "new"], [rows[2], rows[0]], [3, 1])
    monkeypatch.undo()
    assert (streams.pool.record("a"), "new" in streams.pool) == (before, False)
    with pytest.raises(DataError, match="received bytes"):
        streams.update(["a"], [{**rows[1], "note": b"?"}], [2])
    assert streams.pool.record("a") == before
    assert list(streams.update(["a", "new"], [rows[1], rows[0]], [2, 1]).status) == [0, 0]
    _end(streams)


def test_a_group_is_one_sync(make: Make, rows: Rows, plain: Callable[[Rows], bytes]) -> None:
    """Calls in a group are in the journal at its end, all of them; an error in between takes all of them back."""
    streams = make()
    with streams.group():
        streams.update(["a"], rows[:1], [1])
        streams.update(["a", "b"], [rows[1], rows[0]], [2, 1])
        assert streams.store.journal_length == 0
        with pytest.raises(ValueError, match="expected no group in progress"):
            streams.checkpoint()
    assert streams.store.journal_length == 2
    with pytest.raises(RuntimeError), streams.group():
        streams.update(["a", "c"], [rows[2], rows[0]], [3, 1])
        raise RuntimeError
    _end(streams)
    streams = make()
    assert [streams.rows(key) for key in KEYS] == [2, 1, 0]
    assert streams.pool.record("a") == plain(rows[:2])
    _end(streams)


def test_records_can_be_set_and_dropped(make: Make, rows: Rows, plain: Callable[[Rows], bytes]) -> None:
    """A key with another record, or dropped, is so after a restart: no row of its past comes back."""
    streams = make()
    for number in range(1, 6):
        streams.update(["a", "b"], [rows[number - 1]] * 2, [number] * 2)
    streams.set_record("a", plain(rows[:2]))
    streams.drop("b")
    _end(streams)
    streams = make()
    assert (streams.rows("a"), streams.rows("b")) == (2, 0)
    streams.update(["a", "b"], [rows[2], rows[0]], [3, 1])
    assert streams.pool.record("a") == plain(rows[:3])
    _end(streams)


def test_options_that_are_not(make: Make) -> None:
    """Fewer than one row or record is refused."""
    for name in ("checkpoint_rows", "checkpoint_keys"):
        with pytest.raises(ValueError, match=f"{name}: expected at least 1, received 0"):
            make(**{name: 0})


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
