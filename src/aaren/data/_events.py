"""What files of events become: sequences of times and marks, checked event by event."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aaren.data._times import moment
from aaren.errors import DataError

Duplicates = Literal["error", "drop", "keep"]
"""What becomes of two events of one sequence at the same time."""
_ROUNDING = 1e-9  # 0.57 of 100 sequences are 57, though the product of the floats is a little less
Short = Literal["error", "drop"]
"""What becomes of a sequence of fewer than two events."""


_VALIDATION = ("validation", "valid", "val", "dev")


class EventColumns(NamedTuple):
    """Which column of a table, and of the rows of a live stream, plays which part.

    Args:
        time: column of the times.
        mark: column of the marks, or None if events have none.
        sequence: column that tells several sequences of one table apart, or None.
    """

    time: str = "time"
    mark: str | None = None
    sequence: str | None = None


@dataclass(frozen=True, eq=False, slots=True)
class EventSequence:
    """One sequence of events.

    Args:
        name: value of the sequence column, or the number of the sequence in its file, from 0.
        times: float64 of shape (events,), never falling, in the file's unit; seconds since 1970 (UTC) if dated.
        marks: int64 of shape (events,), from 0; None if events have none.
        start: when the observation began; the time of the first event where the file does not say.
        end: when it ended; the time of the last event where the file does not say.
    """

    name: str
    times: NDArray[np.float64]
    marks: NDArray[np.int64] | None
    start: float
    end: float


@dataclass(frozen=True, eq=False)
class EventSet:
    """All sequences of one file.

    Args:
        sequences: in the order of the file.
        marks: names of the marks, in the order of their numbers; empty if events have none.
        source: file name.
        sha256: digest of the file's bytes as stored (of both, where the times have a file of their own), or None.
        duplicates: the rule for equal times that the file was read with; see `read_events`.
        dated: whether times are dates, so that they count in seconds.
        columns: of the table, if it was one.
        parts: numbers of the sequences of each part, where the file itself is split.
        short: the rule for sequences of fewer than two events that the file was read with.
    """

    sequences: tuple[EventSequence, ...]
    marks: tuple[str, ...]
    source: str
    sha256: str | None
    duplicates: Duplicates = "error"
    dated: bool = False
    columns: EventColumns = field(default_factory=EventColumns)
    parts: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: MappingProxyType({}))
    short: Short = "error"

    @property
    def events(self) -> int:
        """Events of all sequences."""
        return sum(len(one.times) for one in self.sequences)

    def take(self, numbers: Sequence[int]) -> EventSet:
        """The set of some sequences, in that order."""
        chosen = tuple(self.sequences[number] for number in numbers)
        return dataclasses.replace(self, sequences=chosen, parts=MappingProxyType({}))

    def part(self, name: str) -> EventSet:
        """The sequences of a part that the file names.

        Raises:
            DataError: it names no such part.
        """
        if name not in self.parts:
            known = ", ".join(self.parts) or "none"
            raise DataError(f"expected a part that the file names ({known}), received {name!r}", source=self.source)
        return self.take(self.parts[name])

    def named_parts(self, fraction: float = 0.1) -> tuple[EventSet, EventSet, EventSet | None]:
        """Training, validation and test, as the file names them.

        Args:
            fraction: of the training part, its last sequences, for validation, where the file names no such part
                ("validation", "valid", "val" or "dev").

        Returns:
            The three parts; None for a test part that the file does not name.

        Raises:
            DataError: the file names no training part, or a part is empty.
        """
        train, test = self.part("train"), self.part("test") if "test" in self.parts else None
        name = next((name for name in _VALIDATION if name in self.parts), None)
        if name is None:
            cut = len(train.sequences) - max(1, round(fraction * len(train.sequences)))
            train, validation = train.take(range(cut)), train.take(range(cut, len(train.sequences)))
        else:
            validation = self.part(name)
        for label, one in (("training", train), ("validation", validation), ("test", test)):
            if one is not None and not one.sequences:
                raise DataError(f"expected a sequence in the {label} part, received none", source=self.source)
        return train, validation, test

    def describe(self) -> str:
        """Say in two lines what was read."""
        lengths = [len(one.times) for one in self.sequences]
        marks = f"{len(self.marks)} marks" if self.marks else "no marks"
        head = f"{self.source}: {len(lengths)} sequences, {self.events} events, {marks}"
        spans = sum(one.times[-1] - one.times[0] for one in self.sequences)
        interval = spans / max(1, self.events - len(lengths))
        unit = " s" if self.dated else ""
        return f"{head}\nevents in a sequence: {min(lengths)} to {max(lengths)}; mean interval: {interval:.6g}{unit}"


def long_enough(events: EventSet, short: Short) -> EventSet:
    """The set without sequences of fewer than two events, which have no interval, or a refusal of the first of them.

    Raises:
        DataError: there is one and `short` is "error", or nothing is left.
    """
    kept = [number for number, one in enumerate(events.sequences) if len(one.times) >= 2]
    if len(kept) < len(events.sequences) and short == "error":
        one = next(one for one in events.sequences if len(one.times) < 2)
        raise event_error(
            f"expected at least two events, received {len(one.times)}; leave the sequence out, or read with "
            "short='drop'",
            events.source,
            one.name,
        )
    if not kept:
        raise DataError("expected a sequence of at least two events, received none", source=events.source)
    place = {number: index for index, number in enumerate(kept)}
    parts = {
        name: tuple(place[number] for number in numbers if number in place) for name, numbers in events.parts.items()
    }
    sequences = tuple(events.sequences[number] for number in kept)
    return dataclasses.replace(events, sequences=sequences, parts=MappingProxyType(parts), short=short)


def split_sequences(events: EventSet, fractions: Sequence[float | int] = (0.6, 0.2, 0.2)) -> tuple[EventSet, ...]:
    """Split the sequences, in their order, into training, validation and test.

    Args:
        events: the set.
        fractions: three fractions that add up to at most 1, or three numbers of sequences. What fractions leave over
            goes to the test part, as in the Meta-TPP code.

    Returns:
        Three sets.

    Raises:
        DataError: a part is empty, or there are not so many sequences.

    Example:
        >>> from aaren.data import sine_events
        >>> [len(part.sequences) for part in split_sequences(sine_events(seed=0, sequences=10))]
        [6, 2, 2]
    """
    total = len(events.sequences)
    # numbers beyond float64 are compared, not converted: they are counts, and too large
    known = len(fractions) == 3 and all(0 <= part < math.inf for part in fractions)
    counts = known and all(part == int(part) for part in fractions) and sum(fractions) > 1
    if not known or (not counts and sum(fractions) > 1 + 1e-9):
        raise DataError(f"expected three fractions or counts, such as 0.6, 0.2, 0.2, received {tuple(fractions)}")
    train, validation = (int(part) if counts else int(total * part + _ROUNDING) for part in fractions[:2])
    test = int(fractions[2]) if counts else total - train - validation
    if min(train, validation, test) < 1 or train + validation + test > total:
        raise DataError(
            f"expected at least one sequence in each part and at most {total} in all, received {train} of training, "
            f"{validation} of validation, {test} of test"
            + (
                ""
                if total > 2
                else "; tell several apart in a column called sequence, for example by the day or the user"
            ),
            source=events.source,
        )
    bounds = (0, train, train + validation, train + validation + test)
    return tuple(events.take(range(start, stop)) for start, stop in pairwise(bounds))


def event_error(message: str, source: str, sequence: str, index: int | None = None) -> DataError:
    """An error that names the sequence, and the event by its place in it, from 0."""
    place = f"sequence {sequence!r}" + ("" if index is None else f", event {index} (counted from 0)")
    return DataError(f"{place}: {message}", source=source)


def checked_sequence(
    name: str,
    times: NDArray[np.float64],
    marks: NDArray[np.int64] | None,
    number_of_marks: int,
    *,
    source: str,
    duplicates: Duplicates,
    start: float | None = None,
    end: float | None = None,
    padding: int | None = None,
    dated: bool = False,
    refuse: Callable[..., DataError] | None = None,
) -> EventSequence:
    """A sequence whose events are known to be in order, with marks that exist; it may be too short to be of use.

    Args:
        name: of the sequence.
        times: float64 of shape (events,).
        marks: from 0, or None.
        number_of_marks: marks must be below it.
        source: file name; for messages.
        duplicates: what becomes of equal times.
        start: of the observation; None for the first event.
        end: of the observation; None for the last event.
        padding: the number that fills up short sequences in files of this kind; for messages.
        dated: whether times are dates; for messages.
        refuse: makes the error of a message and of the index of an event, or None; by default it names both.

    Raises:
        DataError: with sequence and index.
    """
    refuse = refuse or partial(event_error, source=source, sequence=name)
    told = partial(moment, dated=dated)
    if marks is not None and len(marks) != len(times):
        raise refuse(f"expected as many marks as times, received {len(marks)} and {len(times)}")
    odd = np.flatnonzero(~np.isfinite(times))
    if odd.size:
        raise refuse(f"expected a finite time, received {times[odd[0]]}; remove the event", index=int(odd[0]))
    early = np.flatnonzero(np.diff(times) < 0)
    if early.size:
        at = int(early[0]) + 1
        raise refuse(
            f"expected a time of at least {told(times[at - 1])}, received {told(times[at])}; sort by time", index=at
        )
    if marks is not None:
        unknown = np.flatnonzero((marks < 0) | (marks >= number_of_marks))
        if unknown.size:
            at = int(unknown[0])
            raise refuse(_unknown_mark(int(marks[at]), number_of_marks, padding), index=at)
    same = np.flatnonzero(np.diff(times) == 0) + 1
    if same.size and duplicates == "error":
        at = int(same[0])
        raise refuse(
            f"expected a time after {told(times[at])}, received the same time; read with duplicates='drop' to leave "
            "later ones out, or 'keep' to have them",
            index=at,
        )
    if same.size and duplicates == "drop":
        times, marks = np.delete(times, same), None if marks is None else np.delete(marks, same)
    first, last = (times[0], times[-1]) if len(times) else (0.0, 0.0)
    start = float(first) if start is None else start
    end = float(last) if end is None else end
    if not (np.isfinite(start) and np.isfinite(end)) or (len(times) and (start > first or end < last)):
        raise refuse(
            f"expected an observation that holds all events, {times[0]} to {times[-1]}, received {start} to {end}"
        )
    return EventSequence(name, times, marks, start, end)


def _unknown_mark(mark: int, number_of_marks: int, padding: int | None) -> str:
    if mark == padding:
        return f"expected a mark, received the number {mark}, which is padding in files of this kind; remove the event"
    return f"expected a mark from 0 to {number_of_marks - 1}, received {mark}; correct it, or say how many marks exist"


def mark_names(number: int, first: int = 0) -> tuple[str, ...]:
    """Names of marks that have only numbers, as the file counts them."""
    return tuple(str(first + mark) for mark in range(number))
