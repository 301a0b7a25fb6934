"""One live stream of an event model: an event in, what comes next out, in constant time and memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from aaren._arguments import real_number
from aaren.data import Schema, mark_text, parse_time
from aaren.errors import DataError
from aaren.models import EventDistribution, EventModel, EventPreprocessing
from aaren.streaming._base import ModelStream, Policy
from aaren.streaming._drift_reference import log_interval
from aaren.streaming._event_prediction import EventPrediction, make_event_prediction

FARTHEST = 1e15  # mean intervals since the start: beyond it float64 does not tell two events apart


class _Event(NamedTuple):
    """A row that was checked: time in the user's unit, number of the mark or None, name of the sequence or None."""

    time: float
    mark: int | None
    sequence: str | None


class EventStream(ModelStream[EventModel, EventPrediction]):
    """A live stream of one sequence of events.

    Args:
        model: a trained event model.
        state_file: go on from this snapshot if the file is there; None or no such file starts a new stream.
        on_bad_row: "error" raises for an event that cannot be taken, "skip" leaves it out; "impute" is refused, since
            an event without a time is none. An event that raises or is left out leaves the state what it was.
        start: when the observation began, in the user's unit; None for the first event. A snapshot's own start wins.
        quantiles: levels of the next time to tell beside mean and median.

    Raises:
        ValueError: the model has no preprocessing, or an argument is out of range.
        ModelFileError: the snapshot is damaged, or is of another model.

    Example:
        stream = aaren.load("model/").stream()
        prediction = stream.update({"time": 12.5, "mark": "3"})
        prediction.mean, prediction.marks        # when the next event is expected, and which marks are probable
    """

    record_fields: ClassVar[Mapping[str, str]] = {"start": "float64", "time": "float64", "begun": "int64"}
    row_options: ClassVar[Sequence[str]] = ("on_bad_row", "start")

    def __init__(
        self,
        model: EventModel,
        state_file: str | Path | None = None,
        *,
        on_bad_row: Policy = "error",
        start: float | None = None,
        quantiles: Sequence[float] = (0.1, 0.9),
    ) -> None:
        if on_bad_row == "impute":
            raise ValueError("on_bad_row: expected 'error' or 'skip', received 'impute'; an event cannot be guessed")
        super().__init__(model, on_bad_row)
        assert model.preprocessing is not None, "the base has refused it"
        if isinstance(quantiles, str | bytes) or not isinstance(quantiles, Iterable):
            raise ValueError(f"quantiles: expected levels between 0 and 1, received {quantiles!r}")
        self.quantiles = tuple(
            real_number("quantiles", level, "levels between 0 and 1", lambda x: 0 < x < 1) for level in quantiles
        )
        if start is not None:
            start = real_number("start", start, "a finite number")
        self._preprocessing: EventPreprocessing = model.preprocessing
        self._numbers = {name: number for number, name in enumerate(model.preprocessing.marks)}
        self._start, self._time = start, start
        self._begun = False
        self._sequence: str | None = None
        self._restore(state_file)

    @property
    def schema(self) -> Schema:
        """The columns of a row: the time, and the mark if events have one."""
        columns = self._preprocessing.columns
        inputs = (columns.time,) if not self._numbers else (columns.time, columns.mark or "mark")
        return Schema(inputs, series_id=columns.sequence)

    @property
    def time(self) -> Any:
        """Time of the last event, if it can tell events apart: not where several may have the same."""
        return self._time if self._begun and self._preprocessing.duplicates != "keep" else None

    def time_of(self, row: Mapping[str, Any]) -> Any:
        """The time of an event in the user's unit; the event is not taken.

        Raises:
            DataError: the time cannot be read.
        """
        return self._time_of(row, self._rows + 1)

    @torch.inference_mode(False)
    @torch.no_grad()
    def log_survival(self, time: float) -> float | None:
        """The log-probability that no event comes from the last one until then; None before the first event.

        Args:
            time: in the user's unit; seconds since 1970 for dated events.

        Raises:
            ValueError: the time is before the last event.
        """
        if not self._begun:
            return None
        assert self._time is not None, "a stream that has begun has a time"
        if not time >= self._time:
            raise ValueError(f"time: expected at least that of the last event, {self._time}, received {time}")
        interval = torch.tensor([(time - self._time) / self._preprocessing.unit], dtype=torch.float64)
        return float(self.model.distribution(self._state.hidden).log_survival(interval.to(self.model.device)))

    def _check(self, row: Any, number: int) -> _Event:
        """The event. A row is a mapping of cells by column name, or cells in the order time, mark."""
        names = self.schema.inputs
        if not isinstance(row, Mapping):
            if isinstance(row, str | bytes) or not isinstance(row, Sequence) or len(row) != len(names):
                raise DataError(
                    f"expected a row of {len(names)} cells ({', '.join(names)}), received something else",
                    source="stream",
                    line=number,
                )
            row = dict(zip(names, row, strict=True))
        for name in names:
            if name not in row:
                raise DataError(
                    f"expected the columns {', '.join(names)}, received {', '.join(map(str, row)) or 'none'}",
                    source="stream",
                    line=number,
                    column=name,
                )
        sequence = self._sequence_of(row, number)  # before the time, which is in order only within a sequence
        time = self._time_of(row, number)
        self._check_order(time, number)
        return _Event(time, self._mark_of(row, number) if self._numbers else None, sequence)

    def _apply(self, checked: _Event, number: int) -> EventPrediction:
        """Score the event by what was said before it, take it, and say what comes next."""
        start = checked.time if self._start is None else self._start
        distribution, state, likelihood = self._advance(checked, start)
        before = self._time if self._begun else None  # the start of the observation begins no interval between events
        self._state, self._start, self._time = state, start, checked.time
        self._sequence, self._begun = checked.sequence, True
        interval = None if before is None else log_interval(self._preprocessing, checked.time - before)
        self._monitor.add(None if interval is None else np.array([interval]), checked.mark)
        return make_event_prediction(
            self._preprocessing, number, checked.time, checked.mark, distribution, self.quantiles, likelihood
        )

    @torch.inference_mode(False)
    @torch.no_grad()
    def _advance(self, event: _Event, start: float) -> tuple[EventDistribution, Any, float | None]:
        unit = self._preprocessing.unit
        device = self.model.device
        times = torch.tensor([[(event.time - start) / unit]], dtype=torch.float64, device=device)
        marks: Tensor | None = None
        if event.mark is not None:
            marks = torch.tensor([[event.mark]], device=device)
        found, state = self.model.log_likelihood(times, marks, state=self._state)
        likelihood = float(found.time[0, 0] + found.mark[0, 0]) - math.log(unit) if self._begun else None
        return self.model.distribution(state.hidden), state, likelihood

    def _own_header(self) -> dict[str, Any]:
        return {"start": self._start, "time": self._time, "begun": self._begun, "sequence": self._sequence}

    def _restore_own(self, header: Mapping[str, Any]) -> None:
        start, time, sequence = header["start"], header["time"], header["sequence"]
        self._start, self._time = None if start is None else float(start), None if time is None else float(time)
        self._begun, self._sequence = bool(header["begun"]), None if sequence is None else str(sequence)
        if self._begun and (self._start is None or self._time is None):
            raise ValueError("a stream that has begun has a start and a time")

    def _time_of(self, row: Mapping[str, Any], number: int) -> float:
        column = self._preprocessing.columns.time
        place: dict[str, Any] = {"source": "stream", "line": number, "column": column}
        cell = row[column]
        if self._preprocessing.dated:
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

    def _check_order(self, time: float, number: int) -> None:
        place: dict[str, Any] = {"source": "stream", "line": number, "column": self._preprocessing.columns.time}
        start = time if self._start is None else self._start
        if not abs(time - start) / self._preprocessing.unit < FARTHEST:
            raise DataError(
                f"expected a time within {FARTHEST:g} mean intervals of the start, {start}, received {time}", **place
            )
        if self._time is None or time > self._time:
            return
        if time < self._time:
            raise DataError(
                f"expected a time of at least {self._time}, received {time}; events come in order of time", **place
            )
        if self._begun and self._preprocessing.duplicates != "keep":
            raise DataError(
                f"expected a time after {time}, received the same one; leave the event out, or train with "
                "duplicates='keep'",
                **place,
            )

    def _mark_of(self, row: Mapping[str, Any], number: int) -> int:
        column = self.schema.inputs[1]
        text = mark_text(row[column])
        if text is None or text not in self._numbers:
            known = ", ".join(self._preprocessing.marks[:12]) + (", ..." if len(self._numbers) > 12 else "")
            received = "a missing cell" if text is None else repr(text[:60])
            raise DataError(
                f"expected one of the marks of training ({known}), received {received}",
                source="stream",
                line=number,
                column=column,
            )
        return self._numbers[text]

    def _sequence_of(self, row: Mapping[str, Any], number: int) -> str | None:
        column = self._preprocessing.columns.sequence
        if column is None or column not in row:
            return self._sequence
        place: dict[str, Any] = {"source": "stream", "line": number, "column": column}
        name = mark_text(row[column])
        if name is None:
            raise DataError("expected the name of a sequence, received a missing cell", **place)
        if (self._begun or self._sequence is not None) and name != self._sequence:
            raise DataError(
                f"expected events of sequence {self._sequence!r}, received {name!r}; use one stream for each sequence",
                **place,
            )
        return name
