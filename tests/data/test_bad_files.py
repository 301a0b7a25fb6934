"""The table of bad input, row by row: what a user's file can do wrong, and the error it gets."""

from __future__ import annotations

import gzip

import pytest

from aaren.data import read_series
from aaren.errors import AarenError, DataError

HEAD = "date,y,z\n2020-01-01,1,2\n"


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        (HEAD + "2020-01-02,abc,2\n", 3, "y", "expected a number, received 'abc'; .*NA"),
        (HEAD + '2020-01-02,"1,5",2\n', 3, "y", "received '1,5'"),
        (HEAD + "2020-01-02,inf,2\n", 3, "y", "expected a finite number, received 'inf'"),
        (HEAD + "2020-01-02,-Infinity,2\n", 3, "y", "expected a finite number"),
        (HEAD + "2020-01-02,1e999,2\n", 3, "y", "expected a finite number"),
        (HEAD + '2020-01-02,1,"2\n"\n2020-01-03,x,2\n', 5, "y", "received 'x'"),
        (HEAD + "\n\n2020-01-02,x,2\n", 5, "y", "received 'x'"),
        (HEAD + "2020-01-02,1\n", 3, None, "expected 3 cells as in the header, received 2"),
        (HEAD + "2020-01-02,1,2,3\n", 3, None, "expected 3 cells as in the header, received 4"),
        (HEAD + "2019-12-31,1,2\n", 3, "date", "unsorted time stamps.*line 2; sort"),
        (HEAD + "2020-01-01,1,2\n", 3, "date", "duplicate time stamp 2020-01-01.*first on line 2; remove"),
        (HEAD + "2020-01-03,1,2\n2020-01-01,1,2\n", 4, "date", "duplicate time stamp.*first on line 2"),
        (HEAD + "02.01.2020,1,2\n", 3, "date", "received '02.01.2020'; write ISO 8601"),
        (HEAD + ",1,2\n", 3, "date", "missing cell"),
        (HEAD + "43832,1,2\n", 3, "date", "bare number '43832'.*time=None"),
        (HEAD + "2020-01-02 00:00Z,1,2\n", 3, "date", "mixed time zones"),
        ("date,y,y\n2020-01-01,1,2\n", 1, "y", "twice; rename"),
        ("", None, None, "empty table"),
        ("date,y,z\n", None, None, "at least two rows, received 0"),
        (HEAD, None, None, "at least two rows, received 1"),
        ("date,x\n2020-01-01,1\n2020-01-02,1\n", None, "y", "no such column; the columns are 'date', 'x'"),
    ],
)
def test_bad_tables(write, text, line, column, message):
    """Each fault is a DataError that names the file, the line, the column, what came and the remedy."""
    path = write(text)
    with pytest.raises(DataError, match=message) as caught:
        read_series(path, targets="y")
    assert caught.value.source == str(path)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert "polars" not in str(caught.value)


def test_missing_columns_are_explained(write):
    """The message lists the columns and the likely one, also for time and id."""
    path = write("Date,Load,Temperature\n2020-01-01,1,2\n2020-01-02,1,2\n")
    with pytest.raises(DataError, match=r"column 'load': .*'Date', 'Load', 'Temperature'; did you mean 'Load'"):
        read_series(path, targets="load")
    with pytest.raises(DataError, match="did you mean 'Temperature'"):
        read_series(path, targets="Load", covariates=["Temprature"])
    with pytest.raises(DataError, match=r"column 'qqq': .*name one of these"):
        read_series(path, targets="Load", time="qqq")
    with pytest.raises(DataError, match="column 'qqq'"):
        read_series(path, targets="Load", series_id="qqq")
    wide = write(",".join(f"c{index}" for index in range(99)) + "\n" + ("1," * 98 + "1\n") * 2)
    with pytest.raises(DataError, match=r"'c29', ... \(99 in all\)"):
        read_series(wide, targets="y", time=None)


def test_time_must_be_clear(write):
    """Without a column that is clearly the time, the message says how to name it or do without."""
    path = write("day,y\n2020-01-01,1\n2020-01-02,1\n")
    with pytest.raises(DataError, match=r"received only 'day', 'y'; name the column with time=.*time=None"):
        read_series(path, targets="y")
    assert read_series(path, targets="y", time="day").schema.time == ("day",)
    assert read_series(path, targets="y", time=None).series[0].times is None
    both = write("Date,time,y\n2020-01-01,3,1\n2020-01-02,4,1\n")
    with pytest.raises(DataError, match="received several: 'Date', 'time'"):
        read_series(both, targets="y")


def test_times_in_parts(write):
    """Impossible and missing parts are named with their line."""
    text = "year,month,day,y\n2015,2,28,1\n2015,2,{},1\n"
    parts = ("year", "month", "day")
    with pytest.raises(DataError, match=r"line 3, column 'year': .*year=2015, month=2, day=29"):
        read_series(write(text.format(29)), targets="y", time=parts)
    with pytest.raises(DataError, match=r"line 3, column 'year': .*day=nan"):
        read_series(write(text.format("NA")), targets="y", time=parts)
    with pytest.raises(DataError, match=r"line 3, column 'day': .*received 'x'"):
        read_series(write(text.format("x")), targets="y", time=parts)


def test_series_need_names_and_two_rows(write):
    """A row without id and a series of one row are named with their line."""
    with pytest.raises(DataError, match="line 3, column 'id': expected the name of a series"):
        read_series(write("id,y\na,1\nNA,1\n"), targets="y", time=None, series_id="id")
    with pytest.raises(DataError, match="line 4: expected at least two rows in series 'b', received 1"):
        read_series(write("id,y\na,1\na,1\nb,1\n"), targets="y", time=None, series_id="id")


def test_all_needs_a_numeric_column(write):
    """Asking for all columns of a table of words is an error that lists them."""
    with pytest.raises(DataError, match="expected numeric columns, received none among 'a', 'b'"):
        read_series(write("a,b\nx,NA\ny,NA\n"), targets="all", time=None)
    with pytest.raises(DataError, match="at least one target"):
        read_series(write("a,b\n1,2\n3,4\n"), targets=(), time=None)


def test_huge_gaps_are_refused(write):
    """A wrong year does not blow the series up."""
    with pytest.raises(DataError, match=r"table\.csv: expected a series with moderate gaps"):
        read_series(write(HEAD + "2020-01-02,1,2\n2990-01-03,1,2\n"), targets="y")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv.gz", gzip.compress(HEAD.encode(), mtime=0)[:-9], "damaged"),
        ("t.csv.gz", b"no gzip", "damaged"),
        ("t.csv.gz", gzip.compress(HEAD.encode(), mtime=0)[:12] + b"\xff" * 30, "damaged"),
        ("t.parquet", b"PAR1 but no more", "expected a Parquet file"),
        ("t.parquet", b"", "expected a Parquet file"),
        ("t.xlsx", b"", "ends in .csv"),
        ("t.parquet.gz", b"", "ends in .csv"),
        ("table", b"", "ends in .csv"),
    ],
)
def test_damaged_files(write, name, content, message):
    """Damaged or foreign files are refused by name."""
    with pytest.raises(DataError, match=message):
        read_series(write(content, name), targets="y")


def test_absent_files(tmp_path):
    """A file that is not there, or is a folder, is this library's error and no traceback of another."""
    with pytest.raises(AarenError, match=r"cannot be read.*No such file"):
        read_series(tmp_path / "nowhere.csv", targets="y")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(AarenError, match="cannot be read"):
        read_series(tmp_path / "folder.csv", targets="y")
