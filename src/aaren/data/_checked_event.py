"""An event of a live stream, judged by the events before it; streams and exports share this."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

from aaren.data._cells import mark_text
from aaren.data._times import moment, seconds_since_1970
from aaren.errors import DataError

FARTHEST = 1e15  # mean intervals since the start: beyond it float64 does not tell two events apart


class CheckedEvent(NamedTuple):
    """An event: time in the user's unit, number of the mark or None, name of the sequence or None."""

    time: float
    mark: int | None
    sequence: str | None


class PastEvents(NamedTuple):
    """What the next event is judged by.

    Args:
        start: when the observation began, None if it begins with the first event.
        time: of the last event, or the start.
        begun: whether there was an event.
        sequence: the name of the sequence, None if no event had one.
    """

    start: float | None
    time: float | None
    begun: bool
    sequence: str | None


@dataclass(frozen=True)
class EventRules:
    """What an event must be.

    Args:
        time: column of the time.
        mark: column of the mark.
        sequence: column of the name of the sequence, None if there is none.
        marks: names of the marks, none for events without.
        dated: whether times are dates.
        unit: the mean interval between events.
        duplicates: "keep" if several events may have the same time.
    """

    time: str
    mark: str
    sequence: str | None
    marks: tuple[str, ...]
    dated: bool
    unit: float
    duplicates: str

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """The number of each mark."""
        return {name: number for number, name in enumerate(self.marks)}

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of an event: the time, and the mark if events have one."""
        return (self.time, self.mark) if self.marks else (self.time,)

    def check(self, row: Any, number: int, past: PastEvents) -> CheckedEvent:
        """The event of a row.

        Args:
            row: a mapping of cells by column name, or cells in the order time, mark.
            number: of the row.
            past: the events before.

        Raises:
            DataError: the row cannot be the next event.
        """
        place: dict[str, Any] = {"source": "stream", "line": number}
        if not isinstance(row, Mapping):
            if isinstance(row, str | bytes) or not isinstance(row, Sequence) or len(row) != len(self.names):
                raise DataError(
                    f"expected a row of {len(self.names)} cells ({', '.join(self.names)}), received something else",
                    **place,
                )
            row = dict(zip(self.names, row, strict=True))
        for name in self.names:
            if name not in row:
                raise DataError(
                    f"expected the columns {', '.join(self.names)}, received {', '.join(map(str, row)) or 'none'}",
                    **place,
                    column=name,
                )
        sequence = self._sequence_of(row, past, place)  # before the time, which is in order only within a sequence
        time = self.time_of(row, number)
        self._check_order(time, past, {**place, "column": self.time})
        return CheckedEvent(time, self._mark_of(row, place) if self.marks else None, sequence)

    def time_of(self, row: Mapping[str, Any], number: int) -> float:
        """The time of an event in the user's unit; seconds since 1970 for dates.

        Raises:
            DataError: the time cannot be read.
        """
        place: dict[str, Any] = {"source": "stream", "line": number, "column": self.time}
        cell = row[self.time]
        if self.dated:
            try:
                return seconds_since_1970(cell)
            except ValueError as error:
                raise DataError(str(error), **place) from None
        try:
            time = math.nan if isinstance(cell, bool) else float(cell)
        except (TypeError, ValueError, OverflowError):
            time = math.nan
        if not math.isfinite(time):
            raise DataError(f"expected a finite number as a time, received {cell!r}; leave the event out", **place)
        return time

    def _check_order(self, time: float, past: PastEvents, place: dict[str, Any]) -> None:
        start = time if past.start is None else past.start
        told = partial(moment, dated=self.dated)
        if not abs(time - start) / self.unit < FARTHEST:
            raise DataError(
                f"expected a time within {FARTHEST:g} mean intervals of the start, {told(start)}, received "
                f"{told(time)}; begin a new stream",
                **place,
            )
        if past.time is None or time > past.time:
            return
        if time < past.time:
            raise DataError(
                f"expected a time of at least {told(past.time)}, received {told(time)}; events come in order of time",
                **place,
            )
        if past.begun and self.duplicates != "keep":
            raise DataError(
                f"expected a time after {told(time)}, received the same one; leave the event out, or train with "
                "duplicates='keep'",
                **place,
            )

    def _mark_of(self, row: Mapping[str, Any], place: dict[str, Any]) -> int:
        text = mark_text(row[self.mark])
        if text is None or text not in self.numbers:
            known = ", ".join(self.marks[:12]) + (", ..." if len(self.marks) > 12 else "")
            received = "a missing cell" if text is None else repr(text[:60])
            raise DataError(
                f"expected one of the marks of training ({known}), received {received}", **place, column=self.mark
            )
        return self.numbers[text]

    def _sequence_of(self, row: Mapping[str, Any], past: PastEvents, place: dict[str, Any]) -> str | None:
        column = self.sequence
        if column is None or column not in row:
            return past.sequence
        name = mark_text(row[column])
        if name is None:
            raise DataError("expected the name of a sequence, received a missing cell", **place, column=column)
        if (past.begun or past.sequence is not None) and name != past.sequence:
            raise DataError(
                f"expected events of sequence {past.sequence!r}, received {name!r}; use one stream for each sequence",
                **place,
                column=column,
            )
        return name
