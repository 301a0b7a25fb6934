"""One row of a live stream, judged by the policy for bad rows before a model sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.data._rows import Row, parse_row
from aaren.data._scale import LARGEST_SCALED, Scaler
from aaren.data._series import Schema
from aaren.errors import DataError


def nonfinite_of(scaler: Scaler, values: NDArray[np.float64], nonfinite: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which values, shape (rows, inputs), are not finite, or are too far from the mean of the training."""
    with np.errstate(over="ignore"):
        return nonfinite | (np.abs(scaler.transform(values)) > LARGEST_SCALED)


def checked_row(schema: Schema, scaler: Scaler, row: Any, number: int, *, impute: bool) -> Row:
    """The row, parsed; what is too far from the mean of the training counts as not finite.

    Args:
        schema: the columns.
        scaler: of the inputs.
        row: a mapping of cells by column name, or cells in the order time, inputs.
        number: of the row in its stream.
        impute: whether a cell that is not finite is left to the caller, who takes it as missing.

    Raises:
        DataError: the row cannot be read, or a cell is not finite; with row number and column.
    """
    parsed = parse_row(schema, row, row=number, source="stream")
    nonfinite = nonfinite_of(scaler, parsed.values[None], parsed.nonfinite[None])[0]
    parsed = Row(parsed.time, parsed.values, nonfinite)
    if parsed.nonfinite.any() and not impute:
        index = int(parsed.nonfinite.argmax())
        bound = f" within {LARGEST_SCALED:g} training deviations of the mean"
        raise DataError(
            f"expected a finite number{bound if np.isfinite(parsed.values[index]) else ''}, received "
            f"{parsed.values[index]}; leave it empty (None, null in JSON) if it is missing, or choose "
            "on_bad_row='skip' or 'impute'",
            source="stream",
            line=number,
            column=schema.inputs[index],
        )
    return parsed
