"""Where a time stands in its minute, hour, day, week and year, as sines and cosines.

For a phase k of n the two features are sin(2 pi k / n) and cos(2 pi k / n), so that the last and the first
phase are neighbours. All phases are whole numbers from small tables; a row therefore gets the same bits alone
as in a column, which the arithmetic of vectorised sines does not promise.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aaren.data._times import Times
from aaren.errors import DataError

_DAY = np.timedelta64(1, "D")

# A phase is worth a feature while the sampling interval is shorter than its whole cycle.
_CYCLES = {
    "second_of_minute": np.timedelta64(1, "m"),
    "minute_of_hour": np.timedelta64(1, "h"),
    "hour_of_day": _DAY,
    "day_of_week": 7 * _DAY,
    "day_of_year": 365 * _DAY,
}


def calendar_names(interval: np.timedelta64 | None) -> tuple[str, ...]:
    """Choose the calendar features that vary at a sampling interval.

    Args:
        interval: time between two rows, or None if the rows have no time.

    Returns:
        Names from `second_of_minute`, `minute_of_hour`, `hour_of_day`, `day_of_week`, `day_of_year`.

    Example:
        >>> calendar_names(np.timedelta64(1, "h"))
        ('hour_of_day', 'day_of_week', 'day_of_year')
        >>> calendar_names(None)
        ()
    """
    if interval is None:
        return ()
    return tuple(name for name, cycle in _CYCLES.items() if interval < cycle)


def calendar_features(times: Times, names: Sequence[str]) -> NDArray[np.float32]:
    """Compute sine and cosine of each phase.

    Args:
        times: datetime64 of any unit, shape (rows,), without NaT.
        names: phases, as from `calendar_names`.

    Returns:
        float32 of shape (rows, 2 * len(names)); columns are sine, cosine of the first name, then of the
        second, ...

    Raises:
        DataError: a name is unknown, or a time is missing.

    Example:
        >>> calendar_features(np.array(["2016-07-01T06:00"], dtype="datetime64[us]"), ["hour_of_day"])
        array([[1., 0.]], dtype=float32)
    """
    unknown = [name for name in names if name not in _CYCLES]
    if unknown:
        raise DataError(f"expected calendar features from {', '.join(_CYCLES)}, received {unknown[0]!r}")
    if np.isnat(times).any():
        raise DataError("expected a time in every row, received a missing one (NaT); drop such rows")
    features = np.empty((len(times), 2 * len(names)), dtype=np.float32)
    seconds = times.astype("datetime64[s]").astype(np.int64)
    for index, name in enumerate(names):
        features[:, 2 * index : 2 * index + 2] = _waves(name, times, seconds)
    return features


def _waves(name: str, times: Times, seconds: NDArray[np.int64]) -> NDArray[np.float32]:
    """Look up sine and cosine of one phase; shape (rows, 2)."""
    if name == "second_of_minute":
        return _circle(60)[seconds % 60]
    if name == "minute_of_hour":
        return _circle(60)[seconds // 60 % 60]
    if name == "hour_of_day":
        return _circle(24)[seconds // 3600 % 24]
    days = seconds // 86400
    if name == "day_of_week":
        return _circle(7)[(days + 3) % 7]  # 1970-01-01 was a Thursday; Monday is 0
    years = times.astype("datetime64[Y]")
    first = years.astype("datetime64[D]").astype(np.int64)
    leap = (years + 1).astype("datetime64[D]").astype(np.int64) - first == 366
    day = days - first
    return np.where(leap[:, None], _circle(366)[day], _circle(365)[np.minimum(day, 364)])


@functools.cache
def _circle(phases: int) -> NDArray[np.float32]:
    """Sine and cosine of all phases of a cycle, exact zeros included; shape (phases, 2)."""
    angle = 2 * np.pi * np.arange(phases) / phases
    waves = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    table = np.where(np.abs(waves) < 1e-12, 0.0, waves).astype(np.float32)
    table.flags.writeable = False  # all callers share it
    return table
