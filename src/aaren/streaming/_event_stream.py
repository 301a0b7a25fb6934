"""One live stream of an event model: an event in, what comes next out, in constant time and memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from aaren._arguments import real_number, whole_number
from aaren.data import CheckedEvent, PastEvents, Schema, seconds_since_1970
from aaren.models import EventDistribution, EventModel, EventPreprocessing
from aaren.streaming._base import ModelStream, Policy
from aaren.streaming._drift_reference import log_interval
from aaren.streaming._event_path import EventPath, make_event_paths
from aaren.streaming._event_prediction import EventPrediction, make_event_prediction


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
        self._rules = model.preprocessing.rules
        self._start, self._time = start, start
        self._begun = False
        self._sequence: str | None = None
        self._restore(state_file)

    @property
    def schema(self) -> Schema:
        """The columns of a row: the time, and the mark if events have one."""
        return Schema(self._rules.names, series_id=self._rules.sequence)

    @property
    def time(self) -> Any:
        """Time of the last event, if it can tell events apart: not where several may have the same."""
        return self._time if self._begun and self._preprocessing.duplicates != "keep" else None

    def time_of(self, row: Mapping[str, Any]) -> Any:
        """The time of an event in the user's unit; the event is not taken.

        Raises:
            DataError: the time cannot be read.
        """
        return self._rules.time_of(row, self._rows + 1)

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

    def sample(
        self,
        count: int | None = None,
        *,
        until: Any = None,
        paths: int = 1,
        generator: torch.Generator | None = None,
    ) -> tuple[EventPath, ...]:
        """Draw events that may come after the last one; the stream stays as it is, bit for bit.

        Args:
            count: how many events at most.
            until: time up to which events are drawn, as a row has it; of dated events also in seconds since 1970.
                Without `count`, a path has 10,000 events at most. One of the two must be given.
            paths: how many courses to draw, each independent of the others.
            generator: decides the draws; on the device of the model.

        Returns:
            An `EventPath` for each course, in the user's unit, with the marks' names.

        Raises:
            ValueError: the stream has no event yet, or an argument is out of range.

        Example:
            paths = stream.sample(until=prediction.time + 24, paths=100, generator=torch.Generator().manual_seed(0))
            sum(len(path.times) for path in paths) / 100       # events expected in the 24 units that follow
        """
        if not self._begun:
            raise ValueError("sample: expected a stream with an event, received a new one; give it an event first")
        assert self._time is not None, "a stream that has begun has a time"
        if count is None and until is None:
            raise ValueError("sample: expected count, until, or both, received neither")
        count = None if count is None else whole_number("count", count, 1, "events")
        paths = whole_number("paths", paths, 1)
        before, unit = float(self._state.time), self._preprocessing.unit
        end = math.inf if until is None else self._end(until, self._time)
        drawn = self.model.sample(
            pytree.tree_map(lambda leaf: leaf.repeat_interleave(paths, 0), self._state),
            count,
            until=None if until is None else before + (end - self._time) / unit,
            generator=generator,
        )
        return make_event_paths(self._preprocessing, drawn, before, self._time, end)

    def _end(self, until: Any, last: float) -> float:
        """The end of a sample in the user's unit, not before the last event."""
        if self._preprocessing.dated and not isinstance(until, Real):
            try:
                until = seconds_since_1970(until)
            except ValueError as error:
                raise ValueError(f"until: {error}") from None
        return real_number(
            "until", until, f"a time of at least that of the last event, {last}", lambda end: end >= last
        )

    def _check(self, row: Any, number: int) -> CheckedEvent:
        """The event. A row is a mapping of cells by column name, or cells in the order time, mark."""
        return self._rules.check(row, number, PastEvents(self._start, self._time, self._begun, self._sequence))

    def _apply(self, checked: CheckedEvent, number: int) -> EventPrediction:
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
    def _advance(self, event: CheckedEvent, start: float) -> tuple[EventDistribution, Any, float | None]:
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
