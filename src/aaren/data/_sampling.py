"""How rows are spaced, and gaps made visible as rows of NaN."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aaren.data._series import Sampling, Series
from aaren.errors import DataError

_LONGEST_FILL = 20
"""A series may grow by this factor when gaps are filled; beyond it, the interval is not what it seems."""


def sample(series: Sequence[Series], source: str) -> tuple[tuple[Series, ...], Sampling]:
    """Find the interval of a set of series, and fill gaps with rows of NaN.

    Args:
        series: series with strictly increasing times, each of at least two rows, or all without times.
        source: where they come from; for the message.

    Returns:
        The series (longer where gaps were filled) and how they are sampled.

    Raises:
        DataError: filling the gaps would make a series more than 20 times longer.
    """
    stamps = [one.times for one in series if one.times is not None]
    if not stamps:
        return tuple(series), Sampling("none")
    steps = np.concatenate([np.diff(times).astype(np.int64) for times in stamps])
    # np.unique sorts and argmax takes the first maximum, so that of equally common steps the smallest wins.
    lengths, counts = np.unique(steps, return_counts=True)
    interval = lengths[np.argmax(counts)]
    spacing = np.timedelta64(int(interval), "us")
    if len(lengths) == 1:
        return tuple(series), Sampling("regular", spacing)
    largest = np.timedelta64(int(lengths[-1]), "us")
    if (lengths % interval).any():
        return tuple(series), Sampling("irregular", spacing, largest_gap=largest)
    absent = steps // interval - 1
    filled = tuple(_fill_gaps(one, int(interval), source) for one in series)
    return filled, Sampling("gaps", spacing, int((absent > 0).sum()), int(absent.sum()), largest)


def _fill_gaps(series: Series, interval: int, source: str) -> Series:
    """Put a series on its full grid; rows that were absent hold NaN."""
    assert series.times is not None, "series with and without times are never mixed"
    micro = series.times.astype(np.int64)
    position = (micro - micro[0]) // interval
    rows = int(position[-1]) + 1
    if rows > _LONGEST_FILL * len(micro):
        raise DataError(
            f"expected a series with moderate gaps, received {series.name!r}, whose {len(micro)} rows would "
            f"become {rows} rows at one every {interval / 1e6:g} seconds; split it at its largest gap, "
            "or read it with time=None",
            source=source,
        )
    values = np.full((rows, series.values.shape[1]), np.nan)
    values[position] = series.values
    times = series.times[0] + (np.arange(rows) * interval).astype("timedelta64[us]")
    return Series(series.name, times, values)
