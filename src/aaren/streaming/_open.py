"""The stream that belongs to a model, and the options that decide about its rows."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from aaren.models import Classifier, EventModel, Forecaster, Model, Policy
from aaren.streaming._base import ModelStream
from aaren.streaming._classifier import ClassifierStream
from aaren.streaming._event_stream import EventStream
from aaren.streaming._policy_stream import PolicyStream
from aaren.streaming._stream import Stream

STREAMS: dict[type[Model[Any, Any]], Any] = {
    Classifier: ClassifierStream,
    EventModel: EventStream,
    Forecaster: Stream,
    Policy: PolicyStream,
}
"""The class of stream for each class of model."""


def open_stream(model: Model[Any, Any], state_file: str | Path | None = None, **options: Any) -> ModelStream[Any, Any]:
    """A live stream of a model; what `model.stream()` calls.

    Args:
        model: a trained model of any kind.
        state_file: go on from this snapshot if the file is there.
        **options: of the stream of that kind, such as `on_bad_row`.

    Raises:
        TypeError: it is no model.
    """
    if type(model) not in STREAMS:
        raise TypeError(f"model: expected a trained model, received {type(model).__name__}; load one (aaren.load)")
    return STREAMS[type(model)](model, state_file, **options)


def row_options(model: Model[Any, Any], **options: Any) -> dict[str, Any]:
    """Those options of a stream that decide what becomes of a row, where one is not given with its default.

    Args:
        model: a trained model of any kind.
        **options: of the stream of that kind.
    """
    kind = STREAMS[type(model)]
    known = inspect.signature(kind).parameters
    return {name: options.get(name, known[name].default) for name in kind.row_options}
