"""What an event stream says after an event."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aaren.models import EventDistribution, EventPreprocessing
from aaren.streaming._prediction import time_texts

TOP_MARKS = 5


@dataclass(frozen=True)
class EventPrediction:
    """The next event, in the user's unit of time; times of dated streams are seconds since 1970 (UTC).

    Args:
        row: number of the event in its stream, from 1.
        time: of that event.
        mark: of that event, or None.
        mean: expected time of the next event; the interval is restricted to the longest one of training.
        median: time before which it comes with probability 0.5.
        quantiles: the same for other levels.
        marks: the most probable marks of the next event with their probabilities, the most probable first.
        log_likelihood: of that event, as it was predicted by those before it: the log-density of its interval per unit
            of the user's time plus the log-probability of its mark; None for the first.
        dated: whether times are dates.
    """

    row: int
    time: float
    mark: str | None
    mean: float
    median: float
    quantiles: Mapping[float, float]
    marks: Mapping[str, float]
    log_likelihood: float | None
    dated: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: row, time, mark, log_likelihood, next (mean, median, quantiles, marks)."""
        result: dict[str, Any] = {"row": self.row, "time": self._time(self.time)}
        if self.mark is not None:
            result["mark"] = self.mark
        result["log_likelihood"] = None if self.log_likelihood is None else _number(self.log_likelihood)
        expected: dict[str, Any] = {"mean": self._time(self.mean), "median": self._time(self.median)}
        for level, value in self.quantiles.items():
            expected[f"q{level:g}"] = self._time(value)
        if self.marks:
            expected["marks"] = {name: _number(chance) for name, chance in self.marks.items()}
        result["next"] = expected
        return result

    def _time(self, value: float) -> Any:
        return told_time(value, self.dated)


def told_time(value: float, dated: bool) -> Any:
    """A time as the user wrote it: a number of full precision, or ISO 8601; null beyond the calendar."""
    if not dated:
        return value if math.isfinite(value) else None
    if not abs(value) < 2.5e11:  # the year 9999
        return None
    return time_texts(np.array([round(value * 1e6)], dtype="datetime64[us]"))[0]


def make_event_prediction(
    preprocessing: EventPreprocessing,
    row: int,
    time: float,
    mark: int | None,
    distribution: EventDistribution,
    quantiles: Sequence[float],
    log_likelihood: float | None,
) -> EventPrediction:
    """What a distribution of batch shape (1,) says after an event, in the user's unit."""
    names, unit = preprocessing.marks, preprocessing.unit
    top = distribution.mark_logits[0].softmax(-1).topk(min(TOP_MARKS, len(names)))

    return EventPrediction(
        row,
        time,
        None if mark is None else names[mark],
        time + unit * float(distribution.mean(preprocessing.longest)),
        time + unit * float(distribution.quantile(0.5)),
        {level: time + unit * float(distribution.quantile(level)) for level in quantiles},
        {names[index]: chance for index, chance in zip(top.indices.tolist(), top.values.tolist(), strict=True)},
        log_likelihood,
        preprocessing.dated,
    )


def _number(value: float) -> float | None:
    """Seven significant digits; JSON has no infinity, so null stands for it."""
    return float(f"{value:.7g}") if math.isfinite(value) else None
