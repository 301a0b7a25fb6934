"""A table made ready for a model: scaled arrays, calendar features, splits, windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from aaren.data import LARGEST_SCALED, Scaler, SeriesSet, Splits, calendar_names, split_in_time
from aaren.errors import DataError
from aaren.models import Preprocessing

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class PreparedData:
    """All series behind one another, in units of the training deviation.

    Args:
        preprocessing: fitted on the training part.
        splits: row ranges of every part in every series.
        offsets: first row of every series in the arrays below.
        values: float32 (rows, inputs), NaN where missing.
        calendar: float32 (rows, features).
        elapsed: float32 (rows,), time since the row before in intervals.
        source: where the table came from.
        sha256: of the file, None for frames.
    """

    preprocessing: Preprocessing
    splits: Splits
    offsets: tuple[int, ...]
    values: NDArray[np.float32]
    calendar: NDArray[np.float32]
    elapsed: NDArray[np.float32]
    source: str
    sha256: str | None

    def rows(self, part: Part) -> list[tuple[int, int]]:
        """Ranges of a part, "train", "validation" or "test", in the arrays; one for each series."""
        ranges = getattr(self.splits, part)
        return [(start + offset, stop + offset) for (start, stop), offset in zip(ranges, self.offsets, strict=True)]

    def windows(self, part: Part, look_back: int, horizon: int, stride: int = 1) -> NDArray[np.int64]:
        """First rows, in the arrays, of all windows of a part; only forecast rows must lie inside it."""
        found = self.splits.windows(part, look_back, horizon, stride=stride)
        return found[:, 1] + np.asarray(self.offsets, dtype=np.int64)[found[:, 0]]

    def targets_inside(self, part: Part) -> NDArray[np.float32]:
        """The targets, NaN outside of the part: what a loss or a metric of that part may look at."""
        inside = np.full((len(self.values), len(self.preprocessing.schema.targets)), np.nan, dtype=np.float32)
        for start, stop in self.rows(part):
            inside[start:stop] = self.values[start:stop, : inside.shape[1]]
        return inside


def prepare(data: SeriesSet, split: Sequence[float | int], preprocessing: Preprocessing | None = None) -> PreparedData:
    """Split in time, fit the scaler on the training part (or take a trained model's preprocessing), and scale.

    Raises:
        DataError: a part is empty or has no known target, a column has no value in the training part, or the table is
            not of the kind that the preprocessing was made for.
    """
    splits = split_in_time(data, split)
    if preprocessing is None:
        train = [one.values[start:stop] for one, (start, stop) in zip(data.series, splits.train, strict=True)]
        interval = data.sampling.interval
        preprocessing = Preprocessing(
            data.schema,
            Scaler.fit(train, data.schema.inputs),
            calendar_names(interval),
            interval,
            data.sampling.kind == "irregular",
        )
    else:
        check_compatible(data, preprocessing)
    offsets = np.cumsum([0] + [len(one.values) for one in data.series])
    check_magnitude(data, preprocessing.scaler)
    prepared = PreparedData(
        preprocessing,
        splits,
        tuple(int(offset) for offset in offsets[:-1]),
        np.concatenate([preprocessing.scaler.transform(one.values) for one in data.series]).astype(np.float32),
        np.concatenate([preprocessing.features(one.times, len(one.values)) for one in data.series]),
        np.concatenate([preprocessing.elapsed(one.times, len(one.values)) for one in data.series]),
        data.source,
        data.sha256,
    )
    for part in PARTS:
        if not np.isfinite(prepared.targets_inside(part)).any():
            raise DataError(
                f"expected known targets in the {part} part, received only missing values; choose other parts",
                source=data.source,
            )
    return prepared


def check_magnitude(data: SeriesSet, scaler: Scaler) -> None:
    """Refuse values that are too far from the mean, rather than have them taken for missing ones.

    Raises:
        DataError: with the row and the column.
    """
    for one in data.series:
        scaled = np.abs(scaler.transform(one.values))
        beyond = scaled > LARGEST_SCALED
        if beyond.any():
            row, column = (int(index) for index in np.argwhere(beyond)[0])
            raise DataError(
                f"expected a number within {LARGEST_SCALED:g} training deviations of the mean, received "
                f"{one.values[row, column]:g} in row {row} (counted from 0) of series {one.name!r}; mark it as missing",
                source=data.source,
                column=data.schema.inputs[column],
            )


def check_compatible(data: SeriesSet, preprocessing: Preprocessing) -> None:
    """Refuse a table whose columns or interval are not those of the training data.

    Raises:
        DataError: with both.
    """
    columns, expected = (data.schema.targets, data.schema.covariates), preprocessing.schema
    if columns != (expected.targets, expected.covariates):
        raise DataError(
            f"expected the targets {expected.targets} and covariates {expected.covariates} as in training, received "
            f"{columns[0]} and {columns[1]}; read the table with the columns of the model",
            source=data.source,
        )
    interval, irregular = data.sampling.interval, data.sampling.kind == "irregular"
    if irregular != preprocessing.irregular:
        kinds = ("rows at equal intervals (or with gaps)", "irregular rows")
        raise DataError(
            f"expected {kinds[preprocessing.irregular]} as in training, received {kinds[irregular]}; "
            "resample the table or train on it",
            source=data.source,
        )
    if interval != preprocessing.interval:
        raise DataError(
            f"expected rows every {_seconds(preprocessing.interval)} as in training, received {_seconds(interval)}; "
            "resample the table or train on it",
            source=data.source,
        )


def _seconds(interval: np.timedelta64 | None) -> str:
    return "row, without time" if interval is None else f"{interval / np.timedelta64(1, 's'):g} s"


class WindowDataset(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Windows of a part, gathered a batch at a time.

    Args:
        data: the prepared table.
        part: "train", "validation" or "test".
        look_back: tokens of a window.
        horizon: rows to forecast after a token.
        stride: rows between the starts of two windows.
    """

    def __init__(self, data: PreparedData, part: Part, look_back: int, horizon: int, stride: int = 1) -> None:
        self.starts = data.windows(part, look_back, horizon, stride)
        self.look_back, self.horizon = look_back, horizon
        self.values, self.calendar, self.elapsed = data.values, data.calendar, data.elapsed
        self.targets = data.targets_inside(part)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """A batch: values (batch, look_back, inputs), calendar, elapsed, block (batch, rows, targets)."""
        rows = self.starts[np.asarray(indices)][:, None] + np.arange(self.look_back + self.horizon)
        past = rows[:, : self.look_back]
        return {
            "values": torch.from_numpy(self.values[past]),
            "calendar": torch.from_numpy(self.calendar[past]),
            "elapsed": torch.from_numpy(self.elapsed[past]),
            "block": torch.from_numpy(self.targets[rows]),
        }

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One window, without the batch dimension."""
        return {name: tensor[0] for name, tensor in self.__getitems__([index]).items()}


def take_batch(batch: Any) -> Any:
    """The collate function of a loader over `WindowDataset`, which gathers whole batches itself."""
    return batch


def model_inputs(batch: dict[str, Tensor]) -> dict[str, Any]:
    """Keyword arguments of `Forecaster.forward` from a batch."""
    calendar: Float[Tensor, "batch tokens features"] | None = batch["calendar"]
    if calendar is not None and calendar.shape[-1] == 0:
        calendar = None
    return {"values": batch["values"], "calendar": calendar, "elapsed": batch["elapsed"]}
