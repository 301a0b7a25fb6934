"""What a pool says to a call: a status for every row, and predictions as arrays or one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.errors import DataError


class RowStatus(IntEnum):
    """What became of a row."""

    TAKEN = 0
    SKIPPED = 1  # left out by on_bad_row="skip", and counted
    REFUSED = 2
    DUPLICATE = 3  # its number was counted before; it was not applied again


class PoolResult:
    """The outcome of `StreamPool.update`, row by row in the order of the call.

    Args:
        status: uint8 of shape (rows,), a `RowStatus` each.
        rows: int64 of shape (rows,): rows that the stream has counted after this row.
        errors: why a row was refused, by its place in the call.
        arrays: predictions by name, shape (rows, ...), in the user's units; NaN where a row was not taken.
        make: makes the prediction of a row from the arrays.
    """

    def __init__(
        self,
        status: NDArray[np.uint8],
        rows: NDArray[np.int64],
        errors: dict[int, DataError],
        arrays: Mapping[str, NDArray[Any]],
        make: Callable[[Mapping[str, NDArray[Any]], int, int], Any],
    ) -> None:
        self.status, self.rows, self.errors, self.arrays = status, rows, errors, arrays
        self._make = make

    def __len__(self) -> int:
        return len(self.status)

    def __getitem__(self, index: int) -> Any:
        """What the stream of row `index` said to it, as `model.stream()` says it; None if it was not taken.

        Raises:
            IndexError: there is no such row.
        """
        place = range(len(self))[index]
        if self.status[place] != RowStatus.TAKEN:
            return None
        return self._make(self.arrays, place, int(self.rows[place]))

    def raise_first(self) -> None:
        """Raise the error of the first row that was refused, if one was.

        Raises:
            DataError: that one.
        """
        if self.errors:
            raise self.errors[min(self.errors)]
