"""What a client must know of the model: the columns of a row and what comes back."""

from __future__ import annotations

from typing import Any

from aaren.data import Schema
from aaren.models import Classifier, EventModel, Forecaster, Model

_NUMBER_BYTES, _TIME_BYTES = 14, 29  # -1.234567e-05, and a time with microseconds in quotes


def describe(model: Model[Any, Any], schema: Schema, record_bytes: int) -> dict[str, Any]:
    """Plain data: kind, columns, what is predicted, sizes, fingerprint."""
    config, preprocessing = model.config, model.preprocessing
    found: dict[str, Any] = {
        "kind": model.kind,
        "description": model.describe(),
        "columns": {"time": list(schema.time), "inputs": list(schema.inputs), "series": schema.series_id},
        "encoder": {"kind": config.encoder, "layers": config.num_layers, "d_model": config.d_model},
        "fingerprint": model.fingerprint(),
        "record_bytes": record_bytes,
    }
    if isinstance(model, Forecaster) and preprocessing is not None:
        interval = preprocessing.interval
        found |= {
            "targets": list(schema.targets),
            "horizon": config.horizon,
            "quantiles": list(config.quantiles),
            "interval_seconds": None if interval is None else interval.astype("timedelta64[us]").astype(int) / 1e6,
            "units": "those of the training data",
        }
    elif isinstance(model, Classifier) and preprocessing is not None:
        found |= {"classes": list(preprocessing.classes), "units": "those of the training data"}
    elif isinstance(model, EventModel) and preprocessing is not None:
        unit = "seconds since 1970 (UTC), or dates" if preprocessing.dated else "that of the training data"
        found |= {"marks": list(preprocessing.marks), "units": unit}
    return found


def prediction_bytes(model: Model[Any, Any]) -> int:
    """About how long a prediction is as JSON, at most, in bytes."""
    config, preprocessing = model.config, model.preprocessing
    if isinstance(model, Forecaster):
        numbers = config.horizon * config.targets * (1 + len(config.quantiles))
        return _NUMBER_BYTES * numbers + _TIME_BYTES * config.horizon
    if isinstance(model, Classifier | EventModel) and preprocessing is not None:
        names = preprocessing.classes if isinstance(model, Classifier) else preprocessing.marks
        return sum(len(name.encode()) + _NUMBER_BYTES for name in names)
    return _NUMBER_BYTES * config.actions


def cache_bytes_per_token(model: Model[Any, Any]) -> int:
    """Bytes of a key-value cache for each token of a Transformer of the same size: 2 x layers x d_model x 4."""
    return 2 * model.config.num_layers * model.config.d_model * 4
