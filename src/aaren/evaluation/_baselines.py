"""What a forecast must beat to be worth its cost: the last value, the last season, a linear model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from aaren.evaluation._metrics import ForecastErrors
from aaren.evaluation._prepared import Part, PreparedData

Array = NDArray[np.float32]
_BATCH = 512


def season_length(interval: np.timedelta64 | None, look_back: int) -> int | None:
    """Rows of the season that the naive forecast repeats: a day, or a week for daily rows; None if it does not fit."""
    if interval is None:
        return None
    day = np.timedelta64(1, "D")
    if interval < day and day % interval:
        return None
    season = int(day / interval) if interval < day else 7 if interval == day else 1
    return season if 1 < season <= look_back else None


def baselines(data: PreparedData, part: Part, look_back: int, horizon: int) -> dict[str, dict[str, float]]:
    """Errors of the simple forecasts on every window of a part, in units of the training deviation.

    Args:
        data: the prepared table.
        part: "validation" or "test".
        look_back: rows that a forecast may look at.
        horizon: rows to forecast.

    Returns:
        Errors by name, "last value", "seasonal naive" (where a season fits into the look-back) and "linear", each as
        `ForecastErrors.summary()`.

    "linear" is the DLinear class of models (arXiv 2205.13504) in closed form: for every target one linear map from
    the look-back to the horizon, relative to the last value, by ridge regression on the training windows.
    """
    errors = {"last value": ForecastErrors()}
    season = season_length(data.preprocessing.interval, look_back)
    if season is not None:
        errors["seasonal naive"] = ForecastErrors()
    errors["linear"] = ForecastErrors()
    maps = _fit_linear(data, look_back, horizon)
    for past, future in _batches(data, part, look_back, horizon):
        last = past[:, -1:, :]
        errors["last value"].add(np.broadcast_to(last, future.shape), future)
        if season is not None:
            steps = np.arange(horizon) % season - season
            errors["seasonal naive"].add(past[:, steps, :], future)
        errors["linear"].add(np.einsum("blt,tlh->bht", past - last, maps) + last, future)
    return {name: error.summary() for name, error in errors.items()}


def _batches(data: PreparedData, part: Part, look_back: int, horizon: int) -> Iterator[tuple[Array, Array]]:
    """Past with gaps filled by the last known value, and future with gaps, shapes (batch, rows, targets)."""
    starts = data.windows(part, look_back, horizon)
    targets = data.targets_inside(part)
    values = data.values[:, : targets.shape[1]]
    for first in range(0, len(starts), _BATCH):
        rows = starts[first : first + _BATCH, None] + np.arange(look_back + horizon)
        yield _filled(values[rows[:, :look_back]]), targets[rows[:, look_back:]]


def _filled(past: Array) -> Array:
    """Every missing value replaced by the one before it, or 0 (the training mean) where there is none."""
    known = np.isfinite(past)
    if known.all():
        return past
    place = np.where(known, np.arange(past.shape[1])[None, :, None], 0)
    filled = np.take_along_axis(past, np.maximum.accumulate(place, axis=1), axis=1)
    return np.nan_to_num(filled, nan=0.0)


def _fit_linear(data: PreparedData, look_back: int, horizon: int, ridge: float = 1.0) -> NDArray[np.float32]:
    """The maps, shape (targets, look_back, horizon), from the normal equations over all training windows."""
    targets = len(data.preprocessing.schema.targets)
    gram = np.zeros((targets, look_back, look_back))
    moment = np.zeros((targets, look_back, horizon))
    for past, future in _batches(data, "train", look_back, horizon):
        last = past[:, -1:, :]
        x = (past - last).astype(np.float64)
        y = np.nan_to_num(future - last, nan=0.0)
        # a window whose future has a gap is left out for that target: half a truth would bend the map
        x = x * np.isfinite(future).all(axis=1, keepdims=True)
        gram += np.einsum("blt,bmt->tlm", x, x, optimize=True)
        moment += np.einsum("blt,bht->tlh", x, y, optimize=True)
    return np.linalg.solve(gram + ridge * np.eye(look_back), moment).astype(np.float32)
