from __future__ import annotations

import json

import numpy as np
import pytest

from aaren.data import Sampling, Schema, Series, SeriesSet
from aaren.data._sampling import sample
from aaren.errors import DataError


def series(*minutes: float, name: str = "s") -> Series:
    """Make a series with one row at each of these minutes, whose values count up."""
    times = np.datetime64("2016-07-01", "us") + (np.array(minutes) * 6e7).astype("timedelta64[us]")
    return Series(name, times, np.arange(float(len(minutes)))[:, None])


def test_a_schema_survives_json():
    """A schema comes back from JSON as it went in, and a target is no covariate."""
    schema = Schema(("OT", "HUFL"), ("HULL", "OT"), ("year", "month"), "station")
    assert schema.covariates == ("HULL",)
    assert schema.inputs == ("OT", "HUFL", "HULL")
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema
    assert Schema.from_dict(Schema(("OT",)).to_dict()) == Schema(("OT",))


@pytest.mark.parametrize(
    "change",
    [{"targets": "OT"}, {"targets": [1]}, {"time": None}, {"series_id": 3}, {"x": 1}, {"targets": []}],
)
def test_a_damaged_schema_is_refused(change):
    """A stored schema with wrong keys or types is refused."""
    with pytest.raises(DataError):
        Schema.from_dict({**Schema(("OT",)).to_dict(), **change})


@pytest.mark.parametrize(
    "parts",
    [
        {"targets": ()},
        {"targets": ("a", "a")},
        {"targets": ("a",), "time": ("a",)},
        {"targets": ("a",), "time": ("t",), "series_id": "t"},
        {"targets": ("a",), "time": tuple("tuvwxyz")},
    ],
)
def test_a_column_has_one_part(parts):
    """A schema without target, or in which a column plays two parts, is refused."""
    with pytest.raises(DataError):
        Schema(**parts)


def test_regular_rows():
    """Equal steps are regular."""
    kept, sampling = sample([series(0, 5, 10)], "x")
    assert sampling == Sampling("regular", np.timedelta64(300_000_000, "us"))
    assert len(kept[0].values) == 3
    assert sampling.describe() == "one row every 5 minutes, no gaps"


def test_gaps_become_rows_of_nan():
    """Absent rows are put in as missing, never as invented values."""
    kept, sampling = sample([series(0, 5, 10, 25), series(3, 8, 18)], "x")
    assert (sampling.kind, sampling.gaps, sampling.missing_rows) == ("gaps", 2, 3)
    assert sampling.largest_gap == np.timedelta64(15, "m")
    np.testing.assert_array_equal(kept[0].values[:, 0], [0, 1, 2, np.nan, np.nan, 3])
    np.testing.assert_array_equal(kept[1].values[:, 0], [0, 1, np.nan, 2])
    assert (np.diff(kept[0].times) == np.timedelta64(5, "m")).all()
    assert sampling.describe() == ("one row every 5 minutes, 2 gap(s), 3 missing row(s), the largest step 15 minutes")


def test_irregular_rows_stay():
    """Steps that are no multiples leave the rows as they are; of equally common steps the smallest counts."""
    kept, sampling = sample([series(0, 2, 5, 7.5)], "x")
    assert sampling.kind == "irregular"
    assert sampling.interval == np.timedelta64(2, "m")
    assert len(kept[0].values) == 4
    assert sampling.describe() == "irregular; the most common step is 2 minutes, the largest 3 minutes"


def test_a_series_is_not_blown_up():
    """A gap that would make a series more than 20 times longer is an error, and up to that it is filled."""
    assert len(sample([series(0, 1, 59)], "x")[0][0].values) == 60
    with pytest.raises(DataError, match="'lonely', whose 3 rows would become 61 rows"):
        sample([series(0, 1, 60, name="lonely")], "x")


def test_rows_without_time():
    """Rows without time are equally spaced by definition."""
    kept, sampling = sample([Series("s", None, np.zeros((2, 1)))], "x")
    assert sampling == Sampling("none")
    assert len(kept) == 1
    assert "no time" in sampling.describe()
    assert SeriesSet(Schema(("OT",)), kept, sampling, "x.csv", None).describe().splitlines() == [
        "x.csv: 1 series, 2 rows, 1 inputs",
        "targets: OT",
        "covariates: none",
        "missing values: none",
        "sampling: rows have no time and count as equally spaced",
    ]


@pytest.mark.parametrize(
    ("micro", "text"), [(86_400_000_000, "1 day"), (7_200_000_000, "2 hours"), (1_500_000, "1.5 seconds")]
)
def test_spans_read_well(micro, text):
    """A span is written in its largest whole unit."""
    assert text in Sampling("regular", np.timedelta64(micro, "us")).describe()


def test_a_set_describes_itself():
    """The description counts series, rows, inputs and missing values, and cuts long lists of names."""
    names = tuple(f"c{i}" for i in range(20))
    values = np.zeros((3, 21))
    values[1, 0] = np.nan
    times = series(0, 1, 2).times
    made = SeriesSet(Schema(("OT",), names, ("date",)), (Series("s", times, values),), Sampling("none"), "x.csv", None)
    text = made.describe()
    assert "x.csv: 1 series, 3 rows, 21 inputs" in text
    assert "missing values: OT 1" in text
    assert "c11, ... (20 in all)" in text
    assert "2016-07-01T00:00:00 to 2016-07-01T00:02:00" in text


def test_a_value_that_alone_makes_the_spread_is_told():
    """A sensor's 1e30 among numbers of normal size is shown with its column; others are not, flags among them."""
    times = np.datetime64("2016-07-01", "us") + np.arange(200) * np.timedelta64(1, "m")
    flag = (np.arange(200) == 7).astype(float)
    values = np.stack([np.sin(np.arange(200.0)), np.full(200, 3.0), np.arange(200.0), flag], axis=1)
    schema = Schema(("OT", "constant", "count", "holiday"))

    def described(values):
        found, sampling = sample([Series("s", times, values)], "x")
        return SeriesSet(schema, found, sampling, "x", None).describe()

    assert "alone" not in described(values)
    values[17, 0], values[3, 2] = 1e30, np.nan
    assert "one value alone makes the spread of a column, and is a fault or rare: OT 1e+30\n" in described(values)
