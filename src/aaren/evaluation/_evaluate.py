"""Errors of a forecaster on a part of a table, from windows or streamed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aaren.evaluation._metrics import ForecastErrors
from aaren.evaluation._prepared import Part, PreparedData, WindowDataset, model_inputs
from aaren.models import Forecaster

_BATCH = 128
_CHUNK = 512


@torch.no_grad()
def evaluate_windows(model: Forecaster, data: PreparedData, part: Part) -> dict[str, float]:
    """Errors of the forecast from the last token of every window (the paper's protocol; no window is dropped).

    Args:
        model: the forecaster, which sees each window as a new series.
        data: the prepared table.
        part: "validation" or "test".

    Returns:
        `ForecastErrors.summary()` in units of the training deviation.
    """
    model.eval()
    config = model.config
    device = model.head.weight.device
    dataset = WindowDataset(data, part, config.look_back, config.horizon)
    errors = ForecastErrors(config.quantiles)
    for first in range(0, len(dataset), _BATCH):
        batch = dataset.__getitems__(range(first, min(first + _BATCH, len(dataset))))
        truth = batch["block"][:, -config.horizon :].numpy()
        forecast, _ = model(**model_inputs({name: x.to(device) for name, x in batch.items()}))
        errors.add(forecast.mean[:, -1].cpu().numpy(), truth, forecast.quantiles[:, -1].cpu().numpy())
    return errors.summary()


def evaluate_streamed(model: Forecaster, data: PreparedData, part: Part) -> dict[str, float]:
    """The same errors, over the same forecasts, of a stream that has seen the whole series before."""
    errors = ForecastErrors(model.config.quantiles)
    truth = data.targets_inside(part)
    look_back, horizon = model.config.look_back, model.config.horizon
    last_rows = data.windows(part, look_back, horizon) + look_back - 1
    for (_, stop), offset in zip(data.rows(part), data.offsets, strict=True):
        mean, quantiles = parallel_forecasts(model, data, offset, stop)
        origins = last_rows[(last_rows >= offset) & (last_rows < stop)]
        rows = origins[:, None] + 1 + np.arange(horizon)
        errors.add(mean[origins - offset], truth[rows], quantiles[origins - offset])
    return errors.summary()


@torch.no_grad()
def parallel_forecasts(
    model: Forecaster, data: PreparedData, start: int, stop: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Forecasts from every row of a range, in parallel within chunks and continued from chunk to chunk.

    Returns:
        mean, shape (rows, horizon, targets), and quantiles, shape (rows, horizon, targets, levels), scaled.
    """
    model.eval()
    device = model.head.weight.device
    state = model.init_state(1)
    means, quantiles = [], []
    for first in range(start, stop, _CHUNK):
        chunk = slice(first, min(first + _CHUNK, stop))
        batch = {
            "values": torch.from_numpy(data.values[chunk]),
            "calendar": torch.from_numpy(data.calendar[chunk]),
            "elapsed": torch.from_numpy(data.elapsed[chunk]),
        }
        forecast, state = model(**model_inputs({k: x[None].to(device) for k, x in batch.items()}), state=state)
        means.append(forecast.mean[0].cpu().numpy())
        quantiles.append(forecast.quantiles[0].cpu().numpy())
    return np.concatenate(means), np.concatenate(quantiles)


def evaluate(model: Forecaster, data: PreparedData, part: Part = "test") -> dict[str, dict[str, Any]]:
    """All errors that apply to a model: "windows", and "streamed" where it streams.

    Args:
        model: the forecaster.
        data: the prepared table.
        part: "validation" or "test".
    """
    result = {"windows": evaluate_windows(model, data, part)}
    if model.config.normalization == "running":
        result["streamed"] = evaluate_streamed(model, data, part)
    return result
