"""Rows of many streams of a forecaster in one step of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aaren.data import ABSENT, RowBlock, nonfinite_of, parse_rows
from aaren.models import Forecaster, FusedForecast, Preprocessing
from aaren.streaming._layout import NO_TIME, RecordLayout
from aaren.streaming._pool_form import Arrays, Places, PoolForm, RowTable
from aaren.streaming._prediction import Prediction
from aaren.streaming._stream import Stream

_TIME = "time_microseconds"


class ForecasterForm(PoolForm[RowBlock]):
    """Forecasters: a row is plain if it is well-formed and the one that follows, without a gap, in its series."""

    def __init__(self, stream: Stream, layout: RecordLayout) -> None:
        super().__init__(stream, layout)
        self._model: Forecaster = stream.model
        assert stream.model.preprocessing is not None, "streams refuse a model without"
        self._preprocessing: Preprocessing = stream.model.preprocessing
        self._impute, self._warmup = stream.on_bad_row == "impute", stream.warmup
        interval = self._preprocessing.interval
        self._interval = None if interval is None else int(interval.astype("timedelta64[us]").astype(np.int64))
        state = {name: (field.offset, field.dtype, field.shape) for name, field in layout.state_fields().items()}
        self._fused = FusedForecast(self._model, self._preprocessing.scaler, state, layout.record_bytes)

    def parse(self, table: RowTable, keys: Sequence[str]) -> RowBlock:
        """Values with NaN for all that is missing; a row that a stream must judge alone is marked as odd."""
        found = parse_rows(self._preprocessing.schema, table.rows, table.count)
        nonfinite = nonfinite_of(self._preprocessing.scaler, found.values, found.nonfinite)
        odd = found.odd if self._impute else found.odd | nonfinite.any(-1)
        if found.series is not None:
            cells = zip(found.series, keys, strict=True)
            odd = odd | np.array([cell is not ABSENT and str(cell).strip() != key for cell, key in cells], dtype=bool)
        return RowBlock(found.times, np.where(nonfinite, np.nan, found.values), nonfinite, odd, None)

    def plain(self, parsed: RowBlock, places: Places, records: Tensor) -> NDArray[np.bool_]:
        """Well-formed, in order, no row missing before it."""
        plain = ~parsed.odd[places]
        if parsed.times is not None and self._interval is not None:
            last = self.layout.column(records, _TIME)
            time = parsed.times[places].astype(np.int64)
            step = time - np.where(last == NO_TIME, 0, last)
            follows = step > 0 if self._preprocessing.irregular else step == self._interval
            plain &= (last == NO_TIME) | follows
        return plain

    def advance(self, parsed: RowBlock, places: Places, records: Tensor) -> tuple[Arrays, NDArray[np.bool_]]:
        """One token of the model for all rows."""
        times = None if parsed.times is None else parsed.times[places]
        values, calendar = np.ascontiguousarray(parsed.values[places]), self._preprocessing.features(times, len(places))
        elapsed = self._elapsed(times, records).astype(np.float32)
        said = self._fused.step(values, calendar, elapsed, self._positions(records), records.numpy())
        if said is None:
            said = self._long_way(values, calendar, elapsed, records)
        mean, quantiles, sound = said
        if times is not None:
            self.layout.column(records, _TIME)[:] = times.astype(np.int64)
        taken = self.layout.column(records, "rows") + 1 - self.layout.column(records, "skipped")
        arrays: dict[str, NDArray[Any]] = {"mean": mean, "quantiles": quantiles, "warming_up": taken < self._warmup}
        if times is not None:
            arrays["time"] = times
        return arrays, sound

    def _positions(self, records: Tensor) -> NDArray[np.float32] | None:
        """What is added to the tokens for their place in the stream, shape (n, width), if anything is."""
        if self._model.positions is None:
            return None
        position = torch.from_numpy(self.layout.column(records, "state.position").copy())
        found: Tensor = self._model.positions(position.to(self._model.device)[:, None])[:, 0]
        return found.to("cpu", torch.float32).numpy()

    def _long_way(
        self,
        values: NDArray[np.float64],
        calendar: NDArray[np.float32],
        elapsed: NDArray[np.float32],
        records: Tensor,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """The model's own forward: means, quantiles and which rows are sound, as `FusedForecast.step` says them."""
        preprocessing, device = self._preprocessing, self._model.device

        def tensor(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(np.asarray(array, dtype=np.float32)).to(device)[:, None]

        forecast, state = self._model(
            tensor(preprocessing.scaler.transform(values)),
            tensor(calendar) if preprocessing.calendar else None,
            self.layout.unpack(records),
            elapsed=tensor(elapsed),
        )
        self.layout.pack(state, records)
        mean, quantiles = (x.cpu().numpy()[:, 0].astype(np.float64) for x in forecast)
        sound = np.isfinite(mean).all((1, 2))
        if quantiles.size:
            quantiles = preprocessing.to_units(quantiles.swapaxes(-1, -2)).swapaxes(-1, -2)
        return preprocessing.to_units(mean), quantiles, sound

    def empty(self, count: int) -> dict[str, NDArray[Any]]:
        """Mean (rows, horizon, targets), quantiles (..., levels), warming_up, and the time of the row if any."""
        config = self._model.config
        shape = (count, config.horizon, config.targets)
        arrays = {"mean": np.full(shape, np.nan), "quantiles": np.full((*shape, len(config.quantiles)), np.nan)}
        arrays["warming_up"] = np.zeros(count, dtype=bool)
        if self._preprocessing.schema.time:
            arrays["time"] = np.full(count, np.datetime64("NaT", "us"))
        return arrays

    def put(self, arrays: Arrays, place: int, said: Prediction) -> None:
        """Write a forecast into the arrays."""
        arrays["mean"][place], arrays["quantiles"][place] = said.mean, said.quantiles
        arrays["warming_up"][place] = said.warming_up
        if said.time is not None:
            arrays["time"][place] = said.time

    def make(self, arrays: Arrays, place: int, number: int) -> Prediction:
        """The forecast from the arrays."""
        config, interval = self._model.config, self._preprocessing.interval
        time = arrays["time"][place] if "time" in arrays else None
        times = None if time is None or interval is None else time + interval * np.arange(1, config.horizon + 1)
        mean, quantiles = arrays["mean"][place], arrays["quantiles"][place]
        targets, warming_up = self._preprocessing.schema.targets, bool(arrays["warming_up"][place])
        return Prediction(number, time, times, targets, mean, config.quantiles, quantiles, warming_up)

    def _elapsed(self, times: NDArray[Any] | None, records: Tensor) -> NDArray[np.float64]:
        """Time since the row before, in intervals, 1 where there are no times; 0 for the first row of a stream."""
        last, position = self.layout.column(records, _TIME), self.layout.column(records, "state.position")
        elapsed = np.ones(len(last))
        if self._preprocessing.irregular and times is not None and self._interval is not None:
            elapsed = (times.astype(np.int64) - last) / self._interval
        return np.where(position == 0, 0.0, elapsed)
