"""Which rows of an input, fed again after a restart, a restored stream has already seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aaren.errors import DataError
from aaren.streaming import ModelStream


class PassOver:
    """Tells rows that a restored stream has seen, so that all others get the numbers they had without a restart.

    Rows are told by their times. Where there are none, the first rows of a file that is followed are told by their
    number; a pipe without times is taken to go on where it stopped. A bad row has no place of its own: before a row
    that was seen it was seen too, and directly behind the last one that was taken, as many count as were left out.

    Args:
        live: the restored stream.
        from_file: whether the rows come from the beginning of a file.
        skip: called with each bad row that turns out to be new.
    """

    def __init__(self, live: ModelStream[Any, Any], from_file: bool, skip: Callable[[DataError], None]) -> None:
        self._live, self._skip = live, skip
        self._left = live.rows if from_file and live.time is None else 0
        self._by_time = live.time is not None
        self._left_out = 0
        self._undecided: list[DataError] = []

    def __call__(self, cells: Mapping[str, str]) -> bool:
        """Whether a row was seen before.

        Raises:
            DataError: its time is needed and cannot be read.
        """
        if self._left:
            self._left -= 1
            return True
        if not self._by_time:
            return False
        time, last = self._live.time_of(cells), self._live.time
        if last is None or time is None or time > last:
            self.end()
            return False
        self._undecided.clear()
        if time == last:
            self._by_time = False
            self._left_out = self._live.rows - self._live.last_taken
        return True

    def bad(self, error: DataError) -> bool:
        """Whether a bad row was seen before, or can be judged only by a row after it."""
        if self._left:
            self._left -= 1
            return True
        if self._by_time:
            self._undecided.append(error)
            return True
        if self._left_out:
            self._left_out -= 1
            return True
        return False

    def taken(self) -> None:
        """A row was taken: bad rows from here on are new."""
        self._left_out = 0

    def end(self) -> None:
        """No further row was seen before; the bad rows that waited for a judgement are new."""
        self._by_time = False
        for error in self._undecided:
            self._skip(error)
        self._undecided.clear()
