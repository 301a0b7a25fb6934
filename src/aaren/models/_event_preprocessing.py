"""Between the user's events and the model: names of marks, the unit of time, and what intervals were like."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from aaren.data import FARTHEST, Duplicates, EventColumns, EventRules, EventSet, Short, event_error, moment
from aaren.errors import DataError, ModelFileError
from aaren.models._description import Description


@dataclass(frozen=True)
class EventPreprocessing(Description):
    """How events become tokens, and predictions the user's times.

    Args:
        marks: names of the marks; empty if events have none.
        mark_counts: training events of each mark.
        unit: the mean interval of the training part, in the user's unit of time; the model's unit.
        rate: training events per unit of the user's time, the last interval of each sequence included.
        log_mean: mean of the logarithm of the training intervals, in units.
        log_deviation: its deviation.
        floor: what an interval of 0 counts as, in units: half of the smallest positive one of the training part.
        longest: the longest training interval, in units.
        duplicates: the rule for equal times in the training part; see `aaren.data.read_events`.
        dated: whether times are dates.
        columns: of tables and rows.
        short: the rule for sequences of fewer than two events in the training part.
    """

    marks: tuple[str, ...]
    mark_counts: tuple[int, ...]
    unit: float
    rate: float
    log_mean: float
    log_deviation: float
    floor: float
    longest: float
    duplicates: Duplicates
    dated: bool
    columns: EventColumns
    short: Short = "error"

    def __post_init__(self) -> None:
        for name in ("unit", "rate", "log_deviation", "floor", "longest"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}: expected a positive number, received {getattr(self, name)}")
        if not math.isfinite(self.log_mean):
            raise ValueError(f"log_mean: expected a finite number, received {self.log_mean}")
        if self.duplicates not in ("error", "drop", "keep"):
            raise ValueError(f"duplicates: expected 'error', 'drop' or 'keep', received {self.duplicates!r}")
        if self.short not in ("error", "drop"):
            raise ValueError(f"short: expected 'error' or 'drop', received {self.short!r}")
        if len(self.mark_counts) != len(self.marks) or len(set(self.marks)) != len(self.marks):
            raise ValueError(f"marks: expected different names, each with a count, received {len(self.marks)} names")

    @property
    def rules(self) -> EventRules:
        """What a row of a stream must be."""
        columns = self.columns
        return EventRules(
            columns.time, columns.mark or "mark", columns.sequence, self.marks, self.dated, self.unit, self.duplicates
        )

    @staticmethod
    def fit(train: EventSet) -> EventPreprocessing:
        """What the training part tells.

        Raises:
            DataError: all events of it have the same time.
        """
        intervals = np.concatenate([np.diff(one.times) for one in train.sequences])
        if not (intervals > 0).any():
            raise DataError("expected events at different times, received only equal ones", source=train.source)
        unit = float(intervals.mean())
        scaled = intervals / unit
        floor = float(scaled[scaled > 0].min() / 2)
        logs = np.log(np.where(scaled > 0, scaled, floor))
        exposure = sum(one.end - float(one.times[0]) for one in train.sequences)
        counts = np.zeros(len(train.marks), dtype=np.int64)
        for one in train.sequences:
            if one.marks is not None:
                counts += np.bincount(one.marks, minlength=len(counts))
        return EventPreprocessing(
            train.marks,
            tuple(counts.tolist()),
            unit,
            len(intervals) / exposure,
            float(logs.mean()),
            float(logs.std()) or 1.0,  # intervals that are all equal have none
            floor,
            float(scaled.max()),
            train.duplicates,
            train.dated,
            train.columns,
            train.short,
        )

    def require_sizes(self, marks: int) -> None:
        """Refuse another number of marks.

        Raises:
            ValueError: with both.
        """
        if len(self.marks) != marks:
            raise ValueError(
                f"preprocessing: expected {marks} marks as in the configuration, received {len(self.marks)}"
            )

    def require_set(self, events: EventSet) -> None:
        """Refuse events of another kind than the training part.

        Raises:
            DataError: other marks, marks where training had none or none where it had some, dates in place of numbers,
                or times too far from the start.
        """
        if any((one.marks is not None) != bool(self.marks) for one in events.sequences):
            kinds = ("events without marks", "events with marks")
            raise DataError(
                f"expected {kinds[bool(self.marks)]} as in training, received {kinds[not self.marks]}; give a file of "
                "the same kind, or train another model",
                source=events.source,
            )
        if events.marks != self.marks:
            raise DataError(
                f"expected the {len(self.marks)} marks of training, received {len(events.marks)} others; "
                "read the file with marks=preprocessing.marks",
                source=events.source,
            )
        if events.dated != self.dated:
            kinds = ("numbers", "dates")
            raise DataError(
                f"expected times as {kinds[self.dated]} as in training, received {kinds[events.dated]}",
                source=events.source,
            )
        for one in events.sequences:
            if len(one.times) and not (one.times[-1] - one.start) / self.unit < FARTHEST:
                first, last = (moment(float(time), dated=self.dated) for time in (one.start, one.times[-1]))
                raise event_error(
                    f"expected times within {FARTHEST:g} mean intervals of the start, {first}, received {last}",
                    events.source,
                    one.name,
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "marks": list(self.marks),
            "mark_counts": list(self.mark_counts),
            **{name: getattr(self, name) for name in _NUMBERS},
            "duplicates": self.duplicates,
            "dated": self.dated,
            "columns": list(self.columns),
            # told only where it is not the rule that models had before there were two
            **({} if self.short == "error" else {"short": self.short}),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> EventPreprocessing:
        """What `to_dict` wrote.

        Raises:
            ModelFileError: an entry is missing, unknown or out of range.
        """
        names = {"marks", "mark_counts", *_NUMBERS, "duplicates", "dated", "columns"}
        if set(data) - {"short"} != names:
            wrong = sorted((set(data) - {"short"}) ^ names)
            raise ModelFileError(f"preprocessing: expected the entries {sorted(names)}; missing or unknown: {wrong}")
        try:
            time, mark, sequence = data["columns"]
            numbers = {name: float(data[name]) for name in _NUMBERS}
            return EventPreprocessing(
                marks=tuple(str(name) for name in data["marks"]),
                mark_counts=tuple(int(count) for count in data["mark_counts"]),
                **numbers,
                duplicates=data["duplicates"],
                dated=bool(data["dated"]),
                columns=EventColumns(
                    str(time), None if mark is None else str(mark), None if sequence is None else str(sequence)
                ),
                short=data.get("short", "error"),
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise ModelFileError(f"preprocessing: expected what `save` writes; {error}") from None


_NUMBERS = ("unit", "rate", "log_mean", "log_deviation", "floor", "longest")
