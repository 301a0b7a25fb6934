"""A small table and short runs on it; also run by the tests in processes of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from aaren.data import SeriesSet, read_series
from aaren.evaluation import PreparedData
from aaren.models import Forecaster
from aaren.training import TrainingOptions, TrainingResult, fit, forecasting_data, train_forecaster

MODEL: dict[str, Any] = {
    "horizon": 3,
    "look_back": 12,
    "d_model": 8,
    "nhead": 2,
    "num_layers": 1,
    "dim_feedforward": 8,
    "dropout": 0.2,
}


def table(scale: float = 1.0, rows: int = 160) -> SeriesSet:
    """One column of noisy days."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(rows)
    values = scale * (np.sin(2 * np.pi * np.arange(rows) / 8) + noise)
    times = np.datetime64("2024-01-01", "us") + np.arange(rows) * np.timedelta64(3 * 3_600_000_000, "us")
    return read_series(pl.DataFrame({"date": times, "y": values}), targets="y")


def options(**changes: Any) -> TrainingOptions:
    """A short run on the CPU."""
    return TrainingOptions(**{"epochs": 3, "batch_size": 16, "stride": 2, "accelerator": "cpu", **changes})


def train(
    directory: Path, data: SeriesSet | None = None, *, resume: bool = False, model: Any = (), **changes: Any
) -> TrainingResult:
    """Train without a progress bar."""
    return train_forecaster(
        table() if data is None else data,
        directory,
        options=options(**changes),
        resume=resume,
        progress=False,
        **{**MODEL, **dict(model)},
    )


def fit_table(model: Forecaster, data: PreparedData, options: TrainingOptions, directory: Path) -> dict[str, Any]:
    """Fit a model to the windows of a table without a progress bar."""
    return fit(model, forecasting_data(model, data, options), options, directory, progress=False)


def bits(model: Forecaster) -> dict[str, bytes]:
    """All weights, as bytes."""
    return {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}
