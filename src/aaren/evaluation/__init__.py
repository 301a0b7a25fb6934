"""Metrics, protocols and baselines that cannot cheat."""

from aaren.evaluation._baselines import baselines, season_length
from aaren.evaluation._case_baselines import case_baselines
from aaren.evaluation._cases_for import cases_for, cut_in_training
from aaren.evaluation._class_metrics import (
    accuracy,
    calibration_error,
    class_metrics,
    confusion_matrix,
    fit_temperature,
    fit_temperatures,
    log_loss,
    softmax,
)
from aaren.evaluation._evaluate import evaluate, evaluate_streamed, evaluate_windows, parallel_forecasts
from aaren.evaluation._evaluate_cases import case_logits, evaluate_cases, rows_of_parts
from aaren.evaluation._event_baselines import best_pair, event_baselines, mark_transitions
from aaren.evaluation._events import EventDataset, EventErrors, evaluate_events, exponential_distance
from aaren.evaluation._metrics import ForecastErrors
from aaren.evaluation._nab import (
    NAB_PROFILES,
    NabProfile,
    NabScore,
    NabSeries,
    nab_probation,
    nab_score,
    windowed_gaussian,
)
from aaren.evaluation._panel import MARKS, Panel, require_matplotlib, standing_alone
from aaren.evaluation._parity import Difference, Equivalence, equivalence, mean_ranks, paired_difference
from aaren.evaluation._prepared import (
    PreparedData,
    WindowDataset,
    check_compatible,
    check_magnitude,
    model_inputs,
    prepare,
    take_batch,
)
from aaren.evaluation._prepared_cases import CaseDataset, prepare_classes
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
    "MARKS",
    "NAB_PROFILES",
    "AttentionAges",
    "CaseDataset",
    "CostCurves",
    "DemoResults",
    "Difference",
    "EpisodeReturns",
    "Equivalence",
    "EventDataset",
    "EventErrors",
    "ForecastErrors",
    "ForecastWeek",
    "HeadAttention",
    "ModelResult",
    "NabProfile",
    "NabScore",
    "NabSeries",
    "Panel",
    "PreparedData",
    "Source",
    "StreamCheck",
    "WindowDataset",
    "accuracy",
    "baselines",
    "best_pair",
    "calibration_error",
    "case_baselines",
    "case_logits",
    "cases_for",
    "check_compatible",
    "check_magnitude",
    "class_metrics",
    "confusion_matrix",
    "cut_in_training",
    "equivalence",
    "error_rows",
    "evaluate",
    "evaluate_cases",
    "evaluate_events",
    "evaluate_streamed",
    "evaluate_windows",
    "event_baselines",
    "exponential_distance",
    "fit_temperature",
    "fit_temperatures",
    "log_loss",
    "mark_transitions",
    "mean_ranks",
    "model_inputs",
    "nab_probation",
    "nab_score",
    "paired_difference",
    "parallel_forecasts",
    "prepare",
    "prepare_classes",
    "render_report",
    "require_matplotlib",
    "rows_of_parts",
    "run_episodes",
    "season_length",
    "softmax",
    "standing_alone",
    "take_batch",
    "verdict",
    "windowed_gaussian",
]
