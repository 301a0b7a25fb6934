"""Parts in time for training, validation and test, and the windows inside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aaren.data._series import SeriesSet
from aaren.errors import DataError

Ranges = tuple[tuple[int, int], ...]
"""For each series, its rows as (start, stop), stop excluded."""


@dataclass(frozen=True)
class Splits:
    """Rows of each part; the parts follow each other and do not overlap.

    Args:
        train: for each series (start, stop), stop excluded.
        validation: the same.
        test: the same.
    """

    train: Ranges
    validation: Ranges
    test: Ranges

    def windows(
        self,
        part: Literal["train", "validation", "test"],
        look_back: int,
        horizon: int,
        *,
        stride: int = 1,
    ) -> NDArray[np.int64]:
        """List the windows of one part by the published rule.

        In validation and test, the look-back may begin before the part; in train it may not.

        Args:
            part: `train`, `validation` or `test`.
            look_back: rows that the model sees.
            horizon: rows to forecast.
            stride: rows between the starts of two windows.

        Returns:
            As `windows`.

        Raises:
            DataError: as `windows`.
        """
        ranges: Ranges = getattr(self, part)
        return windows(ranges, look_back, horizon, stride=stride, look_back_before=part != "train")


def split_in_time(series_set: SeriesSet, parts: Sequence[float | int] = (0.7, 0.1, 0.2)) -> Splits:
    """Cut each series in time.

    Fractions follow the published protocol: `int(n * train)` rows, at the end `int(n * test)` rows, and
    validation gets what lies between. Counts are rows from the start of each series; rows after them are not
    used.

    Args:
        series_set: the series.
        parts: train, validation and test, as three fractions whose sum is 1, or three whole numbers of rows.

    Returns:
        The parts of each series.

    Raises:
        DataError: a part is empty, the counts exceed a series, or the fractions do not sum to 1.

    Example:
        For ETTh1, `split_in_time(etth1, (8640, 2880, 2880)).test` is `((11520, 14400),)`.
    """
    if len(parts) != 3:
        raise DataError(f"expected three parts (train, validation, test), received {len(parts)}")
    train, validation, test = parts
    counted = all(isinstance(part, int | np.integer) for part in parts)
    if not counted and not abs(train + validation + test - 1) <= 1e-9:  # NaN included
        raise DataError(f"expected three fractions whose sum is 1, or three whole numbers, received {tuple(parts)}")
    cuts = []
    for series in series_set.series:
        rows = len(series.values)
        if counted:
            lengths = (int(train), int(validation), int(test))
        else:
            first, last = int(rows * train), int(rows * test)
            lengths = (first, rows - first - last, last)
        if min(lengths) < 1 or sum(lengths) > rows:
            raise DataError(
                f"expected parts of at least one row that fit into series {series.name!r} of {rows} rows, "
                f"received {lengths[0]} for train, {lengths[1]} for validation, {lengths[2]} for test; "
                "choose other parts",
                source=series_set.source,
            )
        cuts.append(np.cumsum((0, *lengths)).tolist())
    return Splits(
        tuple((cut[0], cut[1]) for cut in cuts),
        tuple((cut[1], cut[2]) for cut in cuts),
        tuple((cut[2], cut[3]) for cut in cuts),
    )


def windows(
    ranges: Ranges, look_back: int, horizon: int, *, stride: int = 1, look_back_before: bool = False
) -> NDArray[np.int64]:
    """List every window whose forecast rows lie inside the given rows.

    A window that starts at row s sees rows s to s + look_back - 1 and forecasts the `horizon` rows after
    them.

    Args:
        ranges: for each series (start, stop), stop excluded.
        look_back: rows that the model sees, at least 1.
        horizon: rows to forecast, at least 1.
        stride: rows between the starts of two windows, at least 1.
        look_back_before: the look-back may begin before `start` (never before row 0), so that the first
            forecast row is `start` itself.

    Returns:
        int64 of shape (windows, 2): index of the series, first row of the look-back; in order.

    Raises:
        DataError: a length is not positive, or no series is long enough for one window.

    Example:
        >>> windows(((4, 8),), 3, 2, look_back_before=True).tolist()
        [[0, 1], [0, 2], [0, 3]]
        >>> windows(((0, 6),), 3, 2).tolist()
        [[0, 0], [0, 1]]
    """
    if min(look_back, horizon, stride) < 1:
        raise DataError(
            f"expected look_back, horizon and stride of at least 1, received {look_back}, {horizon} and {stride}"
        )
    pieces = []
    for index, (start, stop) in enumerate(ranges):
        first = max(0, start - look_back) if look_back_before else start
        starts = np.arange(first, stop - look_back - horizon + 1, stride, dtype=np.int64)
        pieces.append(np.stack([np.full_like(starts, index), starts], axis=1))
    found = np.concatenate(pieces) if pieces else np.empty((0, 2), dtype=np.int64)
    if not len(found):
        longest = max((stop - start for start, stop in ranges), default=0)
        raise DataError(
            f"expected a part with room for look-back {look_back} and horizon {horizon}, received at most "
            f"{longest} rows; choose a smaller look_back= or horizon=, or another split="
        )
    return found
