"""One long recording whose rows are labelled, cut into cases that share no row."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aaren.data._cases import CaseSet, WindowCut
from aaren.errors import DataError


@dataclass(frozen=True, eq=False)
class Recording:
    """Rows in the order of time, each with a class.

    Args:
        values: float64 of shape (rows, channels); NaN is missing.
        labels: int64 of shape (rows,), positions in `classes`; -1 where the class is not known.
        classes: names of the classes.
        channels: names of the channels.
        source: file name, or another origin.
        sha256: digest of the file's bytes as stored; None for arrays.
        label: column of the class.
        first: number of the first row in the whole recording, from 0.
        bounds: lowest and highest values that are not taken as missing, shape (2, channels); None if all are kept.
    """

    values: NDArray[np.float64]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    source: str
    sha256: str | None
    label: str = "class"
    first: int = 0
    bounds: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def part(self, start: int, stop: int, name: str) -> Recording:
        """The rows from `start` to before `stop`, counted from 0 in the recording; `name` is added to its source.

        Raises:
            DataError: there are no such rows.
        """
        if not self.first <= start < stop <= self.first + len(self):
            raise DataError(
                f"expected the rows {start + 1} to {stop}, received a recording of {len(self)}", source=self.source
            )
        chosen = slice(start - self.first, stop - self.first)
        source = f"{self.source}, {name}"
        return replace(self, values=self.values[chosen], labels=self.labels[chosen], source=source, first=start)

    def split(self, test: float) -> tuple[Recording, Recording]:
        """The rows before and from the time at which the last share of `test` begins.

        Raises:
            ValueError: the share is not between 0 and 1.
            DataError: a part has no row.
        """
        if not 0 < test < 1:
            raise ValueError(f"test: expected a share between 0 and 1, received {test}")
        cut = len(self) - round(test * len(self))
        if not 0 < cut < len(self):
            raise DataError(f"expected rows for both parts, received {len(self)} rows in all", source=self.source)
        middle, stop = self.first + cut, self.first + len(self)
        return (
            self.part(self.first, middle, f"first {cut} rows"),
            self.part(middle, stop, f"last {len(self) - cut} rows"),
        )

    def without_outliers(self, limit: float, like: Recording) -> Recording:
        """The recording with every value missing that lies further than `limit` interquartile ranges from the median.

        Args:
            limit: positive.
            like: the rows on which median and range of each channel are measured, such as those of the training part.

        Raises:
            ValueError: the limit is not positive.
        """
        if not limit > 0:
            raise ValueError(f"limit: expected a positive number of interquartile ranges, received {limit}")
        low, median, high = np.nanquantile(like.values, (0.25, 0.5, 0.75), axis=0)
        span = np.where(high > low, limit * (high - low), np.inf)  # a channel that hardly changes has no outliers
        return self.within(np.stack([median - span, median + span]))

    def within(self, bounds: NDArray[np.float64]) -> Recording:
        """The recording with every value missing that is below the lowest or above the highest of its channel.

        Args:
            bounds: shape (2, channels), lowest and highest; infinite where all values are kept.
        """
        beyond = (self.values < bounds[0]) | (self.values > bounds[1])
        return replace(self, values=np.where(beyond, np.nan, self.values), bounds=bounds)

    def windows(self, length: int) -> CaseSet:
        """Cases of `length` rows, one behind the other within each stretch of one class.

        No row is in two of them and none of them crosses a change of the class; what a stretch has left at its end
        is left out.

        Raises:
            ValueError: the length is not positive.
            DataError: no stretch is that long.
        """
        if length < 1:
            raise ValueError(f"length: expected at least 1 row, received {length}")
        changes = np.flatnonzero(np.diff(self.labels)) + 1
        bounds = [0, *changes.tolist(), len(self)]
        starts = [
            start for first, end in itertools.pairwise(bounds) for start in range(first, end - length + 1, length)
        ]
        if not starts:
            longest = int(np.diff(bounds).max())
            raise DataError(
                f"expected {length} rows of one class behind each other, received at most {longest}; take shorter "
                "windows",
                source=self.source,
            )
        return CaseSet(
            tuple(self.values[start : start + length] for start in starts),
            self.labels[starts],
            self.classes,
            self.channels,
            self.source,
            self.sha256,
            WindowCut(length, self.label, (self.first, self.first + len(self)), self._bounds()),
        )

    def _bounds(self) -> tuple[tuple[float, float] | None, ...] | None:
        """The bounds channel by channel."""
        if self.bounds is None:
            return None
        return tuple((low, high) if math.isfinite(high - low) else None for low, high in self.bounds.T.tolist())


def split_windows(
    recording: Recording, length: int, *, test: float = 0.3, outliers: float | None = None
) -> tuple[CaseSet, CaseSet]:
    """Training and test cases of one recording: it is cut in time first, and each part into windows then.

    Args:
        recording: from `read_recording`.
        length: rows of a window.
        test: share of the rows that the test part has, at the end.
        outliers: values further than so many interquartile ranges from the median, both measured on the training part,
            are missing in both parts; None keeps them.

    Raises:
        ValueError: the length, the share or the limit is out of range.
        DataError: a part has no stretch of one class that is long enough.

    Example:
        >>> labels = np.array([0] * 7 + [1] * 9)
        >>> rows = Recording(np.arange(16.0)[:, None], labels, ("open", "closed"), ("AF3",), "arrays", None)
        >>> train, test = split_windows(rows, 3, test=0.25)
        >>> [case[:, 0].tolist() for case in train.cases], test.labels
        ([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [7.0, 8.0, 9.0]], array([1]))
    """
    first, second = recording.split(test)
    if outliers is not None:
        first, second = first.without_outliers(outliers, first), second.without_outliers(outliers, first)
    return first.windows(length), second.windows(length)
