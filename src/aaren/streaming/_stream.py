"""One live stream: a row in, a forecast out, in constant time and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

from aaren.data import Row, Schema, parse_row
from aaren.errors import DataError, ModelFileError
from aaren.models import Forecast, Forecaster, ForecasterState, Preprocessing, check_tensors
from aaren.streaming._prediction import Prediction, make_prediction
from aaren.streaming._snapshot import read_snapshot, write_snapshot

Policy = Literal["error", "skip", "impute"]
_LARGEST = float(np.finfo(np.float32).max)


class Stream:
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

    Raises:
        ValueError: the model cannot stream, has no preprocessing, or an argument is not one of its choices.
        ModelFileError: the snapshot is damaged, or is of another model.

    Example:
        stream = aaren.load("model/").stream()
        prediction = stream.update({"date": "2018-06-26 20:00:00", "OT": 11.7})
        prediction.mean          # (horizon, targets), in the units of the training data
    """

    def __init__(
        self,
        model: Forecaster,
        state_file: str | Path | None = None,
        *,
        on_bad_row: Policy = "error",
        max_gap: int = 10_000,
    ) -> None:
        if model.config.normalization != "running":
            raise ValueError(
                f"model: expected normalization='running' to stream, received {model.config.normalization!r}, which "
                "needs its whole window again for every row; train with normalization='running'"
            )
        if model.preprocessing is None:
            raise ValueError("model: expected preprocessing (columns and units), received None; train or load a model")
        if on_bad_row not in ("error", "skip", "impute"):
            raise ValueError(f"on_bad_row: expected 'error', 'skip' or 'impute', received {on_bad_row!r}")
        if max_gap < 0:
            raise ValueError(f"max_gap: expected at least 0 rows, received {max_gap}")
        self.model = model.eval()
        self.on_bad_row, self.max_gap = on_bad_row, max_gap
        self._preprocessing: Preprocessing = model.preprocessing
        self._state = model.init_state(1)
        self._rows = 0
        self._skipped = 0
        self._last_taken = 0
        self._time: np.datetime64 | None = None
        self._series: str | None = None
        if state_file is not None and Path(state_file).exists():
            self._restore(Path(state_file))

    @property
    def schema(self) -> Schema:
        """The columns of a row."""
        return self._preprocessing.schema

    @property
    def rows(self) -> int:
        """Rows that came so far, those that were skipped included."""
        return self._rows

    @property
    def skipped(self) -> int:
        """Rows that `on_bad_row="skip"` left out."""
        return self._skipped

    @property
    def last_taken(self) -> int:
        """Number of the last row that was taken, 0 before the first; rows after it, up to `rows`, were skipped."""
        return self._last_taken

    @property
    def time(self) -> np.datetime64 | None:
        """Time of the last row that was taken."""
        return self._time

    @property
    def state(self) -> ForecasterState:
        """What the model keeps of the past; a value that later rows do not change."""
        return self._state

    def nbytes(self) -> int:
        """Bytes of the state."""
        return sum(x.numel() * x.element_size() for x in self._tensors().values())

    def update(self, row: Mapping[str, Any] | Sequence[Any] | NDArray[Any]) -> Prediction | None:
        """Take one row and forecast from it.

        Args:
            row: cells by column name, or in the order time, targets, covariates; in the units of the training data.

        Returns:
            The forecast, or None if the row was left out (`on_bad_row="skip"`).

        Raises:
            DataError: the row was refused; row number and column are in the message, the state is as before.
        """
        number = self._rows + 1
        try:
            parsed, missing_before, series = self._checked(row, number)
        except DataError:
            if self.on_bad_row != "skip":
                raise
            self.skip()
            return None
        forecast, state = self._advance(parsed, missing_before)
        self._state, self._time, self._series = state, parsed.time, series
        self._rows = self._last_taken = number
        return make_prediction(self.model.config, self._preprocessing, number, parsed.time, forecast)

    def skip(self) -> None:
        """Count a row that was left out; the state stays as it is."""
        self._rows, self._skipped = self._rows + 1, self._skipped + 1

    def time_of(self, row: Mapping[str, Any]) -> np.datetime64 | None:
        """The time of a row, whatever its other cells hold; None without a time column. The row is not taken.

        Raises:
            DataError: the time cannot be read.
        """
        unread = dict.fromkeys(self.schema.inputs)
        return parse_row(self.schema, {**row, **unread}, row=self._rows + 1, source="stream").time

    def save(self, path: str | Path) -> None:
        """Write a snapshot: safetensors with a JSON header, atomically; `Stream(model, path)` goes on from it.

        Raises:
            ModelFileError: the file cannot be written.
        """
        header = {
            "fingerprint": self.model.fingerprint(),
            "rows": self._rows,
            "skipped": self._skipped,
            "last_taken": self._last_taken,
            "time_microseconds": None if self._time is None else int(self._time.astype(np.int64)),
            "series": self._series,
        }
        write_snapshot(Path(path), self._tensors(), header)

    def _checked(
        self, row: Mapping[str, Any] | Sequence[Any] | NDArray[Any], number: int
    ) -> tuple[Row, int, str | None]:
        """The row, parsed, with the number of rows that are missing before it and the name of its series."""
        schema = self._preprocessing.schema
        parsed = parse_row(schema, row, row=number, source="stream")
        with np.errstate(over="ignore"):
            beyond = np.abs(self._preprocessing.scaler.transform(parsed.values[None])[0]) > _LARGEST
        parsed = Row(parsed.time, parsed.values, parsed.nonfinite | beyond)
        if parsed.nonfinite.any() and self.on_bad_row != "impute":
            index = int(parsed.nonfinite.argmax())
            raise DataError(
                f"expected a finite number{' that float32 can hold' if np.isfinite(parsed.values[index]) else ''}, "
                f"received {parsed.values[index]}; give None if it is missing, or choose on_bad_row='skip' or 'impute'",
                source="stream",
                line=number,
                column=schema.inputs[index],
            )
        series = self._series_of(row, number)  # before the time, which is in order only within a series
        return parsed, self._missing_before(parsed.time, number), series

    def _series_of(self, row: Any, number: int) -> str | None:
        column = self._preprocessing.schema.series_id
        if column is None or not isinstance(row, Mapping) or column not in row:
            return self._series
        name = "" if row[column] is None else str(row[column]).strip()
        place: dict[str, Any] = {"source": "stream", "line": number, "column": column}
        if not name:
            raise DataError("expected the name of a series, received a missing cell", **place)
        if self._series is not None and name != self._series:
            raise DataError(
                f"expected rows of series {self._series!r}, received {name!r}; use one stream for each series", **place
            )
        return name

    def _missing_before(self, time: np.datetime64 | None, number: int) -> int:
        interval = self._preprocessing.interval
        if time is None or self._time is None or interval is None:
            return 0
        column = self._preprocessing.schema.time[0]
        place: dict[str, Any] = {"source": "stream", "line": number, "column": column}
        if time <= self._time:
            raise DataError(f"expected a time after {self._time}, received {time}; rows come in order of time", **place)
        if self._preprocessing.irregular:
            return 0
        steps, rest = divmod(int((time - self._time) / np.timedelta64(1, "us")), int(interval.astype(np.int64)))
        if rest:
            raise DataError(
                f"expected a time that is a multiple of {interval.astype('timedelta64[s]')} after {self._time}, "
                f"received {time}; round the times to the interval of the training data",
                **place,
            )
        if steps - 1 > self.max_gap:
            raise DataError(
                f"expected at most max_gap = {self.max_gap} missing rows, received a gap of {steps - 1}; start a new "
                "stream, or allow a larger gap",
                **place,
            )
        return steps - 1

    @torch.inference_mode(False)
    @torch.no_grad()
    def _advance(self, row: Row, missing_before: int) -> tuple[Forecast, ForecasterState]:
        """Pass the missing rows and the row through the model."""
        preprocessing, interval = self._preprocessing, self._preprocessing.interval
        values = np.full((missing_before + 1, len(preprocessing.schema.inputs)), np.nan)
        values[-1] = np.where(row.nonfinite, np.nan, row.values)
        times = None
        if row.time is not None and interval is not None:
            times = row.time - interval * np.arange(missing_before, -1, -1)
        elapsed = np.ones(missing_before + 1, dtype=np.float32)
        if self._time is None:
            elapsed[0] = 0
        elif preprocessing.irregular and row.time is not None and interval is not None:
            elapsed[0] = (row.time - self._time) / interval
        device = self.model.head.weight.device

        def tensor(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(np.asarray(array, dtype=np.float32)).to(device)[None]

        calendar = tensor(preprocessing.features(times, len(values))) if preprocessing.calendar else None
        return self.model(
            tensor(preprocessing.scaler.transform(values)), calendar, self._state, elapsed=tensor(elapsed)
        )

    def _tensors(self) -> dict[str, Tensor]:
        leaves, _ = pytree.tree_flatten(self._state)
        return {f"state.{index}": leaf for index, leaf in enumerate(leaves)}

    def _restore(self, path: Path) -> None:
        tensors, header = read_snapshot(path, self.model.fingerprint())
        template, structure = pytree.tree_flatten(self._state)
        expected = {}
        for index, leaf in enumerate(template):
            name = f"state.{index}"
            shape = tuple(leaf.shape)
            if name in tensors and tensors[name].dim() == len(shape):
                # a cache grows with the tokens: where the empty one has size 0, any size is right
                shape = tuple(b if a == 0 else a for a, b in zip(shape, tensors[name].shape, strict=True))
            expected[name] = (shape, leaf.dtype)
        check_tensors(path, tensors, expected)
        device = self.model.head.weight.device
        try:
            self._rows, self._skipped = int(header["rows"]), int(header["skipped"])
            self._last_taken = int(header["last_taken"])
            micro, series = header["time_microseconds"], header["series"]
            self._time = None if micro is None else np.datetime64(int(micro), "us")
            self._series = None if series is None else str(series)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ModelFileError(f"{path}: not a state snapshot, or damaged: {error}") from None
        leaves = [tensors[f"state.{index}"].to(device) for index in range(len(template))]
        self._state = pytree.tree_unflatten(leaves, structure)
