"""Small tables and a small forecaster for the tests of evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from aaren.data import SeriesSet, read_series
from aaren.evaluation import PreparedData
from aaren.models import Forecaster

LOOK_BACK, HORIZON = 12, 4
HOUR = np.timedelta64(3_600_000_000, "us")


def values(rows: int, columns: int = 2, missing: float = 0.0, seed: int = 0) -> NDArray[np.float64]:
    """Noisy days in units of their own; a share of the values is missing."""
    random = np.random.default_rng(seed)
    waves = np.sin(2 * np.pi * (np.arange(rows)[:, None] / 8 + np.arange(columns) / 3))
    found = 5 * waves + random.standard_normal((rows, columns)) + 20 * np.arange(columns)
    found[random.random(found.shape) < missing] = np.nan
    return found


def table(arrays: Sequence[NDArray[np.float64]], step: np.timedelta64 = 3 * HOUR, targets: Any = "all") -> SeriesSet:
    """Series of one table with columns a, b, ..., told apart by an id column where there are several."""
    frames = []
    for index, array in enumerate(arrays):
        times = np.datetime64("2024-01-01", "us") + index * HOUR * 24 + np.arange(len(array)) * step
        columns = {chr(97 + k): array[:, k] for k in range(array.shape[1])}
        frames.append(pl.DataFrame({"date": times, **columns, "id": [f"s{index}"] * len(array)}))
    frame = pl.concat(frames).fill_nan(None)
    if len(arrays) == 1:
        return read_series(frame.drop("id"), targets=targets)
    return read_series(frame, targets=targets, series_id="id")


def forecaster(data: PreparedData, **fields: Any) -> Forecaster:
    """A forecaster of random weights for this table."""
    schema = data.preprocessing.schema
    arguments: dict[str, Any] = {
        "inputs": len(schema.inputs),
        "targets": len(schema.targets),
        "horizon": HORIZON,
        "look_back": LOOK_BACK,
        "calendar": data.calendar.shape[1],
        "d_model": 8,
        "nhead": 2,
        "num_layers": 1,
        "dim_feedforward": 8,
        "preprocessing": data.preprocessing,
    }
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(5)
        model = Forecaster(**{**arguments, **fields})
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return model
