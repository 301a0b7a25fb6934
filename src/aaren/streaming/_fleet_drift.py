"""How far the inputs of many streams have moved from the training data: how many of them, and which ones the most."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from aaren._arguments import real_number, whole_number
from aaren.errors import DataError
from aaren.models import Forecaster
from aaren.streaming._drift import normal_stability

if TYPE_CHECKING:  # which makes these reports
    from aaren.streaming._pool import StreamPool

AT_ONCE = 1024
"""Streams that are looked at together."""


@dataclass(frozen=True)
class StreamDrift:
    """One stream, by the column that has moved most.

    Args:
        key: of the stream.
        rows: that it has counted.
        column: its name.
        shift: recent mean less the training mean, in training deviations.
        deviation: recent deviation, in training deviations.
        stability: population stability index, as in `ColumnDrift`.
    """

    key: str
    rows: int
    column: str
    shift: float
    deviation: float
    stability: float


class FleetDrift:
    """A report over the streams of a pool, from what their states hold anyway: nothing is measured for it.

    A forecaster keeps the mean and deviation of each input over its recent rows, of which one counts half after
    `half_life` further ones. At the start of a stream they are those of training, with the weight of eight rows. The
    half-life is that of the model, its look-back unless it was trained with another; `stream.drift()` of a single
    stream looks back over 1,000 rows.

    Args:
        pool: the streams.
        bound: stability index from which a stream counts as moved; by custom 0.1 is a small change, 0.25 a large one.
        most: streams to name.

    Raises:
        ValueError: the model is no forecaster, or an argument is out of range.
    """

    def __init__(self, pool: StreamPool, *, bound: float = 0.25, most: int = 20) -> None:
        if not isinstance(pool.model, Forecaster):
            raise ValueError(
                f"model: expected a forecaster, whose states hold mean and deviation of the recent rows, received a "
                f"{pool.model.kind}; use stream.drift() of single streams"
            )
        self.bound = real_number("bound", bound, "a positive number", lambda x: x > 0)
        self._most = whole_number("most", most, 1, "streams")
        assert pool.model.preprocessing is not None, "streams refuse a model without"
        self._names = pool.model.preprocessing.schema.inputs
        self._pool, self.half_life = pool, float(pool.model.norm.half_life)
        self.streams = self.beyond = self.unreadable = 0
        self._worst: list[tuple[float, str, StreamDrift]] = []  # a heap, the one that moved least on top

    def add(self, keys: Sequence[str]) -> None:
        """Look at more streams; those that are gone by now are passed over, those whose record is damaged counted."""
        try:
            records = self._pool.records(keys)
        except DataError:
            if len(keys) > 1:
                for key in keys:
                    self.add([key])
            elif keys[0] in self._pool:
                self.unreadable += 1
            return
        if len(keys):
            self._look(keys, records)

    @property
    def worst(self) -> list[StreamDrift]:
        """The streams that have moved most, the farthest first."""
        return [stream for _, _, stream in sorted(self._worst, key=lambda one: (-one[0], one[1]))]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; numbers with seven significant digits."""
        named = [
            {name: float(f"{x:.7g}") if isinstance(x, float) else x for name, x in asdict(stream).items()}
            for stream in self.worst
        ]
        counts = {"streams": self.streams, "beyond": self.beyond, "unreadable": self.unreadable}
        return {**counts, "bound": self.bound, "half_life": self.half_life, "worst": named}

    def __str__(self) -> str:
        """A line of counts, then a line for each stream that is named."""
        lines = [f"{self.beyond} of {self.streams} streams moved by {self.bound:g} or more (stability index)"]
        lines += [f"{self.unreadable} damaged"] if self.unreadable else []
        for one in self.worst:
            moved = f"{one.column} by {one.shift:.4g} training deviations, its own {one.deviation:.4g}"
            lines.append(f"{one.stability:.4g}  {one.key}: {moved}, after {one.rows} rows")
        return "\n".join(lines)

    def _look(self, keys: Sequence[str], records: NDArray[np.uint8]) -> None:
        layout = self._pool.layout
        given = torch.from_numpy(records)
        weight = layout.column(given, "state.norm.normalizer")
        moments = layout.column(given, "state.norm.weighted_sum") / weight[..., None]
        shift, variance = moments[..., 0], moments[..., 1] - moments[..., 0] ** 2
        stability = normal_stability(shift, variance)
        column = stability.argmax(-1)
        farthest = stability.max(-1)
        self.streams += len(keys)
        self.beyond += int((farthest >= self.bound).sum())
        for place in np.argsort(-farthest, kind="stable")[: self._most].tolist():
            index, value = int(column[place]), float(farthest[place])
            if len(self._worst) == self._most and value <= self._worst[0][0]:
                break
            deviation = float(np.sqrt(max(variance[place, index], 0.0)))
            rows = int(layout.column(given, "rows")[place])
            found = StreamDrift(keys[place], rows, self._names[index], float(shift[place, index]), deviation, value)
            heapq.heappush(self._worst, (value, found.key, found))
            if len(self._worst) > self._most:
                heapq.heappop(self._worst)


def fleet_drift(pool: StreamPool, keys: Sequence[str], bound: float, most: int) -> FleetDrift:
    """A report over these streams, piece by piece, so that their records are not in memory twice."""
    report = FleetDrift(pool, bound=bound, most=most)
    for first in range(0, len(keys), AT_ONCE):
        report.add(keys[first : first + AT_ONCE])
    return report
