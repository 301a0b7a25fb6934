"""What each kind of model knows of its training data, for a drift monitor to compare with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from aaren.models import EventPreprocessing, Model
from aaren.streaming._drift import Reference

LOG_INTERVAL = "log interval"
"""The column of event streams: the natural logarithm of the time between two events, in the user's unit."""


def drift_reference(model: Model[Any, Any]) -> Reference:
    """Mean and deviation of every input in training; of events, those of the log-interval, and counts of the marks."""
    preprocessing = model.preprocessing
    if isinstance(preprocessing, EventPreprocessing):
        center = preprocessing.log_mean + math.log(preprocessing.unit)
        marks = dict(zip(preprocessing.marks, preprocessing.mark_counts, strict=True))
        deviation = np.array([preprocessing.log_deviation])
        return Reference((LOG_INTERVAL,), np.array([center]), deviation, {}, marks)
    assert preprocessing is not None, "a stream has refused a model without it"
    scaler = preprocessing.scaler
    return Reference(scaler.names, scaler.mean, scaler.deviation, _missing(model, scaler.names), {})


def log_interval(preprocessing: EventPreprocessing, interval: float) -> float:
    """The logarithm of an interval in the user's unit, in training deviations from the training mean."""
    scaled = max(interval / preprocessing.unit, preprocessing.floor)
    return (math.log(scaled) - preprocessing.log_mean) / preprocessing.log_deviation


def _missing(model: Model[Any, Any], names: tuple[str, ...]) -> dict[str, float]:
    """Shares of missing values in the record of the training, which names those that are not 0.

    No checksum covers the record, so it may hold anything; models of before it had shares have none.
    """
    data = model.metadata.get("data")
    found = data.get("missing") if isinstance(data, dict) else None
    if not isinstance(found, dict):
        return {}
    shares = {name: found.get(name, 0.0) for name in names}
    return {name: float(x) for name, x in shares.items() if isinstance(x, int | float) and 0 <= x <= 1}
