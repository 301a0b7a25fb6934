"""One live stream of a forecaster: a row in, a forecast out, in constant time and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aaren._arguments import whole_number
from aaren.data import Row, Schema, checked_row, checked_series, missing_before, parse_row
from aaren.errors import DataError
from aaren.models import Forecast, Forecaster, ForecasterState, Preprocessing
from aaren.streaming._base import ModelStream, Policy
from aaren.streaming._prediction import Prediction, make_prediction


class Stream(ModelStream[Forecaster, Prediction]):
    """A live stream of one series.

    Args:
        model: a trained forecaster with `normalization="running"`.
        state_file: go on from this snapshot if the file is there; None or no such file starts a new stream.
        on_bad_row: what becomes of a row with NaN, infinity or a number beyond float32: "error" raises, "skip" leaves
            the row out, "impute" takes the cell as missing. A row that cannot be read at all is left out by "skip",
            else raised. A row that is left out or raises leaves the state what it was. A cell that is None or a mark of
            absence is not bad, it is missing.
        max_gap: rows that may be missing between two rows; they are passed through as missing values, so that a
            stream equals the same series in a file.
        warmup: forecasts after fewer rows than this are marked `warming_up`. None means the model's look-back: in
            training the state began empty and the loss is a mean over that many rows, so a state of fewer rows than
            that knows less of its past than most that the model learned from, and its running mean and deviation, whose
            half-life is the look-back unless the configuration says otherwise, still lean on those of training.

    Raises:
        ValueError: the model cannot stream, has no preprocessing, or an argument is not one of its choices.
        ModelFileError: the snapshot is damaged, or is of another model.

    Example:
        stream = aaren.load("model/").stream()
        prediction = stream.update({"date": "2018-06-26 20:00:00", "OT": 11.7})
        prediction.mean          # (horizon, targets), in the units of the training data
    """

    record_fields: ClassVar[Mapping[str, str]] = {"time_microseconds": "int64"}
    row_options: ClassVar[Sequence[str]] = ("on_bad_row", "max_gap")

    def __init__(
        self,
        model: Forecaster,
        state_file: str | Path | None = None,
        *,
        on_bad_row: Policy = "error",
        max_gap: int = 10_000,
        warmup: int | None = None,
    ) -> None:
        if model.config.normalization != "running":
            raise ValueError(
                f"model: expected normalization='running' to stream, received {model.config.normalization!r}, which "
                "needs its whole window again for every row; train with normalization='running'"
            )
        super().__init__(model, on_bad_row)
        assert model.preprocessing is not None, "the base has refused it"
        self.max_gap = whole_number("max_gap", max_gap, 0, "rows")
        self.warmup = model.config.look_back if warmup is None else whole_number("warmup", warmup, 0, "rows")
        self._preprocessing: Preprocessing = model.preprocessing
        self._time: np.datetime64 | None = None
        self._series: str | None = None
        self._restore(state_file)

    @property
    def schema(self) -> Schema:
        """The columns of a row."""
        return self._preprocessing.schema

    @property
    def time(self) -> np.datetime64 | None:
        """Time of the last row that was taken."""
        return self._time

    def time_of(self, row: Mapping[str, Any]) -> np.datetime64 | None:
        """The time of a row, whatever its other cells hold; None without a time column. The row is not taken.

        Raises:
            DataError: the time cannot be read.
        """
        unread = dict.fromkeys(self.schema.inputs)
        return parse_row(self.schema, {**row, **unread}, row=self._rows + 1, source="stream").time

    def missing_before(self, row: Any) -> int:
        """Rows that the model would pass through as missing before this one; 0 of a row that would be refused."""
        try:
            return self._check(row, self._rows + 1)[1]
        except DataError:
            return 0

    def _check(self, row: Any, number: int) -> tuple[Row, int, str | None]:
        """The row, parsed, with the number of rows that are missing before it and the name of its series.

        A row is a mapping of cells by column name, or cells in the order time, targets, covariates.
        """
        schema, scaler = self._preprocessing.schema, self._preprocessing.scaler
        parsed = checked_row(schema, scaler, row, number, impute=self.on_bad_row == "impute")
        series = checked_series(schema, row, self._series, number)  # before the time, in order only within a series
        known = self._preprocessing
        missing = missing_before(
            schema, known.interval, self._time, parsed.time, number, irregular=known.irregular, max_gap=self.max_gap
        )
        return parsed, missing, series

    def _apply(self, checked: tuple[Row, int, str | None], number: int) -> Prediction:
        """Pass a row through the model and forecast from it."""
        row, missing_before, series = checked
        forecast, state = self._advance(row, missing_before)
        self._require_finite(forecast.mean, number)
        self._state, self._time, self._series = state, row.time, series
        self._monitor.add(self._preprocessing.scaler.transform(_known(row)), absent=missing_before)
        warming_up = number - self._skipped < self.warmup
        return make_prediction(
            self.model.config, self._preprocessing, number, row.time, forecast, warming_up=warming_up
        )

    def _own_header(self) -> dict[str, Any]:
        time = None if self._time is None else int(self._time.astype(np.int64))
        return {"time_microseconds": time, "series": self._series}

    def _restore_own(self, header: Mapping[str, Any]) -> None:
        micro, series = header["time_microseconds"], header["series"]
        self._time = None if micro is None else np.datetime64(int(micro), "us")
        self._series = None if series is None else str(series)

    @torch.inference_mode(False)
    @torch.no_grad()
    def _advance(self, row: Row, missing_before: int) -> tuple[Forecast, ForecasterState]:
        """Pass the missing rows and the row through the model."""
        preprocessing, interval = self._preprocessing, self._preprocessing.interval
        values = np.full((missing_before + 1, len(preprocessing.schema.inputs)), np.nan)
        values[-1] = _known(row)
        times = None
        if row.time is not None and interval is not None:
            times = row.time - interval * np.arange(missing_before, -1, -1)
        elapsed = np.ones(missing_before + 1, dtype=np.float32)
        if not self._state.position[0]:
            elapsed[0] = 0
        elif preprocessing.irregular and row.time is not None and self._time is not None and interval is not None:
            elapsed[0] = (row.time - self._time) / interval
        device = self.model.device

        def tensor(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(np.asarray(array, dtype=np.float32)).to(device)[None]

        calendar = tensor(preprocessing.features(times, len(values))) if preprocessing.calendar else None
        return self.model(
            tensor(preprocessing.scaler.transform(values)), calendar, self._state, elapsed=tensor(elapsed)
        )


def _known(row: Row) -> NDArray[np.float64]:
    """The values of a row, NaN where one is missing or not finite."""
    return np.where(row.nonfinite, np.nan, row.values)
