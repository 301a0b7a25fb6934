"""The front of an event model: time, order, mark, sequence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.data._checked_event import CheckedEvent, EventRules, PastEvents
from aaren.export.runner._front import Arrays, Front, number_of, rounded, text_array, text_of, time_texts

_TOP_MARKS = 5


class EventFront(Front):
    """As `aaren.streaming.EventStream`; takes `start`."""

    options = ("start",)

    def prepare(self, preprocessing: Mapping[str, Any]) -> None:
        """Columns, marks, unit."""
        time, mark, sequence = preprocessing["columns"]
        self.marks, self.dated = tuple(preprocessing["marks"]), bool(preprocessing["dated"])
        unit, duplicates = float(preprocessing["unit"]), preprocessing["duplicates"]
        self.rules = EventRules(time, mark or "mark", sequence, self.marks, self.dated, unit, duplicates)

    def choose(self, start: float | None = None, **_: Any) -> None:
        """The start of a sequence."""
        if self.on_bad_row == "impute":
            raise ValueError("on_bad_row: expected 'error' or 'skip', received 'impute'; an event cannot be guessed")
        if start is not None and not math.isfinite(start):
            raise ValueError(f"start: expected a finite number, received {start}")
        self.first_start: float | None = None if start is None else float(start)

    @property
    def columns(self) -> tuple[str, ...]:
        """Time, mark if events have one, and the name of the sequence."""
        return self.rules.names if self.rules.sequence is None else (*self.rules.names, self.rules.sequence)

    def reset(self) -> None:
        """No event yet."""
        self.start = self.time = self.first_start
        self.sequence: str | None = None
        self.begun, self.mark = False, -1

    def check(self, row: Any, number: int) -> CheckedEvent:
        """The event."""
        return self.rules.check(row, number, PastEvents(self.start, self.time, self.begun, self.sequence))

    def tokens(self, checked: CheckedEvent) -> list[Arrays]:
        """Time since the start, and the mark."""
        start = checked.time if self.start is None else self.start
        token: Arrays = {"time": np.array(checked.time - start)}
        if checked.mark is not None:
            token["mark"] = np.array(checked.mark, dtype=np.int64)
        return [token]

    def take(self, checked: CheckedEvent) -> None:
        """Remember start, time and sequence."""
        self.start = checked.time if self.start is None else self.start
        self.time, self.sequence, self.begun = checked.time, checked.sequence, True
        self.mark = -1 if checked.mark is None else checked.mark

    def line(self, number: int, said: Arrays) -> dict[str, Any]:
        """As `aaren stream` writes it: row, time, mark, log_likelihood, next (mean, median, quantiles, marks)."""
        assert self.time is not None, "an event was taken"
        result: dict[str, Any] = {"row": number, "time": self._told(self.time)}
        if self.mark >= 0:
            result["mark"] = self.marks[self.mark]
        result["log_likelihood"] = rounded(float(said["log_likelihood"]))
        values = [said["mean"], said["median"], *said["quantiles"]]
        coming: dict[str, Any] = {
            name: self._told(self.time + float(value))
            for name, value in zip(("mean", "median", "q0.1", "q0.9"), values, strict=True)
        }
        chances = said["mark_probabilities"]
        if chances.size:
            best = np.argsort(-chances, kind="stable")[:_TOP_MARKS]
            coming["marks"] = {self.marks[index]: rounded(float(chances[index])) for index in best}
        result["next"] = coming
        return result

    def state(self) -> Arrays:
        """Start, time, last mark and name of the sequence."""
        return {
            "start": np.array(math.nan if self.start is None else self.start),
            "time": np.array(math.nan if self.time is None else self.time),
            "begun": np.array(self.begun, dtype=np.int64),
            "mark": np.array(self.mark, dtype=np.int64),
            "sequence": text_array(self.sequence),
        }

    def set_state(self, state: Mapping[str, NDArray[Any]], step: Mapping[str, NDArray[Any]]) -> None:
        """Take them back."""
        start, time = (number_of(state[name], "float64") for name in ("start", "time"))
        begun, mark = (number_of(state[name], "int64") for name in ("begun", "mark"))
        sequence = text_of(state["sequence"])
        if (begun and not (math.isfinite(start) and math.isfinite(time))) or not -1 <= mark < len(self.marks):
            raise ValueError("a stream that has begun has a start, a time, and a mark that there is")
        self.start, self.time = (None if math.isnan(one) else one for one in (start, time))
        self.begun, self.mark, self.sequence = bool(begun), mark, sequence

    def _told(self, value: float) -> Any:
        """A time as the user wrote it: a number, or ISO 8601; None beyond the calendar."""
        if not self.dated:
            return value if math.isfinite(value) else None
        if not abs(value) < 2.5e11:  # the year 9999
            return None
        return time_texts(np.array([round(value * 1e6)], dtype="datetime64[us]"))[0]
