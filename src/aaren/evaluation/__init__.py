"""Metrics, protocols and baselines that cannot cheat."""

from aaren.evaluation._baselines import baselines, season_length
from aaren.evaluation._evaluate import evaluate, evaluate_streamed, evaluate_windows, parallel_forecasts
from aaren.evaluation._metrics import ForecastErrors
from aaren.evaluation._prepared import (
    PreparedData,
    WindowDataset,
    check_compatible,
    model_inputs,
    prepare,
    take_batch,
)

__all__ = [
    "ForecastErrors",
    "PreparedData",
    "WindowDataset",
    "baselines",
    "check_compatible",
    "evaluate",
    "evaluate_streamed",
    "evaluate_windows",
    "model_inputs",
    "parallel_forecasts",
    "prepare",
    "season_length",
    "take_batch",
]
