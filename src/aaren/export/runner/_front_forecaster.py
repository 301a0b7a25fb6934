"""The front of a forecaster: cells, time, order, rows that are missing, calendar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.data._calendar import calendar_features
from aaren.data._checked_order import checked_series, missing_before
from aaren.data._checked_row import checked_row
from aaren.data._rows import Row
from aaren.data._scale import Scaler
from aaren.data._series import Schema
from aaren.export.runner._front import (
    NO_TIME,
    Arrays,
    Front,
    count_of,
    number_of,
    rounded,
    text_array,
    text_of,
    time_texts,
)


class ForecasterFront(Front):
    """As `aaren.streaming.Stream`; takes `max_gap`."""

    options = ("max_gap",)
    finite = "mean"

    def prepare(self, preprocessing: Mapping[str, Any]) -> None:
        """Columns, scale, calendar, interval."""
        self.schema = Schema.from_dict(preprocessing["schema"])
        self.scaler = Scaler.from_dict(preprocessing["scaler"])
        self.calendar = tuple(preprocessing["calendar"])
        self.by_time = self.config["decay"] == "time"
        features = calendar_features(np.zeros(1, dtype="datetime64[us]"), self.calendar).shape[1]
        if features != self.config["calendar"] or (features and not self.schema.time):
            raise ValueError(f"calendar: expected {self.config['calendar']} features of a time, received {features}")
        micro = preprocessing["interval_microseconds"]
        self.interval = None if micro is None else np.timedelta64(int(micro), "us")
        self.irregular = bool(preprocessing["irregular"])

    def choose(self, max_gap: int = 10_000, **_: Any) -> None:
        """Rows that may be missing between two rows."""
        self.max_gap = int(max_gap)
        if self.max_gap < 0:
            raise ValueError(f"max_gap: expected a whole number of rows, at least 0, received {self.max_gap}")

    @property
    def columns(self) -> tuple[str, ...]:
        """Time, targets, covariates, and the name of the series."""
        more = () if self.schema.series_id is None else (self.schema.series_id,)
        return (*self.schema.time, *self.schema.inputs, *more)

    def reset(self) -> None:
        """No row yet."""
        self.time: np.datetime64 | None = None
        self.series: str | None = None
        self.taken = 0

    def check(self, row: Any, number: int) -> tuple[Row, int, str | None]:
        """The row, how many are missing before it, and the name of its series."""
        parsed = checked_row(self.schema, self.scaler, row, number, impute=self.on_bad_row == "impute")
        schema = self.schema
        series = checked_series(schema, row, self.series, number)  # before the time, in order only within a series
        missing = missing_before(
            schema, self.interval, self.time, parsed.time, number, irregular=self.irregular, max_gap=self.max_gap
        )
        return parsed, missing, series

    def tokens(self, checked: tuple[Row, int, str | None]) -> list[Arrays]:
        """One token for each missing row, with no values, and the row's own."""
        row, missing, _ = checked
        values = np.full((missing + 1, len(self.schema.inputs)), np.nan)
        values[-1] = np.where(row.nonfinite, np.nan, row.values)
        tokens: list[Arrays] = [{"values": one} for one in values]
        if self.calendar and row.time is not None and self.interval is not None:
            times = row.time - self.interval * np.arange(missing, -1, -1)
            for token, features in zip(tokens, calendar_features(times, self.calendar), strict=True):
                token["calendar"] = features
        if self.by_time:
            elapsed = np.ones(missing + 1, dtype=np.float32)
            if not self.taken:
                elapsed[0] = 0
            elif self.irregular and row.time is not None and self.time is not None and self.interval is not None:
                elapsed[0] = (row.time - self.time) / self.interval
            for token, one in zip(tokens, elapsed, strict=True):
                token["elapsed"] = np.asarray(one)
        return tokens

    def take(self, checked: tuple[Row, int, str | None]) -> None:
        """Remember time and series, and count the row."""
        self.time, self.series, self.taken = checked[0].time, checked[2], self.taken + 1

    def line(self, number: int, said: Arrays) -> dict[str, Any]:
        """As `aaren stream` writes it: row, warming_up, time, times, and for each target its mean and quantiles."""
        result: dict[str, Any] = {"row": number, "warming_up": self.taken < self.config["look_back"]}
        if self.time is not None and self.interval is not None:
            ahead = np.arange(1, self.config["horizon"] + 1)
            result["time"] = time_texts(np.array([self.time]))[0]
            result["times"] = time_texts(self.time + self.interval * ahead)
        forecast = result["forecast"] = {}
        for index, name in enumerate(self.schema.targets):
            columns = {"mean": said["mean"][:, index]}
            for place, level in enumerate(self.config["quantiles"]):
                columns[f"q{level:g}"] = said["quantiles"][:, index, place]
            forecast[name] = {key: [rounded(value) for value in column.tolist()] for key, column in columns.items()}
        return result

    def state(self) -> Arrays:
        """Time and name of the series, and its rows so far."""
        micro = NO_TIME if self.time is None else self.time.astype(np.int64)
        return {
            "time_microseconds": np.array(micro, dtype=np.int64),
            "series": text_array(self.series),
            "taken": np.array(self.taken, dtype=np.int64),
        }

    def set_state(self, state: Mapping[str, NDArray[Any]], step: Mapping[str, NDArray[Any]]) -> None:
        """Take them back."""
        micro, series = number_of(state["time_microseconds"], "int64"), text_of(state["series"])
        taken = count_of(state["taken"])
        if taken > int(step["position"]):  # which counts the rows that were missing too
            raise ValueError(f"expected at most {int(step['position'])} rows, received {taken}")
        self.time = None if micro == NO_TIME else np.datetime64(micro, "us")
        self.series, self.taken = series, taken
