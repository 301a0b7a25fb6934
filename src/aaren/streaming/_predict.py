"""Forecasts of what comes after a table, in one pass."""

from __future__ import annotations

import numpy as np
import torch

from aaren.data import SeriesSet
from aaren.evaluation import check_compatible, check_magnitude
from aaren.models import Forecaster
from aaren.streaming._prediction import Prediction, make_prediction

_CHUNK = 512


@torch.no_grad()
def forecast_after(model: Forecaster, table: SeriesSet) -> dict[str, Prediction]:
    """The forecast from the last row of every series of a table.

    Args:
        model: a trained forecaster. With `normalization="running"` it reads the whole series, in chunks; with
            "window" the last `look_back` rows.
        table: read with the model's columns.

    Returns:
        A `Prediction` by name of the series.

    Raises:
        DataError: the table's interval is not that of the training data, or a value is too far from the mean.
        ValueError: the model has no preprocessing.
    """
    preprocessing = model.preprocessing
    if preprocessing is None:
        raise ValueError("model: expected preprocessing (columns and units), received None; train or load a model")
    check_compatible(table, preprocessing)
    check_magnitude(table, preprocessing.scaler)
    model.eval()
    device = model.head.weight.device
    windowed = model.config.normalization == "window"
    results = {}
    for series in table.series:
        rows = len(series.values)
        values = preprocessing.scaler.transform(series.values).astype(np.float32)
        arrays = [values, preprocessing.features(series.times, rows), preprocessing.elapsed(series.times, rows)]
        if windowed:
            arrays = [array[-model.config.look_back :] for array in arrays]
        x, calendar, elapsed = (torch.from_numpy(array).to(device)[None] for array in arrays)
        state, size = (None, rows) if windowed else (model.init_state(1), _CHUNK)
        for first in range(0, x.shape[1], size):
            chunk = slice(first, first + size)
            given = calendar[:, chunk] if calendar.shape[-1] else None
            forecast, after = model(x[:, chunk], given, state, elapsed=elapsed[:, chunk])
            state = None if windowed else after
        time = None if series.times is None else series.times[-1]
        results[series.name] = make_prediction(
            model.config, preprocessing, rows, time, forecast, warming_up=rows < model.config.look_back
        )
    return results
