"""Metrics, protocols and baselines that cannot cheat."""

from aaren.evaluation._baselines import baselines, season_length
from aaren.evaluation._evaluate import evaluate, evaluate_streamed, evaluate_windows, parallel_forecasts
from aaren.evaluation._metrics import ForecastErrors
from aaren.evaluation._plots import require_matplotlib
from aaren.evaluation._prepared import (
    PreparedData,
    WindowDataset,
    check_compatible,
    model_inputs,
    prepare,
    take_batch,
)
from aaren.evaluation._report import render_report
from aaren.evaluation._results import (
    AttentionAges,
    CostCurves,
    DemoResults,
    ForecastWeek,
    HeadAttention,
    ModelResult,
    Source,
    StreamCheck,
)
from aaren.evaluation._run_episodes import EpisodeReturns, run_episodes
from aaren.evaluation._verdict import error_rows, verdict

__all__ = [
    "AttentionAges",
    "CostCurves",
    "DemoResults",
    "EpisodeReturns",
    "ForecastErrors",
    "ForecastWeek",
    "HeadAttention",
    "ModelResult",
    "PreparedData",
    "Source",
    "StreamCheck",
    "WindowDataset",
    "baselines",
    "check_compatible",
    "error_rows",
    "evaluate",
    "evaluate_streamed",
    "evaluate_windows",
    "model_inputs",
    "parallel_forecasts",
    "prepare",
    "render_report",
    "require_matplotlib",
    "run_episodes",
    "season_length",
    "take_batch",
    "verdict",
]
