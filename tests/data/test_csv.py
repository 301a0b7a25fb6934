from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaren.data._csv import Records, read_csv
from aaren.errors import DataError


def columns(data: bytes, **options: bool) -> dict[str, list[str]]:
    """Read bytes into lists of strings; polars' null is an empty cell."""
    table = read_csv(data, "table.csv", "table", "0", **options)
    return {name: [cell or "" for cell in column.to_list()] for name, column in table.columns.items()}


cell = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=6)
plain = st.text(alphabet="0123456789.abc -", max_size=4)


@settings(deadline=None)
@given(st.integers(1, 4), st.data())
def test_what_csv_writes_is_read_back(width, data):
    """A table written by Python's csv writer is read back cell by cell, each on the right line."""
    rows = data.draw(st.lists(st.lists(st.one_of(cell, plain), min_size=width, max_size=width), min_size=1))
    names = [f"c{index}" for index in range(width)]
    buffer = io.StringIO(newline="")
    quoting = data.draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))
    writer = csv.writer(buffer, quoting=quoting, lineterminator=data.draw(st.sampled_from(["\n", "\r\n"])))
    writer.writerow(names)
    starts = []
    for row in rows:
        starts.append(len(list(io.StringIO(buffer.getvalue(), newline=""))) + 1)
        writer.writerow(row)
    table = read_csv(buffer.getvalue().encode(), "table.csv", "table", "0")
    read = [[column[index] or "" for column in table.columns.values()] for index in range(table.rows)]
    assert read == rows
    assert [table.line_of(row) for row in range(table.rows)] == starts


@settings(deadline=None)
@given(st.text(alphabet='a1,"\n\r ', max_size=24))
def test_polars_and_records_agree(text):
    """Whatever the text, the table is exactly what the reader by records says, error included."""
    text = "a,b\n" + text
    records = Records(io.StringIO(text, newline=""), "table.csv")
    expected: list[tuple[str, ...]] | str = []
    try:
        expected = [tuple(cells) for _, cells in records]
    except DataError as error:
        expected = str(error)
    try:
        received: list[tuple[str, ...]] | str = list(zip(*columns(text.encode()).values(), strict=True))
    except DataError as error:
        received = str(error)
    assert received == expected


@pytest.mark.parametrize(
    "data",
    [
        "\ufeffT (°C),b\n1,2\n".encode(),
        "T (°C),b\n1,2\n".encode(),
        "T (°C),b\n1,2\n".encode("latin-1"),
        "\n\r\nT (°C), b\r\n1,2\r\n\r\n".encode(),
        '"T (°C)","b"\r1,"2"\r'.encode(),
    ],
)
def test_encodings_and_line_ends(data):
    """UTF-8 with or without mark, latin-1, and the line ends of every system give the same table."""
    assert columns(data) == {"T (°C)": ["1"], "b": ["2"]}


def test_empty_cells_at_the_end_are_no_short_row():
    """An empty last cell is missing, a row without it is ragged; polars alone does not tell them apart."""
    assert columns(b"a,b\n1,\n2,3\n")["b"] == ["", "3"]
    with pytest.raises(DataError, match="line 2: expected 2 cells as in the header, received 1"):
        columns(b"a,b\n1\n2,3\n")


def test_one_column():
    """In a table of one column, a quoted empty cell is a missing value and an empty line is no row."""
    assert columns(b'a\n1\n\n""\n2\n') == {"a": ["1", "", "2"]}


def test_blanks_before_the_header():
    """A line of blanks before the header is no header, even where polars would take it for one."""
    assert columns(b"  \na\n1\n2\n") == {"a": ["1", "2"]}


def test_headerless_text():
    """In the layout without header, a first row of numbers is data; a header is still a header."""
    assert columns(b"1.5,2\n3,4\n", headerless=True) == {"0": ["1.5", "3"], "1": ["2", "4"]}
    assert columns(b"1.5,2\n3,\n", headerless=True) == {"0": ["1.5", "3"], "1": ["2", ""]}
    assert columns(b"a,2\n3,4\n", headerless=True) == {"a": ["3"], "2": ["4"]}
    assert columns(b"1,NA\n3,4\n", headerless=True) == {"1": ["3"], "NA": ["4"]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty table"),
        (b"\n \n", "empty table"),
        (b"\xef\xbb\xbf", "empty table"),
        (b"\xff\xfea\x00", "UTF-16"),
        (b"a,b,a\n1,2,3\n", "line 1, column 'a': .*twice"),
        (b"\na,,\n1,2,3\n", "line 2, column '': .*twice"),
        (b"a;b\n1;2\n", "separated by commas.*';'"),
        (b"a\tb\n1\t2\n", "separated by commas"),
        (b"a,b\n1,2\n1,2,3\n", "line 3: expected 2 cells.*received 3"),
        (b'a,b\n"1\n",2\n1\n', "line 4: expected 2 cells.*received 1"),
        (b'a,b\n1,2\n1,"2\n3,4\n', "line 3: .*malformed"),
        (b'a,b\n1,2\n1,"2"3\n', "line 3: .*malformed"),
        (b"a,b\n1," + b"2" * 200_000 + b"\n3\n", "line 2: .*malformed.*larger than field limit"),
    ],
)
def test_damaged_text_is_named(data, message):
    """Every kind of damage is named with its line."""
    with pytest.raises(DataError, match=message):
        columns(data)
