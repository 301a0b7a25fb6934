from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aaren.data import Scaler
from aaren.errors import DataError

tables = hnp.arrays(np.float64, st.tuples(st.integers(1, 9), st.just(3)), elements=st.floats(-1e6, 1e6))


@settings(deadline=None)
@given(tables)
def test_inverse_undoes_transform(values):
    """Transform and inverse return the values, and the scale survives JSON bit for bit."""
    scaler = Scaler.fit([values], ["a", "b", "c"])
    np.testing.assert_allclose(scaler.inverse(scaler.transform(values)), values, rtol=1e-9, atol=1e-8)
    again = Scaler.from_dict(json.loads(json.dumps(scaler.to_dict())))
    assert again.names == ("a", "b", "c")
    assert again.mean.tobytes() == scaler.mean.tobytes()
    assert again.deviation.tobytes() == scaler.deviation.tobytes()


def test_statistics_are_those_of_all_rows():
    """Several series count as one table, missing values are left out, a constant column has deviation 1."""
    first = np.array([[1.0, np.nan, 0.1], [2.0, 5.0, 0.1]])
    second = np.array([[6.0, 9.0, 0.1]])
    scaler = Scaler.fit([first, second], ["a", "b", "c"])
    np.testing.assert_allclose(scaler.mean, [3.0, 7.0, 0.1])
    np.testing.assert_allclose(scaler.deviation, [np.std([1, 2, 6]), 2.0, 1.0])
    assert np.isnan(scaler.transform(first)[0, 1])


def test_inverse_of_some_columns():
    """Columns may be chosen by position or by name, for arrays of any depth."""
    scaler = Scaler(("a", "b"), np.array([1.0, 2.0]), np.array([10.0, 20.0]))
    forecasts = np.ones((2, 3, 1))
    np.testing.assert_array_equal(scaler.inverse(forecasts, [1]), np.full((2, 3, 1), 22.0))
    np.testing.assert_array_equal(scaler.inverse(forecasts, ["b"]), np.full((2, 3, 1), 22.0))
    for unknown in ("z", 2, -1):
        with pytest.raises(DataError, match="expected columns among a, b"):
            scaler.inverse(forecasts, [unknown])


def test_shapes_are_checked():
    """A last axis of another length is refused instead of stretched."""
    scaler = Scaler(("a", "b"), np.zeros(2), np.ones(2))
    with pytest.raises(DataError, match="last axis of 2"):
        scaler.transform(np.ones((4, 1)))
    with pytest.raises(DataError, match="last axis of 1"):
        scaler.inverse(np.ones((4, 2)), ["a"])
    for arrays in ([], [np.ones(3)], [np.ones((3, 1))]):
        with pytest.raises(DataError, match="expected arrays of shape"):
            Scaler.fit(arrays, ["a", "b"])


@pytest.mark.parametrize("column", [[np.nan, np.nan], [np.inf, 1.0], [1e308, -1e308]])
def test_columns_without_a_scale_are_named(column):
    """A column without values, with infinity, or beyond float64 when squared is named."""
    with pytest.raises(DataError) as caught:
        Scaler.fit([np.array([[1.0, 2.0], column]).T], ["fine", "broken"])
    assert caught.value.column == "broken"


@pytest.mark.parametrize(
    "change",
    [
        {"names": None},
        {"names": "OT"},
        {"names": [1]},
        {"mean": ["x"]},
        {"mean": [[1.0], [1.0, 2.0]]},
        {"mean": [0.0, 0.0]},
        {"mean": [float("nan")]},
        {"mean": {}},
        {"deviation": [0.0]},
        {"deviation": [-1.0]},
        {"deviation": [float("inf")]},
        {"extra": 1},
    ],
)
def test_a_damaged_scaler_is_refused(change):
    """A stored scaler with wrong keys, lengths or numbers is refused."""
    good = {"names": ["OT"], "mean": [0.0], "deviation": [1.0]}
    assert Scaler.from_dict(good).names == ("OT",)
    with pytest.raises(DataError):
        Scaler.from_dict({**good, **change})
