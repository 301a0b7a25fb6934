from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaren.data import Sampling, Schema, Series, SeriesSet, Splits, read_series, split_in_time, windows
from aaren.errors import DataError


def series_set(*lengths: int) -> SeriesSet:
    """Make series of zeros."""
    series = tuple(Series(f"s{i}", None, np.zeros((n, 1))) for i, n in enumerate(lengths))
    return SeriesSet(Schema(("OT",)), series, Sampling("none"), "memory", None)


@pytest.mark.parametrize(("name", "rows_an_hour"), [("ETTh1", 1), ("ETTh2", 1), ("ETTm1", 4), ("ETTm2", 4)])
def test_published_windows_of_ett(name, rows_an_hour, real_data):
    """The ETT sets have the published parts, of 12, 4 and 4 months of 30 days, and the published numbers of windows."""
    table = read_series(real_data / f"forecasting/{name}/{name}.csv.gz", targets="all")
    train, later = 12 * 30 * 24 * rows_an_hour, 4 * 30 * 24 * rows_an_hour
    splits = split_in_time(table, (train, later, later))
    end = train + 2 * later
    assert splits == Splits(((0, train),), ((train, train + later),), ((train + later, end),))
    windows_of = {1: (8449, 2785, 2785), 4: (34369, 11425, 11425)}[rows_an_hour]
    parts = ("train", "validation", "test")
    assert tuple(len(splits.windows(part, 96, 96)) for part in parts) == windows_of
    test = splits.windows("test", 96, 96)
    assert test.shape == (windows_of[2], 2)
    assert test[0].tolist() == [0, train + later - 96]
    assert test[-1].tolist() == [0, end - 192]


def test_published_fractions():
    """Train and test are rounded down, validation gets the rest, in each series by itself."""
    splits = split_in_time(series_set(7588, 19))
    assert splits.train == ((0, 5311), (0, 13))
    assert splits.validation == ((5311, 6071), (13, 16))
    assert splits.test == ((6071, 7588), (16, 19))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(3, 60), st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=3),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 4),
    st.booleans(),
)
def test_windows_never_cross_a_boundary(shapes, look_back, horizon, stride, before):
    """Windows are exactly those that the definition allows, found here by trying every row."""
    ranges = tuple((start, start + length) for length, start, _ in shapes)
    expected = []
    for index, (start, stop) in enumerate(ranges):
        allowed = [
            row
            for row in range(stop)
            if (row + look_back >= start if before else row >= start) and row + look_back + horizon <= stop
        ]
        expected += [[index, row] for row in allowed[::stride]]
    if expected:
        found = windows(ranges, look_back, horizon, stride=stride, look_back_before=before)
        assert found.dtype == np.int64
        assert found.tolist() == expected
    else:
        with pytest.raises(DataError, match="room for look-back"):
            windows(ranges, look_back, horizon, stride=stride, look_back_before=before)


@settings(deadline=None)
@given(st.integers(10, 200), st.integers(1, 5), st.integers(1, 5))
def test_forecast_rows_of_the_parts_are_disjoint(rows, look_back, horizon):
    """No row is forecast in two parts, and training sees no row of another part."""
    splits = split_in_time(series_set(rows), (0.5, 0.25, 0.25))
    seen: dict[str, set[int]] = {}
    for part in ("train", "validation", "test"):
        try:
            starts = splits.windows(part, look_back, horizon)[:, 1]
        except DataError:
            continue
        seen[part] = {row + look_back + step for row in starts.tolist() for step in range(horizon)}
        if part == "train":
            assert starts.max() + look_back + horizon <= splits.train[0][1]
    parts = list(seen.values())
    assert sum(len(part) for part in parts) == len(set().union(*parts))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((0.7, 0.3), "three parts"),
        ((0.7, 0.2, 0.2), "sum is 1"),
        ((float("nan"), 0.2, 0.2), "sum is 1"),
        ((1.2, -0.1, -0.1), "parts of at least one row"),
        ((0.9, 0.05, 0.05), "parts of at least one row"),
        ((5, 0, 5), "parts of at least one row"),
        ((5, 3, 3), "fit into series 's0' of 10 rows"),
    ],
)
def test_impossible_parts_are_refused(parts, message):
    """Parts that are empty, too long or no partition are refused."""
    with pytest.raises(DataError, match=message):
        split_in_time(series_set(10), parts)


@pytest.mark.parametrize("lengths", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_lengths_must_be_positive(lengths):
    """Look-back, horizon and stride are at least 1."""
    with pytest.raises(DataError, match="at least 1"):
        windows(((0, 9),), lengths[0], lengths[1], stride=lengths[2])
    with pytest.raises(DataError, match="at most 0 rows"):
        windows((), 1, 1)
