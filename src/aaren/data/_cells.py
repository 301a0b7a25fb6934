"""One cell: is it missing, and which number is it? The same rules for files, frames and live rows.

A number is plain decimal or scientific notation with a point. Text that a C library would take for a number
but a person would not have typed (`1_000`, hexadecimal, digits of other scripts) is refused.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
"""Text that means "not measured", in lower case and without the blanks around it."""

BLANKS = " \t\r\n"
"""The characters that are cut from both ends of a cell, by Python and by polars alike."""

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)


def shown(cell: object) -> str:
    """Quote a cell for an error message, cut to a length that stays on one line."""
    text = repr(cell)
    return text if len(text) <= 60 else f"{text[:57]}..."


def is_missing(cell: object) -> bool:
    """Tell whether a cell says "not measured": None, a null of pandas, numpy's mask, or one of the texts in `MISSING`.

    A float NaN is not among them: a frame may mean it so, a live row may not; the caller decides.
    """
    if isinstance(cell, str):
        return cell.strip(BLANKS).lower() in MISSING
    # pandas.NA and NaT are recognised by name, because pandas need not be installed.
    return cell is None or cell is np.ma.masked or type(cell).__name__ in ("NAType", "NaTType")


def number_of(cell: object) -> float:
    """Read one cell as a number.

    Args:
        cell: a number, text, or a mark of absence.

    Returns:
        The number; NaN for a missing cell or a float NaN; plus or minus infinity for one that is infinite, or
        text of a number too large for float64.

    Raises:
        ValueError: the cell is something else; the message quotes it.

    Example:
        >>> number_of(" 1.5e3 "), number_of("NA"), number_of("-inf")
        (1500.0, nan, -inf)
    """
    if is_missing(cell):
        return math.nan
    if isinstance(cell, str):
        text = cell.strip(BLANKS)
        if _NUMBER.fullmatch(text) or _INFINITE.fullmatch(text):
            return float(text)
    elif not isinstance(cell, bool) and isinstance(cell, Real | Decimal):
        try:
            return float(cell)
        except OverflowError:
            raise ValueError("expected a number that fits float64, received one that is too large") from None
    raise ValueError(f"expected a number, received {shown(cell)}")


def mark_text(cell: object) -> str | None:
    """The name of a mark in a cell: text without blanks around it, whole numbers without a point; None if missing."""
    if is_missing(cell) or cell != cell:
        return None
    if isinstance(cell, float | np.floating) and float(cell).is_integer():
        cell = int(cell)
    return str(cell).strip(BLANKS)


class CellError(ValueError):
    """A cell of a column is wrong; `row` is its position, counted from 0."""

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


def finite_number_of(cell: object) -> float:
    """Read one cell as `number_of` does, and refuse infinity."""
    number = number_of(cell)
    if math.isinf(number):
        raise ValueError(f"expected a finite number, received {shown(cell)}")
    return number


def numbers_of(column: Any) -> NDArray[np.float64]:
    """Read a whole column as numbers; cell by cell it gives what `finite_number_of` gives.

    Args:
        column: float64 array, object array, or polars Series of strings; shape (rows,).

    Returns:
        Numbers, NaN where a cell is missing; shape (rows,).

    Raises:
        CellError: a cell is not a finite number.
    """
    if isinstance(column, np.ndarray) and column.dtype == np.float64:
        infinite = np.flatnonzero(np.isinf(column))
        if infinite.size:
            row = int(infinite[0])
            raise CellError(row, f"expected a finite number, received {float(column[row])}")
        return column
    if isinstance(column, np.ndarray):
        return _fill(np.full(len(column), np.nan), np.arange(len(column)), column.tolist())
    import polars as pl

    text = column.str.strip_chars(BLANKS)
    values = np.array(text.cast(pl.Float64, strict=False), dtype=np.float64)
    # What polars reads as a finite number, `number_of` reads as the same number; the rest is judged cell by
    # cell.
    odd = np.flatnonzero(~np.isfinite(values))
    return _fill(values, odd, text.gather(odd).to_list())


def _fill(values: NDArray[np.float64], rows: NDArray[np.intp], cells: list[Any]) -> NDArray[np.float64]:
    """Write the numbers of `cells` at `rows` of `values`, reading each distinct text once."""
    known: dict[str, float] = {}
    for row, cell in zip(rows.tolist(), cells, strict=True):
        number = known.get(cell) if isinstance(cell, str) else None
        if number is None:
            try:
                number = finite_number_of(cell)
            except ValueError as error:
                raise CellError(row, str(error)) from None
            if isinstance(cell, str):
                known[cell] = number
        values[row] = number
    return values


def is_numeric(column: Any) -> bool:
    """Tell whether a column holds numbers, judged by its first cell that is not missing.

    Judging by one cell is deliberate: a stray word further down is then an error with its line, instead of a
    column that silently drops out. A column without any value is not numeric.
    """
    if isinstance(column, np.ndarray) and column.dtype != object:
        return column.dtype == np.float64 and not bool(np.isnan(column).all())
    for cell in column:
        try:
            if not math.isnan(number_of(cell)):
                return True
        except ValueError:
            return False
    return False
