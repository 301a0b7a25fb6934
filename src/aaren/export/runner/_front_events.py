"""The front of an event model: time, order, mark, sequence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aaren.data._cells import mark_text
from aaren.data._times import parse_time
from aaren.errors import DataError
from aaren.export.runner._front import Arrays, Front, number_of, rounded, text_array, text_of, time_texts

FARTHEST = 1e15  # mean intervals since the start: beyond it float64 does not tell two events apart
_TOP_MARKS = 5


class _Event(NamedTuple):
    """A row that was checked: time in the user's unit, number of the mark or None, name of the sequence or None."""

    time: float
    mark: int | None
    sequence: str | None


class EventFront(Front):
    """As `aaren.streaming.EventStream`; takes `start`."""

    options = ("start",)

    def prepare(self, preprocessing: Mapping[str, Any]) -> None:
        """Columns, marks, unit."""
        self.time_column, mark, self.sequence_column = preprocessing["columns"]
        self.marks = tuple(preprocessing["marks"])
        self.mark_column = mark or "mark"
        self.numbers = {name: number for number, name in enumerate(self.marks)}
        self.unit, self.dated = float(preprocessing["unit"]), bool(preprocessing["dated"])
        self.duplicates = preprocessing["duplicates"]

    def choose(self, start: float | None = None, **_: Any) -> None:
        """The start of a sequence."""
        if self.on_bad_row == "impute":
            raise ValueError("on_bad_row: expected 'error' or 'skip', received 'impute'; an event cannot be guessed")
        if start is not None and not math.isfinite(start):
            raise ValueError(f"start: expected a finite number, received {start}")
        self.first_start: float | None = None if start is None else float(start)

    @property
    def names(self) -> tuple[str, ...]:
        """Time, and mark if events have one."""
        return (self.time_column, self.mark_column) if self.numbers else (self.time_column,)

    @property
    def columns(self) -> tuple[str, ...]:
        """The same and the name of the sequence."""
        return self.names if self.sequence_column is None else (*self.names, self.sequence_column)

    def reset(self) -> None:
        """No event yet."""
        self.start = self.time = self.first_start
        self.sequence: str | None = None
        self.begun, self.mark = False, -1

    def check(self, row: Any, number: int) -> _Event:
        """The event."""
        names = self.names
        place: dict[str, Any] = {"source": "stream", "line": number}
        if not isinstance(row, Mapping):
            if isinstance(row, str | bytes) or not isinstance(row, Sequence) or len(row) != len(names):
                raise DataError(
                    f"expected a row of {len(names)} cells ({', '.join(names)}), received something else", **place
                )
            row = dict(zip(names, row, strict=True))
        for name in names:
            if name not in row:
                raise DataError(
                    f"expected the columns {', '.join(names)}, received {', '.join(map(str, row)) or 'none'}",
                    **place,
                    column=name,
                )
        sequence = self._sequence_of(row, place)  # before the time, which is in order only within a sequence
        time = self._time_of(row, {**place, "column": self.time_column})
        self._check_order(time, {**place, "column": self.time_column})
        return _Event(time, self._mark_of(row, place) if self.numbers else None, sequence)

    def tokens(self, checked: _Event) -> list[Arrays]:
        """Time since the start, and the mark."""
        start = checked.time if self.start is None else self.start
        token: Arrays = {"time": np.array(checked.time - start)}
        if checked.mark is not None:
            token["mark"] = np.array(checked.mark, dtype=np.int64)
        return [token]

    def take(self, checked: _Event) -> None:
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

    def _time_of(self, row: Mapping[str, Any], place: dict[str, Any]) -> float:
        cell = row[self.time_column]
        if self.dated:
            try:
                return float(parse_time(cell).astype("datetime64[us]").astype(np.int64)) / 1e6
            except ValueError as error:
                raise DataError(str(error), **place) from None
        try:
            time = math.nan if isinstance(cell, bool) else float(cell)
        except (TypeError, ValueError, OverflowError):
            time = math.nan
        if not math.isfinite(time):
            raise DataError(f"expected a finite number as a time, received {cell!r}; leave the event out", **place)
        return time

    def _check_order(self, time: float, place: dict[str, Any]) -> None:
        start = time if self.start is None else self.start
        if not abs(time - start) / self.unit < FARTHEST:
            raise DataError(
                f"expected a time within {FARTHEST:g} mean intervals of the start, {start}, received {time}", **place
            )
        if self.time is None or time > self.time:
            return
        if time < self.time:
            raise DataError(
                f"expected a time of at least {self.time}, received {time}; events come in order of time", **place
            )
        if self.begun and self.duplicates != "keep":
            raise DataError(
                f"expected a time after {time}, received the same one; leave the event out, or train with "
                "duplicates='keep'",
                **place,
            )

    def _mark_of(self, row: Mapping[str, Any], place: dict[str, Any]) -> int:
        text = mark_text(row[self.mark_column])
        if text is None or text not in self.numbers:
            known = ", ".join(self.marks[:12]) + (", ..." if len(self.marks) > 12 else "")
            received = "a missing cell" if text is None else repr(text[:60])
            raise DataError(
                f"expected one of the marks of training ({known}), received {received}",
                **place,
                column=self.mark_column,
            )
        return self.numbers[text]

    def _sequence_of(self, row: Mapping[str, Any], place: dict[str, Any]) -> str | None:
        column = self.sequence_column
        if column is None or column not in row:
            return self.sequence
        name = mark_text(row[column])
        if name is None:
            raise DataError("expected the name of a sequence, received a missing cell", **place, column=column)
        if (self.begun or self.sequence is not None) and name != self.sequence:
            raise DataError(
                f"expected events of sequence {self.sequence!r}, received {name!r}; use one stream for each sequence",
                **place,
                column=column,
            )
        return name
