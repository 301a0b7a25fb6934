"""Anomalies in a live stream: how rare each row is, judged by what was forecast before it came."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from aaren.data import Schema
from aaren.models import Model
from aaren.streaming._base import ModelStream
from aaren.streaming._event_stream import EventStream
from aaren.streaming._open import open_stream
from aaren.streaming._surprise import surprise_of
from aaren.streaming._threshold import StreamingTail


@dataclass(frozen=True, eq=False)
class Anomaly:
    """How rare a row is.

    Args:
        row: number of the row in its stream, from 1.
        time: of the row, as in the prediction; None without time.
        score: minus log10 of the probability of a row so far from its forecast, from 0 to 12: at 3, one row in a
            thousand is. None in the warm-up, and where nothing was forecast or nothing is known of the row.
        threshold: minus log10 of the risk that was chosen; rows above it are anomalies.
        is_anomaly: whether the score is above the threshold.
        column: the target that is farthest from its forecast; "event" or "silence" for events; None without a score.
        prediction: what the stream says after the row; None for a silence.
    """

    row: int
    time: Any
    score: float | None
    threshold: float
    is_anomaly: bool
    column: str | None
    prediction: Any

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: that of the prediction, and "anomaly" with score, threshold, is_anomaly, column."""
        result: dict[str, Any] = {"row": self.row} if self.prediction is None else self.prediction.to_dict()
        score = None if self.score is None else float(f"{self.score:.7g}")
        threshold = float(f"{self.threshold:.7g}")
        said = {"score": score, "threshold": threshold, "is_anomaly": self.is_anomaly, "column": self.column}
        return {**result, "anomaly": said}


def _of_inner(name: str) -> Any:
    """An attribute that is the inner stream's, so that state, counts and drift are kept once."""
    return property(lambda self: getattr(self._inner, name), lambda self, value: setattr(self._inner, name, value))


class AnomalyStream(ModelStream[Model[Any, Any], Anomaly]):
    """A stream of a forecaster or an event model that also says how rare each row is.

    Each target of a forecaster, and each event, has a surprise: its distance from the forecast made before it, in
    widths of that forecast; or minus its log-likelihood. How rare so large a surprise is, is learnt from the stream
    itself (see `StreamingTail`), so that the score is a probability whatever the units and however good the model.
    The least probable target counts; its probability is multiplied by the number of targets that were scored.

    Args:
        model: a trained forecaster or event model.
        state_file: go on from this snapshot of an `AnomalyStream` if the file is there.
        risk: the share of ordinary rows that may be flagged.
        half_life: scored rows after which a surprise counts half in what is usual.
        warm_up: scored rows before the first score; nothing is flagged until then.
        **options: of the stream itself, such as `on_bad_row`.

    Raises:
        ValueError: the model does not say what row comes next, or an argument is out of range.
        ModelFileError: the snapshot is damaged, is of another model, or is of a stream without anomalies.

    Example:
        stream = AnomalyStream(aaren.load("model/"))
        found = stream.update({"date": "2018-06-26 20:00:00", "OT": 11.7})
        found.score, found.is_anomaly, found.prediction.mean
    """

    scores_anomalies: ClassVar[bool] = True
    _state, _monitor = _of_inner("_state"), _of_inner("_monitor")
    _rows, _skipped, _last_taken = _of_inner("_rows"), _of_inner("_skipped"), _of_inner("_last_taken")

    def __init__(
        self,
        model: Model[Any, Any],
        state_file: str | Path | None = None,
        *,
        risk: float = 1e-4,
        half_life: float = 5000,
        warm_up: int = 200,
        **options: Any,
    ) -> None:
        self._inner = open_stream(model, **options)
        super().__init__(model, self._inner.on_bad_row)
        self._surprise = surprise_of(self._inner)
        self._tails = {name: StreamingTail(half_life=half_life, warm_up=warm_up) for name in self._surprise.names}
        for tail in self._tails.values():
            tail.threshold(risk)  # which refuses a risk out of range
        self.threshold = -math.log10(risk)
        self._restore(state_file)

    @property
    def schema(self) -> Schema:
        """The columns of a row."""
        return self._inner.schema

    @property
    def time(self) -> Any:
        """Time of the last row that was taken, as the stream itself tells it."""
        return self._inner.time

    def time_of(self, row: Mapping[str, Any]) -> Any:
        """The time of a row, which is not taken.

        Raises:
            DataError: the time cannot be read.
        """
        return self._inner.time_of(row)

    def silence(self, time: float) -> Anomaly:
        """Of an event model: how rare it is that no event came since the last one until now; nothing is taken.

        Args:
            time: now, in the user's unit; seconds since 1970 for dated events.

        Raises:
            ValueError: the model is not an event model, or the time is before the last event.
        """
        if not isinstance(self._inner, EventStream):
            raise ValueError(f"model: expected an event model, received a {self.model.kind}; rows have no silence")
        survival = self._inner.log_survival(time)
        surprises = {} if survival is None else {"silence": min(-survival, 1e300)}
        return self._judge(surprises, ("silence",), self._rows, time, None)

    def _check(self, row: Any, number: int) -> Any:
        return self._inner._check(row, number)

    def _apply(self, checked: Any, number: int) -> Anomaly:
        """Take a row; it is judged by the rows before it, then counts among them."""
        prediction, surprises = self._surprise.take(checked, number)
        found = self._judge(surprises, self._surprise.flagged, number, prediction.time, prediction)
        for name, value in surprises.items():
            self._tails[name].update(value)
        return found

    def _judge(
        self, surprises: Mapping[str, float], names: tuple[str, ...], number: int, time: Any, prediction: Any
    ) -> Anomaly:
        chances = {name: self._tails[name].probability(surprises[name]) for name in names if name in surprises}
        known = {name: chance for name, chance in chances.items() if chance is not None}
        if not known:
            return Anomaly(number, time, None, self.threshold, False, None, prediction)
        column = min(known, key=lambda name: known[name])
        score = -math.log10(min(1.0, len(known) * known[column])) + 0.0  # no minus zero
        return Anomaly(number, time, score, self.threshold, score > self.threshold, column, prediction)

    def _own_header(self) -> dict[str, Any]:
        tails = {name: tail.to_dict() for name, tail in self._tails.items()}
        return {**self._inner._own_header(), "anomaly": {"tails": tails, "surprise": self._surprise.to_dict()}}

    def _restore_own(self, header: Mapping[str, Any]) -> None:
        self._inner._restore_own(header)
        for name, tail in self._tails.items():
            tail.restore(header["anomaly"]["tails"][name])
        self._surprise.restore(header["anomaly"]["surprise"])
