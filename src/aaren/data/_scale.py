"""Standardisation: subtract the mean of the training part, divide by its standard deviation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aaren.errors import DataError

LARGEST_SCALED = 1e15
"""Training deviations from the mean within which a model takes a number: its norms square them in float32."""


@dataclass(frozen=True, eq=False)
class Scaler:
    """Per input, z = (x - mean) / deviation.

    The deviation is the population's (ddof 0) and 1 for a constant column, as in scikit-learn's
    StandardScaler. Fit it on the training part only.

    Args:
        names: names of the inputs.
        mean: float64 of shape (inputs,), in the units of the inputs.
        deviation: float64 of shape (inputs,), positive, in the units of the inputs.
    """

    names: tuple[str, ...]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def fit(cls, arrays: Sequence[NDArray[np.float64]], names: Sequence[str]) -> Scaler:
        """Measure mean and deviation over all rows of all arrays.

        Args:
            arrays: training parts of the series, each of shape (rows, inputs); NaN is ignored.
            names: names of the inputs.

        Returns:
            The scaler.

        Raises:
            DataError: a column has no value at all or overflows, or the shapes do not fit the names.

        Example:
            >>> Scaler.fit([np.array([[1.0, 7.0], [3.0, 7.0]])], ["OT", "constant"]).deviation
            array([1., 1.])
        """
        rows = [np.asarray(array, dtype=np.float64) for array in arrays]
        if not rows or any(array.ndim != 2 or array.shape[1] != len(names) for array in rows):
            shapes = [array.shape for array in rows]
            raise DataError(f"expected arrays of shape (rows, {len(names)} inputs), received {shapes}")
        values = np.concatenate(rows)
        empty = np.flatnonzero(np.isnan(values).all(axis=0))
        if empty.size:
            raise DataError(
                "expected values to fit a scale on, received none; drop the column",
                column=names[int(empty[0])],
            )
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.nanmean(values, axis=0)
            variance = np.nanmean((values - mean) ** 2, axis=0)
        unbounded = np.flatnonzero(~np.isfinite(variance))
        if unbounded.size:
            raise DataError(
                "expected finite values of moderate size, received others; correct the column",
                column=names[int(unbounded[0])],
            )
        # A constant column can have a variance that is rounding noise; the bound is scikit-learn's.
        count, eps = (~np.isnan(values)).sum(axis=0), np.finfo(np.float64).eps
        constant = variance <= count * eps * variance + (count * mean * eps) ** 2
        return cls(tuple(names), mean, np.where(constant, 1.0, np.sqrt(np.where(constant, 1.0, variance))))

    def transform(self, values: ArrayLike) -> NDArray[np.float64]:
        """Standardise.

        Args:
            values: shape (..., inputs), in the units of the inputs; NaN stays NaN.

        Returns:
            Array of the same shape, without units.

        Raises:
            DataError: the last axis does not hold all inputs.
        """
        return (_with_last_axis(values, len(self.names)) - self.mean) / self.deviation

    def inverse(self, values: ArrayLike, columns: Sequence[int | str] | None = None) -> NDArray[np.float64]:
        """Undo `transform`.

        Args:
            values: shape (..., inputs), or (..., len(columns)), standardised.
            columns: which inputs the last axis holds, by position or name; None means all of them.

        Returns:
            Array of the same shape, in the units of the inputs.

        Raises:
            DataError: a column is unknown, or the last axis holds another number of them.
        """
        if columns is None:
            columns = range(len(self.names))
        unknown = [column for column in columns if column not in self.names and column not in range(len(self.names))]
        if unknown:
            raise DataError(f"expected columns among {', '.join(self.names)}, received {unknown[0]!r}")
        chosen = [self.names.index(column) if isinstance(column, str) else column for column in columns]
        return _with_last_axis(values, len(chosen)) * self.deviation[chosen] + self.mean[chosen]

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON can hold exactly."""
        return {"names": list(self.names), "mean": self.mean.tolist(), "deviation": self.deviation.tolist()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Scaler:
        """Rebuild a scaler from `to_dict`.

        Args:
            data: the keys `names`, `mean` and `deviation`.

        Returns:
            The scaler.

        Raises:
            DataError: a key is missing or unknown, lengths differ, a number is not finite, or a deviation is
                not positive.
        """
        if set(data) != {"names", "mean", "deviation"}:
            raise DataError(f"expected a scaler with names, mean and deviation, received {sorted(map(str, data))}")
        if not isinstance(data["names"], list | tuple) or not all(isinstance(name, str) for name in data["names"]):
            raise DataError(f"expected a list of names of a scaler, received {data['names']!r}")
        names = tuple(data["names"])
        try:
            mean, deviation = (np.array(data[key], dtype=np.float64) for key in ("mean", "deviation"))
        except (TypeError, ValueError):
            raise DataError("expected lists of numbers for mean and deviation of a scaler") from None
        if mean.shape != (len(names),) or deviation.shape != (len(names),):
            raise DataError(
                f"expected mean and deviation of {len(names)} inputs, "
                f"received shapes {mean.shape} and {deviation.shape}"
            )
        if not (np.isfinite(mean).all() and np.isfinite(deviation).all() and (deviation > 0).all()):
            raise DataError("expected finite means and finite positive deviations of a scaler, received others")
        return cls(names, mean, deviation)


def _with_last_axis(values: ArrayLike, size: int) -> NDArray[np.float64]:
    """Refuse a last axis of another length, which broadcasting would stretch without a word."""
    array = np.asarray(values, dtype=np.float64)
    if array.shape[-1:] != (size,):
        raise DataError(f"expected a last axis of {size} inputs, received shape {array.shape}")
    return array
