"""Errors of forecasts, summed over all that is known and divided once: averages per value, not per batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass
class ForecastErrors:
    """Running sums of errors; missing truth does not count.

    Args:
        levels: quantile levels that are forecast, ascending.

    Example:
        >>> errors = ForecastErrors()
        >>> errors.add(np.array([1.0, 2.0]), np.array([1.0, np.nan]))
        >>> errors.add(np.array([3.0]), np.array([1.0]))
        >>> errors.summary()
        {'mse': 2.0, 'mae': 1.0, 'count': 2}
    """

    levels: Sequence[float] = ()
    _squared: float = 0.0
    _absolute: float = 0.0
    _count: int = 0
    _below: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    _pinball: float = 0.0

    def __post_init__(self) -> None:
        self._below = np.zeros(len(self.levels))

    def add(
        self, mean: NDArray[np.floating], truth: NDArray[np.floating], quantiles: NDArray[np.floating] | None = None
    ) -> None:
        """Count forecasts against the truth of the same shape; quantiles have one more axis, the levels."""
        known = np.isfinite(truth)
        error = mean[known].astype(np.float64) - truth[known]
        self._squared += float(np.square(error).sum())
        self._absolute += float(np.abs(error).sum())
        self._count += int(known.sum())
        if quantiles is not None and len(self.levels):
            over = truth[known][:, None] - quantiles[known].astype(np.float64)
            levels = np.asarray(self.levels)
            self._below += (over <= 0).sum(0)
            self._pinball += float(np.maximum(levels * over, (levels - 1) * over).mean(1).sum())

    def summary(self) -> dict[str, float]:
        """Mean squared and absolute error and the count; with quantiles, pinball loss and coverage of each level."""
        count = self._count or np.nan  # no truth, no error: not a perfect 0
        result: dict[str, float] = {"mse": self._squared / count, "mae": self._absolute / count}
        if len(self.levels):
            result["pinball"] = self._pinball / count
            for level, below in zip(self.levels, self._below, strict=True):
                result[f"below_q{level:g}"] = float(below) / count
        result["count"] = self._count
        return result
