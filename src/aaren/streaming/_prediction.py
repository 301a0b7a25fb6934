"""What a stream says after a row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.models import Forecast, ForecasterConfig, Preprocessing


@dataclass(frozen=True, eq=False)
class Prediction:
    """A forecast in the user's units and time.

    Args:
        row: number of the row in its stream, from 1.
        time: time of that row, or None without time.
        times: times that are forecast, shape (horizon,), or None without time.
        targets: names of the columns.
        mean: shape (horizon, targets).
        levels: quantile levels; may be empty.
        quantiles: shape (horizon, targets, levels).
        warming_up: whether the stream had fewer rows than its `warmup`, so that the forecast rests on little.
    """

    row: int
    time: np.datetime64 | None
    times: NDArray[Any] | None
    targets: tuple[str, ...]
    mean: NDArray[np.float64]
    levels: tuple[float, ...]
    quantiles: NDArray[np.float64]
    warming_up: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: row, warming_up, time, times, and for each target its mean and quantiles by level."""
        result: dict[str, Any] = {"row": self.row, "warming_up": self.warming_up}
        if self.time is not None and self.times is not None:
            result["time"] = time_texts(np.array([self.time]))[0]
            result["times"] = time_texts(self.times)
        for index, name in enumerate(self.targets):
            entry: dict[str, Any] = {"mean": _numbers(self.mean[:, index])}
            for place, level in enumerate(self.levels):
                entry[f"q{level:g}"] = _numbers(self.quantiles[:, index, place])
            result.setdefault("forecast", {})[name] = entry
        return result


def make_prediction(
    config: ForecasterConfig,
    preprocessing: Preprocessing,
    row: int,
    time: np.datetime64 | None,
    forecast: Forecast,
    *,
    warming_up: bool = False,
) -> Prediction:
    """The last forecast of a batch of one, in the user's units and time."""
    mean = preprocessing.to_units(forecast.mean[0, -1].double().cpu().numpy())
    quantiles = forecast.quantiles[0, -1].double().cpu().numpy()
    columns = [preprocessing.to_units(quantiles[..., index]) for index in range(len(config.quantiles))]
    times = None
    if time is not None and preprocessing.interval is not None:
        times = time + preprocessing.interval * np.arange(1, config.horizon + 1)
    return Prediction(
        row,
        time,
        times,
        preprocessing.schema.targets,
        mean,
        config.quantiles,
        np.stack(columns, -1) if columns else np.zeros((*mean.shape, 0)),
        warming_up,
    )


def time_texts(times: NDArray[Any]) -> list[str]:
    """Times in ISO 8601, always with date, hour, minute and second; microseconds only where some are not zero."""
    whole = (times == times.astype("datetime64[s]")).all()
    return [str(text) for text in np.datetime_as_string(times, unit="s" if whole else "us")]


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    """Seven significant digits, as much as float32 has; JSON has no NaN, so null stands for it."""
    return [float(f"{value:.7g}") if math.isfinite(value) else None for value in values.tolist()]
