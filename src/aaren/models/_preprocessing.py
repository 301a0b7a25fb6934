"""Between the user's table and the model: which columns, in what units, at what interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.data import Scaler, Schema, calendar_features
from aaren.errors import AarenError, ModelFileError
from aaren.models._description import Description


@dataclass(frozen=True)
class Preprocessing(Description):
    """How rows become tokens and forecasts become the user's units.

    Args:
        schema: the columns and their parts.
        scaler: mean and deviation of every input in the training part.
        calendar: names of the calendar features.
        interval: time between two rows, timedelta64[us], or None without time.
        irregular: whether the training rows were irregularly spaced, so that gaps are not rows that are missing.
    """

    schema: Schema
    scaler: Scaler
    calendar: tuple[str, ...] = ()
    interval: np.timedelta64 | None = None
    irregular: bool = False

    def features(self, times: NDArray[Any] | None, rows: int) -> NDArray[np.float32]:
        """Calendar features, shape (rows, 2 * len(calendar))."""
        if times is None or not self.calendar:
            return np.zeros((rows, 0), dtype=np.float32)
        return calendar_features(times, self.calendar)

    def elapsed(self, times: NDArray[Any] | None, rows: int) -> NDArray[np.float32]:
        """Time since the row before in intervals, shape (rows,); 0 for the first row; 1 where there is no time."""
        steps = np.ones(rows, dtype=np.float32)
        if times is not None and self.interval is not None:
            steps[1:] = np.diff(times) / self.interval
        steps[:1] = 0
        return steps

    def to_units(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Scaled targets, shape (..., targets), in the user's units."""
        return self.scaler.inverse(values, columns=range(len(self.schema.targets)))

    def require_sizes(self, inputs: int, targets: int, calendar: int) -> None:
        """Refuse the numbers of columns of another model.

        Raises:
            ValueError: with both.
        """
        received = (len(self.schema.inputs), len(self.schema.targets), 2 * len(self.calendar))
        expected = (inputs, targets, calendar)
        if received != expected:
            raise ValueError(
                f"preprocessing: expected (inputs, targets, calendar features) = {expected} as in the configuration, "
                f"received {received}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "schema": self.schema.to_dict(),
            "scaler": self.scaler.to_dict(),
            "calendar": list(self.calendar),
            "interval_microseconds": None if self.interval is None else int(self.interval.astype(np.int64)),
            "irregular": self.irregular,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Preprocessing:
        """What `to_dict` wrote.

        Raises:
            ModelFileError: an entry is missing, unknown or out of range.
        """
        names = {"schema", "scaler", "calendar", "interval_microseconds", "irregular"}
        if set(data) != names:
            wrong = sorted(set(data) ^ names)
            raise ModelFileError(f"preprocessing: expected the entries {sorted(names)}; missing or unknown: {wrong}")
        try:
            micro = data["interval_microseconds"]
            if micro is not None and not micro > 0:
                raise ValueError(f"interval_microseconds: expected a positive number or null, received {micro}")
            result = Preprocessing(
                Schema.from_dict(data["schema"]),
                Scaler.from_dict(data["scaler"]),
                tuple(str(name) for name in data["calendar"]),
                None if micro is None else np.timedelta64(int(micro), "us"),
                bool(data["irregular"]),
            )
            result.features(np.array(["2000-01-01"], dtype="datetime64[us]"), 1)
        except (TypeError, ValueError, OverflowError, AarenError) as error:
            raise ModelFileError(f"preprocessing: expected what `save` writes; {error}") from None
        if result.scaler.names != result.schema.inputs:
            raise ModelFileError("preprocessing: expected a scaler for exactly the inputs of the schema")
        return result
