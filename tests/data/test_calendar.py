from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaren.data import calendar_features, calendar_names
from aaren.errors import DataError

ALL = ("second_of_minute", "minute_of_hour", "hour_of_day", "day_of_week", "day_of_year")


@pytest.mark.parametrize(
    ("interval", "names"),
    [
        (None, ()),
        (np.timedelta64(15, "ms"), ALL),
        (np.timedelta64(1, "m"), ALL[1:]),
        (np.timedelta64(10, "m"), ALL[1:]),
        (np.timedelta64(3600, "s"), ALL[2:]),
        (np.timedelta64(1, "D"), ALL[3:]),
        (np.timedelta64(7, "D"), ALL[4:]),
        (np.timedelta64(400, "D"), ()),
    ],
)
def test_names_follow_the_interval(interval, names):
    """Only phases that vary from row to row are chosen."""
    assert calendar_names(interval) == names


@settings(deadline=None)
@given(st.lists(st.datetimes(), min_size=1, max_size=9))
def test_a_row_has_the_bits_of_its_column(stamps):
    """A row alone, the column and its reverse give the same bits, before 1970 too."""
    times = np.array(stamps, dtype="datetime64[us]")
    whole = calendar_features(times, ALL)
    assert whole.dtype == np.float32
    assert whole.shape == (len(times), 10)
    rows = np.concatenate([calendar_features(times[i : i + 1], ALL) for i in range(len(times))])
    assert whole.tobytes() == rows.tobytes()
    assert whole.tobytes() == np.ascontiguousarray(calendar_features(times[::-1], ALL)[::-1]).tobytes()


@settings(deadline=None)
@given(st.datetimes())
def test_features_are_the_formula(stamp):
    """The features are sine and cosine of the phases that the standard library computes."""
    year = 366 if stamp.year % 4 == 0 and (stamp.year % 100 != 0 or stamp.year % 400 == 0) else 365
    phases = [
        stamp.second / 60,
        stamp.minute / 60,
        stamp.hour / 24,
        stamp.weekday() / 7,
        (stamp.timetuple().tm_yday - 1) / year,
    ]
    expected = [wave(2 * np.pi * phase) for phase in phases for wave in (np.sin, np.cos)]
    np.testing.assert_allclose(
        calendar_features(np.array([stamp], dtype="datetime64[us]"), ALL)[0], expected, atol=1e-6
    )


def test_bad_requests_are_named():
    """An unknown feature and a missing time are refused."""
    times = np.array([dt.datetime(2016, 7, 1)], dtype="datetime64[us]")
    with pytest.raises(DataError, match="received 'week'"):
        calendar_features(times, ["week"])
    with pytest.raises(DataError, match="NaT"):
        calendar_features(np.array(["NaT"], dtype="datetime64[us]"), ALL)
    assert calendar_features(times, ()).shape == (1, 0)
