"""Events that may come next, drawn from a model, in the user's unit of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.models import EventPreprocessing, SampledEvents
from aaren.streaming._event_prediction import told_time


@dataclass(frozen=True, eq=False)
class EventPath:
    """One course that events may take; times of dated streams are seconds since 1970 (UTC).

    Args:
        times: in the user's unit, in order, float64 of shape (events,).
        marks: name of each event's mark; None if events have none.
        dated: whether times are dates.
    """

    times: NDArray[np.float64]
    marks: tuple[str, ...] | None
    dated: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: times, as numbers or ISO 8601, null beyond the calendar; and marks, if there are any."""
        told: dict[str, Any] = {"times": [told_time(time, self.dated) for time in self.times.tolist()]}
        return told if self.marks is None else {**told, "marks": list(self.marks)}


def make_event_paths(
    preprocessing: EventPreprocessing, drawn: SampledEvents, before: float, last: float, until: float
) -> tuple[EventPath, ...]:
    """What was drawn, in the user's unit.

    Args:
        preprocessing: unit and names of marks.
        drawn: in the model's units, batch shape (paths,).
        before: time of the last event that was seen, in those units since the start.
        last: the same in the user's unit.
        until: end that was asked for, in the user's unit; rounding takes no event beyond it.
    """
    times = np.minimum(last + preprocessing.unit * (drawn.times.cpu().numpy() - before), until)
    marks, names = drawn.marks.cpu().numpy(), preprocessing.marks
    return tuple(
        EventPath(
            times[path, inside],
            tuple(names[mark] for mark in marks[path, inside]) if names else None,
            preprocessing.dated,
        )
        for path, inside in enumerate(drawn.mask.cpu().numpy())
    )
