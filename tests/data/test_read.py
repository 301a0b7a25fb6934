from __future__ import annotations

import datetime as dt
import gzip
import hashlib
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest

from aaren.data import read_series, sha256_of
from aaren.errors import DataError

ETT = "forecasting/ETTh1/ETTh1.csv.gz"


def test_etth1(real_data):
    """ETTh1 is read whole: 17420 regular hours, 7 columns, digest of the stored bytes."""
    read = read_series(real_data / ETT, targets="OT", covariates="all")
    (series,) = read.series
    assert read.schema.inputs == ("OT", "HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL")
    assert read.schema.time == ("date",)
    assert series.name == "ETTh1"
    assert series.values.shape == (17420, 7)
    assert series.values[0, 0] == 30.5310001373291
    assert str(series.times[-1]) == "2018-06-26T19:00:00.000000"
    assert read.sampling.kind == "regular"
    assert read.sampling.interval == np.timedelta64(1, "h")
    assert read.sha256 == sha256_of(real_data / ETT)


def test_weather(real_data):
    """Weather has one doubled time stamp, named with its line; without time, it is read whole."""
    path = real_data / "forecasting/Weather/weather.csv.gz"
    with pytest.raises(DataError, match=r"duplicate time stamp 2020-05-12T06:00:00.*first on line 19045") as caught:
        read_series(path, targets="OT")
    assert (caught.value.line, caught.value.column) == (19046, "date")
    read = read_series(path, targets="all", time=None)
    assert read.series[0].values.shape == (52696, 21)


def test_exchange(real_data):
    """Exchange has dates without zeros, and its text original has no header."""
    folder = real_data / "forecasting/Exchange"
    table = read_series(folder / "exchange_rate.csv.gz", targets="all")
    text = read_series(folder / "exchange_rate.txt.gz", targets="all", time=None)
    assert table.sampling.interval == np.timedelta64(1, "D")
    assert table.series[0].values.shape == text.series[0].values.shape == (7588, 8)
    np.testing.assert_array_equal(table.series[0].values[:, [7, 6]], text.series[0].values[:, 6:])


def test_beijing(real_data):
    """Beijing PM2.5 has its time in four columns and 2067 missing targets."""
    read = read_series(
        real_data / "streaming/beijing-pm25/PRSA_data_2010-2014.csv.gz",
        targets="pm2.5",
        covariates="all",
        time=("year", "month", "day", "hour"),
    )
    assert np.isnan(read.series[0].values).sum(axis=0).tolist() == [2067, 0, 0, 0, 0, 0, 0, 0]
    assert read.sampling.kind == "regular"
    assert len(read.series[0].values) == 43824
    assert "cbwd" not in read.schema.inputs


def test_monthly_rows_are_irregular(real_data):
    """Months differ in length: they read as irregular, without an error."""
    read = read_series(real_data / "streaming/sunspots/monthly-sunspots.csv", targets="Sunspots", time="Month")
    assert read.sampling.kind == "irregular"
    assert len(read.series[0].values) == 2820


@pytest.mark.parametrize(
    ("name", "rows", "missing"),
    [("ec2_cpu_utilization_5f5533", 4032, 0), ("ambient_temperature_system_failure", 7888, 621)],
)
def test_nab(real_data, name, rows, missing):
    """A regular NAB series stays as it is, one with gaps gets its absent hours as missing rows."""
    read = read_series(real_data / f"streaming/nab/{name}.csv.gz", targets="value")
    assert len(read.series[0].values) == rows
    assert np.isnan(read.series[0].values).sum() == read.sampling.missing_rows == missing


def test_interleaved_series(write):
    """Rows of several series may alternate; each series is checked and named by itself."""
    path = write("id,date,y\nb,2020-01-01,1\na,2020-01-01,2\nb,2020-01-02,3\na ,2020-01-02,NA\n")
    read = read_series(path, targets="all", series_id="id")
    assert [series.name for series in read.series] == ["b", "a"]
    np.testing.assert_array_equal(read.series[1].values, [[2], [np.nan]])
    with pytest.raises(DataError, match=r"line 4, column 'date': unsorted.*on line 2") as caught:
        read_series(write("id,date,y\nb,2020-01-02,1\na,2020-01-01,2\nb,2020-01-01,3\n"), targets="y", series_id="id")
    assert caught.value.line == 4


FRAME = {
    "when": [dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 2), dt.datetime(2020, 1, 3)],
    "y": [1.0, None, 3.0],
    "n": [1, 2, 3],
    "text": ["1.5", "NA", None],
    "flag": [True, False, True],
    "who": ["x", "x", "x"],
}


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, lambda data: pl.DataFrame(data).to_arrow()])
def test_frames(make):
    """Frames of pandas, polars and arrow give the same series; truth values are no numbers."""
    read = read_series(make(FRAME), targets="all", time="when", series_id="who")
    assert read.schema.targets == ("y", "n", "text")
    assert read.series[0].name == "x"
    np.testing.assert_array_equal(read.series[0].values, [[1, 1, 1.5], [np.nan, 2, np.nan], [3, 3, np.nan]])
    assert read.series[0].times.tolist() == FRAME["when"]
    assert read.sha256 is None
    assert read.source.endswith("frame")


def test_kinds_of_columns():
    """Dates, zones, decimals, categories, objects and nullable integers of frames are understood."""
    stamps = pd.date_range("2020-01-01", periods=2, freq="D", tz="Europe/Berlin")
    frame = pd.DataFrame(
        {
            "ds": stamps,
            "decimal": [Decimal("1.5"), Decimal("2.5")],
            "nullable": pd.array([1, None], dtype="Int64"),
            "object": pd.Series([3, "NA"], dtype=object),
            "category": pd.Series(["4", "5"], dtype="category"),
        }
    )
    read = read_series(frame, targets=["decimal", "nullable", "object", "category"])
    np.testing.assert_array_equal(read.series[0].values, [[1.5, 1, 3, 4], [2.5, np.nan, np.nan, 5]])
    assert str(read.series[0].times[0]) == "2019-12-31T23:00:00.000000"
    dates = pl.DataFrame({"Date": [dt.date(2020, 1, 1), dt.date(2020, 1, 2)], "y": [Decimal("1.5"), None]})
    np.testing.assert_array_equal(read_series(dates, targets="y").series[0].values, [[1.5], [np.nan]])
    objects = pd.DataFrame({"date": [dt.date(2020, 1, 1), dt.date(2020, 1, 2)], "y": [1, 2]})
    assert read_series(objects, targets="y").sampling.interval == np.timedelta64(1, "D")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"y": [1.0, np.inf]}), r"pandas frame, column 'y': row 1 \(counted from 0\): .*finite"),
        (pl.DataFrame({"y": [True, False]}), r"polars frame, column 'y': row 0 .*received True"),
        (pl.DataFrame({"y": [dt.date(2020, 1, 1)] * 2}), "column 'y': row 0 .*expected a number"),
        (pl.DataFrame({"y": ["1", "abc"]}), "column 'y': row 1 .*received 'abc'.*NA"),
        (pl.DataFrame({"y": [1.0]}).lazy(), "eager pandas or polars frame.*polars.LazyFrame"),
        ([1, 2], "received an object of type builtins.list"),
        (pl.DataFrame({"y": [1.0]}), "at least two rows, received 1"),
        (pd.DataFrame([[1, 2], [3, 4]], columns=["y", "y"]), "different names"),
    ],
)
def test_bad_frames(frame, message):
    """A bad frame is refused with row and column."""
    with pytest.raises(DataError, match=message):
        read_series(frame, targets="y", time=None)


def test_bad_times_in_frames():
    """Missing, doubled and numeric times of frames are named with their row."""
    for times, message in (
        ([dt.datetime(2020, 1, 1), None], "row 1 .*missing cell"),
        ([dt.datetime(2020, 1, 1)] * 2, "row 1 .*duplicate.*first on row 0"),
        ([1, 2], "row 0 .*bare number 1"),
    ):
        with pytest.raises(DataError, match=message):
            read_series(pl.DataFrame({"date": times, "y": [1, 2]}), targets="y")
    with pytest.raises(DataError, match=r"row 1 .*name of a series"):
        read_series(pd.DataFrame({"id": ["a", None], "y": [1, 2]}), targets="y", time=None, series_id="id")


def test_files_of_every_kind(write, tmp_path):
    """CSV, packed CSV, text and Parquet give the same series; the digest is of the stored bytes."""
    text = "date,y\n2020-01-01,1\n2020-01-02,2\n"
    parquet = tmp_path / "t.parquet"
    pl.DataFrame({"date": ["2020-01-01", "2020-01-02"], "y": [1, 2]}).write_parquet(parquet)
    packed = write(gzip.compress(text.encode()), "T.CSV.GZ")
    reads = [
        read_series(path, targets="y") for path in (write(text, "t.csv"), packed, str(write(text, "t.txt")), parquet)
    ]
    for read in reads:
        np.testing.assert_array_equal(read.series[0].values, [[1], [2]])
        assert read.series[0].name.lower() == "t"
    assert reads[1].sha256 == hashlib.sha256(packed.read_bytes()).hexdigest() != reads[0].sha256
