"""Events of many streams in one step of the event model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aaren.data import ABSENT, FARTHEST, columns_of, mark_text, parse_numbers, parse_times
from aaren.models import EventModel, EventPreprocessing
from aaren.streaming._event_prediction import TOP_MARKS, EventPrediction
from aaren.streaming._event_stream import EventStream
from aaren.streaming._layout import RecordLayout
from aaren.streaming._pool_form import Arrays, Places, PoolForm, RowTable


@dataclass(frozen=True, eq=False)
class Events:
    """Events that were read: time in the user's unit, number of the mark or -1, and whether a stream must judge it."""

    times: NDArray[np.float64]
    marks: NDArray[np.int64]
    odd: NDArray[np.bool_]


class EventForm(PoolForm[Events]):
    """Event models: an event is plain if it is well-formed and not before the last one of its sequence."""

    def __init__(self, stream: EventStream, layout: RecordLayout) -> None:
        super().__init__(stream, layout)
        self._model: EventModel = stream.model
        assert stream.model.preprocessing is not None, "streams refuse a model without"
        self._preprocessing: EventPreprocessing = stream.model.preprocessing
        self._schema, self._quantiles = stream.schema, stream.quantiles
        self._numbers = {name: number for number, name in enumerate(self._preprocessing.marks)}
        self._top = min(TOP_MARKS, len(self._numbers))

    def parse(self, table: RowTable, keys: Sequence[str]) -> Events:
        """Times and marks; an event that a stream must judge alone is marked as odd."""
        names = self._schema.inputs
        found = columns_of(names, self._schema.series_id, table.rows, table.count)
        odd = found.odd.copy()
        if self._preprocessing.dated:
            dates = parse_times(found.cells[names[0]])
            odd |= np.isnat(dates)
            times = np.where(odd, 0, dates.astype(np.int64)) / 1e6
        else:
            times, nonfinite, wrong = parse_numbers(found.cells[names[0]])
            odd |= wrong | nonfinite | np.isnan(times)
        marks = np.full(table.count, -1, dtype=np.int64)
        if self._numbers:
            marks = self._marks(found.cells[names[1]])
            odd |= marks < 0
        series = None if self._schema.series_id is None else found.cells.get(self._schema.series_id)
        if series is not None:
            cells = zip(series, keys, strict=True)
            odd |= np.array([cell is not ABSENT and mark_text(cell) != key for cell, key in cells], dtype=np.bool_)
        return Events(times, marks, odd)

    def plain(self, parsed: Events, places: Places, records: Tensor) -> NDArray[np.bool_]:
        """Well-formed, in order, not too far from the start."""
        time, (start, last, begun) = parsed.times[places], self._own(records)
        near = np.abs(time - np.where(np.isnan(start), time, start)) / self._preprocessing.unit < FARTHEST
        again = (time == last) & (~begun | (self._preprocessing.duplicates == "keep"))
        return ~parsed.odd[places] & near & (np.isnan(last) | (time > last) | again)

    def advance(self, parsed: Events, places: Places, records: Tensor) -> tuple[Arrays, NDArray[np.bool_]]:
        """One event of the model for all rows."""
        unit, device = self._preprocessing.unit, self._model.device
        time, (start, _, begun) = parsed.times[places], self._own(records)
        start = np.where(np.isnan(start), time, start)
        mark = parsed.marks[places]
        times = torch.from_numpy((time - start) / unit).to(device)[:, None]
        marks = torch.from_numpy(mark).to(device)[:, None] if self._numbers else None
        found, state = self._model.log_likelihood(times, marks, state=self.layout.unpack(records))
        likelihood = (found.time + found.mark)[:, 0].cpu().numpy() - math.log(unit)
        self.layout.pack(state, records)
        for name, value in (("start", start), ("time", time), ("begun", 1)):
            self.layout.column(records, name)[:] = value
        after = self._model.distribution(state.hidden)
        top = after.mark_logits.softmax(-1).topk(self._top)
        levels = [after.quantile(level).cpu().numpy() for level in (0.5, *self._quantiles)]
        said: dict[str, NDArray[Any]] = {
            "time": time,
            "mark": mark,
            "mean": time + unit * after.mean(self._preprocessing.longest).cpu().numpy(),
            "median": time + unit * levels[0],
            "quantiles": time[:, None] + unit * np.stack(levels, -1)[:, 1:],
            "next_marks": top.indices.cpu().numpy(),
            "next_mark_probabilities": top.values.cpu().numpy(),
            "log_likelihood": np.where(begun, likelihood, np.nan),
        }
        return said, np.ones(len(places), dtype=np.bool_)

    def empty(self, count: int) -> dict[str, NDArray[Any]]:
        """Numbers of shape (rows,), quantiles (rows, levels), the likeliest marks and their chances (rows, top)."""
        arrays: dict[str, NDArray[Any]] = {
            name: np.full(count, np.nan) for name in ("time", "mean", "median", "log_likelihood")
        }
        arrays["mark"] = np.full(count, -1, dtype=np.int64)
        arrays["quantiles"] = np.full((count, len(self._quantiles)), np.nan)
        arrays["next_marks"] = np.full((count, self._top), -1, dtype=np.int64)
        arrays["next_mark_probabilities"] = np.full((count, self._top), np.nan, dtype=np.float32)
        return arrays

    def put(self, arrays: Arrays, place: int, said: EventPrediction) -> None:
        """Write what is expected into the arrays."""
        for name in ("time", "mean", "median"):
            arrays[name][place] = getattr(said, name)
        arrays["log_likelihood"][place] = math.nan if said.log_likelihood is None else said.log_likelihood
        arrays["mark"][place] = -1 if said.mark is None else self._numbers[said.mark]
        arrays["quantiles"][place] = [said.quantiles[level] for level in self._quantiles]
        arrays["next_marks"][place] = [self._numbers[name] for name in said.marks]
        arrays["next_mark_probabilities"][place] = list(said.marks.values())

    def make(self, arrays: Arrays, place: int, number: int) -> EventPrediction:
        """What is expected, from the arrays."""
        one = {name: array[place].tolist() for name, array in arrays.items()}
        names = self._preprocessing.marks
        chances = zip(one["next_marks"], one["next_mark_probabilities"], strict=True)
        return EventPrediction(
            number,
            one["time"],
            None if one["mark"] < 0 else names[one["mark"]],
            one["mean"],
            one["median"],
            dict(zip(self._quantiles, one["quantiles"], strict=True)),
            {names[index]: chance for index, chance in chances},
            None if math.isnan(one["log_likelihood"]) else one["log_likelihood"],
            self._preprocessing.dated,
        )

    def _own(self, records: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Start and last time, NaN where there is none, and whether there was an event."""
        start, last, begun = (self.layout.column(records, name) for name in ("start", "time", "begun"))
        return start, last, begun != 0

    def _marks(self, cells: Any) -> NDArray[np.int64]:
        """Numbers of marks, -1 for what is none of those of training; each distinct cell is looked up once."""
        given = cells.tolist() if isinstance(cells, np.ndarray) else list(cells)
        known: dict[Any, int] = {}
        numbers = np.empty(len(given), dtype=np.int64)
        for place, cell in enumerate(given):
            plain = isinstance(cell, str | int | float)
            number = known.get((type(cell), cell)) if plain else None
            if number is None:
                text = mark_text(cell)
                number = -1 if text is None else self._numbers.get(text, -1)
                if plain:
                    known[type(cell), cell] = number
            numbers[place] = number
        return numbers
