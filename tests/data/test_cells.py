from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaren.data._cells import (
    CellError,
    finite_number_of,
    is_missing,
    is_numeric,
    number_of,
    numbers_of,
    shown,
)

MARKS = ["", "  ", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "none", "?", " ? ", None, pd.NA, pd.NaT]
ODD_TEXT = [
    "1_000", "0x10", "\u0661", "1,5", "1e", ".", "-", "+-1", "1 2", "true", "1d5", "1.2.3", "e5", "--1", "x",
    "-nan",
]  # fmt: skip
PLAIN_TEXT = ["1", "+1.5", ".5", "5.", "1e5", " 1E-3 ", "-0", "00012", "1e-400", "-.5", "1e+5", "1\r"]


@pytest.mark.parametrize("mark", MARKS)
def test_marks_of_absence(mark):
    """Every documented mark of absence is missing, and reads as NaN."""
    assert is_missing(mark)
    assert math.isnan(number_of(mark))


@pytest.mark.parametrize("number", [3, 3.0, np.float32(3), np.int8(3), np.uint64(3), Decimal(3), Fraction(3), "3"])
def test_kinds_of_numbers(number):
    """A number is read whatever its type."""
    assert number_of(number) == 3.0
    assert not is_missing(number)


@pytest.mark.parametrize("cell", [True, np.bool_(True), 1j, [], b"1", object(), 10**400, *ODD_TEXT])
def test_what_is_no_number(cell):
    """Truth values, complex numbers, containers and odd text are refused."""
    with pytest.raises(ValueError, match="expected a number"):
        number_of(cell)


@pytest.mark.parametrize("text", ["inf", "-inf", "+Infinity", "1e999"])
def test_infinity_is_a_number_but_not_a_finite_one(text):
    """Infinity is read where the caller wants to see it, and refused by name elsewhere."""
    assert math.isinf(number_of(text))
    with pytest.raises(ValueError, match="expected a finite number"):
        finite_number_of(text)


cells = st.one_of(
    st.floats().map(str),
    st.integers().map(str),
    st.sampled_from([*PLAIN_TEXT, *ODD_TEXT, *[mark for mark in MARKS if isinstance(mark, str)]]),
    st.text(alphabet="0123456789+-.eEinfa_ \t", max_size=8),
)


@settings(deadline=None)
@given(st.lists(cells, min_size=1, max_size=8))
def test_a_column_reads_as_its_cells(texts):
    """The column of text gives bit for bit what its cells give, and fails where the first bad cell is."""
    expected, bad = [], None
    for row, text in enumerate(texts):
        try:
            expected.append(finite_number_of(text))
        except ValueError:
            bad = row
            break
    for column in (pl.Series(texts, dtype=pl.String), np.array(texts, dtype=object)):
        if bad is None:
            np.testing.assert_array_equal(numbers_of(column), np.array(expected))
        else:
            with pytest.raises(CellError) as caught:
                numbers_of(column)
            assert caught.value.row == bad


def test_a_column_of_numbers_must_be_finite():
    """NaN passes through a column of numbers, infinity does not."""
    column = np.array([1.0, np.nan])
    assert numbers_of(column) is column
    with pytest.raises(CellError, match="finite") as caught:
        numbers_of(np.array([1.0, -np.inf]))
    assert caught.value.row == 1


@pytest.mark.parametrize(
    ("column", "numeric"),
    [
        (np.array([np.nan, 1.0]), True),
        (np.array([np.nan]), False),
        (np.array(["2020-01-01"], dtype="datetime64[us]"), False),
        (np.array([None, 3, "x"], dtype=object), True),
        (np.array([True], dtype=object), False),
        (pl.Series(["NA", "3", "x"]), True),
        (pl.Series(["NW", "3"]), False),
        (pl.Series(["NA", ""]), False),
    ],
)
def test_numeric_columns_are_known_by_their_first_value(column, numeric):
    """A column is numeric if its first cell that is not missing is a number."""
    assert is_numeric(column) is numeric


def test_quoted_cells_stay_short():
    """A huge cell is cut in messages."""
    assert len(shown("x" * 10_000)) == 60
    assert shown("x") == "'x'"
