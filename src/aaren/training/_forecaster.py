"""From a table to a forecaster's directory: the Python twin of `aaren train forecaster`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aaren.data import SeriesSet
from aaren.evaluation import PreparedData, WindowDataset, baselines, evaluate, model_inputs, prepare
from aaren.models import Forecaster, ForecasterConfig, future_of
from aaren.training._fit import Batch, TrainingData, fit
from aaren.training._options import TrainingOptions
from aaren.training._record import missing_shares, save_with_record


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What training leaves.

    Args:
        model: with the best weights, on the CPU.
        data: the prepared table.
        record: data, hyperparameters, metrics, time, versions and hardware; plain data, also in `record.jsonl`.
    """

    model: Forecaster
    data: PreparedData
    record: dict[str, Any]

    @property
    def metrics(self) -> dict[str, Any]:
        """Errors on the test part by name: "windows", "streamed", and those of the simple forecasts."""
        return self.record["metrics"]


def train_forecaster(
    data: SeriesSet,
    directory: str | Path,
    *,
    horizon: int,
    split: Sequence[float | int] = (0.7, 0.1, 0.2),
    options: TrainingOptions | None = None,
    resume: bool = False,
    progress: bool = True,
    **config: Any,
) -> TrainingResult:
    """Train a forecaster and save it with its record.

    Args:
        data: a table from `aaren.data.read_series`.
        directory: model directory to write.
        horizon: steps to forecast.
        split: fractions or numbers of rows of training, validation and test, in time.
        options: how to train.
        resume: go on from the last checkpoint in the directory.
        progress: show a progress bar on standard error.
        **config: further fields of `ForecasterConfig`, such as `encoder`, `look_back`, `quantiles`.

    Returns:
        The model, the prepared table and the record.

    Raises:
        DataError: the table does not allow that split, look-back or horizon.
        ValueError: a field of the configuration is out of range.
        ModelFileError: the directory cannot be written, or the checkpoint is not of this run.
    """
    options = options or TrainingOptions()
    directory = Path(directory)
    prepared = prepare(data, split)
    schema = prepared.preprocessing.schema
    configuration = ForecasterConfig(
        inputs=len(schema.inputs),
        targets=len(schema.targets),
        horizon=horizon,
        calendar=prepared.calendar.shape[1],
        **config,
    )
    prepared.windows("test", configuration.look_back, horizon)  # too short a test part is refused before training
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = Forecaster(configuration, preprocessing=prepared.preprocessing)
        training = fit(
            model, forecasting_data(model, prepared, options), options, directory, resume=resume, progress=progress
        )
    metrics: dict[str, Any] = evaluate(model, prepared)
    metrics["baselines"] = baselines(prepared, "test", configuration.look_back, horizon)
    parts = np.asarray(split).tolist()  # NumPy's numbers are not JSON's
    record = save_with_record(
        model,
        directory,
        data={
            "source": Path(data.source).name,
            "sha256": data.sha256,
            "split": parts,
            **_shape(data),
            "missing": _missing(prepared),
        },
        options=options,
        training=training,
        metrics=metrics,
        summary=_summary(metrics),
    )
    return TrainingResult(model, prepared, record)


def forecasting_data(model: Forecaster, data: PreparedData, options: TrainingOptions) -> TrainingData:
    """The windows of the training and validation parts, and the loss of a forecaster."""
    config = model.config
    stride = options.stride
    if stride is None:
        stride = 1 if config.normalization == "window" else max(1, config.look_back // 8)

    def loss(model: Forecaster, batch: Batch) -> tuple[Tensor, int]:
        forecast, _ = model(**model_inputs(batch))
        if config.normalization == "window":
            future = batch["block"][:, -config.horizon :][:, None]
        else:
            future = future_of(batch["block"], config.look_back, config.horizon)
        return model.loss(forecast, future), len(batch["values"])

    return TrainingData(
        WindowDataset(data, "train", config.look_back, config.horizon, stride),
        WindowDataset(data, "validation", config.look_back, config.horizon, stride),
        loss,
    )


def _shape(data: SeriesSet) -> dict[str, Any]:
    return {
        "series": len(data.series),
        "rows": sum(len(one.values) for one in data.series),
        "sampling": data.sampling.describe(),
    }


def _missing(data: PreparedData) -> dict[str, float]:
    """Share of missing values of each input in the training part; a drift report compares with it."""
    rows = np.concatenate([data.values[start:stop] for start, stop in data.rows("train")])
    return missing_shares(rows, data.preprocessing.schema.inputs)


def _summary(metrics: dict[str, Any]) -> dict[str, str]:
    """Metrics for the model card: "windows mse" and so on, test part, standardised."""
    flat: dict[str, str] = {}
    for name, value in metrics.items():
        groups = value.items() if name == "baselines" else [(name, value)]
        for group, errors in groups:
            flat[f"{group} (test, standardised)"] = f"MSE {errors['mse']:.4f}, MAE {errors['mae']:.4f}"
    return flat
