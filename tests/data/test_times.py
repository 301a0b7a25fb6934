from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaren.data import parse_time
from aaren.data._cells import CellError
from aaren.data._times import PARTS, has_zone, parse_parts, times_of, times_of_parts

NOON = np.datetime64("2016-07-01T12:00:00", "us")
SAME = [
    "2016-07-01 12:00:00", "2016-07-01T12:00:00", "2016-07-01t12:00", "2016/7/1 12:00", " 2016-07-01  12:00 ",
    "2016-07-01T12:00:00Z", "2016-07-01T14:00:00+02:00", "2016-07-01 14:00:00.000 +0200",
    "2016-07-01T10:30-0130", "2016-07-01T13:00+01", "2016-07-01T12:00:00,000000999",
    dt.datetime(2016, 7, 1, 12),
    dt.datetime(2016, 7, 1, 14, tzinfo=dt.timezone(dt.timedelta(hours=2))), np.datetime64("2016-07-01T12"),
    pd.Timestamp("2016-07-01 12:00"), pd.Timestamp("2016-07-01 12:00", tz="UTC"),
]  # fmt: skip
BAD = [
    "2016-02-30", "2016-13-01", "2016-00-01", "2016-07-00", "0000-01-01", "2016-07-01 24:00",
    "2016-07-01 24:00:00",
    "2016-07-01 12:60", "2016-07-01 12:00:60", "2016-07-01T12:00+24:00", "2016-07-01T12:00+01:60",
    "01/07/2016",
    "1977-Jan", "noon", "2016-07-01Z", "2016-07-01 12", "2016-07-01T12:00:00.", "\u0662016-07-01",
]  # fmt: skip


@pytest.mark.parametrize("value", SAME)
def test_one_instant_in_many_forms(value):
    """All accepted forms of one instant give the same microseconds, in UTC."""
    time = parse_time(value)
    assert time == NOON
    assert time.dtype == np.dtype("datetime64[us]")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1990/1/1 0:00", "1990-01-01"),
        ("1749-02", "1749-02-01"),
        ("2015-06-30 00:15", "2015-06-30T00:15"),
        ("2016-02-29", "2016-02-29"),
        ("1970-01-01 00:04:40.015", "1970-01-01T00:04:40.015"),
        (dt.date(2016, 2, 29), "2016-02-29"),
    ],
)
def test_layouts_of_real_files(value, expected):
    """The layouts that real files use are read."""
    assert parse_time(value) == np.datetime64(expected, "us")


@pytest.mark.parametrize("value", [*BAD, b"2016-07-01", object()])
def test_what_is_no_time(value):
    """Impossible dates, orders that differ by country and foreign objects are refused with a remedy."""
    with pytest.raises(ValueError, match=r"expected a time stamp.*ISO 8601"):
        parse_time(value)


@pytest.mark.parametrize("value", [1467331200, 3.5, "1467331200", "20160701", True, np.int64(3)])
def test_bare_numbers_are_refused(value):
    """A number alone is no time, and the message says so."""
    with pytest.raises(ValueError, match="expected a time stamp"):
        parse_time(value)


@pytest.mark.parametrize("value", [None, "", "NA", pd.NaT, np.datetime64("NaT")])
def test_missing_times_are_refused(value):
    """A missing time stamp is named as such."""
    with pytest.raises(ValueError, match="missing cell"):
        parse_time(value)


stamps = st.datetimes(min_value=dt.datetime(1, 1, 3), max_value=dt.datetime(9999, 12, 29))
formats = st.sampled_from(
    ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y/%m/%d %H:%M", "%Y-%m-%d", "%Y-%m", "%d.%m.%Y"]
)
zones = st.sampled_from(["", "Z", "+02:00", "-0330", " +05", "+99:00"])
texts = st.one_of(
    st.builds(
        lambda stamp, form, zone: (
            stamp.strftime(form).zfill(len("2000")) + (zone if "%M" in form and "%H" in form else "")
        ),
        stamps,
        formats,
        zones,
    ),
    st.sampled_from([*(value for value in SAME if isinstance(value, str)), *BAD]),
    st.text(alphabet="0123456789-/ :TZ.", max_size=20),
)


@settings(deadline=None)
@given(st.lists(texts, min_size=1, max_size=6))
def test_a_column_reads_as_its_cells(column):
    """A column of text gives what its cells give, and fails at the first bad cell, if not for mixed zones."""
    expected, bad = [], None
    for row, text in enumerate(column):
        try:
            expected.append(parse_time(text))
        except ValueError:
            bad = row
            break
    zoned = [has_zone(text) for text in column]
    for form in (pl.Series(column, dtype=pl.String), np.array(column, dtype=object)):
        if bad is None and len(set(zoned)) == 1:
            np.testing.assert_array_equal(times_of(form), np.array(expected))
        else:
            with pytest.raises(CellError) as caught:
                times_of(form)
            assert caught.value.row == (zoned.index(not zoned[0]) if bad is None else bad)


@settings(deadline=None)
@given(stamps)
def test_text_of_a_time_reads_back(stamp):
    """The ISO text of a time reads back to the same microsecond."""
    assert parse_time(stamp.isoformat()) == np.datetime64(stamp, "us")
    assert parse_time(stamp.isoformat(sep=" ") + "+00:00") == np.datetime64(stamp, "us")


@pytest.mark.parametrize("first", ["2016-07-01 00:00", "2016-07-01 00:00Z"])
def test_mixed_zones_are_refused(first):
    """A column may have offsets or none, not both; different offsets are fine because all become UTC."""
    other = "2016-07-01 01:00Z" if first[-1] != "Z" else "2016-07-01 01:00"
    with pytest.raises(CellError, match="mixed time zones") as caught:
        times_of(pl.Series([first, first, other]))
    assert caught.value.row == 2
    summer = times_of(pl.Series(["2016-10-30T02:30+02:00", "2016-10-30T02:30+01:00"]))
    assert np.diff(summer)[0] == np.timedelta64(1, "h")


def test_mixed_zones_of_objects_are_refused():
    """Datetime objects with and without a zone do not mix either."""
    stamp = dt.datetime(2016, 7, 1)
    with pytest.raises(CellError, match="mixed time zones"):
        times_of(np.array([stamp, stamp.replace(tzinfo=dt.UTC)], dtype=object))


def test_a_column_of_datetimes_must_be_complete():
    """NaT in a column of times is named with its row."""
    column = np.array(["2016-07-01", "NaT"], dtype="datetime64[us]")
    assert times_of(column[:1])[0] == np.datetime64("2016-07-01")
    with pytest.raises(CellError, match="missing cell") as caught:
        times_of(column)
    assert caught.value.row == 1


@settings(deadline=None)
@given(stamps, st.integers(2, 6))
def test_parts_make_the_time(stamp, count):
    """Year, month, ... make the time, alone as in a column, and parts not given are the earliest."""
    parts = [stamp.year, stamp.month, stamp.day, stamp.hour, stamp.minute, stamp.second]
    full = [*parts[:count], *[1, 1, 1, 0, 0, 0][count:]]
    expected = np.datetime64(dt.datetime(*full), "us")
    assert parse_parts([str(part) for part in parts[:count]], PARTS[:count]) == expected
    columns = [np.array([2000.0, part]) for part in parts[:1]] + [np.array([1.0, part]) for part in parts[1:count]]
    assert times_of_parts(columns, PARTS[:count])[1] == expected


@pytest.mark.parametrize("parts", [(2015, 2, 29), (2015.5, 1, 1), (np.nan, 1, 1), (1e300, 1, 1), (2015, 1, np.inf)])
def test_parts_that_make_no_date(parts):
    """Parts that make no date are refused and quoted."""
    with pytest.raises(CellError, match=r"whole numbers that make a date.*year="):
        parse_parts(parts, PARTS[:3])
