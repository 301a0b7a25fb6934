"""Metrics, protocols and baselines that cannot cheat."""

from aaren.evaluation._baselines import baselines, season_length
from aaren.evaluation._evaluate import evaluate, evaluate_streamed, evaluate_windows, parallel_forecasts
from aaren.evaluation._metrics import ForecastErrors
from aaren.evaluation._panel import MARKS, Panel, require_matplotlib, standing_alone
from aaren.evaluation._parity import Difference, Equivalence, equivalence, mean_ranks, paired_difference
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
from aaren.evaluation._verdict import error_rows, verdict

__all__ = [
    "MARKS",
    "AttentionAges",
    "CostCurves",
    "DemoResults",
    "Difference",
    "Equivalence",
    "ForecastErrors",
    "ForecastWeek",
    "HeadAttention",
    "ModelResult",
    "Panel",
    "PreparedData",
    "Source",
    "StreamCheck",
    "WindowDataset",
    "baselines",
    "check_compatible",
    "equivalence",
    "error_rows",
    "evaluate",
    "evaluate_streamed",
    "evaluate_windows",
    "mean_ranks",
    "model_inputs",
    "paired_difference",
    "parallel_forecasts",
    "prepare",
    "render_report",
    "require_matplotlib",
    "season_length",
    "standing_alone",
    "take_batch",
    "verdict",
]
