"""How far a row is from what its stream said before it; one number for each thing that can be wrong with a row."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.models import Forecaster
from aaren.streaming._base import ModelStream
from aaren.streaming._event_stream import EventStream
from aaren.streaming._prediction import Prediction
from aaren.streaming._stream import Stream

_NARROWEST = 0.01  # training deviations: a forecast that is all but certain does not make every row endlessly far


class Surprise(ABC):
    """What is measured at each row of a stream, before its units are made comparable by `StreamingTail`.

    Args:
        names: of the numbers; those of `flagged` decide whether the row is an anomaly.
    """

    names: tuple[str, ...]
    flagged: tuple[str, ...]

    @abstractmethod
    def take(self, checked: Any, number: int) -> tuple[Any, dict[str, float]]:
        """Take a checked row: what the stream says, and by name the finite surprises that there are."""

    def to_dict(self) -> dict[str, Any]:
        """What has to be kept between two rows, as plain data."""
        return {}

    def restore(self, data: Mapping[str, Any]) -> None:  # noqa: B027 (nothing is kept unless a subclass says so)
        """Take back what `to_dict` gave; KeyError, TypeError or ValueError if it is not that."""


class ForecastSurprise(Surprise):
    r"""For each target, the distance from the forecast that was made for this row, in widths of that forecast.

    .. math:: |y - c| / w, \qquad w = q_{high} - c \text{ above the centre}, \quad c - q_{low} \text{ below it}

    The centre `c` is the median if it is among the quantiles, else the mean; the outermost quantiles give the width,
    which is at least 0.01 training deviations; without quantiles it is one training deviation. After rows that are
    missing, the horizon step that was forecast for this row is taken; behind the horizon there is no surprise.

    Args:
        stream: of a forecaster; rows go through it.
    """

    def __init__(self, stream: Stream) -> None:
        model: Forecaster = stream.model
        assert model.preprocessing is not None, "the stream has refused it"
        self.names = self.flagged = model.preprocessing.schema.targets
        self._stream, self._irregular = stream, model.preprocessing.irregular
        self._deviation = model.preprocessing.scaler.deviation[: len(self.names)]
        self._shape = (3, model.config.horizon, len(self.names))
        self._forecast: NDArray[np.float64] | None = None  # centre, width below, width above

    def take(self, checked: Any, number: int) -> tuple[Prediction, dict[str, float]]:
        row, missing_before, _ = checked
        forecast, step = self._forecast, 0 if self._irregular else missing_before
        prediction = self._stream._apply(checked, number)
        self._forecast = self._summary(prediction)
        if forecast is None or step >= forecast.shape[1]:
            return prediction, {}
        centre, below, above = forecast[:, step]
        values = np.where(row.nonfinite, np.nan, row.values)[: len(self.names)]
        with np.errstate(over="ignore"):
            distance = np.abs(values - centre) / np.where(values < centre, below, above)
        named = zip(self.names, distance.tolist(), strict=True)
        return prediction, {name: value for name, value in named if math.isfinite(value)}

    def to_dict(self) -> dict[str, Any]:
        return {"forecast": None if self._forecast is None else self._forecast.tolist()}

    def restore(self, data: Mapping[str, Any]) -> None:
        forecast = data["forecast"]
        if forecast is None:
            self._forecast = None
            return
        array = np.asarray(forecast, dtype=np.float64)
        if array.shape != self._shape or not np.isfinite(array).all() or not (array[1:] > 0).all():
            raise ValueError(f"expected a forecast of shape {self._shape} with positive widths")
        self._forecast = array

    def _summary(self, prediction: Prediction) -> NDArray[np.float64]:
        levels, quantiles = prediction.levels, prediction.quantiles
        centre = quantiles[..., levels.index(0.5)] if 0.5 in levels else prediction.mean
        below = above = np.broadcast_to(self._deviation, centre.shape)
        if levels and levels[0] < 0.5 < levels[-1]:
            below, above = centre - quantiles[..., 0], quantiles[..., -1] - centre
        narrowest = _NARROWEST * self._deviation
        return np.stack([centre, np.maximum(below, narrowest), np.maximum(above, narrowest)])


class EventSurprise(Surprise):
    """Minus the log-likelihood of an event ("event"), and minus the log-survival up to it ("silence").

    The second is the compensator of the interval; it does not judge events, it is there to judge silence between them.

    Args:
        stream: of an event model; events go through it.
    """

    def __init__(self, stream: EventStream) -> None:
        self.names, self.flagged = ("event", "silence"), ("event",)
        self._stream = stream

    def take(self, checked: Any, number: int) -> tuple[Any, dict[str, float]]:
        survival = self._stream.log_survival(checked.time)
        prediction = self._stream._apply(checked, number)
        if survival is None or prediction.log_likelihood is None:
            return prediction, {}
        found = {"event": -prediction.log_likelihood, "silence": -survival}
        return prediction, {name: value for name, value in found.items() if math.isfinite(value)}


def surprise_of(stream: ModelStream[Any, Any]) -> Surprise:
    """What is measured at the rows of a stream.

    Raises:
        ValueError: neither a forecaster nor an event model, which say nothing of the next row.
    """
    if isinstance(stream, Stream):
        return ForecastSurprise(stream)
    if isinstance(stream, EventStream):
        return EventSurprise(stream)
    raise ValueError(
        f"model: expected a forecaster or an event model to find anomalies, received a {stream.model.kind}, which does "
        "not say what row comes next"
    )
