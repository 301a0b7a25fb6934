"""Bad rows: which are refused, left out or taken as missing; in words with row and column, and without a trace."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from aaren import Forecaster, Stream
from aaren.data import SeriesSet, read_series
from aaren.errors import DataError
from aaren.evaluation import PreparedData, prepare

Rows = Callable[..., list[dict[str, Any]]]
Bits = Callable[[Stream], list[bytes]]

UNFIT = {
    "float NaN": ("HUFL", math.nan, "expected a finite number, received nan"),
    "infinity": ("OT", math.inf, "expected a finite number, received inf"),
    "infinite text": ("MUFL", "-inf", "expected a finite number, received -inf"),
    "far beyond": ("OT", 1e300, "within 1e+15 training deviations of the mean, received 1e+300"),
}
UNREADABLE = {
    "text": ("OT", "warm", "expected a number, received 'warm'"),
    "a truth value": ("HUFL", True, "expected a number, received True"),
    "no time": ("date", None, "expected a time stamp, received a missing cell"),
    "a time of another form": ("date", "05/06/2019", "starts with the year"),
    "the time before": ("date", "2016-07-01 03:00:00", "expected a time after 2016-07-01T04:00:00"),
    "the same time again": ("date", "2016-07-01 04:00:00", "rows come in order of time"),
    "a time off the grid": ("date", "2016-07-01 05:00:01", "multiple of 1 hour"),
    "a gap too long": ("date", "2018-07-01 05:00:00", "max_gap = 10000"),
}
BAD = UNFIT | UNREADABLE


@pytest.fixture
def primed(model: Forecaster, etth1: SeriesSet, rows_of: Rows) -> Callable[..., Stream]:
    """A stream that has taken five rows."""

    def make(**options: Any) -> Stream:
        stream = model.stream(**options)
        for row in rows_of(etth1, 0, 5):
            stream.update(row)
        return stream

    return make


@pytest.fixture
def sixth(etth1: SeriesSet, rows_of: Rows) -> dict[str, Any]:
    """The row that follows."""
    return rows_of(etth1, 5, 6)[0]


@pytest.mark.parametrize("case", BAD)
def test_error_names_row_and_column_and_changes_nothing(
    case: str, primed: Callable[..., Stream], sixth: dict[str, Any], bits: Bits
) -> None:
    """Under "error" a bad row raises with its number and column, and every bit of the state is as before."""
    column, cell, words = BAD[case]
    stream, untouched = primed(), primed()
    before = bits(stream)
    with pytest.raises(DataError) as refusal:
        stream.update({**sixth, column: cell})
    assert words in str(refusal.value)
    assert (refusal.value.line, refusal.value.column) == (6, column)
    assert "line 6" in str(refusal.value)
    assert bits(stream) == before
    assert (stream.rows, stream.skipped, stream.time) == (5, 0, untouched.time)
    assert stream.update(sixth).to_dict() == untouched.update(sixth).to_dict()


@pytest.mark.parametrize("case", BAD)
def test_skip_leaves_the_row_out_and_counts_it(
    case: str, primed: Callable[..., Stream], sixth: dict[str, Any], bits: Bits
) -> None:
    """Under "skip" a bad row gives None, is counted, and leaves no trace in the state."""
    column, cell, _ = BAD[case]
    stream = primed(on_bad_row="skip")
    before = bits(stream)
    assert stream.update({**sixth, column: cell}) is None
    assert bits(stream) == before
    assert (stream.rows, stream.skipped, stream.last_taken) == (6, 1, 5)
    expected = primed().update(sixth).to_dict()
    assert stream.update(sixth).to_dict() == {**expected, "row": 7}


@pytest.mark.parametrize("case", UNFIT)
def test_impute_takes_the_cell_as_missing(case: str, primed: Callable[..., Stream], sixth: dict[str, Any]) -> None:
    """Under "impute" a cell that is not finite is answered as one that is None; the other cells count."""
    column, cell, _ = UNFIT[case]
    imputed = primed(on_bad_row="impute").update({**sixth, column: cell}).to_dict()
    assert imputed == primed().update({**sixth, column: None}).to_dict()
    assert imputed != primed().update(sixth).to_dict()


@pytest.mark.parametrize("case", UNREADABLE)
def test_impute_refuses_what_cannot_be_read(
    case: str, primed: Callable[..., Stream], sixth: dict[str, Any], bits: Bits
) -> None:
    """Under "impute" a row that cannot be read still raises, and changes nothing."""
    column, cell, _ = UNREADABLE[case]
    stream = primed(on_bad_row="impute")
    before = bits(stream)
    with pytest.raises(DataError, match="line 6"):
        stream.update({**sixth, column: cell})
    assert (bits(stream), stream.rows) == (before, 5)


def test_an_absent_column_is_named(primed: Callable[..., Stream], sixth: dict[str, Any], bits: Bits) -> None:
    """A mapping without a column of the schema is refused by the name of that column."""
    stream = primed()
    before = bits(stream)
    del sixth["HUFL"]
    with pytest.raises(DataError, match=r"line 6, column 'HUFL': no such column"):
        stream.update(sixth)
    assert bits(stream) == before


@pytest.mark.parametrize("length", [0, 3, 5])
def test_a_sequence_of_the_wrong_length_is_refused(
    length: int, primed: Callable[..., Stream], sixth: dict[str, Any], bits: Bits
) -> None:
    """A sequence with too few or too many cells is refused with the columns that were expected."""
    stream = primed()
    before = bits(stream)
    with pytest.raises(DataError, match=r"line 6: expected a flat row of 4 values \('date', 'OT', 'HUFL', 'MUFL'\)"):
        stream.update([sixth["date"], 1.0, 2.0, 3.0, 4.0][:length])
    assert bits(stream) == before


def test_a_missing_cell_is_not_a_bad_one(primed: Callable[..., Stream], sixth: dict[str, Any]) -> None:
    """None and marks of absence are taken as missing under every policy, and all alike."""
    said = [
        primed(on_bad_row=policy).update({**sixth, "OT": cell}).to_dict()
        for policy in ("error", "skip", "impute")
        for cell in (None, "NA", "", "?", "NaN")
    ]
    assert all(answer == said[0] for answer in said)
    assert said[0] != primed().update(sixth).to_dict()


def test_a_gap_of_max_gap_rows_is_the_longest(primed: Callable[..., Stream], sixth: dict[str, Any]) -> None:
    """A gap of exactly max_gap rows is filled; one more is refused."""
    for hour, missing in (("08", 3), ("09", 4)):
        stream = primed(max_gap=3)
        row = {**sixth, "date": f"2016-07-01 {hour}:00:00"}
        if missing == 3:
            assert stream.update(row) is not None
        else:
            with pytest.raises(DataError, match="gap of 4"):
                stream.update(row)


def test_the_rows_of_another_series_are_refused(
    etth1: SeriesSet, build: Callable[..., Forecaster], rows_of: Rows, bits: Bits, tmp_path: Any
) -> None:
    """A stream stays with the series of its first row, blanks aside, also after a restart."""
    polars = pytest.importorskip("polars")
    one = etth1.series[0]
    columns = dict(zip(etth1.schema.inputs, one.values[:40].T, strict=True))
    halves = [polars.DataFrame({"date": one.times[:40], "site": [name] * 40, **columns}) for name in ("a", "b")]
    table = read_series(polars.concat(halves), targets=["OT"], covariates=["HUFL"], series_id="site")
    model = build(prepare(table, (0.6, 0.2, 0.2)), look_back=8)
    rows = rows_of(table, 0, 4)
    stream = model.stream()
    stream.update({**rows[0], "site": " a"})
    before = bits(stream)
    with pytest.raises(DataError, match=r"line 2, column 'site': expected rows of series 'a', received 'b'"):
        stream.update({**rows[1], "site": "b"})
    for nobody in (None, " "):
        with pytest.raises(DataError, match="column 'site': expected the name of a series"):
            stream.update({**rows[1], "site": nobody})
    assert bits(stream) == before
    stream.update({**rows[1], "site": "a"})
    stream.update(rows[2])
    stream.save(tmp_path / "state")
    with pytest.raises(DataError, match="expected rows of series 'a'"):
        model.stream(tmp_path / "state").update({**rows[3], "site": "b"})


def test_models_that_cannot_stream_are_refused(build: Callable[..., Forecaster], prepared: PreparedData) -> None:
    """A window-normalised model, one without preprocessing, and wrong options are refused with the remedy."""
    with pytest.raises(ValueError, match="train with normalization='running'"):
        Stream(build(prepared, normalization="window"))
    with pytest.raises(ValueError, match="expected preprocessing"):
        Stream(Forecaster(inputs=1, targets=1, horizon=1))
    with pytest.raises(ValueError, match="max_gap: expected a whole number of rows, at least 0, received -1"):
        Stream(build(prepared), max_gap=-1)


@pytest.mark.usefixtures("without_shape_checks")
def test_an_unknown_policy_is_refused(model: Forecaster) -> None:
    """A policy that does not exist is refused with those that do."""
    with pytest.raises(ValueError, match="expected 'error', 'skip' or 'impute', received 'ignore'"):
        model.stream(on_bad_row="ignore")


def test_the_time_of_a_row_needs_no_good_cells(model: Forecaster) -> None:
    """The time of a row can be asked for whatever its values are; a bad time is an error."""
    stream = model.stream()
    assert stream.time_of({"date": "2016-07-01 05:00:00", "OT": "warm"}) == np.datetime64("2016-07-01T05")
    with pytest.raises(DataError, match="column 'date'"):
        stream.time_of({"date": "noon"})
    assert stream.rows == 0
