from __future__ import annotations

import os
import threading

import jaxtyping
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaren.data import RowReader, Schema, parse_row
from aaren.errors import DataError

PLAIN = Schema(("OT", "load"))
TIMED = Schema(("OT",), ("load",), ("date",))
PARTED = Schema(("OT",), (), ("year", "month", "day"))


def test_rows_come_with_their_lines():
    """Byte-order mark, quotes, Windows line ends and empty lines are handled."""
    lines = ["\ufeffOT,note,load\r\n", '1,"a comma, here",3\r\n', "\n", "   \n", '4,5" pipe,6']
    assert list(RowReader(lines, PLAIN)) == [
        (2, {"OT": "1", "note": "a comma, here", "load": "3"}),
        (5, {"OT": "4", "note": '5" pipe', "load": "6"}),
    ]


def test_a_row_is_there_as_soon_as_its_line_is():
    """On a pipe, a row is yielded before the next line is written."""
    reading, writing = os.pipe()
    source, sink = os.fdopen(reading), os.fdopen(writing, "w")
    rows: list[dict[str, str]] = []
    arrived = threading.Semaphore(0)

    def consume() -> None:
        for _, row in RowReader(source, PLAIN):
            rows.append(row)
            arrived.release()

    consumer = threading.Thread(target=consume)
    consumer.start()
    with source:
        with sink:
            print("OT,load", file=sink, flush=True)
            for count in range(1, 4):
                print(f"{count},0", file=sink, flush=True)
                assert arrived.acquire(timeout=20)
                assert len(rows) == count
        consumer.join(timeout=20)
    assert not consumer.is_alive()


def test_the_reader_survives_a_bad_row():
    """A ragged or malformed row is an error with its line, and the rows after it are still read."""
    reader = RowReader(["OT,load\n", "1,2\n", "3\n", '4,"5"6\n', "7,8\n"], PLAIN, source="wire")
    assert next(reader)[0] == 2
    with pytest.raises(DataError, match="wire, line 3: expected 2 cells as in the header, received 1"):
        next(reader)
    with pytest.raises(DataError, match=r"wire, line 4: .*malformed"):
        next(reader)
    assert next(reader) == (5, {"OT": "7", "load": "8"})
    with pytest.raises(StopIteration):
        next(reader)


@settings(deadline=None)
@given(st.text(st.one_of(st.sampled_from('",1 '), st.characters(exclude_characters="\r\n"))))
def test_a_line_costs_no_other(line):
    """Whatever stands on a line, above all a quote without its pair, the rows around it are read."""
    reader = RowReader(["OT,load\n", "1,2\n", line + "\n", "3,4\n", '"5",6\n'], PLAIN)
    found = {}
    for _ in range(4):
        try:
            number, cells = next(reader)
            found[number] = cells
        except DataError as error:
            found[error.line] = {}
        except StopIteration:
            break
    found.pop(3, None)
    assert found == {number: {"OT": str(ot), "load": str(ot + 1)} for number, ot in ((2, 1), (4, 3), (5, 5))}


def test_a_quoted_cell_ends_on_its_line():
    """A cell that goes on in the next line is refused, and the next line is a row of its own."""
    reader = RowReader(["OT,load\n", '1,"2\n', "3,4\n"], PLAIN, source="wire")
    with pytest.raises(DataError, match=r"wire, line 2: .*a quoted cell does not end on its line"):
        next(reader)
    assert list(reader) == [(3, {"OT": "3", "load": "4"})]


def test_the_header_is_checked():
    """A missing column is named, with the columns that exist and the one that may be meant."""
    with pytest.raises(DataError, match=r"column 'load': no such column.*'OT', 'Load'.*did you mean 'Load'"):
        next(RowReader(["OT,Load\n"], PLAIN))
    with pytest.raises(DataError, match="column 'id'"):
        next(RowReader(["OT\n"], Schema(("OT",), series_id="id")))
    with pytest.raises(DataError, match="empty table"):
        next(RowReader([], PLAIN))
    assert list(RowReader(["OT,load\n"], PLAIN)) == []


on_one_line = st.text(st.characters(exclude_characters="\r\n"))


@settings(deadline=None)
@given(st.lists(st.tuples(on_one_line, on_one_line), max_size=5))
def test_any_cell_survives(rows):
    """What Python's csv writer writes on a line, the reader reads back."""
    import csv
    import io

    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    writer.writerow(["OT", "load"])
    writer.writerows(rows)
    read = RowReader(io.StringIO(buffer.getvalue(), newline=""), PLAIN)
    assert [tuple(row.values()) for _, row in read] == rows


def test_cells_of_a_row():
    """Numbers, numeric text and marks of absence are read; NaN and infinity as values are flagged."""
    schema = Schema(tuple("abcdefg"))
    row = parse_row(schema, [1, "2.5", None, "NaN", float("nan"), "-inf", np.float32("inf")], row=1)
    np.testing.assert_array_equal(row.values, [1, 2.5, np.nan, np.nan, np.nan, -np.inf, np.inf])
    assert row.nonfinite.tolist() == [False, False, False, False, True, True, True]
    assert row.time is None
    assert not parse_row(PLAIN, [pd.NA, "?"], row=1).nonfinite.any()


def test_a_row_has_many_forms():
    """Mapping, sequence and array of one row give the same row."""
    time = np.datetime64("2016-07-01T01:00", "us")
    by_name = parse_row(TIMED, {"load": "2", "OT": 1, "date": "2016-07-01 01:00", "other": "x"}, row=1)
    by_order = parse_row(TIMED, (pd.Timestamp("2016-07-01 01:00"), 1.0, "2"), row=1)
    assert by_name.time == by_order.time == time
    np.testing.assert_array_equal(by_name.values, by_order.values)
    np.testing.assert_array_equal(parse_row(PLAIN, np.array([1.0, 2.0]), row=1).values, [1, 2])
    assert parse_row(PARTED, ["2016", 7, 1.0, 5], row=1).time == np.datetime64("2016-07-01")


@pytest.mark.parametrize(
    ("schema", "data", "column", "message"),
    [
        (PLAIN, {"OT": 1}, "load", "no such column in the row.*'OT'.*None"),
        (PLAIN, {"OT": 1, "load": "abc"}, "load", "received 'abc'.*None"),
        (PLAIN, {"OT": True, "load": 1}, "OT", "received True"),
        (PLAIN, [1, [2]], "load", "expected a number"),
        (PLAIN, [1], None, "flat row of 2 values .'OT', 'load'., received 1 values"),
        (PLAIN, "12", None, "received something else"),
        (PLAIN, np.ones((1, 2)), None, "received something else"),
        (TIMED, {"date": 5, "OT": 1, "load": 1}, "date", "bare number"),
        (TIMED, {"date": None, "OT": 1, "load": 1}, "date", "missing"),
        (PARTED, [2016, "x", 1, 5], "year", "expected a number, received 'x'"),
        (PARTED, [2016, 13, 1, 5], "year", "month=13"),
    ],
)
def test_bad_rows_are_named(schema, data, column, message):
    """A bad row is refused with its number, its column and a remedy."""
    with pytest.raises(DataError, match=message) as caught:
        parse_row(schema, data, row=17, source="wire")
    assert (caught.value.source, caught.value.line, caught.value.column) == ("wire", 17, column)


@pytest.mark.parametrize("data", [5, None])
def test_what_is_no_row_at_all_is_named(data, monkeypatch):
    """A number or None in the place of a row is a `DataError`, also where no types are checked."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(DataError, match=r"flat row of 2 values .'OT', 'load'., received something else"):
        parse_row(PLAIN, data, row=1)
