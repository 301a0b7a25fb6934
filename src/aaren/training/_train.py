"""From a table to a model directory: the Python twin of `aaren train forecaster`."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aaren.data import SeriesSet
from aaren.evaluation import PreparedData, baselines, evaluate, prepare
from aaren.models import Forecaster, ForecasterConfig
from aaren.training._fit import TrainingOptions, fit
from aaren.training._record import append_record, hardware, versions


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
        begin = time.perf_counter()
        training = fit(model, prepared, options, directory, resume=resume, progress=progress)
        seconds = time.perf_counter() - begin
    metrics: dict[str, Any] = evaluate(model, prepared)
    metrics["baselines"] = baselines(prepared, "test", configuration.look_back, horizon)
    history = training.pop("history")
    parts = np.asarray(split).tolist()  # NumPy's numbers are not JSON's
    about = {"source": Path(data.source).name, "sha256": data.sha256, "split": parts, **_shape(data)}
    model.metadata = {
        "data": about,
        "training": {**dataclasses.asdict(options), **training, "seconds": round(seconds, 1)},
        "metrics": _flat(metrics),
        "versions": versions(),
    }
    model.save(directory)
    record = {
        "kind": model.kind,
        "data": about,
        "seed": options.seed,
        "config": configuration.to_dict(),
        "options": dataclasses.asdict(options),
        "training": training,
        "history": history,
        "metrics": metrics,
        "seconds": seconds,
        "parameters": sum(p.numel() for p in model.parameters()),
        "fingerprint": model.fingerprint(),
        "versions": versions(),
        "hardware": hardware(),
    }
    append_record(directory / "record.jsonl", record)
    return TrainingResult(model, prepared, record)


def _shape(data: SeriesSet) -> dict[str, Any]:
    return {
        "series": len(data.series),
        "rows": sum(len(one.values) for one in data.series),
        "sampling": data.sampling.describe(),
    }


def _flat(metrics: dict[str, Any]) -> dict[str, str]:
    """Metrics for the model card: "windows mse" and so on, test part, standardised."""
    flat: dict[str, str] = {}
    for name, value in metrics.items():
        groups = value.items() if name == "baselines" else [(name, value)]
        for group, errors in groups:
            flat[f"{group} (test, standardised)"] = f"MSE {errors['mse']:.4f}, MAE {errors['mae']:.4f}"
    return flat
